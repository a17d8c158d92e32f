"""The heartbeat as a gate: a run that may have been taken for dead proves that it lives before its next call."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from backfill.errors import ClaimLost, LedgerHeld
from backfill.executor.heartbeat import LOOK_S, OVERDUE_S, Heartbeat
from backfill.ledger import Ledger
from backfill.ledger.locks import TRY_LOCK, advisory_number
from backfill.ledger.parameters import RunParameters
from backfill.ledger.rows import Run
from backfill.message import Message
from backfill.verdict import Scores
from tests.support import bench as table
from tests.support.clocks import TurnedClock
from tests.support.ledgers import Bench


class LaptopClock(TurnedClock):
    """While the laptop sleeps the monotonic clock stands still; the other one may be set at any time."""

    slept_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.slept_s)


@pytest.fixture
def clock() -> LaptopClock:
    return LaptopClock()


def heartbeat_of(bench: Bench, run: Run) -> Heartbeat:
    heartbeat = Heartbeat(bench.ledger.runs, run, bench.clock, lambda: 0)
    assert heartbeat.closed_for() == 0.0
    return heartbeat


def heartbeat_us(bench: Bench, run: Run) -> int:
    beaten: int = bench.value("SELECT heartbeat_at FROM run WHERE id = :run", run=run.id)
    return beaten


@pytest.mark.parametrize(("passed_s", "slept_s"), [(OVERDUE_S, 0), (0, 3 * 86_400), (0, -3600)])
def test_a_run_that_slept_proves_its_lock_before_its_next_call(bench, clock, passed_s, slept_s):
    heartbeat = heartbeat_of(bench, run := bench.run())

    clock.turn(passed_s)
    clock.slept_s = slept_s

    assert heartbeat.closed_for() == 0.0
    assert heartbeat_us(bench, run) == clock.now_us()


def test_a_run_whose_heart_has_just_beaten_writes_nothing_before_a_call(bench, clock):
    heartbeat = heartbeat_of(bench, run := bench.run())
    beaten_us = heartbeat_us(bench, run)

    clock.turn(OVERDUE_S - 1)

    assert heartbeat.closed_for() == 0.0
    assert heartbeat_us(bench, run) == beaten_us


def test_beside_sqlite_a_run_whose_place_was_taken_while_it_slept_makes_no_further_call(sqlite_url, clock):
    bench = Bench(Ledger.open(sqlite_url, clock), clock)
    heartbeat = heartbeat_of(bench, bench.run())
    bench.run()  # who has the lock says that every other run is dead

    clock.turn(OVERDUE_S)

    with pytest.raises(LedgerHeld, match="another one has taken its place"):
        heartbeat.closed_for()
    bench.close()


def test_beside_sqlite_a_run_that_lost_its_lock_to_another_process_makes_no_further_call(sqlite_url, clock):
    bench = Bench(Ledger.open(sqlite_url, clock), clock)
    lock = bench.ledger.runs.lock()
    bench.ledger.runs.take(lock)
    heartbeat = heartbeat_of(bench, bench.ledger.runs.begin(lock, bench.job.id, "run", "0", RunParameters()))
    lock.drop()
    other = bench.ledger.runs.lock()
    other.take()

    clock.turn(OVERDUE_S)

    with pytest.raises(LedgerHeld):
        heartbeat.closed_for()
    other.drop()
    bench.close()


def test_on_postgresql_no_call_begins_until_a_lock_that_was_lost_is_had_again(postgres_url, clock):
    bench = Bench(Ledger.open(postgres_url, clock), clock)
    heartbeat = heartbeat_of(bench, run := bench.run())
    with bench.ledger.database.session() as somebody:
        somebody.execute(
            text(
                """SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory' AND granted
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
            )
        )
        assert somebody.execute(TRY_LOCK, {"number": advisory_number(run.uuid)}).scalar()
        clock.turn(OVERDUE_S)

        closed_for, reason = heartbeat.closed_for(), heartbeat.reason()

    assert (closed_for, "overdue" in reason) == (LOOK_S, True)
    bench.ledger.database.close()  # the pool would keep the session, and with it the lock
    assert heartbeat.closed_for() == 0.0
    bench.close()


def test_on_postgresql_a_run_that_was_taken_for_dead_makes_no_call_for_what_it_held_and_claims_anew(
    postgres_url, clock
):
    asleep = Bench(Ledger.open(postgres_url, clock), clock)
    awake = Bench(Ledger.open(postgres_url, clock), clock)
    asleep.plan(11, 12)
    sleeping = asleep.run()
    heartbeat = heartbeat_of(asleep, sleeping)
    (held,) = asleep.claim(sleeping, 1)
    awake.rows("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
               "AND datname = current_database()")  # fmt: skip
    clock.slept_s = 3600
    (taken,) = awake.claim(awake.run(), 1)

    closed_for = heartbeat.closed_for()

    assert (held.ref.uid, taken.ref.uid, closed_for) == (11, 11, 0.0)
    with pytest.raises(ClaimLost):
        asleep.open_attempt(sleeping, held)
    assert [item.ref.uid for item in asleep.claim(sleeping)] == [12]
    asleep.close()
    awake.close()


def test_beside_sqlite_a_run_that_another_has_replaced_ends_and_says_so(tmp_path):
    bench = table.Bench(tmp_path)
    bench.mailbox.holds(*range(1, 41))

    def answer(message: Message) -> Scores:
        bench.ledger.database.write(
            lambda connection: connection.exec_driver_sql("UPDATE run SET ended_at = 1, outcome = 'lost'").rowcount
        )
        bench.clock.turn(OVERDUE_S)
        return Scores.of(importance=5, spam=1)

    bench.classifier.answers = answer
    with pytest.raises(LedgerHeld):
        bench.run(concurrency=2)

    assert 1 <= len(bench.classifier.asked_about) <= 2
    bench.ledger.close()
