"""A run that is steered while it works: what it does, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from itertools import count, pairwise

import pytest

from backfill.errors import BudgetReached
from backfill.lifecycle import RunOutcome
from backfill.message import Message
from backfill.ports import Judged, Receipt, Unapplied
from backfill.verdict import Scores
from tests.support.bench import Bench, BenchEffect, Observed

MAILS = 60
PAUSED = "paused; `backfill resume` goes on"


@dataclass
class Diary(Observed):
    """What happened, in order. `on_wait` is told what the run waits for, while it waits."""

    on_wait: Callable[[str], object] = lambda reason: None
    entries: list[str] = field(default_factory=list)
    limits: list[str | None] = field(default_factory=list)
    ends: list[datetime | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def waiting(self, reason: str | None) -> None:
        if reason:
            self.entries.append("waits")
            self.on_wait(reason)
            self.entries.append("goes on")
        super().waiting(reason)

    def limited_by(self, limit: str | None, ends_at: datetime | None = None) -> None:
        self.limits.append(limit)
        self.ends.append(ends_at)


@pytest.fixture
def bench(tmp_path):
    opened = Bench(tmp_path)
    opened.mailbox.holds(*range(1, MAILS + 1))
    opened.observer = Diary()
    yield opened
    opened.ledger.close()


def at_mail(bench: Bench, number: int, wish: Callable[[int], object]) -> None:
    """Another terminal wishes this, of the job, when so many mails have been asked about."""

    numbers = count(1)  # also where several threads ask, each one has its own

    def answers(message: Message) -> Scores:
        bench.observer.entries.append("asks")
        if next(numbers) == number:
            wish(bench.ledger.jobs.all()[0].id)
        return Scores.of(importance=5, spam=1)

    bench.classifier.answers = answers


def test_a_paused_run_makes_no_call_until_it_is_resumed_and_then_finishes(bench):
    at_mail(bench, 10, lambda job: bench.ledger.steering.pause(job, "paused by Ada"))
    bench.observer.on_wait = lambda reason: bench.ledger.steering.resume(1)

    ended = bench.run(concurrency=1)

    # The turned clock may leap ahead of the heartbeat, which then is waited for as well.
    assert [reason for reason in bench.observer.waited_for if "heartbeat" not in reason] == [PAUSED]
    entries = bench.observer.entries
    assert entries[entries.index("waits") + 1] == "goes on"
    assert ended.outcome is RunOutcome.FINISHED
    assert sorted(bench.classifier.asked_about) == list(range(1, MAILS + 1))
    assert bench.rows("SELECT state FROM job") == [("done",)]


def test_what_is_in_flight_is_recorded_while_a_run_is_paused(bench):
    done: list[int] = []
    at_mail(bench, 10, lambda job: bench.ledger.steering.pause(job, "paused by Ada"))

    def look(reason: str) -> None:
        if reason != PAUSED:
            return
        done.append(bench.rows("SELECT COUNT(*) FROM attempt WHERE outcome = 'ok'")[0][0])
        bench.stop.set("enough seen")

    bench.observer.on_wait = look

    ended = bench.run(concurrency=1)

    asked = len(bench.classifier.asked_about)
    assert ended.outcome is RunOutcome.INTERRUPTED
    assert done[0] >= 9
    assert bench.attempts().count("ok") == asked < MAILS
    assert list(bench.statuses().values()).count("done") == asked
    assert bench.rows("SELECT state, state_reason FROM job") == [("paused", "paused by Ada")]


def test_a_cancelled_run_ends_and_its_mails_stay_pending(bench):
    at_mail(bench, 10, lambda job: bench.ledger.steering.cancel(job, "cancelled by Ada"))

    ended = bench.run()

    assert (ended.outcome, ended.reason) == (RunOutcome.INTERRUPTED, "the job was cancelled by Ada")
    statuses = list(bench.statuses().values())
    assert statuses.count("done") == len(bench.classifier.asked_about) < MAILS
    assert statuses.count("done") + statuses.count("pending") == MAILS
    assert bench.rows("SELECT state FROM job") == [("cancelled",)]
    assert bench.rows("SELECT COUNT(*) FROM item WHERE claimed_by IS NOT NULL") == [(0,)]


def test_a_job_that_is_cancelled_before_its_run_begins_to_work_makes_no_call(bench):
    bench.plan()
    bench.ledger.steering.cancel(1, "cancelled by Ada")
    bench.plan = lambda **_: bench.ledger.jobs.get(1)

    ended = bench.run()

    assert ended.outcome is RunOutcome.INTERRUPTED
    assert bench.classifier.asked_about == []


def test_a_new_pace_is_kept_to_while_the_run_works(bench):
    at_mail(bench, 10, lambda job: bench.ledger.steering.set_pace(job, 1))
    began = bench.clock.monotonic()

    bench.run(concurrency=1)

    left = MAILS - 10 - 10  # a second passes before the wish is read, in which ten more are asked about
    assert bench.clock.monotonic() - began > left * 59
    assert bench.ledger.throttles.rate("calls:bench") == pytest.approx(1, rel=0.01)


def test_a_run_says_what_binds_it(bench):
    bench.run(calls_per_minute=6)

    assert "calls per minute (6)" in bench.observer.limits


def test_a_run_says_that_its_budget_will_not_last_as_soon_as_it_knows_what_a_mail_costs(bench):
    bench.classifier.cost = Decimal("0.001")

    with pytest.raises(BudgetReached):
        bench.run(calls_per_minute=6, concurrency=1, max_cost="0.04", dry_run=True)

    assert "calls per minute (6); the budget will not last" in bench.observer.limits


def test_a_run_whose_budget_lasts_says_nothing_of_it(bench):
    bench.classifier.cost = Decimal("0.001")

    bench.run(calls_per_minute=6, concurrency=1, max_cost="0.07", dry_run=True)

    assert "calls per minute (6)" in bench.observer.limits
    assert not any("budget" in limit for limit in bench.observer.limits if limit)


def test_the_end_of_a_run_that_rests_at_times_is_that_of_its_last_day_and_stays_so(bench):
    bench.run(calls_per_minute=60, concurrency=1, max_per_day=25, dry_run=True)

    told = list(zip(bench.observer.limits, bench.observer.ends, strict=True))
    first = next(number for number, (_, end) in enumerate(told) if end is not None)
    resting = [entry for entry in told[first:] if entry[1] is not None]
    assert {(limit, end.date()) for limit, end in resting} == {("25 calls a day", date(2024, 5, 5))}
    assert told[first : first + len(resting)] == resting  # until the last day, on which it rests no more


def test_verdicts_that_are_known_already_tell_no_end(bench):
    bench.run(dry_run=True)
    bench.observer = Diary()

    bench.run(calls_per_minute=60, concurrency=1, max_per_day=1)

    assert bench.observer.ends
    assert set(bench.observer.ends) == {None}


def test_a_quicker_pace_does_not_wait_for_the_slot_of_the_slower_one(bench):
    at_mail(bench, 1, lambda job: bench.ledger.steering.set_pace(job, 600))

    bench.run(concurrency=1, calls_per_minute=0.01)

    # Of a hundred minutes at the pace before. The turned clock runs ahead of a thread that gets no CPU.
    slots = [row[0] for row in bench.rows("SELECT started_at FROM attempt ORDER BY id")]
    assert max(later - slot for slot, later in pairwise(slots)) < 50 * 60_000_000


def test_a_cancel_is_heard_while_the_keywords_wait_for_the_mail_server(bench):
    class Waiting(BenchEffect):
        """The mail server does not answer; only a stop ends the wait for it."""

        def apply(self, mails: Sequence[Judged]) -> Iterator[Receipt | Unapplied]:
            for _ in range(200):
                bench.clock.turn(1)
                if bench.stop.latest.wait(0.05):
                    break
            heard.append(bench.stop.latest.is_set())
            yield from super().apply(mails)

    heard: list[bool] = []
    bench.mailbox.holds(*range(1, 501))
    bench.effect = Waiting()
    # 300 verdicts fill the effects' batch and queue; then the writer waits for room in it, and no more calls are made.
    at_mail(bench, 300, lambda job: bench.ledger.steering.cancel(job, "cancelled by Ada"))

    ended = bench.run(concurrency=8, calls_per_minute=60_000)

    assert heard[0]
    assert ended.reason == "the job was cancelled by Ada"
    assert bench.rows("SELECT state FROM job") == [("cancelled",)]
