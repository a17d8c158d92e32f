"""A ledger that is not there any more is missed, where what it wrote is."""

from __future__ import annotations

import pytest

from backfill.errors import ConfigError
from backfill.ledger import Ledger
from backfill.operations.request import known_job
from backfill.settings.model import Paths


@pytest.fixture
def paths(tmp_path):
    return Paths(analytics_file=tmp_path / "analytics.jsonl", notes_dir=tmp_path / "notes")


@pytest.fixture
def empty(sqlite_url):
    ledger = Ledger.open(sqlite_url)
    yield ledger
    ledger.close()


@pytest.mark.parametrize("number", [None, 1])
@pytest.mark.parametrize("sign", ["notes", "analytics.jsonl"])
def test_a_missing_ledger_beside_what_an_earlier_one_wrote_is_said_to_be_missing(empty, paths, tmp_path, sign, number):
    if sign == "notes":
        paths.notes_dir.mkdir()
        (paths.notes_dir / "1.md").write_text("a note")
    else:
        (tmp_path / sign).write_text("{}\n")

    with pytest.raises(ConfigError, match=f"an earlier one has written .*{sign}.*put it back"):
        known_job(empty, number, paths)


def test_a_first_ledger_is_not_said_to_be_missing(empty, paths):
    paths.notes_dir.mkdir()
    (paths.notes_dir.parent / "analytics.jsonl").touch()

    with pytest.raises(ConfigError, match="no job yet"):
        known_job(empty, None, paths)
