"""The throttle: no window overshoots, a block holds for all, and no clock can stall it."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event

from backfill.clock import StopRequest
from backfill.errors import ConfigError
from backfill.ledger import Ledger
from backfill.throttle.calls import Throttler
from backfill.verdict import Announced
from tests.support.clocks import TurnedClock

SECOND = 1_000_000
NAME = "calls:https://api.example.com"
LIMITS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def fresh(ledger: Ledger, per_minute: float, burst: int = 0) -> None:
    ledger.database.write(lambda connection: connection.exec_driver_sql("DELETE FROM throttle"))
    ledger.throttles.set_rate(NAME, per_minute, burst)


def assert_no_window_overshoots(slots: list[int], per_minute: float, burst: int = 0) -> None:
    interval = round(60 * SECOND / per_minute)
    slots = sorted(slots)
    for number, slot in enumerate(slots):
        for later in range(number + 1, len(slots)):
            # n slots span at least n - 1 intervals, less what the burst allows to come early.
            assert slots[later] - slot >= (later - number - burst) * interval - 1


@LIMITS
@given(
    per_minute=st.sampled_from([1, 7, 60, 600, 6000]),
    burst=st.integers(0, 3),
    steps=st.lists(st.one_of(st.floats(0, 30), st.tuples(st.just("block"), st.floats(0, 7200))), max_size=30),
)
def test_no_window_overshoots_whatever_happens_in_between(ledger, clock, per_minute, burst, steps):
    fresh(ledger, per_minute, burst)
    slots = []
    for step in steps:
        if isinstance(step, tuple):
            ledger.throttles.block(NAME, clock.now_us() + round(step[1] * SECOND), "rate_limited")
        else:
            clock.turn(step)
            slots.append(ledger.throttles.reserve(NAME, clock.now_us()).at_us)

    assert_no_window_overshoots(slots, per_minute, burst)


@LIMITS
@given(jumps=st.lists(st.integers(-100, 100).map(lambda hours: hours * 3600.0), min_size=1, max_size=8))
def test_a_clock_that_jumps_by_hours_neither_stalls_nor_lets_through_more(ledger, clock, jumps):
    fresh(ledger, 60)
    waits = []
    for jump in jumps:
        for _ in range(3):
            now = clock.now_us()
            slot = ledger.throttles.reserve(NAME, now).at_us
            waits.append(slot - now)
            clock.turn((slot - now) / SECOND)  # slept through
        clock.turn(jump)

    assert max(waits) <= 2 * SECOND  # its own second, and the one that had been slept for when the clock jumped
    assert all(wait >= SECOND for number, wait in enumerate(waits) if number % 3)


@pytest.mark.parametrize("hours", [-1, -24])
def test_a_block_does_not_outlive_a_clock_that_is_set_back(ledger, clock, hours):
    fresh(ledger, 60)
    ledger.throttles.block(NAME, clock.now_us() + 60 * SECOND, "rate_limited")

    clock.turn(hours * 3600)

    assert ledger.throttles.blocked(NAME).until_us == 0
    assert ledger.throttles.reserve(NAME, clock.now_us()).at_us <= clock.now_us() + SECOND


def test_a_later_block_that_stands_already_stays(ledger, clock):
    fresh(ledger, 60)
    now = clock.now_us()
    ledger.throttles.block(NAME, now + 600 * SECOND, "quota")

    ledger.throttles.block(NAME, now + 60 * SECOND, "rate_limited")

    assert ledger.throttles.blocked(NAME).until_us == now + 600 * SECOND
    assert "quota, until 2024-05-03" in str(ledger.throttles.blocked(NAME))


def test_who_waits_for_a_long_block_to_end_does_not_rush_out_together(ledger, clock):
    fresh(ledger, 60)
    until = clock.now_us() + 20 * 3600 * SECOND
    ledger.throttles.block(NAME, until, "quota")

    slots = [ledger.throttles.reserve(NAME, clock.now_us()).at_us for _ in range(5)]

    assert slots == [until + number * SECOND for number in range(5)]


def test_a_restart_brings_no_fresh_burst(ledger, ledger_url, clock):
    fresh(ledger, 60)
    before = [ledger.throttles.reserve(NAME, clock.now_us()).at_us for _ in range(3)]
    restarted = Ledger.open(ledger_url, clock)
    restarted.throttles.set_rate(NAME, 60)

    after = restarted.throttles.reserve(NAME, clock.now_us()).at_us
    restarted.close()

    assert after == before[-1] + SECOND


def test_a_new_rate_holds_for_everybody_at_once(ledger, ledger_url, clock):
    fresh(ledger, 60)
    other = Ledger.open(ledger_url, clock)

    other.throttles.set_rate(NAME, 6)
    slots = [ledger.throttles.reserve(NAME, clock.now_us()).at_us for _ in range(3)]
    other.close()

    assert [slot - slots[0] for slot in slots] == [0, 10 * SECOND, 20 * SECOND]


def test_many_threads_of_two_processes_take_turns(ledger, ledger_url, clock):
    fresh(ledger, 600)
    other = Ledger.open(ledger_url, clock)
    ledgers = [ledger, other] * 20

    with ThreadPoolExecutor(8) as pool:
        slots = list(pool.map(lambda each: each.throttles.reserve(NAME, clock.now_us()).at_us, ledgers))
    other.close()

    assert sorted(slots) == [clock.now_us() + number * SECOND // 10 for number in range(40)]


class Sleeper(TurnedClock):
    """Lets something happen in the middle of a sleep."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.meanwhile = lambda: None

    def sleep(self, seconds: float, stop: StopRequest) -> bool:
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return super().sleep(seconds, stop)


