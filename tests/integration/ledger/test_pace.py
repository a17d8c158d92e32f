"""The pace of several processes: all of what is allowed is used, never more, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backfill.clock import StopRequest
from backfill.ledger import Ledger
from backfill.throttle.calls import BURST_S, SHORT_US, Throttler
from tests.support.simulated import SimulatedTime

NAME = "calls:https://api.example.com"
LATE_S = BURST_S * 2 / 3
LIMITS = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
#: What passes between two calls of a process besides their waiting, as a share of its own interval; then a stall.
#: Three stalls together are shorter than a slot may be late: a process that stalls for longer loses some.
PAUSES = st.lists(st.floats(0, 0.4), min_size=8, max_size=8)
STALLS = st.dictionaries(st.integers(0, 59), st.floats(0, LATE_S * 0.3), max_size=3)


@dataclass
class Office:
    """Processes that call one API through one ledger, and what the API sees."""

    url: str
    time: SimulatedTime = field(default_factory=SimulatedTime)
    called: list[float] = field(default_factory=list)  # true times
    took: list[int] = field(default_factory=list)  # tokens
    ledgers: list[Ledger] = field(default_factory=list)

    def process(self) -> Ledger:
        self.ledgers.append(Ledger.open(self.url, self.time))
        return self.ledgers[-1]

    def begin(self, ledger: Ledger) -> None:
        """Anew, with nothing in the rows and in nobody's memory."""
        ledger.database.write(lambda connection: connection.exec_driver_sql("DELETE FROM throttle"))
        self.time.pass_by(3600)
        self.called, self.took = [], []

    def call(self, throttler: Throttler, tokens: int = 0) -> None:
        assert throttler.wait(StopRequest(), tokens=tokens) is not None
        self.called.append(self.time.seconds)
        self.took.append(tokens)


@pytest.fixture
def office(ledger_url: str) -> Iterator[Office]:
    opened = Office(ledger_url)
    yield opened
    for ledger in opened.ledgers:
        ledger.close()


def assert_never_too_fast(called: list[float], per_minute: float, extra_s: float = 0.0) -> None:
    interval = (60 + BURST_S) / per_minute
    for number, first in enumerate(called):
        for later, last in enumerate(called[number + 1 :], 1):
            assert last - first >= later * interval - LATE_S - extra_s - 1e-4


def assert_all_is_used(called: list[float], per_minute: float) -> None:
    """Calls come as late as their slots may be used, and no slot is lost."""
    for number, at in enumerate(called):
        assert number >= 0.99 * per_minute / 60 * (at - called[0] - LATE_S) - 1


