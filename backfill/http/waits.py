"""The times that a reply names: how long to wait, in a header or as a value.

Pure. A value that is negative or no number is ignored; a wait is at most a day.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Final

MAX_WAIT_S: Final = 86_400.0  # after a longer wait, too, the API is asked again: one call is better than a lost week

#: A duration in Go's form, as in OpenAI's headers: "1s", "6m0s", "12ms", "2m59.56s".
_DURATION: Final = re.compile(r"(?=\d)(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII)
_UNITS_S: Final = (3600.0, 60.0, 1.0, 0.001)
UNIX_MS: Final = 1e11  # a larger number is Unix time in milliseconds (1973); in seconds it is the year 5138


def seconds_until(value: object, now: datetime) -> float | None:
    """The seconds from `now` until a named time; negative for a past one, None when `value` names no time.

    Reads seconds, a duration, Unix time in seconds or milliseconds, an HTTP date (RFC 9110 §5.6.7) or ISO 8601.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    number = finite(value)
    if number is None:
        return _duration_s(str(value), now)
    if number < 0:
        return None
    if number < 1e9:  # seconds; a larger number is Unix time, since no wait has 30 years
        return number
    return (number / 1000 if number >= UNIX_MS else number) - now.timestamp()


def header_wait_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """The wait that the headers ask for, in seconds, at most `MAX_WAIT_S`; None when they name no future time.

    Retry-After is a number of seconds or an HTTP date (RFC 9110 §10.2.3). Some services write a duration. Anything else
    is ignored.
    """
    after = headers.get("retry-after", "").strip()
    waits = (
        None if re.match(r"\d{4}-?\d\d", after) and finite(after) is None else seconds_until(after, now),  # ISO 8601
        seconds_until(headers.get("x-ratelimit-reset"), now),
    )
    return next((min(wait, MAX_WAIT_S) for wait in waits if wait is not None and wait > 0), None)


def finite(value: object) -> float | None:
    """`value` as a finite number; None when it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _duration_s(text: str, now: datetime) -> float | None:
    found = _DURATION.fullmatch(text.strip())
    if found is not None and len(text) < 40:
        return sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS_S, strict=True) if part)
    moment = _moment(text)
    return None if moment is None else (moment - now).total_seconds()


def _moment(text: str) -> datetime | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text.strip())
        except (ValueError, TypeError, OverflowError):
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
