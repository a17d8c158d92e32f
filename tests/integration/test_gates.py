"""Hours of the day and a number of calls a day: no call outside of them, and a run that waits, says so and goes on."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backfill.errors import CallsUsedUp, ServiceUnavailable
from backfill.hours import Hours
from backfill.ledger import Ledger
from backfill.ledger.budgets import DAY_US
from backfill.lifecycle import RunOutcome
from backfill.message import Message
from backfill.throttle.budget import Budget, DayLimit
from backfill.throttle.gates import Gates, HoursGate
from backfill.verdict import Scores
from tests.support.bench import API, Bench, BenchClock
from tests.support.ledgers import open_attempt

NIGHT = Hours.parse("22:00-07:00")


class Calls(list[datetime]):
    """When each call began."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        bench.classifier.answers = self._answer

    def _answer(self, message: Message) -> Scores:
        self.append(self._bench.clock.now())
        return Scores.of(importance=5, spam=1)

    def by_day(self) -> list[int]:
        return list(Counter(call.date() for call in self).values())

    def counted_by_day(self) -> list[int]:
        """With those that were noted and came too late to be made: they count among their day's."""
        return [
            row[0]
            for row in self._bench.rows(
                f"SELECT COUNT(*) FROM attempt GROUP BY started_at / {DAY_US} ORDER BY started_at"
            )
        ]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    bench.mailbox.holds(*range(1, 26))
    yield bench
    bench.ledger.close()


@pytest.fixture
def calls(bench: Bench) -> Calls:
    return Calls(bench)


def night(bench: Bench) -> HoursGate:
    return HoursGate(NIGHT, bench.clock, UTC)


# Hours.


def test_no_call_begins_outside_of_the_hours_and_the_run_goes_on_by_itself(bench: Bench, calls: Calls) -> None:
    bench.clock.turn(6 * 3600 + 45 * 60)

    ended = bench.run(gates=(night(bench),), calls_per_minute=1 / 2)

    assert ended.outcome is RunOutcome.FINISHED
    assert set(bench.statuses().values()) == {"done"}
    assert len(calls) == 25
    assert all(NIGHT.include(call.time()) for call in calls)
    assert {call.hour for call in calls} >= {6, 22}  # before the gate closes, and again when it has opened


def test_each_day_of_waiting_is_told_once(bench: Bench, calls: Calls) -> None:
    bench.clock.turn(12 * 3600)

    bench.run(gates=(night(bench),))

    told = [
        reason for reason in bench.observer.waited_for if reason and "outside of 22:00-07:00 (local time)" in reason
    ]
    assert told == ["outside of 22:00-07:00 (local time); goes on at 2024-05-03 22:00 UTC"]


def test_a_classifier_whose_calls_cost_nothing_keeps_to_the_hours_as_well(bench: Bench, calls: Calls) -> None:
    bench.classifier.is_metered = False
    bench.clock.turn(12 * 3600)

    bench.run(gates=(night(bench),))

    assert len(calls) == 25
    assert all(NIGHT.include(call.time()) for call in calls)


def test_another_try_with_the_same_mail_keeps_to_the_hours_as_well(bench: Bench, calls: Calls) -> None:
    answer = bench.classifier.answers

    def fail_now_and_then(message: Message) -> Scores:
        answer(message)
        if len(calls) % 3 == 0:
            raise ServiceUnavailable
        return Scores.of(importance=5, spam=1)

    bench.classifier.answers = fail_now_and_then
    bench.clock.turn(7 * 3600 - 20)  # 06:59:40

    bench.run(gates=(night(bench),), retry_delay_s=15.0, calls_per_minute=20)

    assert len(calls) > 25
    assert all(NIGHT.include(call.time()) for call in calls)


@dataclass
class UntilTheLast:
    """A gate that is closed once so many calls were made."""

    calls: Calls
    most: int

    def closed_for(self) -> float:
        return 86_400.0 if len(self.calls) >= self.most else 0.0

    def reason(self) -> str:
        return "closed"


@pytest.mark.parametrize(("max_emails", "outcome"), [(None, RunOutcome.FINISHED), (10, RunOutcome.CAPPED)])
def test_a_run_that_has_nothing_left_does_not_wait_for_the_night_to_say_so(
    bench: Bench, calls: Calls, max_emails: int | None, outcome: RunOutcome
) -> None:
    ended = bench.run(gates=(UntilTheLast(calls, max_emails or 25),), max_emails=max_emails)

    assert ended.outcome is outcome
    assert "closed" not in bench.observer.waited_for


def test_a_stop_ends_the_wait_at_a_gate(bench: Bench, calls: Calls) -> None:
    bench.clock.turn(12 * 3600)
    bench.observer.waiting = lambda reason: bench.stop.set("SIGTERM")  # type: ignore[method-assign]

    ended = bench.run(gates=(night(bench),))

    assert ended.outcome is RunOutcome.INTERRUPTED
    assert calls == []
    assert bench.clock.now().hour == 12


