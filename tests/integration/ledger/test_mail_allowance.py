"""How much may be read of a mail account: kept in the ledger, so by every run together."""

from __future__ import annotations

import pytest

from backfill.clock import StopRequest
from backfill.errors import MailThrottled
from backfill.ledger import Ledger
from backfill.throttle.mail import MailAllowance
from tests.support.clocks import TurnedClock

DAY = 86_400
LIMIT = 100_000_000


def test_a_quarter_of_the_day_may_be_read_at_once(ledger: Ledger, clock: TurnedClock) -> None:
    allowance = MailAllowance(ledger, clock, "bob@mail", LIMIT)

    allowance.read(LIMIT // 4)
    at_once = allowance.blocked_for()
    allowance.read(LIMIT // 4)

    assert at_once == pytest.approx(0, abs=2)
    assert allowance.blocked_for() == pytest.approx(DAY / 3, rel=0.01)
    assert "max_bytes_per_day" in allowance.reason()


def test_whoever_reads_as_fast_as_it_may_never_reads_more_than_the_limit_in_any_day(
    ledger: Ledger, clock: TurnedClock
) -> None:
    read: list[tuple[float, int]] = []
    clock.turn(5 * DAY)
    while clock.seconds < 8 * DAY:
        allowance = MailAllowance(ledger, clock, "bob@mail", LIMIT)  # every time another process
        if seconds := allowance.blocked_for():
            clock.turn(seconds)
        allowance.read(1_000_000)
        allowance.close()
        read.append((clock.seconds, 1_000_000))

    days = [sum(size for at, size in read if start <= at < start + DAY) for start, _ in read]
    assert max(days) <= LIMIT + 2_000_000
    assert min(days[: len(days) // 2]) > 0.7 * LIMIT


def test_a_block_holds_for_the_next_run_and_the_later_one_counts(ledger: Ledger, clock: TurnedClock) -> None:
    MailAllowance(ledger, clock, "bob@mail", None).throttled(300, "asks for patience")

    another = MailAllowance(ledger, clock, "bob@mail", None)

    assert another.blocked_for() == pytest.approx(300)
    assert another.reason().startswith("asks for patience, until ")
    assert MailAllowance(ledger, clock, "ann@mail", None).blocked_for() == 0


def test_short_waits_are_waited_and_long_ones_refused_with_the_time(ledger: Ledger, clock: TurnedClock) -> None:
    allowance, said = MailAllowance(ledger, clock, "bob@mail", None), list[str]()
    allowance.throttled(300, "asks for patience")

    with pytest.raises(MailThrottled, match="asks for patience, until 2024"):
        allowance.wait(StopRequest(), 60, said.append)
    allowance.wait(StopRequest(), 3600, said.append)

    assert allowance.blocked_for() == 0
    assert len(said) == 1


def test_without_a_limit_anything_may_be_read(ledger: Ledger, clock: TurnedClock) -> None:
    allowance = MailAllowance(ledger, clock, "bob@mail", None)

    allowance.read(10**12)

    assert allowance.blocked_for() == 0


def test_runs_that_are_killed_again_and_again_read_no_more_than_is_allowed(ledger: Ledger, clock: TurnedClock) -> None:
    limit, batch, read = 2_000_000, 480_000, 0
    for _ in range(29):
        allowance = MailAllowance(ledger, clock, "bob@mail", limit)
        if allowance.blocked_for() == 0:
            for _ in range(batch // 48_000):
                allowance.read(48_000)
                read += 48_000
        del allowance  # killed: nobody closes it

    assert read <= limit // 4 + batch


def test_what_was_booked_ahead_and_not_read_is_given_back(ledger: Ledger, clock: TurnedClock) -> None:
    allowance = MailAllowance(ledger, clock, "bob@mail", LIMIT)
    allowance.read(LIMIT // 4 - 1)
    allowance.close()

    assert MailAllowance(ledger, clock, "bob@mail", LIMIT).blocked_for() == pytest.approx(0, abs=2)
