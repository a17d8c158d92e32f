"""The throttle: no window overshoots, a block holds for all, and no clock can stall it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backfill.clock import StopRequest
from backfill.ledger import Ledger
from backfill.throttle import Throttler
from tests.support.clocks import TurnedClock

SECOND = 1_000_000
NAME = "calls:https://api.example.com"
LIMITS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def fresh(ledger: Ledger, per_minute: float, burst: int = 0) -> None:
    ledger.database.write(lambda connection: connection.exec_driver_sql("DELETE FROM throttle"))
    ledger.throttle.set_rate(NAME, per_minute, burst)


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
            ledger.throttle.block(NAME, clock.now_us() + round(step[1] * SECOND), "rate_limited")
        else:
            clock.turn(step)
            slots.append(ledger.throttle.reserve(NAME, clock.now_us()))

    assert_no_window_overshoots(slots, per_minute, burst)


@LIMITS
@given(jumps=st.lists(st.integers(-100, 100).map(lambda hours: hours * 3600.0), min_size=1, max_size=8))
def test_a_clock_that_jumps_by_hours_neither_stalls_nor_lets_through_more(ledger, clock, jumps):
    fresh(ledger, 60)
    waits = []
    for jump in jumps:
        for _ in range(3):
            now = clock.now_us()
            slot = ledger.throttle.reserve(NAME, now)
            waits.append(slot - now)
            clock.turn((slot - now) / SECOND)  # slept through
        clock.turn(jump)

    assert max(waits) <= 2 * SECOND  # its own second, and the one that had been slept for when the clock jumped
    assert all(wait >= SECOND for number, wait in enumerate(waits) if number % 3)


@pytest.mark.parametrize("hours", [-1, -24])
def test_a_block_does_not_outlive_a_clock_that_is_set_back(ledger, clock, hours):
    fresh(ledger, 60)
    ledger.throttle.block(NAME, clock.now_us() + 60 * SECOND, "rate_limited")

    clock.turn(hours * 3600)

    assert ledger.throttle.blocked(NAME).until_us == 0
    assert ledger.throttle.reserve(NAME, clock.now_us()) <= clock.now_us() + SECOND


def test_a_later_block_that_stands_already_stays(ledger, clock):
    fresh(ledger, 60)
    now = clock.now_us()
    ledger.throttle.block(NAME, now + 600 * SECOND, "quota")

    ledger.throttle.block(NAME, now + 60 * SECOND, "rate_limited")

    assert ledger.throttle.blocked(NAME).until_us == now + 600 * SECOND
    assert "quota, until 2024-05-03" in str(ledger.throttle.blocked(NAME))


def test_who_waits_for_a_long_block_to_end_does_not_rush_out_together(ledger, clock):
    fresh(ledger, 60)
    until = clock.now_us() + 20 * 3600 * SECOND
    ledger.throttle.block(NAME, until, "quota")

    slots = [ledger.throttle.reserve(NAME, clock.now_us()) for _ in range(5)]

    assert slots == [until + number * SECOND for number in range(5)]


def test_a_restart_brings_no_fresh_burst(ledger, ledger_url, clock):
    fresh(ledger, 60)
    before = [ledger.throttle.reserve(NAME, clock.now_us()) for _ in range(3)]
    restarted = Ledger.open(ledger_url, clock)
    restarted.throttle.set_rate(NAME, 60)

    after = restarted.throttle.reserve(NAME, clock.now_us())
    restarted.close()

    assert after == before[-1] + SECOND


def test_a_new_rate_holds_for_everybody_at_once(ledger, ledger_url, clock):
    fresh(ledger, 60)
    other = Ledger.open(ledger_url, clock)

    other.throttle.set_rate(NAME, 6)
    slots = [ledger.throttle.reserve(NAME, clock.now_us()) for _ in range(3)]
    other.close()

    assert [slot - slots[0] for slot in slots] == [0, 10 * SECOND, 20 * SECOND]


def test_many_threads_of_two_processes_take_turns(ledger, ledger_url, clock):
    fresh(ledger, 600)
    other = Ledger.open(ledger_url, clock)
    ledgers = [ledger, other] * 20

    with ThreadPoolExecutor(8) as pool:
        slots = list(pool.map(lambda each: each.throttle.reserve(NAME, clock.now_us()), ledgers))
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
    clock.meanwhile = lambda: ledger.throttle.block(NAME, until, "rate_limited")

    throttler.wait(StopRequest())
    ledger.close()

    assert clock.now_us() >= until
