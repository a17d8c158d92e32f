"""What a service says of its limits in the headers of a reply: heeded where it makes sense, else nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.classifiers.rate_headers import announced
from backfill.http.waits import MAX_WAIT_S, seconds_until
from backfill.verdict import Announced

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
MS = round(NOW.timestamp() * 1000)
NAMES = ("limit", "remaining", "reset")
UNITS = ("", "_requests", "_tokens")


def said(**headers: str) -> Announced | None:
    return announced({f"x-ratelimit-{name.replace('_', '-')}": value for name, value in headers.items()}, NOW)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("6m0s", 360), ("12ms", 0.012), ("2m59.56s", 179.56), ("1h0m1s", 3601), ("20", 20), ("0s", 0)],
)
def test_the_durations_that_services_write_are_read(text, seconds):
    assert seconds_until(text, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "m", "1 s", "-1s", "1s1m", "soon", "nan", "inf", "1e999", "9" * 400 + "s"])
def test_what_is_no_duration_names_no_time(text):
    assert seconds_until(text, NOW) is None


def test_openai_names_both_limits():
    assert said(
        limit_requests="500", remaining_requests="499", reset_requests="120ms",
        limit_tokens="200000", remaining_tokens="199000", reset_tokens="300ms",
    ) == Announced(calls_per_minute=500, tokens_per_minute=200_000)  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"remaining_requests": "0", "reset_requests": "8.64s"}, 8.64),
        ({"remaining_tokens": "0", "reset_tokens": "6m0s"}, 360),
        ({"remaining_requests": "0", "reset_requests": "1s", "remaining_tokens": "0", "reset_tokens": "2s"}, 2),
        ({"remaining": "0", "reset": str(MS + 30_000)}, 30),
        ({"remaining": "0", "reset": str(MS // 1000 + 40)}, 40),
        ({"remaining": "1", "reset": "30"}, 0),
        ({"remaining_requests": "0"}, 0),
    ],
)
def test_when_nothing_is_left_nobody_calls_before_the_reset(headers, wait_s):
    found = said(**headers) or Announced()

    assert found.wait_s == pytest.approx(wait_s, abs=0.01)


@pytest.mark.parametrize(
    "headers",
    [
        {"limit_requests": "14400", "remaining_requests": "14370", "reset_requests": "2m59.56s"},  # Groq's, of a day
        {"limit": "5000", "remaining": "4999", "reset": str(MS + 3_600_000)},  # of an hour
        {"limit": "10", "remaining": "9", "reset": "1"},  # of a second, it may be
        {"limit": "100"},
    ],
)
def test_a_limit_on_another_time_than_a_minute_is_not_taken_for_one(headers):
    assert said(**headers) is None


def test_openrouters_limit_on_a_minute_is_one():
    assert said(limit="20", remaining="19", reset=str(MS + 45_000)) == Announced(calls_per_minute=20)


@pytest.mark.parametrize("value", ["-1", "0", "nan", "inf", "-inf", "1e300", "many", "", "0x10", "1,000", "٣٣x"])
@pytest.mark.parametrize("unit", UNITS)
def test_a_senseless_limit_says_nothing(value, unit):
    assert said(**{f"{name}{unit}": value for name in NAMES}) in (None, Announced())


@given(
    st.dictionaries(
        st.sampled_from([f"{name}{unit}" for name in NAMES for unit in UNITS]),
        st.one_of(
            st.sampled_from(["0", "1", "60"]),
            st.text(max_size=30),
            st.floats().map(str),
            st.integers().map(str),
            st.datetimes().map(str),
            st.from_regex(r"\A\d{1,9}h\d{1,9}m\d{1,9}s\Z"),
        ),
    )
)
def test_no_header_does_any_harm(headers):
    found = said(**headers) or Announced()

    assert 0 <= found.wait_s <= MAX_WAIT_S
    assert all(limit is None or 1 <= limit <= 1e9 for limit in (found.calls_per_minute, found.tokens_per_minute))
