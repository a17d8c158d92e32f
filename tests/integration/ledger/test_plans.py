"""Planning: nothing is missed and nothing is doubled, however it is interrupted, repeated or overtaken."""

from __future__ import annotations

import pytest

from backfill.ledger import Ledger
from backfill.lifecycle import ItemStatus, JobState
from backfill.ports import Surveyed
from tests.support.barrier import at_once
from tests.support.ledgers import Bench, inbox


def surveyed(*uids):
    return [Surveyed(uid) for uid in uids]


@pytest.fixture
def frozen(bench):
    """The plan of INBOX up to UID 30, of which nothing is planned yet."""
    return bench.ledger.plans.freeze(bench.job.id, bench.ledger.plans.open_mailbox(inbox()), 30)


def test_an_interrupted_planning_goes_on_at_the_next_window(bench, frozen):
    plans = bench.ledger.plans
    plans.plan_window(frozen, 10, surveyed(1, 5, 9))

    resumed = plans.freeze(bench.job.id, frozen.mailbox_id, 30)

    assert (resumed.next_uid, resumed.planned, resumed.is_planned) == (11, 3, False)
    assert bench.ledger.jobs.settle(bench.job.id) is JobState.PLANNING


def test_a_window_that_is_planned_already_is_not_planned_again(bench, frozen):
    plans = bench.ledger.plans

    inserted = [plans.plan_window(frozen, 10, surveyed(1, 5, 9)) for _ in range(2)]

    assert inserted == [3, 0]
    assert bench.statuses() == {1: "pending", 5: "pending", 9: "pending"}


def test_a_window_without_mail_is_moved_past(bench, frozen):
    inserted = bench.ledger.plans.plan_window(frozen, 30, [])

    assert inserted == 0
    assert bench.ledger.plans.ranges(bench.job.id)[0].is_planned
    assert bench.ledger.jobs.settle(bench.job.id) is JobState.DONE


def test_two_processes_that_plan_the_same_window_insert_it_once(bench, frozen, ledger_url, clock):
    other = Ledger.open(ledger_url, clock)

    both = at_once(*[lambda plans=plans: plans.plan_window(frozen, 10, surveyed(*range(1, 11))) for plans in
                     (bench.ledger.plans, other.plans)])  # fmt: skip
    other.close()

    assert sorted(both) == [0, 10]
    assert bench.ledger.plans.ranges(bench.job.id)[0].planned == 10


def test_newer_mail_extends_the_plan_and_opens_the_job_again(bench):
    bench.plan(11)
    bench.work_off(bench.run())
    done = bench.ledger.jobs.settle(bench.job.id)
    bench.ledger.jobs.reopen(bench.job.id)

    bench.plan(11, 12)

    assert done is JobState.DONE
    assert bench.statuses() == {11: "done", 12: "pending"}
    assert bench.ledger.jobs.settle(bench.job.id) is JobState.OPEN


def test_a_job_is_done_only_when_no_mail_is_open_postponed_or_held(bench):
    bench.plan(11, 12)
    run = bench.run()
    first, second = bench.claim(run)
    states = [bench.ledger.jobs.settle(bench.job.id)]
    bench.ledger.items.postpone(run, first, bench.clock.now(), "answer_unusable")
    bench.ledger.items.skip(run, second, "has_keyword")
    states.append(bench.ledger.jobs.settle(bench.job.id))
    (first,) = bench.claim(run)
    bench.ledger.items.fail(run, first, "refused")

    states.append(bench.ledger.jobs.settle(bench.job.id))

    assert states == [JobState.OPEN, JobState.OPEN, JobState.DONE]


def test_a_million_is_no_special_number(bench, frozen):
    """UIDs are 32 bits wide (RFC 9051 §2.3.1.1), and so is the order among them."""
    plans = bench.ledger.plans
    high = 2**32 - 1
    window = plans.freeze(bench.job.id, frozen.mailbox_id, high)

    plans.plan_window(window, high, surveyed(1, high))
    run = bench.run()

    assert [item.ref.uid for item in bench.claim(run)] == [1, high]


# Epochs.


def test_another_uidvalidity_closes_the_epoch_and_its_open_mail_vanishes(bench):
    bench.plan(11, 12)
    run = bench.run()
    done, held = bench.claim(run)
    bench.finish(run, done, bench.record(run, done).verdict)

    bench.ledger.plans.open_mailbox(inbox(uidvalidity=8))

    assert bench.statuses() == {11: "done", 12: "vanished"}
    assert bench.item(12).reason == "uidvalidity_changed"
    assert not bench.record(run, held).is_ours


