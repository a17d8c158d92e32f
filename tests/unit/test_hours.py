"""Hours of the day: what is understood, what lies within, and the two days on which clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from backfill.hours import Hours
from backfill.throttle.gates import HoursGate
from tests.support.clocks import TurnedClock

BERLIN = ZoneInfo("Europe/Berlin")
SPRING = datetime(2024, 3, 31, 1, 0, tzinfo=UTC)  # 02:00 becomes 03:00
AUTUMN = datetime(2024, 10, 27, 1, 0, tzinfo=UTC)  # 03:00 becomes 02:00


def gate(text: str, at: datetime) -> HoursGate:
    clock = TurnedClock()
    clock.turn((at - clock.now()).total_seconds())
    return HoursGate(Hours.parse(text), clock, BERLIN)


def open_minutes(text: str, around: datetime) -> list[str]:
    """The wall clock's minutes, from two hours before to two hours after, in which the gate is open."""
    minutes = [around + timedelta(minutes=n) for n in range(-120, 120)]
    return [f"{m.astimezone(BERLIN):%H:%M}" for m in minutes if gate(text, m).closed_for() == 0]


@pytest.mark.parametrize(
    ("text", "understood", "per_day"),
    [
        ("22:00-07:00", "22:00-07:00", 9),
        (" 9:30 - 17:00 ", "09:30-17:00", 7.5),
        ("18:00-24:00", "18:00-00:00", 6),
        ("00:00-23:59", "00:00-23:59", 23 + 59 / 60),
    ],
)
def test_hours_are_understood_as_people_write_them(text: str, understood: str, per_day: float) -> None:
    hours = Hours.parse(text)

    assert str(hours) == understood
    assert hours.per_day == per_day


@pytest.mark.parametrize("text", ["22-7", "22:00", "25:00-07:00", "22:60-07:00", "24:30-07:00", "-", "at night", ""])
def test_what_are_no_hours_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"e\.g\. 22:00-07:00"):
        Hours.parse(text)


@pytest.mark.parametrize("text", ["07:00-07:00", "00:00-24:00"])
def test_hours_that_end_where_they_begin_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="different times"):
        Hours.parse(text)


@pytest.mark.parametrize(
    ("text", "within", "outside"),
    [
        ("22:00-07:00", [time(22), time(23, 59, 59), time(0), time(6, 59, 59)], [time(7), time(12), time(21, 59, 59)]),
        ("09:00-17:00", [time(9), time(16, 59, 59)], [time(8, 59, 59), time(17), time(0)]),
        ("18:00-24:00", [time(18), time(23, 59, 59)], [time(0), time(17, 59)]),
    ],
)
def test_the_beginning_is_within_and_the_end_is_not(text: str, within: list[time], outside: list[time]) -> None:
    hours = Hours.parse(text)

    assert all(hours.include(wall) for wall in within)
    assert not any(hours.include(wall) for wall in outside)


def test_a_closed_gate_says_when_it_opens_by_the_clock_on_the_wall() -> None:
    noon = gate("22:00-07:00", datetime(2024, 7, 1, 10, 0, tzinfo=UTC))  # 12:00 in Berlin
    morning = gate("09:00-17:00", datetime(2024, 7, 1, 22, 30, tzinfo=UTC))  # 00:30 in Berlin, on the next day

    assert noon.closed_for() == 10 * 3600
    assert noon.reason() == "outside of 22:00-07:00 (local time); goes on at 2024-07-01 20:00 UTC"
    assert morning.closed_for() == 8.5 * 3600


def test_hours_that_begin_within_the_hour_left_out_in_spring_begin_after_it() -> None:
    opened = open_minutes("02:30-04:00", SPRING)

    assert opened == [f"03:{minute:02}" for minute in range(60)]


def test_hours_within_the_hour_that_comes_twice_in_autumn_come_twice() -> None:
    opened = open_minutes("02:00-02:30", AUTUMN)

    assert opened == [f"02:{minute:02}" for minute in range(30)] * 2


@pytest.mark.parametrize("change", [SPRING, AUTUMN])
@pytest.mark.parametrize("text", ["22:00-07:00", "02:30-02:45", "03:00-02:00"])
def test_a_closed_gate_always_says_how_long_however_the_clocks_are_changed(text: str, change: datetime) -> None:
    waits = [gate(text, change + timedelta(minutes=7 * n)).closed_for() for n in range(-200, 200)]

    assert all(0 <= wait <= 26 * 3600 for wait in waits)


def test_without_a_zone_it_is_the_clock_of_this_machine() -> None:
    clock = TurnedClock()
    wall = clock.now().astimezone()
    opens = (wall + timedelta(hours=2)).time().replace(second=0, microsecond=0)
    closes = (wall + timedelta(hours=3)).time().replace(second=0, microsecond=0)

    closed = HoursGate(Hours(opens, closes), clock).closed_for()

    assert 2 * 3600 - 60 <= closed <= 2 * 3600
