"""The limits and times that an API names in a reply's headers.

Pure. A value that is negative or no number is ignored; a wait is at most a day. A limit counts as one per minute,
unless its reset is more than a minute away: then it may be a limit per day, and calls are refused when it is reached.

The names are OpenAI's (https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers), which Groq
(https://console.groq.com/docs/rate-limits) and gateways such as LiteLLM
(https://docs.litellm.ai/docs/proxy/response_headers) send as well, and OpenRouter's
(https://openrouter.ai/docs/api-reference/limits), which come with refusals only.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from backfill.http.waits import MAX_WAIT_S, UNIX_MS, finite, seconds_until
from backfill.verdict import Announced

WINDOW_S: Final = 60.0
MAX_LIMIT: Final = 1e9  # per minute; a larger number is no limit


def announced(headers: Mapping[str, str], now: datetime) -> Announced | None:
    """The limits and the wait in the headers (names in lower case); None when they name neither."""
    calls, calls_wait_s = _limit(headers, "-requests", now)
    tokens, tokens_wait_s = _limit(headers, "-tokens", now)
    plain, plain_wait_s = _limit(headers, "", now)
    # A limit without a unit is OpenRouter's if its reset is a time in milliseconds. Others' windows are unknown.
    if not (finite(headers.get("x-ratelimit-reset")) or 0.0) >= UNIX_MS:
        plain = None
    said = Announced(calls if calls is not None else plain, tokens, max(calls_wait_s, tokens_wait_s, plain_wait_s))
    return said if said != Announced() else None


def _limit(headers: Mapping[str, str], unit: str, now: datetime) -> tuple[float | None, float]:
    """The limit per minute (None: unknown), and the seconds for which nothing is left (0: something is left)."""
    limit, remaining = (finite(headers.get(f"x-ratelimit-{name}{unit}")) for name in ("limit", "remaining"))
    reset_s = seconds_until(headers.get(f"x-ratelimit-reset{unit}"), now)
    is_known = limit is not None and 1 <= limit <= MAX_LIMIT and (reset_s is None or reset_s <= WINDOW_S)
    wait_s = min(max(reset_s or 0.0, 0.0), MAX_WAIT_S) if remaining == 0 else 0.0
    return limit if is_known else None, wait_s
