"""What is asked for every mail, or while people wait, is answered by an index on both databases."""

from __future__ import annotations

import re

import pytest

from tests.support.query_plans import assert_uses, plans

MAILS = 2_000


@pytest.fixture
def full(bench):
    """Most mails are done, as after weeks; statistics are up to date."""
    bench.plan(*range(1, MAILS + 1))
    bench.write(
        "INSERT INTO verdict (message_key, fingerprint, generation, scores, reason, source, explanation, truncated,"
        " created_at) VALUES ('key', 'print', 0, '{}', '', 'chat', '', FALSE, 1)"
    )
    bench.write(
        "UPDATE item SET status = 'done', final_at = 1, verdict_id = (SELECT MIN(id) FROM verdict) WHERE uid <= :most",
        most=MAILS - 100,
    )
    bench.write(
        "INSERT INTO receipt (mailbox_id, uid, effect, verdict_id, state, detail, applied_at)"
        " SELECT mailbox_id, uid, 'flags', verdict_id, 'applied', '{}', 1 FROM item WHERE status = 'done'"
    )
    return bench


@pytest.mark.parametrize("scope", [{}, {"alone": True}])
def test_a_claim_looks_at_nothing_but_what_can_be_claimed(full, scope):
    run = full.run()

    plan = plans(full, lambda: full.claim(run, 50, **scope))

    assert_uses(plan, "ix_item_claimable")
    if full.ledger.database.is_sqlite:
        assert "TEMP B-TREE" not in plan  # the order is the index's own


def test_a_claim_that_finds_nothing_due_looks_at_nothing_but_what_waits(full):
    run = full.run()
    full.write("UPDATE item SET due_at = :later WHERE status = 'pending'", later=full.clock.now_us() + 1)

    plan = plans(full, lambda: full.claim(run, 50))

    assert plan.count("ix_item_claimable") >= 2  # what is due, and whose time was set by a clock that was ahead
    assert_uses(plan, "ix_item_claimable")


@pytest.mark.parametrize(
    "question",
    [
        pytest.param(lambda bench: bench.ledger.open_items.next_due(bench.job.id), id="next_due"),
        pytest.param(lambda bench: bench.ledger.open_items.count(bench.job.id), id="count_open"),
        pytest.param(lambda bench: bench.ledger.jobs.settle(bench.job.id), id="settle"),
    ],
)
def test_what_is_left_is_found_without_looking_at_what_is_done(full, question):
    full.run()

    plan = plans(full, lambda: question(full))

    assert_uses(plan, "ix_item_claimable")
    assert not re.search("autoindex_item|uq_item_job_id", plan), plan  # through which a whole job would be read


@pytest.fixture
def retrying(full):
    """A run that has taken up a few failed mails, beside all that is pending."""
    full.write("UPDATE item SET status = 'failed', final_at = 1 WHERE uid > :least", least=MAILS - 5)
    full.write("UPDATE item SET status = 'pending', final_at = NULL WHERE status = 'done'")
    run = full.run()
    assert full.ledger.items.retry(run) == 5
    return run


@pytest.mark.parametrize("scope", [{}, {"alone": True}])
def test_a_claim_of_what_was_taken_up_again_looks_at_nothing_else(full, retrying, scope):
    if scope:
        full.write("UPDATE item SET losses = 9 WHERE retried_by IS NOT NULL")

    plan = plans(full, lambda: full.claim(retrying, 5, only_retried=True, **scope))

    assert_uses(plan, "ix_item_retried")
    assert not re.search("ix_item_claimable|autoindex_item|uq_item_job_id|TEMP B-TREE", plan), plan


@pytest.mark.parametrize("question", ["count", "next_due"])
def test_what_is_left_of_what_was_taken_up_again_is_found_without_looking_at_the_rest(full, retrying, question):
    ask = getattr(full.ledger.open_items, question)

    plan = plans(full, lambda: ask(full.job.id, retried_by=retrying.id))

    assert_uses(plan, "ix_item_retried")
    assert not re.search("ix_item_claimable|autoindex_item|uq_item_job_id", plan), plan