def test_who_slept_through_a_block_waits_for_its_end(ledger_url):
    clock = Sleeper(0)
    ledger = Ledger.open(ledger_url, clock)
    throttler = Throttler(ledger, clock, NAME, 60)
    throttler.wait(StopRequest())
    until = clock.now_us() + 90 * SECOND
    clock.meanwhile = lambda: ledger.throttles.block(NAME, until, "rate_limited")

    throttler.wait(StopRequest())
    ledger.close()

    assert clock.now_us() >= until


# A service that refuses, or says what it allows.


@pytest.fixture
def throttler(ledger, clock):
    return Throttler(ledger, clock, NAME, 600)


@pytest.mark.parametrize("commit_s", [0.25, 0.4, 3.0])
@pytest.mark.parametrize("tokens_per_minute", [None, 6_000_000])
def test_calls_go_on_also_if_each_commit_takes_longer_than_a_slot_may_be_late(
    ledger, clock, commit_s, tokens_per_minute
):
    throttler = Throttler(ledger, clock, NAME, 6000, tokens_per_minute)
    stop, commits, called = StopRequest(), [], []

    def take_long(_connection: Connection) -> None:
        commits.append(commit_s)
        clock.turn(commit_s)
        if len(commits) > 500:
            stop.set("no call comes through")

    event.listen(ledger.database._writer, "commit", take_long)
    for _ in range(30):
        assert throttler.wait(stop, tokens=1000) is not None
        called.append(clock.now_us())

    assert len(commits) <= 4 * len(called)
    assert_no_window_overshoots(called, 6000, burst=30)


def refuse(throttler: Throttler, wait_s: float | None = None) -> None:
    """One call more, which the service refuses."""
    slot = throttler.wait(StopRequest())
    assert slot is not None
    throttler.clock.turn(0.01)
    throttler.refused(slot, wait_s)
    if wait_s is not None:
        throttler.block(wait_s, "rate_limited")


def pace(throttler: Throttler) -> int:
    return round(throttler.pace_in_force())


def test_a_refusal_halves_the_rate_for_everybody_and_it_comes_back_by_and_by(throttler, ledger_url, clock):
    other = Ledger.open(ledger_url, clock)
    elsewhere = Throttler(other, clock, NAME, 600)
    paces = []

    refuse(throttler)
    for _ in range(7):
        paces.append(pace(elsewhere))
        clock.turn(60)
    other.close()

    assert paces == [300, 360, 420, 480, 540, 600, 600]


def test_calls_that_were_under_way_when_the_first_was_refused_count_with_it(throttler, clock):
    slots = [throttler.wait(StopRequest()) for _ in range(8)]
    clock.turn(1)

    for slot in slots:
        throttler.refused(slot, None)

    assert pace(throttler) == 300


def test_refusals_again_and_again_slow_down_to_a_hundredth_and_no_further(throttler):
    for _ in range(20):
        refuse(throttler)

    assert 6 <= pace(throttler) <= 12  # the time that a call is waited for brings a little of it back


