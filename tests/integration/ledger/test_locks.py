"""Who is alive: a dead run's work comes back, a living one's never, and no clock decides it alone."""

from __future__ import annotations

import pytest

from backfill.errors import LedgerHeld
from backfill.ledger import Ledger
from backfill.lifecycle import ItemStatus
from tests.support.ledger_worker import worker
from tests.support.ledgers import Bench

GRACE_S = 61


def successor(bench: Bench, after_s: float = GRACE_S):
    """The run that follows a dead one; on PostgreSQL a minute must have passed."""
    if not bench.ledger.database.is_sqlite:
        bench.clock.turn(after_s)
    return bench.run()


def test_what_a_killed_process_had_claimed_is_free_for_its_successor(bench, ledger_url):
    bench.plan(11, 12, 13)
    with worker(ledger_url, bench.clock.seconds, claimed=2) as (process, said):
        process.kill()
        process.wait()

    run = successor(bench)

    assert said["uids"] == [11, 12]
    assert [item.ref.uid for item in bench.claim(run)] == [11, 12, 13]
    assert bench.rows("SELECT outcome FROM run WHERE uuid = :uuid", uuid=said["uuid"]) == [("lost",)]


def test_beside_sqlite_a_second_command_says_who_is_writing(sqlite_url, clock):
    bench = Bench(Ledger.open(sqlite_url, clock), clock)
    with worker(sqlite_url, bench.clock.seconds, claimed=0) as (process, _):
        with pytest.raises(LedgerHeld, match=rf"`backfill run` \(process {process.pid} on .* is writing to "):
            bench.run()

        process.kill()
        process.wait()
        bench.run()
    bench.close()


def test_who_waits_for_the_ledger_is_not_told_of_a_process_that_died_long_ago(sqlite_url, clock):
    bench = Bench(Ledger.open(sqlite_url, clock), clock)
    with worker(sqlite_url, clock.seconds, claimed=0) as (dead, _):
        pass
    holding = bench.ledger.runs.lock()
    bench.ledger.runs.take(holding)

    with pytest.raises(LedgerHeld) as caught:
        bench.ledger.runs.take(bench.ledger.runs.lock())

    assert str(dead.pid) not in str(caught.value)
    holding.drop()
    bench.close()


def test_a_ledger_has_one_lock_whatever_name_it_is_reached_by(sqlite_url, clock, tmp_path):
    (tmp_path / "other.db").symlink_to(tmp_path / "ledger.db")
    here, there = Ledger.open(sqlite_url, clock), Ledger.open(f"sqlite:///{tmp_path}/other.db", clock)
    lock = here.runs.lock()
    here.runs.take(lock)

    with pytest.raises(LedgerHeld):
        there.runs.take(there.runs.lock())

    lock.drop()
    here.close()
    there.close()


def test_on_postgresql_two_processes_share_a_job(postgres_url, clock):
    bench = Bench(Ledger.open(postgres_url, clock), clock)
    bench.plan(11, 12, 13)

    with worker(postgres_url, clock.seconds, claimed=2) as (_, said):
        mine = bench.claim(bench.run())

        assert (said["uids"], [item.ref.uid for item in mine]) == ([11, 12], [13])
    bench.close()


@pytest.mark.parametrize("silent_s", [0, 59, 3600])
def test_on_postgresql_a_living_process_keeps_its_claims_however_silent_it_is(postgres_url, clock, silent_s):
    bench = Bench(Ledger.open(postgres_url, clock), clock)
    bench.plan(11, 12)

    with worker(postgres_url, clock.seconds, claimed=2):
        clock.turn(silent_s)
        taken = bench.claim(bench.run())

    assert taken == []
    bench.close()


def test_on_postgresql_a_dead_process_is_given_a_minute_to_come_back(postgres_url, clock):
    bench = Bench(Ledger.open(postgres_url, clock), clock)
    bench.plan(11)
    with worker(postgres_url, clock.seconds, claimed=1):
        pass
    run = bench.run()

    clock.turn(59)
    bench.ledger.runs.beat(run, 0)
    early = bench.claim(run)
    clock.turn(2)
    bench.ledger.runs.beat(run, 0)

    assert early == []
    assert [item.ref.uid for item in bench.claim(run)] == [11]  # the heartbeat of the living frees the dead
    bench.close()


def test_on_postgresql_a_clock_that_was_set_back_does_not_keep_a_dead_run_alive(postgres_url, clock):
    bench = Bench(Ledger.open(postgres_url, clock), clock)
    bench.plan(11)
    with worker(postgres_url, clock.seconds, claimed=1):
        pass

    clock.turn(-3 * 3600)
    taken = bench.claim(bench.run())

    assert [item.ref.uid for item in taken] == [11]
    bench.close()


def end_sessions(bench: Bench) -> None:
    """As when the network breaks: the server ends every session of this ledger but the one that asks."""
    bench.rows("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
               "AND datname = current_database()")  # fmt: skip


def test_on_postgresql_a_living_run_takes_its_lock_again_when_the_connection_was_lost(postgres_url, clock):
    bench = Bench(Ledger.open(postgres_url, clock), clock)
    other = Bench(Ledger.open(postgres_url, clock), clock)
    bench.plan(11)
    run = bench.run()
    bench.claim(run)
    end_sessions(other)

    bench.ledger.runs.beat(run, 0)  # at its next heartbeat it notices
    clock.turn(GRACE_S)
    taken = other.claim(other.run())

    assert taken == []
    bench.close()
    other.close()