def test_finishing_a_mail_does_not_look_through_all_that_the_run_holds(full):
    run = full.run()
    item = full.claim(run, 50)[0]
    verdict = full.record(run, item).verdict

    plan = plans(full, lambda: full.finish(run, item, verdict, "flags"))

    assert_uses(plan, "SEARCH item USING INTEGER PRIMARY KEY", "pk_item", "ix_item_claimed on item")
    assert "claimed_by=?" not in plan  # PostgreSQL may look through it once, but not for each mail


@pytest.mark.parametrize(
    "limit",
    [
        pytest.param(lambda budgets, now: budgets.open_day(now, 1), id="money"),
        pytest.param(lambda budgets, now: budgets.open_calls(now, "calls:x", 1), id="calls"),
    ],
)
def test_what_a_day_has_cost_is_counted_without_looking_at_other_days(full, limit):
    run = full.run()
    day = 86_400_000_000
    full.write(
        "INSERT INTO attempt (item_id, run_id, started_at, outcome) SELECT id, :run, id * :day, 'ok' FROM item",
        run=run.id,
        day=day,
    )

    plan = plans(full, lambda: limit(full.ledger.budgets, full.clock.now()))

    assert_uses(plan, "ix_attempt_started_at")
    assert not re.search(r"SCAN (a|attempt)\b|Seq Scan on attempt", plan), plan


def test_the_claims_of_a_dead_run_are_found_by_the_run(full):
    run = full.run()
    full.claim(run, 50)

    plan = plans(full, lambda: full.ledger.runs.release_claims(run))

    assert_uses(plan, "ix_item_claimed")


def test_freeing_dead_runs_finds_their_claims_by_index(full):
    dead = full.run()
    full.claim(dead, 50)
    for lock in full.locks:
        lock.drop()
    full.locks.clear()
    full.clock.turn(120)

    plan = plans(full, full.run)

    assert_uses(plan, "ix_item_claimed")
    assert full.value("SELECT COUNT(*) FROM item WHERE claimed_by IS NOT NULL") == 0


def test_a_known_verdict_is_found_by_its_key(full):
    plan = plans(full, lambda: full.ledger.verdicts.known("print", 0, ["key", "other"]))

    assert_uses(plan, "sqlite_autoindex_verdict", "uq_verdict_message_key")


def test_receipts_are_found_by_their_mail(full):
    items = full.claim(full.run(), 2)

    plan = plans(full, lambda: full.ledger.receipts.kept(items))

    assert_uses(plan, "sqlite_autoindex_receipt", "uq_receipt_mailbox_id")


def test_failed_mail_is_found_without_looking_at_the_rest(full):
    run = full.run()

    plan = plans(full, lambda: full.ledger.items.retry(run))

    assert_uses(plan, "ix_item_failed")


def test_the_latest_call_of_a_job_is_found_from_the_end(full):
    run = full.run()
    (item,) = full.claim(run, 1)
    full.open_attempt(run, item)

    plan = plans(full, lambda: full.ledger.attempts.latest(full.job.id))

    assert "MAX" not in plan


def test_a_page_of_what_is_applied_is_read_in_the_order_of_an_index(full):
    first = full.ledger.applying.page(full.job.id, limit=10)

    plan = plans(full, lambda: full.ledger.applying.page(full.job.id, first[-1].item, 10))

    assert_uses(plan, "autoindex_item", "uq_item_job_id", "ix_item_judged on item i")
    assert re.search("ix_item_judged (on item )?standing|standing USING INDEX ix_item_judged", plan), plan
    assert "pk_outcome" not in plan
    if full.ledger.database.is_sqlite:
        sorted_whole = r"\(\d+, 0, \d+, 'USE TEMP B-TREE"  # and not a mail's few outcomes, in a subquery
        assert not re.search(sorted_whole, plan), plan


def test_the_mails_that_are_superseded_are_counted_by_index(full):
    newer = full.open_job(generation=1)
    full.plan(*range(1, MAILS + 1), job=newer)

    plan = plans(full, lambda: full.ledger.current.count(full.job.id))

    assert_uses(plan, "ix_item_judged")


def test_the_mails_on_which_a_keyword_was_put_back_are_found_by_index(full):
    mailbox = full.claim(full.run(), 1)[0].mailbox_id

    plan = plans(full, lambda: full.ledger.removals.close(full.job.id, mailbox, "OldTag", [1, 2]))

    assert_uses(plan, "ix_item_judged")
