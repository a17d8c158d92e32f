"""Who works on what: claims, their order, and that an old claim writes nothing."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from backfill.errors import ClaimLost, LedgerHeld
from backfill.ledger import Ledger
from backfill.ledger.parameters import RunParameters
from backfill.lifecycle import AttemptOutcome, ItemStatus
from backfill.verdict import Usage
from tests.support.barrier import at_once
from tests.support.ledgers import Bench, answer, inbox


def uids(items):
    return [item.ref.uid for item in items]


# What is taken.


def test_mail_is_taken_folder_by_folder_in_the_order_of_its_uids(bench):
    bench.plan(12, 11, 13)
    bench.plan(1, 2, mailbox=inbox(folder="Archive"))
    run = bench.run()

    first, second = bench.claim(run, 4), bench.claim(run, 4)

    assert [(item.ref.mailbox.folder, item.ref.uid) for item in first + second] == [
        ("INBOX", 11),
        ("INBOX", 12),
        ("INBOX", 13),
        ("Archive", 1),
        ("Archive", 2),
    ]


def test_a_claim_takes_no_more_than_its_limit_and_nothing_twice(bench):
    bench.plan(*range(1, 8))
    run = bench.run()

    claims = [uids(bench.claim(run, 3)) for _ in range(4)]

    assert claims == [[1, 2, 3], [4, 5, 6], [7], []]


def test_postponed_mail_is_not_taken_before_its_time_and_then_counts_a_failure(bench):
    bench.plan(11)
    run = bench.run()
    (item,) = bench.claim(run)
    until = bench.clock.now() + timedelta(seconds=30)

    bench.ledger.items.postpone(run, item, until, "answer_unusable")

    assert bench.claim(run) == []
    assert bench.ledger.open_items.next_due(bench.job.id) == until
    bench.clock.turn(30)
    (again,) = bench.claim(run)
    assert (again.failures, bench.item(11).reason) == (1, "answer_unusable")


def test_released_mail_is_due_at_once_and_counts_nothing(bench):
    bench.plan(11)
    run = bench.run()
    (item,) = bench.claim(run)

    bench.ledger.items.release(run, [item])

    (again,) = bench.claim(run)
    assert (again.failures, bench.item(11).losses) == (0, 0)


def test_released_mail_can_be_given_a_time(bench):
    bench.plan(11)
    run = bench.run()
    bench.ledger.items.release(run, bench.claim(run), bench.clock.now() + timedelta(hours=20))

    early = bench.claim(run)
    bench.clock.turn(20 * 3600)

    assert (early, uids(bench.claim(run))) == ([], [11])


def test_a_clock_that_is_set_right_does_not_keep_mail_waiting_that_was_postponed_while_it_was_ahead(bench):
    bench.plan(11, 12)
    run = bench.run()
    postponed, given_back = bench.claim(run)
    until = bench.clock.now() + timedelta(seconds=30)
    bench.ledger.items.postpone(run, postponed, until, "unreadable")
    bench.ledger.items.release(run, [given_back], until)
    bench.clock.turn(-3600)

    early = bench.claim(run)
    due = bench.ledger.open_items.next_due(bench.job.id)
    bench.clock.turn(30)

    assert (early, due) == ([], bench.clock.now())
    assert uids(bench.claim(run)) == [11, 12]


def test_what_a_dead_run_had_begun_is_not_kept_waiting_by_a_clock_that_was_ahead(bench):
    bench.plan(11)
    begun = bench.run()
    bench.ledger.items.begin(begun, bench.claim(begun))
    bench.clock.turn(3600)
    for lock in bench.locks:
        lock.drop()
    run = bench.run()
    bench.clock.turn(-3600)

    early = bench.claim(run)

    assert (early, uids(bench.claim(run))) == ([], [11])


def test_a_run_that_retries_takes_only_what_it_took_up_again(bench):
    bench.plan(11, 12)
    run = bench.run()
    first, second = bench.claim(run)
    bench.ledger.items.fail(run, first, "refused")
    bench.ledger.items.release(run, [second])
    retrying = bench.run(command="retry")
    bench.ledger.items.retry(retrying)

    taken = bench.claim(retrying, only_retried=True)

    assert uids(taken) == [11]
    assert bench.ledger.open_items.count(bench.job.id, retried_by=retrying.id) == 1
    assert bench.ledger.open_items.count(bench.job.id) == 2


def test_mail_of_another_job_is_left_alone(bench):
    other = bench.open_job(dry_run=True)
    bench.plan(11)
    bench.plan(12, job=other)

    taken = bench.claim(bench.run())

    assert uids(taken) == [11]


def test_a_classified_mail_is_claimed_with_its_verdict_and_its_flags_of_before(bench):
    bench.plan(11)
    run = bench.run()
    (item,) = bench.claim(run)
    recorded = bench.record(run, item)
    bench.ledger.items.release(run, [item])

    (again,) = bench.claim(run)

    assert (again.status, again.verdict) == (ItemStatus.CLASSIFIED, recorded.verdict)


def test_a_run_that_has_ended_claims_nothing_more(bench):
    bench.plan(11)
    run = bench.run()
    bench.end(run)

    with pytest.raises(LedgerHeld):
        bench.claim(run)

    assert bench.item(11).claimed_by is None


def test_ending_a_run_gives_back_what_it_holds_and_calls_open_calls_unknown(bench):
    bench.plan(11, 12)
    run = bench.run()
    item, _ = bench.claim(run)
    bench.open_attempt(run, item)

    bench.end(run)

    assert bench.rows("SELECT claimed_by FROM item") == [(None,), (None,)]
    assert bench.value("SELECT outcome FROM attempt") == "unknown"
    assert bench.item(11).losses == 0


# Fencing.


@pytest.fixture
def stale(bench):
    """A run, its claim that was given back, and the one that has taken its place."""
    bench.plan(11)
    run = bench.run()
    (old,) = bench.claim(run)
    bench.ledger.items.release(run, [old])
    (new,) = bench.claim(run)
    return run, old, new


REGRESSIONS = {
    "postpone": lambda items, run, item, now: items.postpone(run, item, now, "x"),
    "fail": lambda items, run, item, now: items.fail(run, item, "x"),
    "lose": lambda items, run, item, now: items.lose(run, item, "x"),
    "skip": lambda items, run, item, now: items.skip(run, item, "x"),
    "vanish": lambda items, run, item, now: items.vanish(run, item),
}


@pytest.mark.parametrize("verb", REGRESSIONS)
def test_an_old_claim_writes_nothing(bench: Bench, stale, verb):
    run, old, _ = stale
    before = bench.item(11)

    with pytest.raises(ClaimLost):
        REGRESSIONS[verb](bench.ledger.items, run, old, bench.clock.now())

    assert bench.item(11) == before
    assert bench.outcomes() == []


def test_an_old_claim_releases_and_begins_nothing(bench, stale):
    run, old, _ = stale
    before = bench.item(11)

    bench.ledger.items.release(run, [old])
    bench.ledger.items.begin(run, [old])

    assert bench.item(11) == before


def test_an_old_claim_makes_no_call(bench, stale):
    run, old, _ = stale

    with pytest.raises(ClaimLost):
        bench.open_attempt(run, old)

    assert bench.value("SELECT COUNT(*) FROM attempt") == 0


def test_an_old_claim_does_not_finish_but_its_receipts_are_kept(bench, stale):
    run, old, new = stale
    verdict = bench.record(run, new).verdict

    finished = bench.finish(run, old, verdict, "flags")

    assert not finished
    assert bench.status(11) is ItemStatus.CLASSIFIED
    assert bench.current_receipts(new) == [{"flags": verdict.id}]


# The first success wins.


def test_a_late_answer_is_taken_while_there_is_none_and_the_claim_that_holds_the_mail_goes_on_with_it(bench, stale):
    run, old, new = stale

    late = bench.record(run, old, answer=answer(9))
    own = bench.record(run, new, answer=answer(2))

    assert (late.is_ours, own.is_ours) == (False, True)
    assert own.verdict == late.verdict
    assert own.verdict.scores["importance"] == 9
    assert bench.finish(run, new, own.verdict)


def test_the_second_answer_changes_nothing_but_its_cost_is_booked(bench, stale):
    run, old, new = stale
    attempt = bench.open_attempt(run, new)
    bench.record(run, old, answer=answer(9))

    bench.record(run, new, answer=answer(2, tokens_in=700, http_status=200), attempt_id=attempt)

    assert bench.rows("SELECT outcome, tokens_in, http_status FROM attempt") == [("late", 700, 200)]
    [(scores,)] = bench.rows("SELECT CAST(scores AS TEXT) FROM verdict")
    assert json.loads(scores)["importance"] == 9
    assert not bench.item(11).reused


def test_an_answer_that_comes_after_the_run_was_taken_for_dead_still_says_what_it_cost(bench):
    bench.plan(11)
    run = bench.run()
    (item,) = bench.claim(run)
    attempt = bench.open_attempt(run, item)
    bench.end(run)

    bench.record(run, item, answer=answer(tokens_in=700), attempt_id=attempt)

    assert bench.rows("SELECT outcome, tokens_in FROM attempt") == [("ok", 700)]
    assert bench.status(11) is ItemStatus.CLASSIFIED


def test_a_closed_attempt_is_not_closed_again(bench):
    bench.plan(11)
    run = bench.run()
    (item,) = bench.claim(run)
    attempt = bench.open_attempt(run, item)
    bench.ledger.attempts.close(attempt, AttemptOutcome.RATE_LIMITED, Usage(http_status=429))

    bench.ledger.attempts.close(attempt, AttemptOutcome.UNAVAILABLE, Usage(http_status=503))

    assert bench.rows("SELECT outcome, http_status FROM attempt") == [("rate_limited", 429)]


def test_an_attempt_is_written_down_before_the_call_is_made(bench):
    bench.plan(11)
    run = bench.run()
    (item,) = bench.claim(run)

    bench.open_attempt(run, item)

    assert bench.rows("SELECT item_id, run_id, outcome, ended_at FROM attempt") == [(item.id, run.id, "open", None)]


# Races: two connections, one moment.


@pytest.fixture
def second(bench, ledger_url, clock):
    """The same ledger, as another process opens it."""
    opened = Bench(Ledger.open(ledger_url, clock), clock)
    yield opened
    opened.close()


def another_run(bench, second):
    """A run of the other process. Beside SQLite it would need the lock; the statements must not depend on that."""
    if not bench.ledger.database.is_sqlite:
        return second.run()
    run = second.ledger.runs.begin(second.ledger.runs.lock(), bench.job.id, "run", "0", RunParameters())
    bench.write("UPDATE run SET ended_at = NULL, outcome = NULL")
    return run


def test_two_claims_at_once_never_take_the_same_mail(bench, second):
    bench.plan(*range(1, 101))
    run = bench.run()
    other = another_run(bench, second)

    claims = []
    for _ in range(10):
        claims += at_once(lambda: bench.claim(run, 5), lambda: second.claim(other, 5))

    assert sorted(item.ref.uid for claim in claims for item in claim) == list(range(1, 101))


def test_of_two_finishes_at_once_one_wins_and_one_outcome_is_written(bench, second):
    bench.plan(*range(1, 21))
    run = bench.run()
    for item in bench.claim(run):
        verdict = bench.record(run, item).verdict
        both = at_once(
            lambda item=item, verdict=verdict: bench.finish(run, item, verdict),
            lambda item=item: second.ledger.items.fail(run, item, "effect_refused"),
        )
        assert both == [False, None] or (both[0] is True and isinstance(both[1], ClaimLost))

    assert len(bench.outcomes()) == 20
    assert {uid: status for uid, status, _ in bench.outcomes()} == bench.statuses()


def test_freeing_never_overwrites_what_was_finished_at_the_same_moment(bench, second):
    bench.plan(*range(1, 21))
    run = bench.run()
    items = bench.claim(run)
    verdicts = [bench.record(run, item).verdict for item in items]
    bench.ledger.items.begin(run, items)
    bench.clock.turn(120)
    for lock in bench.locks:
        lock.drop()
    successor = second.ledger.runs.lock()

    at_once(
        lambda: [bench.finish(run, item, verdict) for item, verdict in zip(items, verdicts, strict=True)],
        lambda: second.ledger.runs.begin(successor, bench.job.id, "run", "0", RunParameters()),
    )

    rows = bench.rows("SELECT status, claimed_by, losses, final_at FROM item")
    assert {(row.status, row.claimed_by) for row in rows} <= {("done", None), ("classified", None)}
    assert all(row.losses == (0 if row.status == "done" else 1) for row in rows)
    assert len(bench.outcomes()) == sum(row.status == "done" for row in rows)