def test_a_gate_is_looked_at_again_before_it_says_so_when_the_clock_is_set(bench: Bench) -> None:
    bench.clock.turn(12 * 3600)
    gate = night(bench)
    told: list[str | None] = []

    def tell(reason: str | None) -> None:
        told.append(reason)
        if reason is not None:
            bench.clock._now = bench.clock._now.replace(hour=23)  # somebody sets the clock while it waits

    began, reason = bench.clock.monotonic(), gate.reason()
    passed = Gates((gate,), bench.clock, bench.stop, tell).pass_through()

    assert passed
    assert told == [reason, None]
    assert bench.clock.monotonic() - began <= 60


# A number of calls a day.


def test_no_day_has_more_calls_than_its_number_and_the_run_goes_on_the_next_day(bench: Bench, calls: Calls) -> None:
    ended = bench.run(max_per_day=10, concurrency=8)

    assert ended.outcome is RunOutcome.FINISHED
    assert len(calls) == 25
    assert max(calls.by_day()) <= 10
    assert calls.counted_by_day()[:2] == [10, 10]
    assert [reason for reason in bench.observer.waited_for if "max_per_day" in reason] == [
        "today's 10 calls (max_per_day) are made; goes on at 2024-05-04 00:00 UTC",
        "today's 10 calls (max_per_day) are made; goes on at 2024-05-05 00:00 UTC",
    ]


@pytest.mark.parametrize("seconds_left", [9, 10, 11])
def test_a_day_that_ends_while_it_is_asked_about_is_over_for_the_gate(bench: Bench, seconds_left: int) -> None:
    class Midnight(BenchClock):
        """A second goes by whenever somebody looks."""

        def now(self) -> datetime:
            self.turn(1)
            return super().now()

    bench.run(max_emails=10)
    clock = Midnight()
    clock.turn((bench.clock.now() - clock.now()).total_seconds())
    limit = DayLimit(bench.ledger, clock, API, 10)
    clock.turn(86_400 - seconds_left - clock.now().timestamp() % 86_400)

    waits = [limit.closed_for() for _ in range(20)]

    assert 0 < max(waits) < seconds_left
    assert waits[-1] == 0.0


def test_the_number_holds_over_restarts_and_for_runs_that_had_none(bench: Bench, calls: Calls) -> None:
    bench.run(max_emails=4)
    bench.run(max_emails=3, max_per_day=10)
    bench.run(max_per_day=10)

    assert len(calls) == 25
    assert max(calls.by_day()) <= 10
    assert calls.counted_by_day()[:2] == [10, 10]


def test_calls_that_fail_count(bench: Bench, calls: Calls) -> None:
    answer = bench.classifier.answers

    def fail_at_first(message: Message) -> Scores:
        answer(message)
        if len(calls) in (2, 3, 5):
            raise ServiceUnavailable
        return Scores.of(importance=5, spam=1)

    bench.classifier.answers = fail_at_first

    bench.run(max_per_day=10, concurrency=1)

    assert calls.by_day() == [10, 10, 8]


def test_another_api_has_a_number_of_its_own(bench: Bench, calls: Calls) -> None:
    bench.run(max_emails=10)
    other = DayLimit(bench.ledger, bench.clock, "calls:https://other.example/v1", 10)
    same = DayLimit(bench.ledger, bench.clock, API, 10)

    assert other.closed_for() == 0
    assert same.closed_for() > 0


def test_a_call_that_begins_after_midnight_is_not_one_of_the_day_before(bench: Bench) -> None:
    run = bench.begin(bench.plan())
    item = bench.ledger.items.claim(run, 1)[0]
    budget = Budget(bench.ledger, bench.clock, run.job_id, None, 100, calls=DayLimit(bench.ledger, bench.clock, API, 5))
    of_yesterday = budget.reservation(100)
    bench.clock.turn(86_400)

    with pytest.raises(CallsUsedUp):
        open_attempt(bench.ledger, run, item, of_yesterday)

    assert open_attempt(bench.ledger, run, item, budget.reservation(100))


def test_two_processes_share_a_days_number_exactly(bench: Bench, tmp_path: Path) -> None:
    run = bench.begin(bench.plan())
    items = bench.ledger.items.claim(run, 25)
    opened: list[int] = []
    barrier = threading.Barrier(2)

    def call(mine: slice) -> None:
        ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.db", bench.clock)
        barrier.wait(30)
        for item in items[mine]:
            limit = DayLimit(ledger, bench.clock, API, 10)  # as a start does: count anew
            try:
                opened.append(
                    open_attempt(ledger, run, item, Budget(ledger, bench.clock, 1, None, 9, calls=limit).reservation(1))
                )
            except CallsUsedUp:
                break
        ledger.close()

    threads = [threading.Thread(target=call, args=(slice(n, None, 2),)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(opened) == 10
