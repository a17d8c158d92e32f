"""What an API says of its limits in a reply's headers, and the times that it names.

Pure, and wary: a value that is negative, no number, or beyond a day says nothing. A limit is taken for one on a minute
only where its window is known to be no longer; a limit on a day shows by its time of reset, and holds by refusing.

The names are OpenAI's (https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers), which Groq
(https://console.groq.com/docs/rate-limits) and gateways such as LiteLLM
(https://docs.litellm.ai/docs/proxy/response_headers) send as well, and OpenRouter's
(https://openrouter.ai/docs/api-reference/limits), which come with refusals only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Final

from backfill.verdict import Announced

MAX_WAIT_S: Final = 86_400.0  # whoever names a longer wait is asked again after a day: one call, not a lost week
WINDOW_S: Final = 60.0
MAX_LIMIT: Final = 1e9  # a minute; more is no limit

#: Go's way to write a duration, which OpenAI's headers have: "1s", "6m0s", "12ms", "2m59.56s".
_DURATION: Final = re.compile(r"(?=\d)(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII)
_UNITS_S: Final = (3600.0, 60.0, 1.0, 0.001)
_UNIX_MS: Final = 1e11  # a number from here on is a time in milliseconds: 1973, or 3000 years of seconds


def announced(headers: Mapping[str, str], now: datetime) -> Announced | None:
    """What the headers (names in lower case) say of the limits; None when that is nothing to keep to."""
    calls, calls_wait_s = _limit(headers, "-requests", now)
    tokens, tokens_wait_s = _limit(headers, "-tokens", now)
    plain, plain_wait_s = _limit(headers, "", now)
    # A limit without a unit is OpenRouter's where the reset is a time in milliseconds; others count other windows.
    if not (_number(headers.get("x-ratelimit-reset")) or 0.0) >= _UNIX_MS:
        plain = None
    said = Announced(calls if calls is not None else plain, tokens, max(calls_wait_s, tokens_wait_s, plain_wait_s))
    return said if said != Announced() else None


def _limit(headers: Mapping[str, str], unit: str, now: datetime) -> tuple[float | None, float]:
    """How much is allowed a minute, and for how many seconds nothing is left."""
    limit, remaining = (_number(headers.get(f"x-ratelimit-{name}{unit}")) for name in ("limit", "remaining"))
    reset_s = seconds_until(headers.get(f"x-ratelimit-reset{unit}"), now)
    is_known = limit is not None and 1 <= limit <= MAX_LIMIT and (reset_s is None or reset_s <= WINDOW_S)
    wait_s = min(max(reset_s or 0.0, 0.0), MAX_WAIT_S) if remaining == 0 else 0.0
    return limit if is_known else None, wait_s


def seconds_until(value: object, now: datetime) -> float | None:
    """Reads seconds, a duration, Unix time in seconds or milliseconds, an HTTP date (RFC 9110 §5.6.7) or ISO 8601."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    number = _number(value)
    if number is None:
        return _duration_s(str(value), now)
    if number < 0:
        return None
    if number < 1e9:  # no wait is 30 years long: what is larger names a time
        return number
    return (number / 1000 if number >= _UNIX_MS else number) - now.timestamp()


def header_wait_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """How long the headers ask to wait, in seconds, at most `MAX_WAIT_S`; None when they name no time to come.

    Retry-After is a number of seconds or an HTTP date (RFC 9110 §10.2.3), and some write a duration; anything else in
    it is a mistake, of which nothing is known.
    """
    after = headers.get("retry-after", "").strip()
    waits = (
        None if re.match(r"\d{4}-?\d\d", after) and _number(after) is None else seconds_until(after, now),  # ISO 8601
        seconds_until(headers.get("x-ratelimit-reset"), now),
    )
    return next((min(wait, MAX_WAIT_S) for wait in waits if wait is not None and wait > 0), None)


def _number(value: object) -> float | None:
    """A finite number; None for everything else."""
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
