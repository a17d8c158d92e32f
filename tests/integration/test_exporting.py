"""The file of an export: whole or not there, whatever ends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backfill.analytics import AnalyticsFile
from backfill.errors import ConfigError, EffectUnavailable
from backfill.operations.export import Exported, Wanted, export
from tests.support.bench import Bench
from tests.support.small_disk import needs_root, small_disk

FORMS = ["jsonl", "csv", "parquet"]


@dataclass(frozen=True)
class Paths:
    analytics_file: Path | None
    notes_dir: Path


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Twenty mails are done, and told in the analytics file."""
    bench = Bench(tmp_path)
    bench.mailbox.holds(*range(1, 21))
    bench.run(analytics=True)
    yield bench
    bench.close()


def exported(bench: Bench, path: Path, *, goes_on: bool = True, form: str | None = None, **wanted: bool) -> Exported:
    asked = Wanted(form=form, path=path, **wanted)
    paths = Paths(bench.folder / "analytics.jsonl", bench.folder / "notes")
    return export(bench.ledger, asked, paths, Nowhere(), lambda: goes_on)


class Nowhere:
    """Standard output that must not be used."""

    def write(self, data: bytes) -> int:
        raise AssertionError("nothing belongs on standard output")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("form", FORMS)
def test_a_stop_leaves_no_file_and_no_part_of_one(bench: Bench, tmp_path: Path, form: str) -> None:
    before = names(tmp_path)

    ended = exported(bench, tmp_path / "mails", form=form, goes_on=False)

    assert not ended.is_complete
    assert names(tmp_path) == before


@pytest.mark.parametrize("form", FORMS)
def test_a_stop_leaves_the_earlier_file_as_it_is(bench: Bench, tmp_path: Path, form: str) -> None:
    (tmp_path / "mails").write_text("earlier")

    exported(bench, tmp_path / "mails", form=form, goes_on=False, force=True)

    assert (tmp_path / "mails").read_text() == "earlier"


@needs_root
@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_is_named_and_leaves_nothing(bench: Bench, tmp_path: Path, form: str) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        disk.fill()
        before = names(disk.folder)

        with pytest.raises(EffectUnavailable, match="No space left"):
            exported(bench, disk.folder / "mails", form=form)

        assert names(disk.folder) == before


def test_a_file_that_appears_meanwhile_is_not_replaced(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "mails.csv"

    def appear() -> bool:
        path.write_text("mine")
        return True

    paths = Paths(None, tmp_path / "notes")
    with pytest.raises(ConfigError, match="nothing was replaced"):
        export(bench.ledger, Wanted(path=path), paths, Nowhere(), appear)

    assert path.read_text() == "mine"


def test_a_forced_file_is_replaced_whole(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "mails.csv").write_text("x" * 100_000)

    exported(bench, tmp_path / "mails.csv", force=True)

    assert len((tmp_path / "mails.csv").read_bytes().split(b"\r\n")) == 22
    assert (tmp_path / "mails.csv").stat().st_mode & 0o777 == 0o600


def test_the_analytics_file_is_known_by_any_of_its_names(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to("analytics.jsonl")
    before = (tmp_path / "analytics.jsonl").read_bytes()

    with pytest.raises(ConfigError, match="is the analytics file"):
        exported(bench, tmp_path / "link.jsonl", force=True)
    rebuilt = exported(bench, tmp_path / "link.jsonl", force=True, all_jobs=True)

    assert rebuilt.mails == 20
    assert (tmp_path / "analytics.jsonl").read_bytes() == before
    assert AnalyticsFile(bench.ledger, tmp_path / "analytics.jsonl").difference() is None


def test_a_file_system_without_hard_links_takes_an_export_too(bench: Bench, tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)  # as vfat and some network file systems do

    exported(bench, tmp_path / "mails.csv")

    assert (tmp_path / "mails.csv").exists()
    with pytest.raises(ConfigError, match="--force"):
        exported(bench, tmp_path / "mails.csv")
