"""A PostgreSQL server that restarts, or a line that breaks, costs time and nothing else."""

from __future__ import annotations

import threading

import pytest

from backfill.clock import SystemClock
from backfill.errors import LedgerUnusable
from backfill.ledger import Ledger
from backfill.ledger.parameters import RunParameters
from tests.support.clocks import TurnedClock
from tests.support.ledgers import Bench
from tests.support.postgres import Postgres
from tests.support.severing_proxy import severing_proxy


@pytest.fixture
def own_postgres(postgres: Postgres) -> Postgres:
    if postgres.own is None:
        pytest.skip("the server of BACKFILL_TEST_POSTGRES_URL belongs to somebody else")
    return postgres


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_run_goes_on_when_the_server_is_restarted_in_the_middle(own_postgres, postgres_url, mode):
    bench = Bench(Ledger.open(postgres_url, SystemClock()), TurnedClock())
    bench.plan(*range(1, 301))
    run = bench.run()
    restarting = threading.Thread(target=own_postgres.restart, args=(mode,))

    done = 0
    while items := bench.claim(run, 10):
        bench.ledger.items.begin(run, items)
        for item in items:
            attempt = bench.open_attempt(run, item)
            verdict = bench.record(run, item, attempt_id=attempt).verdict
            assert bench.finish(run, item, verdict, "flags")
        done += len(items)
        if done == 100:
            restarting.start()
        bench.ledger.runs.beat(run, done)
    restarting.join()
    bench.end(run, "finished")

    assert done == 300
    assert set(bench.statuses().values()) == {"done"}
    assert len(bench.outcomes()) == 300
    assert bench.rows("SELECT outcome, COUNT(*) FROM attempt GROUP BY outcome") == [("ok", 300)]
    assert bench.ledger.audit.differences(bench.job.id, ["flags"]) == []
    bench.close()


def test_after_a_restart_a_living_run_has_its_lock_again(own_postgres, postgres_url, clock):
    bench, other = (Bench(Ledger.open(postgres_url, clock), clock) for _ in range(2))
    bench.plan(11)
    run = bench.run()
    bench.claim(run)
    own_postgres.restart()
    bench.ledger.runs.beat(run, 0)
    clock.turn(120)

    taken = other.claim(other.run())

    assert taken == []
    bench.close()
    other.close()


def test_a_server_that_stays_away_is_reported_after_a_minute(own_postgres, postgres_url):
    clock = TurnedClock()
    with severing_proxy(postgres_url) as (proxy, url):
        bench = Bench(Ledger.open(url, clock), clock)
        bench.plan(11)
        proxy.go_away()
        before = clock.seconds

        with pytest.raises(LedgerUnusable, match="server"):
            bench.ledger.jobs.consent(bench.job.id)
        bench.close()

    assert 55 < clock.seconds - before < 120


@pytest.mark.parametrize("arrives", [True, False], ids=["committed", "lost"])
@pytest.mark.parametrize("verb", ["claim", "attempt", "record", "finish", "fail", "plan", "begin_run"])
def test_a_commit_whose_answer_is_lost_is_neither_forgotten_nor_done_twice(own_postgres, postgres_url, verb, arrives):
    clock = TurnedClock()
    with severing_proxy(postgres_url) as (proxy, url):
        bench = Bench(Ledger.open(url, clock), clock)
        bench.plan(11)
        run = bench.run()
        item = verdict = None
        if verb in ("attempt", "record", "finish", "fail"):
            (item,) = bench.claim(run)
        if verb == "finish":
            verdict = bench.record(run, item).verdict
        lock = bench.ledger.runs.lock()
        lock.take()
        proxy.sever_next_commit(arrives=arrives)

        match verb:
            case "claim":
                assert [item.ref.uid for item in bench.claim(run)] == [11]
                assert bench.item(11).claim_no == 1
            case "attempt":
                number = bench.open_attempt(run, item)
                assert bench.rows("SELECT id FROM attempt") == [(number,)]
            case "record":
                recorded = bench.record(run, item)
                assert (recorded.is_ours, recorded.is_reused) == (True, False)
            case "finish":
                assert bench.finish(run, item, verdict, "flags")
                assert bench.outcomes() == [(11, "done", False)]
            case "fail":
                bench.ledger.items.fail(run, item, "refused")
                assert bench.outcomes() == [(11, "failed", False)]
            case "plan":
                bench.plan(11, 12, 13)
                assert bench.value("SELECT planned FROM plan_range") == 3
            case "begin_run":
                bench.ledger.runs.begin(lock, bench.job.id, "run", "0", RunParameters())
                assert bench.value("SELECT COUNT(*) FROM run") == 2

        assert proxy.severed == 1
        lock.drop()
        bench.close()


def test_two_writers_that_lock_each_other_out_both_get_their_turn(postgres_url, clock):
    """PostgreSQL ends one of two transactions that wait for each other; it is tried again."""
    here, there = (Ledger.open(postgres_url, clock) for _ in range(2))
    for name in ("a", "b"):
        here.throttles.set_rate(name, 60)
    both = threading.Barrier(2)
    turns: list[str] = []

    def work(first: str, second: str):
        def update_both(connection):
            statement = "UPDATE throttle SET reason = %s WHERE name = %s"
            connection.exec_driver_sql(statement, ("x", first))
            if len(turns) < 2:
                turns.append(first)
                both.wait(10)
            connection.exec_driver_sql(statement, ("x", second))

        return update_both

    threads = [
        threading.Thread(target=here.database.write, args=(work("a", "b"),)),
        threading.Thread(target=there.database.write, args=(work("b", "a"),)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    reasons = here.database.read(lambda c: c.exec_driver_sql("SELECT DISTINCT reason FROM throttle").scalars().all())
    assert reasons == ["x"]
    here.close()
    there.close()