def test_a_refusal_that_names_a_time_is_waited_out_and_slows_down_when_it_comes_again(throttler, clock):
    refuse(throttler, wait_s=20)
    after_one = pace(throttler)
    clock.turn(20)
    refuse(throttler, wait_s=20)

    assert (after_one, pace(throttler)) == (600, 300)


def test_the_rate_does_not_come_back_while_nobody_may_call(throttler, clock):
    refuse(throttler)
    throttler.block(3600, "quota")

    clock.turn(3600)

    assert pace(throttler) == 300


def test_a_slower_rate_outlives_a_restart_and_a_new_pace(throttler, ledger, clock):
    refuse(throttler)

    restarted = Throttler(ledger, clock, NAME, 600)
    kept = pace(restarted)
    restarted.set_pace(60)

    assert (kept, pace(restarted)) == (300, 30)


def test_a_clock_that_is_set_back_does_not_keep_the_rate_down(throttler, clock):
    refuse(throttler)

    clock.turn(-7200)

    assert pace(throttler) == 600
    assert throttler.wait(StopRequest()) is not None


def test_what_the_service_allows_holds_where_it_is_less_and_for_an_hour(throttler, ledger_url, clock):
    other = Ledger.open(ledger_url, clock)
    elsewhere = Throttler(other, clock, NAME, 600)

    throttler.heed(Announced(calls_per_minute=60))
    less = pace(elsewhere)
    throttler.heed(Announced(calls_per_minute=10_000))
    more = pace(elsewhere)
    throttler.heed(Announced(calls_per_minute=60))
    clock.turn(3700)
    forgotten = pace(elsewhere)
    other.close()

    assert (less, more, forgotten) == (60, 600, 600)


def test_what_is_announced_with_every_answer_is_written_once(throttler, ledger):
    throttler.heed(Announced(calls_per_minute=60))
    ledger.throttles.announce(NAME, 30)

    throttler.heed(Announced(calls_per_minute=60))

    assert ledger.throttles.rate(NAME) == pytest.approx(30)


def test_tokens_that_the_service_allows_hold_where_tokens_are_limited(ledger, clock):
    limited = Throttler(ledger, clock, NAME, 600, tokens_per_minute=1_000_000)

    limited.heed(Announced(tokens_per_minute=60_000))
    for _ in range(3):
        limited.wait(StopRequest(), tokens=30_000)
    before = clock.seconds
    limited.wait(StopRequest(), tokens=1)

    assert clock.seconds - before == pytest.approx(30, rel=0.02)


def test_when_nothing_is_left_of_a_limit_nobody_calls_before_its_reset(throttler):
    throttler.heed(Announced(wait_s=90))

    assert throttler.blocked_for() == 90
    assert throttler.wait(StopRequest(), longest_block_s=60) is None


@pytest.mark.parametrize("seconds", [1e7, float("inf")])
def test_nothing_that_a_service_says_keeps_anybody_from_calling_for_more_than_a_day(throttler, seconds):
    throttler.heed(Announced(wait_s=seconds))

    assert throttler.blocked_for() == 86_400


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(throttler, rate):
    with pytest.raises(ConfigError, match="Calls per minute must be more than 0"):
        throttler.set_pace(rate)


def test_who_may_not_call_for_long_takes_no_slot(throttler, ledger, clock):
    throttler.block(3600, "quota")
    for _ in range(20):
        assert throttler.wait(StopRequest(), longest_block_s=60) is None
    clock.turn(3600)

    before = clock.seconds
    throttler.wait(StopRequest())

    assert clock.seconds == before


def test_no_slot_is_used_while_a_block_is_on_its_way_to_the_ledger(sqlite_url):
    clock = TurnedClock()
    ledger = Ledger.open(sqlite_url, clock)
    throttler = Throttler(ledger, clock, NAME, 6000)
    slot = throttler.wait(StopRequest())
    assert slot is not None
    assert throttler.is_current(slot)

    with closing(sqlite3.connect(ledger.database.path or "", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # nobody can write until it is rolled back
        with ThreadPoolExecutor(2) as pool:
            blocks = [pool.submit(throttler.block, seconds, "rate_limited") for seconds in (30, 60)]
            looks = 0
            while throttler.is_current(slot) and looks < 1000:
                looks += 1
                StopRequest().wait(0.01)
            other.execute("ROLLBACK")
            for block in blocks:
                block.result(30)

    assert looks < 1000
    assert throttler.blocked_for() == 60
    ledger.close()
