"""Hours of the day within which a run may call: what `--between 22:00-07:00` means.

They are what the wall clock of the machine shows, so nothing is called while it shows anything else. An hour that is
left out in spring is missing from them; one that comes twice in autumn is within them, or not, both times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo

FORM = re.compile(r"\s*(\d{1,2}):(\d\d)\s*-\s*(\d{1,2}):(\d\d)\s*")
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Hours:
    """From `opens`, included, to `closes`, excluded; over midnight when it closes before it opens."""

    opens: time
    closes: time

    @classmethod
    def parse(cls, text: str) -> Hours:
        """The hours of a text like `22:00-07:00`. Raises `ValueError`, which says what would be right."""
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
        """How many hours of a day they are, but for those on which the clock is changed."""
        return (_seconds(self.closes) - _seconds(self.opens)) % DAY_S / 3600

    def include(self, wall: time) -> bool:
        """Are they when a clock on the wall shows this?"""
        if self.opens < self.closes:
            return self.opens <= wall < self.closes
        return wall >= self.opens or wall < self.closes

    def next_opening(self, now: datetime, zone: tzinfo | None = None) -> datetime:
        """When they begin next, after `now` and in its zone. `zone`: of the clock on the wall; None: the machine's."""
        return _next(self.opens, now, zone)

    def next_closing(self, now: datetime, zone: tzinfo | None = None) -> datetime:
        """When they end next; otherwise as `next_opening`."""
        return _next(self.closes, now, zone)


def _next(wall: time, now: datetime, zone: tzinfo | None) -> datetime:
    today = now.astimezone(zone).date()
    days = (today + timedelta(days=ahead) for ahead in range(3))  # in a gap, today's may lie before now
    # Without a zone, a time without one is taken for the machine's.
    found = (datetime.combine(day, wall, zone).astimezone(now.tzinfo) for day in days)
    return next(when for when in found if when > now)


def _time(hour: str, minute: str) -> time:
    """24:00 is a way to write the end of a day."""
    return time(0) if (hour, minute) == ("24", "00") else time(int(hour), int(minute))


def _seconds(moment: time) -> int:
    return moment.hour * 3600 + moment.minute * 60