@LIMITS
@given(
    per_minute=st.sampled_from([7, 60, 600, 6000]),
    workers=st.integers(1, 3),
    pauses=PAUSES,
    stalls=STALLS,
)
def test_all_of_the_rate_is_used_and_never_more(office, per_minute, workers, pauses, stalls):
    ledgers = office.ledgers or [office.process() for _ in range(3)]
    office.begin(ledgers[0])
    own_interval, ended = 60 / per_minute * workers, []

    def work(ledger: Ledger) -> None:
        throttler = Throttler(ledger, office.time, NAME, per_minute)
        for number in range(60 // workers):
            office.call(throttler)
            stall = stalls.get(number, 0.0) if ledger is ledgers[0] else 0.0
            office.time.pass_by(max(stall, pauses[number % 8] * min(own_interval, LATE_S)))
        ended.append(office.time.seconds)

    office.time.run(*(lambda ledger=ledger: work(ledger) for ledger in ledgers[:workers]))

    assert_never_too_fast(office.called, per_minute)
    assert_all_is_used([at for at in office.called if at <= min(ended)], per_minute)


@LIMITS
@given(
    per_minute=st.sampled_from([60, 600, 6000]),
    blocks=st.dictionaries(st.integers(1, 19), st.floats(0.5, 90), max_size=2),
    restarts=st.sets(st.integers(1, 19), max_size=2),
    sets=st.dictionaries(st.integers(1, 19), st.sampled_from([-7200.0, -90.0, -30.0, 5.0, 3600.0]), max_size=2),
)
def test_blocks_restarts_and_a_clock_that_is_set_let_nothing_more_through(office, per_minute, blocks, restarts, sets):
    first, second = office.ledgers[:2] or [office.process() for _ in range(2)]
    office.begin(first)
    blocked: list[tuple[float, float]] = []

    def disturbed() -> None:
        throttler = Throttler(first, office.time, NAME, per_minute)
        for number in range(20):
            office.call(throttler)
            if number in blocks:
                throttler.block(blocks[number], "rate_limited")
                blocked.append((office.time.seconds + SHORT_US / 1e6, office.time.seconds + blocks[number]))
            if number in restarts:
                first.throttles._ahead.clear()  # all that a process has in its memory
                throttler = Throttler(first, office.time, NAME, per_minute)
            office.time.step(sets.get(number, 0.0))

    def undisturbed() -> None:
        throttler = Throttler(second, office.time, NAME, per_minute)
        for _ in range(20):
            office.call(throttler)

    office.time.run(disturbed, undisturbed)

    # A clock that is set may cost each process what is under way, and bring the burst that a rest would have brought.
    assert_never_too_fast(office.called, per_minute, extra_s=len(sets) * (LATE_S + 2 * 60 / per_minute + 0.2))
    if not sets:
        assert not [at for at in office.called for since, until in blocked if since < at < until - 1e-4]


@LIMITS
@given(
    estimates=st.lists(st.integers(100, 2000), min_size=30, max_size=30),
    shares=st.lists(st.floats(0.2, 1.2), min_size=30, max_size=30),
)
def test_tokens_are_kept_to_as_calls_are_and_corrected_by_what_a_call_really_took(office, estimates, shares):
    ledgers = office.ledgers or [office.process() for _ in range(2)]
    office.begin(ledgers[0])
    per_minute = 60_000

    def work(ledger: Ledger, mine: slice) -> None:
        throttler = Throttler(ledger, office.time, NAME, 6000, tokens_per_minute=per_minute)
        for estimate, share in zip(estimates[mine], shares[mine], strict=True):
            slot = throttler.wait(StopRequest(), tokens=estimate)
            assert slot is not None
            office.called.append(office.time.seconds)
            office.took.append(round(estimate * share))
            throttler.settle(slot, office.took[-1])

    office.time.run(lambda: work(ledgers[0], slice(0, None, 2)), lambda: work(ledgers[1], slice(1, None, 2)))

    # What is put right comes too late for the calls that the two processes were waiting to make meanwhile.
    allowed_per_s, under_way = per_minute / 60, 2 * 2000
    for number, first in enumerate(office.called):
        for last in range(number + 1, len(office.called)):
            took = sum(office.took[number:last])
            assert (office.called[last] - first + LATE_S) * allowed_per_s >= took - under_way
    assert (office.called[-1] - office.called[0]) * allowed_per_s <= (sum(office.took) + under_way) / 0.99


def test_one_mail_that_takes_more_tokens_than_a_minute_has_is_asked_about_all_the_same(office):
    throttler = Throttler(office.process(), office.time, NAME, 60, tokens_per_minute=1000)

    office.call(throttler, tokens=5000)
    office.call(throttler, tokens=100)

    assert 300 <= office.called[1] - office.called[0] < 303


def test_tokens_that_are_limited_leave_calls_as_they_are_where_those_bind(office):
    throttler = Throttler(office.process(), office.time, NAME, 60, tokens_per_minute=1_000_000)

    for _ in range(20):
        office.call(throttler, tokens=1000)

    assert_never_too_fast(office.called, 60)
    assert_all_is_used(office.called, 60)


def test_a_slot_that_is_given_back_is_the_next_calls(office):
    throttler = Throttler(office.process(), office.time, NAME, 60, tokens_per_minute=60_000)
    throttler.wait(StopRequest(), tokens=100)
    slot = throttler.wait(StopRequest(), tokens=100)
    before = office.time.seconds

    throttler.give_back(slot)
    taken = throttler.wait(StopRequest(), tokens=700)

    assert taken is not None
    assert (taken.at_us, taken.tokens) == (slot.at_us, 700)
    assert office.time.seconds == before


@LIMITS
@given(
    calls=st.lists(
        st.tuples(st.integers(100, 2000), st.floats(0.2, 1.2), st.sampled_from(["made", "gate closed", "too late"])),
        min_size=15,
        max_size=15,
    ),
    blocks=st.lists(st.tuples(st.floats(1, 40), st.floats(0.5, 20)), max_size=8),
)
def test_tokens_are_charged_for_the_calls_that_were_made_and_for_no_others(office, calls, blocks):
    ledger, elsewhere = office.ledgers or [office.process() for _ in range(2)]
    office.begin(ledger)
    per_minute = 6000
    throttler = Throttler(ledger, office.time, NAME, 6000, tokens_per_minute=per_minute)
    other = Throttler(elsewhere, office.time, NAME, 6000, tokens_per_minute=per_minute)

    def work() -> None:
        for tokens, share, fate in [*calls, (100, 1.0, "made")]:
            slot = throttler.wait(StopRequest(), tokens=tokens)
            assert slot is not None
            if fate == "made":
                office.called.append(office.time.seconds)
                office.took.append(round(tokens * share))
                throttler.settle(slot, office.took[-1])
            else:
                office.time.pass_by(0.0 if fate == "gate closed" else LATE_S + 0.01)
                throttler.give_back(slot)

    def block() -> None:
        for pause, seconds in blocks:
            office.time.pass_by(pause)
            other.block(seconds, "rate_limited")

    began = office.time.seconds
    office.time.run(work, block)

    used_s = sum(office.took[:-1]) / per_minute * 60 * (1 + BURST_S / 60)
    blocked_s = sum(seconds for _, seconds in blocks)
    assert office.called[-1] - began <= used_s + blocked_s + (len(calls) + len(blocks) + 1) * 2 * BURST_S


def test_a_slot_that_is_left_over_is_charged_once_for_the_call_that_uses_it(office):
    throttler = Throttler(office.process(), office.time, NAME, 6000, tokens_per_minute=60_000)
    slot = throttler.wait(StopRequest(), tokens=1000)
    began = office.time.seconds

    throttler.give_back(slot)
    throttler.settle(throttler.wait(StopRequest(), tokens=7000), 6000)
    office.call(throttler)

    assert office.called[-1] - began == pytest.approx(6, abs=2 * BURST_S)


def test_after_a_stop_nobody_gets_a_slot_that_is_left_over(office):
    throttler = Throttler(office.process(), office.time, NAME, 60)
    throttler.give_back(throttler.wait(StopRequest()))
    stop = StopRequest()
    stop.set("SIGTERM")

    assert throttler.wait(stop) is None


@pytest.mark.parametrize("tokens", [99_999_999_999, 10**30])
def test_a_false_count_of_tokens_delays_the_next_call_by_minutes_at_most(office, tokens):
    throttler = Throttler(office.process(), office.time, NAME, 60, tokens_per_minute=1000)
    slot = throttler.wait(StopRequest(), tokens=500)
    began = office.time.seconds

    throttler.settle(slot, tokens)
    office.call(throttler, tokens=500)

    assert office.called[0] - began < 11 * 60


def test_a_few_calls_beside_a_run_leave_its_pace_as_it_is(office):
    at_work = Throttler(office.process(), office.time, NAME, 60, tokens_per_minute=60_000)
    at_work.set_pace(6)

    beside = Throttler(office.process(), office.time, NAME, 60, 1_000_000, keeps_pace=True)

    assert round(at_work.pace_in_force(), 2) == round(beside.pace_in_force(), 2) == 6
    assert at_work.ledger.throttles.rate(f"{NAME}#tokens") == pytest.approx(60, rel=0.01)


def test_a_few_calls_before_any_run_keep_to_the_pace_that_is_configured(office):
    alone = Throttler(office.process(), office.time, NAME, 60, keeps_pace=True)

    assert round(alone.pace_in_force(), 2) == 60


def test_a_slot_that_is_given_back_too_late_is_lost(office):
    throttler = Throttler(office.process(), office.time, NAME, 60)
    slot = throttler.wait(StopRequest())

    throttler.give_back(slot)
    office.time.pass_by(LATE_S + 0.01)
    taken = throttler.wait(StopRequest())

    assert taken != slot


def test_a_call_that_was_put_off_by_the_ledger_is_not_current_any_more(office):
    throttler = Throttler(office.process(), office.time, NAME, 60)
    slot = throttler.wait(StopRequest())

    at_once = throttler.is_current(slot)
    office.time.pass_by(BURST_S)

    assert (at_once, throttler.is_current(slot)) == (True, False)


def test_a_new_pace_is_said_and_kept_to_by_every_process(office):
    mine, other = (Throttler(office.process(), office.time, NAME, 60) for _ in range(2))

    mine.set_pace(6)
    for _ in range(3):
        office.call(other)

    assert (mine.calls_per_minute, round(other.pace_in_force(), 2)) == (6, 6)
    assert office.called[2] - office.called[0] >= 20 - LATE_S


def test_a_faster_pace_does_not_wait_for_the_slot_of_a_slower_one(office):
    mine, other = (Throttler(office.process(), office.time, NAME, 1 / 60) for _ in range(2))
    office.call(other)
    other.ledger.throttles.reserve(NAME, office.time.now_us())  # and sleeps until then

    mine.set_pace(60)
    office.call(mine)

    assert office.called[-1] - office.called[0] < 3