def test_on_postgresql_a_run_that_slept_too_long_goes_on_but_what_it_held_is_lost_to_it(postgres_url, clock):
    asleep = Bench(Ledger.open(postgres_url, clock), clock)
    awake = Bench(Ledger.open(postgres_url, clock), clock)
    asleep.plan(11, 12)
    sleeping = asleep.run()
    held, _ = asleep.claim(sleeping)
    end_sessions(awake)
    clock.turn(GRACE_S)
    (freed, *_) = awake.claim(awake.run(), 1)

    again = asleep.claim(sleeping)

    assert (held.ref.uid, freed.ref.uid) == (11, 11)
    assert [item.ref.uid for item in again] == [12]
    assert asleep.value("SELECT outcome FROM run WHERE id = :run", run=sleeping.id) is None
    assert not asleep.record(sleeping, held).is_ours
    asleep.close()
    awake.close()


# Calls whose outcome nobody knows.


def test_calls_that_were_under_way_when_the_process_died_are_called_unknown(bench, ledger_url):
    bench.plan(11, 12, 13)
    with worker(ledger_url, bench.clock.seconds, claimed=3, begun=2):
        pass

    successor(bench)

    assert bench.rows("SELECT outcome, ended_at IS NOT NULL FROM attempt") == [("unknown", True)] * 2


# Mail that takes the process down.


def crash(bench: Bench, url: str, claimed: int, begun: int) -> list[int]:
    with worker(url, bench.clock.seconds, claimed=claimed, begun=begun) as (_, said):
        pass
    bench.clock.turn(GRACE_S)
    uids: list[int] = said["uids"]
    return uids


def test_only_mail_that_was_begun_counts_a_loss(bench, ledger_url):
    bench.plan(11, 12)
    crash(bench, ledger_url, claimed=2, begun=1)

    successor(bench)

    assert [bench.item(uid).losses for uid in (11, 12)] == [1, 0]
    assert bench.item(11).failures == 0


def test_mail_that_two_processes_died_with_is_processed_alone_and_fails_when_a_third_dies_with_it_alone(
    bench, ledger_url
):
    bench.plan(11)
    for _ in range(2):
        crash(bench, ledger_url, claimed=1, begun=1)
    bench.plan(12)
    run = successor(bench)
    among_others = [item.ref.uid for item in bench.claim(run)]
    bench.end(run)
    for lock in bench.locks:
        lock.drop()
    bench.locks.clear()
    bench.write("UPDATE item SET status = 'skipped', final_at = 1 WHERE uid = 12")

    alone = crash(bench, ledger_url, claimed=5, begun=1)
    successor(bench)

    assert (among_others, alone) == ([12], [11])
    assert (bench.status(11), bench.item(11).reason) == (ItemStatus.FAILED, "lost")
    assert bench.outcomes() == [(11, "failed", False)]


def killed_every(bench: Bench, seconds: float, times: int) -> None:
    """Runs that die with what they have in hand, one right after the other, and the one that comes then."""
    for _ in range(times):
        run = bench.run()
        bench.ledger.items.begin(run, bench.claim(run) or bench.claim(run, alone=True))
        for lock in bench.locks:
            lock.drop()
        bench.locks.clear()
        bench.clock.turn(seconds)
    bench.run()


def test_runs_that_are_killed_one_right_after_the_other_blame_no_mail(bench):
    if not bench.ledger.database.is_sqlite:
        pytest.skip("on PostgreSQL a dead run is found after a minute, so none dies sooner after another")
    bench.plan(11)

    killed_every(bench, seconds=2, times=29)

    assert bench.item(11).losses == 1
    assert bench.status(11) == ItemStatus.PENDING


def test_a_mail_that_kills_every_run_is_found_however_quickly_they_are_started_again(bench):
    if not bench.ledger.database.is_sqlite:
        pytest.skip("on PostgreSQL a dead run is found after a minute, so none dies sooner after another")
    bench.plan(11)

    killed_every(bench, seconds=5, times=30)

    assert (bench.status(11), bench.item(11).reason) == (ItemStatus.FAILED, "lost")


def test_mail_that_was_begun_when_its_run_died_comes_after_all_that_was_not(bench, ledger_url):
    bench.plan(11, 12, 13)

    crash(bench, ledger_url, claimed=1, begun=1)
    run = successor(bench)

    assert [item.ref.uid for item in bench.claim(run, 2)] == [12, 13]


def test_mail_that_is_processed_alone_and_not_begun_is_not_blamed(bench, ledger_url):
    bench.plan(11)
    for _ in range(2):
        crash(bench, ledger_url, claimed=1, begun=1)
    crash(bench, ledger_url, claimed=1, begun=0)

    run = successor(bench)

    assert bench.item(11).losses == 2
    assert [item.ref.uid for item in bench.claim(run, alone=True)] == [11]


def test_mail_that_was_lost_can_be_retried_and_its_next_outcome_supersedes(bench, ledger_url):
    bench.plan(11)
    for _ in range(3):
        crash(bench, ledger_url, claimed=1, begun=1)
    run = successor(bench)

    bench.ledger.items.retry(run, ["lost"])
    bench.work_off(run)

    assert bench.outcomes() == [(11, "failed", False), (11, "done", True)]
