"""Hours of the day in which a run may call: what `--between 22:00-07:00` means.

The machine's wall clock decides, in its time zone. When it is set forward in spring, hours that include the missing one
are shorter on that day. When it is set back in autumn, the repeated hour is inside both times, or outside both times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo

FORM = re.compile(r"\s*(\d{1,2}):(\d\d)\s*-\s*(\d{1,2}):(\d\d)\s*")
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Hours:
    """From `opens`, included, to `closes`, excluded; over midnight when `closes` is the earlier time."""

    opens: time
    closes: time

    @classmethod
    def parse(cls, text: str) -> Hours:
        """The hours of a text like `22:00-07:00`. Raises `ValueError` with a message that says what would be right."""
        found = FORM.fullmatch(text)
        try:
            if found is None:
                raise ValueError(text)
            opens, closes = _time(found[1], found[2]), _time(found[3], found[4])
        except ValueError:
            raise ValueError("should be two times of the day, e.g. 22:00-07:00") from None
        if opens == closes:
            raise ValueError("should begin and end at different times, e.g. 22:00-07:00; leave it out for all day")
        return cls(opens, closes)

    def __str__(self) -> str:
        return f"{self.opens:%H:%M}-{self.closes:%H:%M}"

    @property
    def per_day(self) -> float:
        """How many hours of a day they are, on a day on which the clock is not changed."""
        return (_seconds(self.closes) - _seconds(self.opens)) % DAY_S / 3600

    def include(self, wall: time) -> bool:
        """Is the wall clock's time `wall` inside the hours?"""
        if self.opens < self.closes:
            return self.opens <= wall < self.closes
        return wall >= self.opens or wall < self.closes

    def next_opening(self, now: datetime, zone: tzinfo | None = None) -> datetime:
        """When they begin next, after `now` and in its zone. `zone`: the wall clock's; None: the machine's."""
        return _next(self.opens, now, zone)

    def next_closing(self, now: datetime, zone: tzinfo | None = None) -> datetime:
        """When they end next, after `now`; zones as in `next_opening`."""
        return _next(self.closes, now, zone)


def _next(wall: time, now: datetime, zone: tzinfo | None) -> datetime:
    today = now.astimezone(zone).date()
    # Three days: in the hour that is left out in spring, the time of today may lie before `now`.
    days = (today + timedelta(days=ahead) for ahead in range(3))
    # With zone None, `astimezone` takes the naive time for the machine's.
    found = (datetime.combine(day, wall, zone).astimezone(now.tzinfo) for day in days)
    return next(when for when in found if when > now)


def _time(hour: str, minute: str) -> time:
    """A time of the day; 24:00, the end of the day, is 00:00."""
    return time(0) if (hour, minute) == ("24", "00") else time(int(hour), int(minute))


def _seconds(moment: time) -> int:
    return moment.hour * 3600 + moment.minute * 60
