"""One limit, two processes with a connection of their own each: together they keep it, in money and in calls."""

from __future__ import annotations

import threading
from datetime import timedelta
from decimal import Decimal

import pytest

from backfill.errors import BudgetReached, CallsUsedUp
from backfill.ledger import Ledger
from backfill.ledger.budgets import Reservation
from backfill.lifecycle import AttemptOutcome
from backfill.ports import Price
from backfill.throttle.budget import Budget, DayLimit
from backfill.verdict import Usage
from tests.support.ledgers import answer, open_attempt

PRICE = Price(Decimal("0.000001"), Decimal("0.00001"))  # a call of 400 characters and 100 tokens: 0.0014 USD


def test_two_ledgers_on_one_database_share_a_budget_that_each_counts_anew_while_the_other_spends(
    bench, ledger_url, clock
):
    bench.plan(*range(1, 61))
    run = bench.run()
    items = bench.claim(run)
    others = [Ledger.open(ledger_url, clock) for _ in range(2)]
    opened: list[int] = []
    barrier = threading.Barrier(2)

    def spend(ledger: Ledger, mine: slice) -> None:
        barrier.wait(30)
        for item in items[mine]:
            budget = Budget(ledger, clock, bench.job.id, PRICE, 100, Decimal("0.0140"))  # as a start does: count anew
            try:
                opened.append(open_attempt(ledger, run, item, budget.reservation(100)))
            except BudgetReached:
                return

    threads = [threading.Thread(target=spend, args=(others[n], slice(n, None, 2))) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        other.close()

    assert len(opened) == 10


def test_two_ledgers_on_one_database_share_a_days_number_that_each_counts_anew(bench, ledger_url, clock):
    bench.plan(*range(1, 61))
    run = bench.run()
    bench.write("UPDATE run SET parameters = :parameters", parameters='{"api": "calls:https://api.example/v1"}')
    items = bench.claim(run)
    others = [Ledger.open(ledger_url, clock) for _ in range(2)]
    opened: list[int] = []
    barrier = threading.Barrier(2)

    def call(ledger: Ledger, mine: slice) -> None:
        barrier.wait(30)
        for item in items[mine]:
            calls = DayLimit(ledger, clock, "calls:https://api.example/v1", 10)  # as a start does
            budget = Budget(ledger, clock, bench.job.id, None, 100, calls=calls)
            try:
                opened.append(open_attempt(ledger, run, item, budget.reservation(100)))
            except CallsUsedUp:
                assert calls.closed_for() > 0
                return

    threads = [threading.Thread(target=call, args=(others[n], slice(n, None, 2))) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.turn(86_400)
    budget = Budget(
        others[0], clock, 1, None, 100, calls=DayLimit(others[0], clock, "calls:https://api.example/v1", 10)
    )
    tomorrow = open_attempt(others[0], run, items[-1], budget.reservation(100))
    for other in others:
        other.close()

    assert len(opened) == 10
    assert tomorrow


def test_what_a_run_without_a_limit_spends_beside_it_is_taken_from_the_days_money(bench, clock):
    bench.plan(*range(1, 61))
    run = bench.run()
    items = iter(bench.claim(run))
    budget = Budget(bench.ledger, clock, bench.job.id, PRICE, 100, Decimal("0.0140"), Decimal("0.0140"))
    bench.open_attempt(run, next(items), budget.reservation(100))

    refused = bench.open_attempt(run, next(items))
    bench.ledger.attempts.close(refused, AttemptOutcome.UNUSABLE, Usage(cost_usd=Decimal("0.0030")))
    judged = next(items)
    bench.record(run, judged, attempt_id=bench.open_attempt(run, judged), answer=answer(cost_usd=Decimal("0.0090")))

    assert bench.rows("SELECT DISTINCT spent FROM purse") == [(13_400_000,)]
    with pytest.raises(BudgetReached):
        bench.open_attempt(run, next(items), budget.reservation(100))


def test_what_a_run_without_a_limit_calls_beside_it_is_taken_from_the_days_number_and_nothing_is_twice(bench, clock):
    bench.plan(*range(1, 61))
    run = bench.run()
    bench.write("UPDATE run SET parameters = :parameters", parameters='{"api": "calls:https://api.example/v1"}')
    items = iter(bench.claim(run))
    calls = DayLimit(bench.ledger, clock, "calls:https://api.example/v1", 4)
    limited = Budget(bench.ledger, clock, bench.job.id, None, 100, calls=calls)
    of_money = Budget(bench.ledger, clock, bench.job.id, PRICE, 100, Decimal(1))

    bench.open_attempt(run, next(items), limited.reservation(100))
    bench.open_attempt(run, next(items))
    bench.open_attempt(run, next(items), of_money.reservation(100))
    before = bench.value("SELECT spent FROM purse WHERE name LIKE 'calls:%'")
    bench.open_attempt(run, next(items), limited.reservation(100))

    assert before == 3
    assert calls.closed_for() > 0
    with pytest.raises(CallsUsedUp):
        bench.open_attempt(run, next(items), limited.reservation(100))


def test_money_that_was_reserved_before_midnight_is_reserved_anew_after_it(bench, clock):
    bench.plan(11)
    run = bench.run()
    (item,) = bench.claim(run)
    budget = Budget(bench.ledger, clock, bench.job.id, PRICE, 100, max_cost_per_day=Decimal("0.0014"))
    of_yesterday = budget.reservation(100)
    clock.turn(timedelta(days=1).total_seconds())

    with pytest.raises(CallsUsedUp, match="is over"):
        bench.open_attempt(run, item, of_yesterday)
    bench.open_attempt(run, item, budget.reservation(100))

    assert bench.rows("SELECT spent FROM purse ORDER BY name") == [(0,), (1_400_000,)]


def test_a_call_that_belongs_to_no_run_counts_for_its_apis_day_and_its_money_and_for_no_job(bench, ledger, clock):
    api = "calls:https://api.example/v1"

    def limited(calls: int, usd: str) -> Reservation:
        day = DayLimit(ledger, clock, api, calls)
        return Budget(ledger, clock, None, PRICE, 100, None, Decimal(usd), day).reservation(100)

    Budget(ledger, clock, bench.job.id, PRICE, 100, Decimal(1))
    first = ledger.attempts.open_without_run(api, limited(3, "0.0028"))
    ledger.attempts.close(first, AttemptOutcome.OK, Usage(cost_usd=Decimal("0.0005")))
    second = ledger.attempts.open_without_run(api, None)
    ledger.attempts.close(second, AttemptOutcome.OK, Usage(cost_usd=Decimal("0.0010")))
    ledger.attempts.open_without_run("calls:https://other.example/v1", None)

    def spent() -> dict[str, int]:
        return {row.name.partition(":")[0]: row.spent for row in bench.rows("SELECT name, spent FROM purse")}

    booked = spent()
    with pytest.raises(CallsUsedUp):
        ledger.attempts.open_without_run(api, limited(2, "1"))
    with pytest.raises(BudgetReached):
        ledger.attempts.open_without_run(api, limited(3, "0.0028"))
    assert booked == {"job": 0, "day": 1_500_000, "calls": 2}
    assert spent() == booked  # counted anew by each command, and nothing is taken for a call that is not made
    assert bench.rows("SELECT COUNT(*) FROM attempt") == [(3,)]
