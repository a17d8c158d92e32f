"""The disk of the ledger is full during a run: how many calls are paid for again is said, and nothing untrue."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from loguru import logger

from backfill.errors import BackfillError, KeyRefused, LedgerUnusable, MessageRefused
from backfill.executor import Ended
from backfill.limits import GivenLimits, RunLimits
from backfill.message import Message
from backfill.operations.parts import locked
from backfill.operations.run import work
from backfill.verdict import Scores
from tests.support.bench import Bench
from tests.support.small_disk import SmallDisk, needs_root, small_disk

MAILS = 200
THREADS = 4
LIMITS = RunLimits(calls_per_minute=60_000, concurrency=THREADS, retry_attempts=1)

pytestmark = needs_root


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", "12m") as disk:
        yield disk


@pytest.fixture
def bench(disk: SmallDisk) -> Iterator[Bench]:
    bench = Bench(disk.folder)
    bench.mailbox.holds(*range(1, MAILS + 1))
    bench.plan()
    yield bench
    bench.close()


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The lines of the log, from INFO on."""
    lines: list[str] = []
    logger.enable("backfill")  # as a library it is silent
    handler = logger.add(lines.append, level="INFO", format="{message}")
    yield lines
    logger.remove(handler)
    logger.disable("backfill")


def run(bench: Bench, limits: RunLimits = LIMITS) -> Ended | None:
    job = bench.plan()
    with locked(bench.ledger) as lock:
        return work(replace(bench.parts(), limits=limits), bench.audience(), job, "run", GivenLimits(), lock)


def run_until_full(
    bench: Bench, disk: SmallDisk, answers: Callable[[Message], Scores], limits: RunLimits = LIMITS
) -> BackfillError:
    """Fill the disk while `THREADS` calls are under way, about the middle of the mailbox; what the run ends with."""
    full = threading.Event()

    def fill() -> None:
        # A log of SQLite's that was used before has room for what follows; without it nothing can be written.
        with closing(sqlite3.connect(disk.folder / "ledger.db", timeout=30)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        disk.fill()
        full.set()

    all_called = threading.Barrier(THREADS, action=fill)

    def answer(message: Message) -> Scores:
        if len(bench.classifier.asked_about) > MAILS // 2 and not full.is_set():
            all_called.wait(60)
        return answers(message) if full.is_set() else Scores.of(importance=5, spam=1)

    bench.classifier.answers = answer
    with pytest.raises(BackfillError) as raised:
        run(bench, limits)
    disk.make_room()
    return raised.value


def asked_twice(bench: Bench) -> int:
    """How many calls a run makes again when there is room."""
    bench.classifier.answers = lambda message: Scores.of(importance=5, spam=1)
    run(bench)
    assert set(bench.statuses().values()) == {"done"}
    return sum(count - 1 for count in Counter(bench.classifier.asked_about).values())


@pytest.mark.parametrize("limits", [LIMITS, replace(LIMITS, tokens_per_minute=10**9)], ids=["calls", "tokens too"])
def test_answers_that_a_full_disk_does_not_take_are_counted(
    bench: Bench, disk: SmallDisk, log: list[str], limits: RunLimits
) -> None:
    error = run_until_full(bench, disk, lambda message: Scores.of(importance=5, spam=1), limits)
    told, logged = " ".join(bench.told), " ".join(log)

    assert isinstance(error, LedgerUnusable)
    assert error.asked_again > 0
    assert f"{error.asked_again} answer" in str(error)
    assert "paid for could not be saved and will be asked for again" in str(error)
    assert str(error) in logged
    assert "othing is lost" not in str(error) + told + logged
    assert "go on with: " in told
    assert error.asked_again == asked_twice(bench)


def test_refusals_that_a_full_disk_does_not_take_are_counted_too(bench: Bench, disk: SmallDisk) -> None:
    def answers(message: Message) -> Scores:
        raise MessageRefused

    error = run_until_full(bench, disk, answers)

    assert error.asked_again == asked_twice(bench) > 0


def test_another_end_on_a_full_disk_counts_them_as_well(bench: Bench, disk: SmallDisk) -> None:
    refused = iter([True])

    def answers(message: Message) -> Scores:
        if next(refused, False):
            raise KeyRefused
        return Scores.of(importance=5, spam=1)

    error = run_until_full(bench, disk, answers)

    assert "othing is lost" not in str(error) + " ".join(bench.told)
    assert asked_twice(bench) == error.asked_again + 1  # the refused call was not paid for


def test_answers_are_saved_when_there_is_room_again_before_the_run_ends(bench: Bench, disk: SmallDisk) -> None:
    last = iter([True])

    def answers(message: Message) -> Scores:
        if next(last, False):
            bench.stop.latest.wait(10)  # until the others' answers were not taken
            disk.make_room()
        return Scores.of(importance=5, spam=1)

    error = run_until_full(bench, disk, answers)

    assert isinstance(error, LedgerUnusable)
    assert error.asked_again == asked_twice(bench) == 0
    [(outcome, reason)] = bench.rows("SELECT outcome, outcome_reason FROM run ORDER BY id LIMIT 1")
    assert (outcome, reason) == ("halted", f"ledger: {error}")
