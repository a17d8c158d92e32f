"""`analytics.jsonl`: exactly the ledger's outcomes, whatever has happened to the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from backfill.analytics import AnalyticsFile
from backfill.errors import EffectUnavailable
from tests.support.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    bench.mailbox.holds(*range(1, 21))
    yield bench
    bench.ledger.close()


@pytest.fixture
def file(bench: Bench) -> Path:
    return bench.folder / "analytics.jsonl"


def uids(file: Path) -> list[int]:
    return sorted(json.loads(line)["uid"] for line in file.read_text().splitlines())


def test_each_outcome_has_one_line(bench: Bench, file: Path) -> None:
    bench.run(analytics=True)

    assert uids(file) == list(range(1, 21))
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_tail_that_a_crash_left_is_cut_off(bench: Bench, file: Path) -> None:
    bench.run(analytics=True, max_emails=10)
    with file.open("a") as torn:
        torn.write('{"account": "owner@exam')

    bench.run(analytics=True)

    assert uids(file) == list(range(1, 21))


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_text("")], ids=["gone", "emptied"])
def test_a_file_that_was_moved_away_is_written_anew(bench: Bench, file: Path, damage) -> None:
    bench.run(analytics=True, max_emails=10)
    damage(file)

    bench.run(analytics=True)

    assert uids(file) == list(range(1, 21))


def test_a_file_of_somebody_else_is_left_alone_and_no_call_is_made(bench: Bench, file: Path) -> None:
    file.write_text('{"uid": 1, "of": "an older system"}\n')

    with pytest.raises(EffectUnavailable, match="move it away"):
        bench.run(analytics=True)
    with pytest.raises(EffectUnavailable, match="move it away"):
        AnalyticsFile(bench.ledger, file).catch_up()

    assert file.read_text() == '{"uid": 1, "of": "an older system"}\n'
    assert bench.classifier.asked_about == []
