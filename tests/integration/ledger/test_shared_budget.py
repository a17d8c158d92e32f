"""One limit, two processes with a connection of their own each: together they keep it, in money and in calls."""

from __future__ import annotations

import threading
from decimal import Decimal

from backfill.budget import Budget, DayLimit
from backfill.errors import BudgetReached, CallsUsedUp
from backfill.ledger import Ledger
from backfill.ports import Price

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
                opened.append(ledger.attempts.open(run, item, budget.reservation(100)))
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
                opened.append(ledger.attempts.open(run, item, budget.reservation(100)))
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
    tomorrow = others[0].attempts.open(run, items[-1], budget.reservation(100))
    for other in others:
        other.close()

    assert len(opened) == 10
    assert tomorrow
