"""Every step between two durable ones, cut at its first, middle and last occurrence: nothing is lost or doubled.

So it is on SQLite. On PostgreSQL the cut before a step is at its first occurrence and the one after it at its last,
unless BACKFILL_CRASH_POINTS=all asks for every one of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backfill.ledger import Ledger
from backfill.report.figures import summarize
from tests.support.postgres import Postgres
from tests.support.world import CONCURRENCY, CUT, WRITES, Diary, World, request

WORLD = World(mails=14, copies={9: 3, 10: 3, 11: 5}, refused=(5,), unreadable=(6,), gone=(8,))
DONE = {1, 2, 3, 4, 7, 9, 10, 11, 12, 13, 14}
STEPS = [
    *(f"{when} {part}.{verb}" for part, verbs in WRITES.items() for verb in verbs for when in ("before", "after")),
    *(f"{when} {name}" for name in ("source.fetch", "api.classify", "server.add") for when in ("before", "after")),
    "before notes.apply",
    "within notes.apply",
]


class Runner:
    """The process that forks the runs."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.world"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def run(self, folder: Path, url: str, cut: tuple[str, int] | None = None, shift_s: float = 0.0) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(request(folder, url, WORLD, cut, shift_s) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    process = Runner()
    yield process
    process.close()


@dataclass(frozen=True)
class Fresh:
    """A kind of database. `ledger` gives the URL of one that nobody has used, for the files of a folder."""

    ledger: Callable[[Path], AbstractContextManager[str]]
    is_thorough: bool  # is every step cut at three occurrences, or at one?

    def occurrences(self, step: str, last: int) -> list[int]:
        if self.is_thorough:
            return sorted({1, (last + 1) // 2, last})
        return [1 if step.startswith("before") else last]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest) -> Fresh:
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return Fresh(lambda folder: server.passing_database(), os.environ.get("BACKFILL_CRASH_POINTS") == "all")
    return Fresh(lambda folder: nullcontext(f"sqlite:///{folder}/ledger.db"), is_thorough=True)


@pytest.fixture(scope="module")
def occurrences(runner: Runner, fresh: Fresh, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    folder = tmp_path_factory.mktemp("uncut")
    with fresh.ledger(folder) as url:
        answer = runner.run(folder, url)
    assert answer["code"] == 0
    reached: dict[str, int] = answer["reached"]
    return reached


def test_every_step_is_reached(occurrences: dict[str, int]) -> None:
    assert [step for step in STEPS if not occurrences.get(step)] == []


@pytest.mark.parametrize("step", STEPS)
def test_a_power_cut_at_any_step_loses_and_repeats_nothing(
    step: str, runner: Runner, fresh: Fresh, occurrences: dict[str, int], tmp_path: Path
) -> None:
    for occurrence in fresh.occurrences(step, occurrences[step]):
        folder = tmp_path / str(occurrence)
        folder.mkdir()
        with fresh.ledger(folder) as url:
            codes = [runner.run(folder, url, (step, occurrence))["code"]]
            if codes == [CUT]:
                codes.append(runner.run(folder, url, shift_s=120.0)["code"])

            # How often a step occurs varies a little with the threads; then the run was not cut at all.
            assert codes in ([CUT, 0], [0])
            assert_all_is_well(folder, url, cuts=codes.count(CUT))


def assert_all_is_well(folder: Path, url: str, cuts: int) -> None:
    ledger = Ledger.open(url)
    (job,) = ledger.jobs.all()
    summary = summarize(ledger, job)
    claims = ledger.database.read(
        lambda connection: connection.exec_driver_sql(
            "SELECT COUNT(*) FROM item WHERE claimed_by IS NOT NULL"
        ).scalar_one()
    )
    finals = ledger.database.read(
        lambda connection: connection.exec_driver_sql(
            "SELECT i.uid, o.status FROM outcome o JOIN item i ON i.id = o.item_id ORDER BY o.id"
        ).all()
    )
    ledger.close()
    calls = [call["subject"] for call in Diary(folder / "calls.jsonl").entries()]
    marked = {uid for store in Diary(folder / "stores.jsonl").entries() for uid in store["uids"]}
    notes = list((folder / "notes").rglob("*.md"))
    analytics = [json.loads(line) for line in (folder / "analytics.jsonl").read_text().splitlines()]

    assert summary.is_conserved
    assert (summary.counts.found, summary.counts.done, summary.counts.failed) == (14, len(DONE), 2)
    assert (summary.counts.vanished, summary.counts.pending) == (1, 0)
    assert summary.job.state == "done"
    assert Counter(uid for uid, _ in finals) == Counter(DONE | {5, 6})
    assert sorted(line["uid"] for line in analytics) == sorted(DONE | {5, 6})
    assert [(line["uid"], line["status"]) for line in analytics] == [tuple(final) for final in finals]
    assert marked == DONE
    assert len(notes) == len(DONE)
    assert not list((folder / "notes").rglob("*.tmp*"))
    assert len(calls) <= WORLD.questions + cuts * CONCURRENCY, calls
    assert summary.calls.made >= len(calls)
    assert summary.calls.unknown_outcome <= cuts * CONCURRENCY
    assert claims == 0
