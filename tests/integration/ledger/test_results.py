"""What is ready goes forward in one transaction: all of it, or nothing."""

from __future__ import annotations

from decimal import Decimal

import pytest

from backfill.errors import BudgetReached, ClaimLost
from backfill.ledger.attempts import Call
from backfill.ledger.results import Finished, Needs
from backfill.ledger.verdicts import Answered, Reused
from backfill.lifecycle import IllegalTransition
from backfill.ports import Price
from backfill.rubric import Rubric
from backfill.throttle.budget import Budget
from tests.support.bench import BenchEffect
from tests.support.ledgers import answer, mail, receipt

FREE = Price(Decimal("1e-9"), Decimal("1e-9"))


def answered(item, subject=None, **judged):
    judged.setdefault("answer", answer(9, 1))
    return Answered(item, mail(item, subject), **judged)


def test_receipts_verdicts_and_calls_are_committed_together(bench):
    bench.plan(11, 12, 13)
    run = bench.run()
    first, second, third = bench.claim(run)
    verdict = bench.record(run, first).verdict
    attempt = bench.open_attempt(run, second)

    committed = bench.ledger.results.commit(
        run,
        finished=[Finished(first, verdict, (), (receipt(first.ref, "flags"),))],
        judged=[answered(second, attempt_id=attempt)],
        calls=[Call(third)],
    )

    assert committed.done == [True]
    assert [each.is_ours for each in committed.recorded] == [True]
    assert bench.rows("SELECT id, outcome FROM attempt ORDER BY id") == [
        (attempt, "ok"),
        (committed.opened[0], "open"),
    ]
    assert [bench.item(uid).status for uid in (11, 12, 13)] == ["done", "classified", "pending"]


def test_nothing_of_it_is_committed_when_a_part_cannot_be(bench):
    bench.plan(11, 12)
    run = bench.run()
    first, second = bench.claim(run)
    other = bench.record(run, first, "another").verdict

    with pytest.raises(IllegalTransition):
        bench.ledger.results.commit(
            run, finished=[Finished(second, other, (), ())], judged=[answered(second)], calls=[Call(second)]
        )

    assert bench.value("SELECT COUNT(*) FROM attempt") == 0
    assert bench.value("SELECT COUNT(*) FROM verdict") == 1


def test_what_an_answer_really_cost_is_booked_before_the_next_call_is_opened(bench):
    bench.plan(11, 12)
    run = bench.run()
    first, second = bench.claim(run)
    budget = Budget(bench.ledger, bench.clock, bench.job.id, FREE, 100, Decimal("0.000004"))
    reservation = budget.reservation(700)
    attempt = bench.open_attempt(run, first, reservation)

    [refused] = bench.ledger.results.commit(run, calls=[Call(second, reservation)]).opened
    committed = bench.ledger.results.commit(
        run,
        judged=[answered(first, attempt_id=attempt, answer=answer(cost_usd=Decimal("0.0000001")))],
        calls=[Call(second, reservation)],
    )

    assert isinstance(refused, BudgetReached)
    assert isinstance(committed.opened[0], int)


def test_a_call_that_is_not_to_be_made_keeps_no_other_from_being_opened(bench):
    bench.plan(11, 12)
    run = bench.run()
    first, second = bench.claim(run)
    bench.ledger.items.release(run, [first])

    lost, opened = bench.ledger.results.commit(run, calls=[Call(first), Call(second)]).opened

    assert isinstance(lost, ClaimLost)
    assert bench.rows("SELECT id, item_id FROM attempt") == [(opened, second.id)]


def test_a_mail_that_needs_no_effect_is_done_together_with_its_verdict(bench):
    bench.plan(11)
    run = bench.run()
    [item] = bench.claim(run)

    [recorded] = bench.ledger.results.commit(run, judged=[answered(item)], needs=Needs((), Rubric.default(8))).recorded

    assert recorded.is_done
    assert bench.item(11).status == "done"
    assert bench.rows("SELECT status, labels, verdict_id FROM outcome") == [("done", "important", recorded.verdict.id)]


def test_a_mail_whose_effects_are_outstanding_is_not_done_with_its_verdict(bench):
    bench.plan(11)
    run = bench.run()
    [item] = bench.claim(run)

    [recorded] = bench.ledger.results.commit(
        run, judged=[answered(item)], needs=Needs((BenchEffect(name="flags"),), Rubric.default())
    ).recorded

    assert not recorded.is_done
    assert bench.item(11).status == "classified"


def test_a_mail_whose_effects_another_job_has_brought_about_is_done_with_its_verdict(bench):
    bench.plan(11)
    run = bench.run()
    bench.work_off(run, "flags")
    bench.end(run)
    wider = bench.open_job(folders=("INBOX", "Archive"))
    bench.plan(11, job=wider)
    run = bench.run(wider)
    [item] = bench.claim(run)
    known = bench.ledger.verdicts.known(wider.fingerprint, wider.generation, [mail(item).key])

    [recorded] = bench.ledger.results.commit(
        run,
        judged=[Reused(item, mail(item), known[mail(item).key])],
        needs=Needs((BenchEffect(name="flags"),), Rubric.default()),
    ).recorded

    assert recorded.is_done
    assert bench.status(11, wider) == "done"
