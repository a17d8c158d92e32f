"""Every step between two durable ones, cut at its first, middle and last occurrence: nothing is lost or doubled.

So it is on SQLite. On PostgreSQL the cut is after each step, at its last occurrence, unless BACKFILL_CRASH_POINTS=all
asks for every one of them.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import dedent
from typing import Any, get_type_hints

import pytest

from backfill.ledger import Ledger
from tests.support.postgres import Postgres
from tests.support.world import CONCURRENCY, CUT, WRITES, Diary, World, request

WORLD = World(
    mails=15,
    copies={9: 3, 10: 3, 11: 5},
    refused=(5,),
    unreadable=(6,),
    gone=(8,),
    left_out=(15,),
    throttled=(13,),
    odd=(4,),
    unnotable=(12,),
)
WHOLE = replace(WORLD, is_whole=True)
DONE = {1, 2, 3, 4, 7, 9, 10, 11, 12, 13, 14}
#: On PostgreSQL it waits for writers by a lock of a transaction of its own, and writes nothing.
NO_WRITES = {"outcomes.after"}
# `evaluate` and `check` write the first, and no run does. An undo is cut in test_undo_cuts, a cleanup in
# test_cleanup_faults.
OF_NO_RUN = {
    "attempts.open_without_run",
    "undoing.intend",
    *(f"removals.{verb}" for verb in ("note", "forget", "close", "settle", "begin_undo")),
}
# The threads decide how often a step occurs; so often a run is begun anew in which it did not occur as often as hoped.
TRIES = 5
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

    def run(
        self, world: World, folder: Path, url: str, cut: tuple[str, int] | None = None, shift_s: float = 0.0
    ) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(request(folder, url, world, cut, shift_s) + "\n")
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
        return [] if step.startswith("before") else [last]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return Fresh(lambda folder: server.passing_database(), os.environ.get("BACKFILL_CRASH_POINTS") == "all")
    template = tmp_path_factory.mktemp("template") / "ledger.db"
    Ledger.open(f"sqlite:///{template}").close()

    def copied(folder: Path) -> AbstractContextManager[str]:
        shutil.copy(template, folder / "ledger.db")  # migrating takes longer than the work
        return nullcontext(f"sqlite:///{folder}/ledger.db")

    return Fresh(copied, is_thorough=True)


@dataclass(frozen=True)
class Uncut:
    """How often each step occurs when nothing goes wrong."""

    reached: dict[str, int]
    reached_whole: dict[str, int]

    def world(self, step: str) -> tuple[World, int]:
        """The smallest world in which a step occurs, and how often it does."""
        if step in self.reached:
            return WORLD, self.reached[step]
        return WHOLE, self.reached_whole.get(step, 0)


@pytest.fixture(scope="module")
def uncut(runner: Runner, fresh: Fresh, tmp_path_factory: pytest.TempPathFactory) -> Uncut:
    reached = []
    for world in (WORLD, WHOLE):
        folder = tmp_path_factory.mktemp("uncut")
        with fresh.ledger(folder) as url:
            answer = runner.run(world, folder, url)
            assert answer["code"] == 0
            assert_all_is_well(world, folder, url, cuts=0)
        reached.append(answer["reached"])
    return Uncut(*reached)


def writing_verbs() -> set[str]:
    """The ledger's public methods that write, themselves or through others of their class."""
    parts = get_type_hints(Ledger)
    del parts["database"]
    return {f"{name}.{verb}" for name, part in parts.items() for verb in _writing(part) if not verb.startswith("_")}


def _writing(part: type) -> set[str]:
    (tree,) = ast.parse(dedent(inspect.getsource(part))).body
    assert isinstance(tree, ast.ClassDef)
    uses = {
        method.name: {ast.unparse(node) for node in ast.walk(method) if isinstance(node, ast.Attribute)}
        for method in tree.body
        if isinstance(method, ast.FunctionDef)
    }
    writing = {"self.database.write"}
    while more := {f"self.{name}" for name, used in uses.items() if used & writing} - writing:
        writing |= more
    return {name for name in uses if f"self.{name}" in writing}


def test_every_verb_that_writes_is_a_step() -> None:
    listed = {f"{part}.{verb}" for part, verbs in WRITES.items() for verb in verbs}

    assert writing_verbs() - NO_WRITES - OF_NO_RUN == listed


def test_every_step_is_reached(uncut: Uncut) -> None:
    assert [step for step in STEPS if not uncut.reached_whole.get(step)] == []


@pytest.mark.parametrize("step", STEPS)
def test_a_power_cut_at_any_step_loses_and_repeats_nothing(
    step: str, runner: Runner, fresh: Fresh, uncut: Uncut, tmp_path: Path
) -> None:
    world, last = uncut.world(step)
    for occurrence in fresh.occurrences(step, last):
        cut_and_go_on(runner, fresh, world, tmp_path / str(occurrence), (step, occurrence))


def cut_and_go_on(runner: Runner, fresh: Fresh, world: World, folder: Path, cut: tuple[str, int]) -> None:
    step, occurrence = cut
    for number in range(TRIES):
        here = folder / str(number)
        here.mkdir(parents=True)
        with fresh.ledger(here) as url:
            answer = runner.run(world, here, url, (step, occurrence))
            if answer["code"] == CUT:
                assert runner.run(world, here, url, shift_s=120.0)["code"] == 0
                assert_all_is_well(world, here, url, cuts=1)
                return
            assert answer["code"] == 0
            occurrence = min(occurrence, answer["reached"].get(step, 0))
    pytest.fail(f"never cut {step}, which occurred up to {occurrence} times")


def assert_all_is_well(world: World, folder: Path, url: str, cuts: int) -> None:
    done, failed = (DONE | {5, 8}, {6}) if world.is_whole else (DONE, {5, 6})
    ledger = Ledger.open(url)
    (job,) = ledger.jobs.all()
    summary = ledger.report.summary(job)
    differences = ledger.audit.differences(job.id, ["flags", "notes"])
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
    assert differences == []
    assert (summary.counts.found, summary.counts.done, summary.counts.failed) == (15, len(done), len(failed))
    assert (summary.counts.skipped, summary.counts.pending) == (1, 0)
    assert summary.counts.vanished == (0 if world.is_whole else 1)
    assert summary.job.state == "done"
    # A second time they may be final again: after a retry, or an undo.
    assert {uid for uid, _ in finals} == done | failed
    assert world.is_whole or len(finals) == len(done | failed)
    assert [(line["uid"], line["status"]) for line in analytics] == [tuple(final) for final in finals]
    assert marked == done
    assert len(notes) == len(done)
    assert not list((folder / "notes").rglob("*.tmp*"))
    assert len(calls) <= world.questions + cuts * CONCURRENCY, calls
    assert summary.calls.made >= len(calls)
    assert summary.calls.unknown_outcome <= cuts * CONCURRENCY
    assert claims == 0
