"""Pause, resume, cancel and pace reach a job at any time, and move it along no edge but those that are listed."""

from __future__ import annotations

import pytest

from backfill.clock import StopRequest
from backfill.executor.steering import Bulletin, Steering
from backfill.lifecycle import GIVEN_UP, JOB_TRANSITIONS, UNFINISHED, JobState
from backfill.throttle.calls import Throttler
from tests.support.bench import Observed
from tests.support.ledger_worker import worker

WISHES = {
    JobState.PAUSED: lambda bench: bench.ledger.steering.pause(bench.job.id, "paused by Ada"),
    JobState.CANCELLED: lambda bench: bench.ledger.steering.cancel(bench.job.id, "cancelled by Ada"),
}


def set_state(bench, state: JobState) -> None:
    bench.write("UPDATE job SET state = :state, state_reason = NULL", state=state)


def steering(bench, calls_per_minute: float = 60) -> Steering:
    """As a run of the job has it."""
    throttler = Throttler(bench.ledger, bench.clock, "calls:api", calls_per_minute)
    return Steering(bench.ledger, bench.job.id, bench.clock, StopRequest(), throttler)


@pytest.mark.parametrize("before", JobState)
@pytest.mark.parametrize("after", WISHES)
def test_a_wish_moves_a_job_only_from_where_it_may(bench, before, after):
    set_state(bench, before)

    is_moved = WISHES[after](bench)

    assert is_moved == ((before, after) in JOB_TRANSITIONS)
    assert bench.ledger.steering.read(bench.job.id).state is (after if is_moved else before)


@pytest.mark.parametrize("before", JobState)
def test_only_a_paused_job_is_resumed(bench, before):
    set_state(bench, before)

    is_resumed = bench.ledger.steering.resume(bench.job.id)

    assert is_resumed == (before is JobState.PAUSED)
    assert bench.ledger.steering.read(bench.job.id).state is (JobState.PLANNING if is_resumed else before)


@pytest.mark.parametrize("before", JobState)
def test_a_run_that_names_a_job_takes_it_up_again_whatever_ended_it(bench, before):
    set_state(bench, before)

    bench.ledger.jobs.reopen(bench.job.id)

    state = bench.ledger.steering.read(bench.job.id).state
    assert state in {JobState.PLANNING, JobState.OPEN}
    assert before is state or (before, state) in JOB_TRANSITIONS


def test_a_paused_job_is_settled_when_it_is_resumed(bench):
    bench.plan(1)
    bench.ledger.steering.pause(bench.job.id, "paused by Ada")
    bench.ledger.steering.resume(bench.job.id)

    assert bench.ledger.jobs.settle(bench.job.id) is JobState.OPEN


def test_a_cancelled_job_keeps_its_mails_and_is_not_unfinished(bench):
    bench.plan(1, 2)

    bench.ledger.steering.cancel(bench.job.id, "cancelled by Ada")

    standing = bench.ledger.status.tally(bench.job.id).counts
    assert (standing.found, standing.pending) == (2, 2)
    assert bench.ledger.jobs.unfinished(bench.job.account) == []


def test_what_a_cancelled_generation_has_paid_for_is_not_paid_for_again(bench):
    job = bench.open_job(generation=3)
    bench.ledger.steering.cancel(job.id, "cancelled by Ada")

    again = bench.ledger.jobs.next_generation(job.account, job.selection, job.fingerprint)

    assert again == 3


@pytest.mark.parametrize("state", sorted(UNFINISHED | GIVEN_UP))
def test_a_pace_may_be_a_fraction_and_stays_with_the_job(bench, state):
    set_state(bench, state)

    bench.ledger.steering.set_pace(bench.job.id, 0.5)

    assert bench.ledger.steering.read(bench.job.id).calls_per_minute == 0.5


def test_wishes_reach_a_job_while_another_process_holds_the_lock(bench, ledger_url):
    bench.plan(1)

    with worker(ledger_url, bench.clock.seconds, claimed=1):
        is_paused = bench.ledger.steering.pause(bench.job.id, "paused by Ada")
        bench.ledger.steering.set_pace(bench.job.id, 7)
        seen = bench.ledger.steering.read(bench.job.id)

    assert is_paused
    assert (seen.state, seen.reason, seen.calls_per_minute) == (JobState.PAUSED, "paused by Ada", 7.0)


def test_a_pause_holds_for_every_run_of_the_job_and_ends_for_every_one(bench):
    first, second = steering(bench), steering(bench)
    run, bulletin = bench.run(), Bulletin(Observed())
    bench.ledger.steering.pause(bench.job.id, "paused by Ada")

    for each in (first, second):
        each.look(run, bulletin)
    while_paused = [each.closed_for() for each in (first, second)]
    bench.ledger.steering.resume(bench.job.id)
    bench.clock.turn(1)
    for each in (first, second):
        each.look(run, bulletin)

    assert all(while_paused)
    assert [each.closed_for() for each in (first, second)] == [0.0, 0.0]


def test_a_run_looks_at_the_ledger_once_a_second_and_no_more_often(bench):
    steered, run, bulletin = steering(bench), bench.run(), Bulletin(Observed())
    steered.look(run, bulletin)
    bench.ledger.steering.pause(bench.job.id, "paused by Ada")

    bench.clock.turn(0.9)
    steered.look(run, bulletin)
    early = steered.closed_for()
    bench.clock.turn(0.1)
    steered.look(run, bulletin)

    assert early == 0.0
    assert steered.closed_for() > 0


def test_what_a_run_waits_for_is_to_be_read_elsewhere_until_it_goes_on(bench):
    steered, run, bulletin = steering(bench), bench.run(), Bulletin(Observed())
    bulletin.waiting("the night")
    steered.look(run, bulletin)
    waiting_for = bench.value("SELECT waiting_for FROM run")

    bulletin.waiting(None)
    bench.clock.turn(1)
    steered.look(run, bulletin)

    assert waiting_for == "the night"
    assert bench.value("SELECT waiting_for FROM run") is None


def test_a_run_keeps_to_the_pace_that_is_wished(bench):
    steered = steering(bench, calls_per_minute=60)
    bench.ledger.steering.set_pace(bench.job.id, 0.5)

    steered.look(bench.run(), Bulletin(Observed()))

    assert steered.throttler.calls_per_minute == 0.5


@pytest.mark.parametrize("state", sorted(GIVEN_UP))
def test_a_run_stops_when_its_job_is_given_up(bench, state):
    steered, run = steering(bench), bench.run()
    bench.write("UPDATE job SET state = :state, state_reason = 'given up by Ada'", state=state)

    steered.look(run, Bulletin(Observed()))

    assert steered.stop.is_set()
    assert "given up by Ada" in steered.stop.reason
