"""Money: a budget is kept by parallel calls, over restarts and over midnight, and its end loses nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from backfill.errors import BudgetReached, MessageRefused
from backfill.lifecycle import RunOutcome
from backfill.message import Message
from backfill.throttle.budget import Budget
from backfill.verdict import Scores
from tests.support.bench import PRICE, Bench
from tests.support.ledgers import open_attempt

SET_ASIDE = Decimal("0.0014")  # by `PRICE`, for a question of 400 characters and an answer of 100 tokens


@pytest.fixture
def bench(tmp_path: Path, ledger_url: str) -> Iterator[Bench]:
    bench = Bench(tmp_path, url=ledger_url)
    bench.mailbox.holds(*range(1, 41))
    yield bench
    bench.close()


def spent(bench: Bench) -> Decimal:
    return Decimal(bench.rows("SELECT COALESCE(SUM(cost_nano), 0) FROM attempt")[0][0]) / 10**9


def test_parallel_calls_never_spend_more_than_the_budget(bench: Bench) -> None:
    bench.classifier.cost = SET_ASIDE

    with pytest.raises(BudgetReached):
        bench.run(max_cost="0.0099", concurrency=8)

    # One that came too late for its slot was not made, but had set its money aside.
    paid = bench.attempts().count("ok")
    assert paid + bench.attempts().count("unsent") == len(bench.attempts()) == 7
    assert spent(bench) == paid * SET_ASIDE
    assert "failed" not in bench.statuses().values()
    assert list(bench.statuses().values()).count("done") == paid


def test_what_a_call_really_cost_takes_the_place_of_what_was_set_aside(bench: Bench) -> None:
    bench.classifier.cost = Decimal("0.0001")

    with pytest.raises(BudgetReached):
        bench.run(max_cost="0.0024", concurrency=1)

    assert len(bench.classifier.asked_about) == 11


def test_a_budget_is_the_jobs_for_its_life_and_a_higher_one_goes_on(bench: Bench) -> None:
    bench.classifier.cost = SET_ASIDE

    for _ in range(2):
        with pytest.raises(BudgetReached):
            bench.run(max_cost="0.0029", concurrency=1)
    calls = len(bench.classifier.asked_about)
    ended = bench.run(max_cost="1")

    assert calls == 2
    assert ended.outcome is RunOutcome.FINISHED
    assert sorted(bench.classifier.asked_about) == list(range(1, 41))


def test_what_was_spent_without_a_budget_counts_when_one_is_set(bench: Bench) -> None:
    bench.classifier.cost = SET_ASIDE
    bench.run(max_emails=5)

    with pytest.raises(BudgetReached):
        bench.run(max_cost="0.0070", concurrency=1)

    assert len(bench.classifier.asked_about) == 5


def test_a_days_budget_is_there_again_on_the_next_day(bench: Bench) -> None:
    bench.classifier.cost = SET_ASIDE

    with pytest.raises(BudgetReached, match="2024-05-03"):
        bench.run(max_cost_per_day="0.0043", concurrency=1)
    bench.clock.turn(86_400)
    with pytest.raises(BudgetReached, match="2024-05-04"):
        bench.run(max_cost_per_day="0.0043", concurrency=1)

    assert len(bench.classifier.asked_about) == 6


def test_a_call_of_unknown_cost_stays_at_its_estimate(bench: Bench) -> None:
    def refuse(message: Message) -> Scores:
        raise MessageRefused

    bench.classifier.answers = refuse

    with pytest.raises(BudgetReached):
        bench.run(max_cost="0.0043", concurrency=1)

    assert len(bench.classifier.asked_about) == 3


def test_two_processes_under_one_budget_do_not_overshoot_it(bench: Bench) -> None:
    job = bench.plan()
    run = bench.begin(job)
    items = bench.ledger.items.claim(run, 40)
    budgets = [Budget(bench.ledger, bench.clock, job.id, PRICE, 100, Decimal("0.0140")) for _ in range(2)]
    opened: list[int] = []

    def call(budget: Budget, mine: slice) -> None:
        for item in items[mine]:
            try:
                opened.append(open_attempt(bench.ledger, run, item, budget.reservation(100)))
            except BudgetReached:
                return

    threads = [threading.Thread(target=call, args=(budgets[n], slice(n, None, 2))) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(opened) == 10
    assert bench.rows("SELECT COUNT(*) FROM attempt") == [(10,)]