def test_a_closed_epoch_keeps_no_job_from_being_done(bench, frozen):
    plans = bench.ledger.plans
    plans.plan_window(frozen, 10, surveyed(1))

    bench.plan(mailbox=inbox(uidvalidity=8))

    assert bench.ledger.jobs.settle(bench.job.id) is JobState.DONE


def test_a_window_of_a_closed_epoch_is_not_planned(bench, frozen):
    bench.ledger.plans.open_mailbox(inbox(uidvalidity=8))

    inserted = bench.ledger.plans.plan_window(frozen, 10, surveyed(1, 5))

    assert (inserted, bench.statuses()) == (0, {})


def test_closing_an_epoch_while_a_window_is_planned_leaves_no_open_mail_in_it(bench, ledger_url, clock):
    other = Bench(Ledger.open(ledger_url, clock), clock)
    for uidvalidity in range(100, 110):
        number = bench.ledger.plans.open_mailbox(inbox(uidvalidity))
        window = bench.ledger.plans.freeze(bench.job.id, number, 10)
        at_once(
            lambda window=window: bench.ledger.plans.plan_window(window, 10, surveyed(*range(1, 11))),
            lambda uidvalidity=uidvalidity: other.ledger.plans.open_mailbox(inbox(uidvalidity + 1)),
        )
    other.close()

    assert set(bench.statuses().values()) <= {"vanished"}


def test_an_epoch_that_comes_back_is_taken_up_where_it_was_left(bench, frozen):
    plans = bench.ledger.plans
    plans.plan_window(frozen, 10, surveyed(1, 5))
    run = bench.run()
    first, _ = bench.claim(run)
    bench.finish(run, first, bench.record(run, first).verdict)
    plans.open_mailbox(inbox(uidvalidity=8))
    closed = bench.statuses()

    plans.open_mailbox(inbox(uidvalidity=7))

    assert closed == {1: "done", 5: "vanished"}
    assert bench.statuses() == {1: "done", 5: "pending"}
    assert plans.freeze(bench.job.id, frozen.mailbox_id, 30).next_uid == 11
    assert [item.ref.uid for item in bench.claim(run)] == [5]


def test_a_done_job_has_work_again_when_an_epoch_comes_back(bench):
    bench.plan(11)
    rebuilt = bench.ledger.plans.open_mailbox(inbox(uidvalidity=8))
    unplanned = bench.ledger.jobs.settle(bench.job.id)
    bench.ledger.plans.freeze(bench.job.id, rebuilt, 0)
    done = bench.ledger.jobs.settle(bench.job.id)

    bench.ledger.plans.open_mailbox(inbox(uidvalidity=7))

    assert (unplanned, done) == (JobState.PLANNING, JobState.DONE)
    assert bench.status(11) is ItemStatus.PENDING
    assert bench.ledger.jobs.settle(bench.job.id) is JobState.OPEN


# Jobs.


def test_the_same_identity_is_the_same_job_also_for_two_processes_at_once(bench, ledger_url, clock):
    other = Bench(Ledger.open(ledger_url, clock), clock)

    jobs = at_once(lambda: bench.open_job(dry_run=True), lambda: other.open_job(dry_run=True))
    other.close()

    assert jobs[0] == jobs[1]
    assert len(bench.ledger.jobs.all()) == 2


def test_a_job_that_is_paused_and_resumed_goes_on(bench):
    bench.plan(11)
    jobs = bench.ledger.jobs

    bench.ledger.steering.pause(bench.job.id, "budget")
    paused = jobs.get(bench.job.id)
    jobs.reopen(bench.job.id)

    assert (paused.state, paused.state_reason) == (JobState.PAUSED, "budget")
    assert jobs.settle(bench.job.id) is JobState.OPEN


def test_newer_mail_makes_a_done_job_undone_in_the_transaction_that_sees_it(bench):
    bench.plan(11)
    bench.work_off(bench.run())
    done = bench.ledger.jobs.settle(bench.job.id)

    number = bench.ledger.plans.open_mailbox(inbox())
    bench.ledger.plans.freeze(bench.job.id, number, 12)

    assert done is JobState.DONE
    assert bench.ledger.jobs.get(bench.job.id).state is JobState.PLANNING


def test_a_retry_makes_a_done_job_undone(bench):
    bench.plan(11)
    run = bench.run()
    bench.ledger.items.fail(run, bench.claim(run)[0], "refused")
    done = bench.ledger.jobs.settle(bench.job.id)

    bench.ledger.items.retry(run)

    assert done is JobState.DONE
    assert bench.ledger.jobs.settle(bench.job.id) is JobState.OPEN
