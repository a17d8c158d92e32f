"""What is written is its owner's alone, whatever the umask and however deep the folder, and whole or not there."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backfill import files
from backfill.errors import ConfigError, EffectUnavailable
from backfill.files import write_once
from backfill.ledger import Ledger
from backfill.operations.scaffold import scaffold
from backfill.report.render import write_report


@pytest.fixture(autouse=True, params=[0o000, 0o022, 0o077], ids=oct)
def _umask(request) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def a_ledger(path: Path) -> None:
    Ledger.open(f"sqlite:///{path}").close()


WRITERS: dict[str, Callable[[Path], object]] = {
    "ledger": a_ledger,
    "note": lambda path: write_once(path, b"note"),
    "report": lambda path: write_report(path, "report"),
    "file": lambda path: files.write_whole(path, b"file"),
    "empty": files.make_empty,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_file_and_every_new_folder_above_it_are_the_owners_alone(tmp_path, write):
    path = tmp_path / "a" / "b" / "c"

    write(path)

    assert [mode(each) for each in (path, path.parent, path.parent.parent)] == [0o600, 0o700, 0o700]


def test_a_folder_that_is_there_keeps_its_permissions(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o755)

    files.write_whole(tmp_path / "a" / "b", b"")

    assert mode(tmp_path / "a") == 0o755


def test_a_new_project_can_be_changed_by_its_owner_only(tmp_path):
    made = [path for path, _ in scaffold(tmp_path / "new" / "project")]

    folders = [tmp_path / "new", tmp_path / "new/project", tmp_path / "new/project/config"]
    assert all(not mode(each) & 0o022 for each in (*made, *folders))
    assert mode(tmp_path / "new/project/.env") == 0o600


def test_a_report_that_cannot_be_written_leaves_the_old_one_and_nothing_else(tmp_path):
    (tmp_path / "report").mkdir()

    with pytest.raises(EffectUnavailable):
        write_report(tmp_path / "report", "new")

    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_report_with_a_name_that_is_no_utf8_is_written(tmp_path):
    write_report(tmp_path / "report", "folder \udcff")

    assert (tmp_path / "report").read_text() == "folder \\udcff"


@pytest.mark.parametrize("path", ["~nosuchuser/x", "~nosuchuser", "a\0b"])
def test_a_path_that_names_no_file_is_a_mistake_of_its_setting(path):
    with pytest.raises(ConfigError):
        files.expanded(Path(path))


def test_a_file_that_holds_these_bytes_is_not_touched_again(tmp_path):
    path = tmp_path / "note.md"
    write_once(path, b"ours")
    written = path.stat().st_ino, path.stat().st_mtime_ns

    assert write_once(path, b"ours", {hashlib.sha256(b"ours").hexdigest()})
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == written
