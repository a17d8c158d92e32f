"""The limits of a run: one set of bounds for settings, command line and Python; what is given wins; what is kept."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from backfill.cli.options import LimitOptions
from backfill.errors import ConfigError
from backfill.hours import Hours
from backfill.ledger.parameters import RunParameters
from backfill.limits import BOUNDS, OPTIONS, GivenLimits, RunLimits, refusal, resolve_limits
from backfill.settings.model import Llm, Processing

CONFIGURED = RunLimits(calls_per_minute=60, concurrency=4, tokens_per_minute=1000)

#: The key of the configuration for each limit.
KEYS = {name: name for name in BOUNDS} | {"max_emails": "max_emails_per_run", "retry_delay_s": "retry_delay_seconds"}
FLOATS = [float("nan"), float("inf"), float("-inf")]
AMOUNTS = [Decimal(text) for text in ("nan", "snan", "inf", "-inf", "1e400", "1e-400", "-1", "0")]
CASES = [
    pytest.param(name, value, id=f"{name}-{number}")
    for name, bounds in BOUNDS.items()
    for number, value in enumerate(
        [
            *(AMOUNTS if "cost" in name else FLOATS),
            *([2.5] if bounds.is_whole else []),
            *([0] if bounds.least else []),
            -1,
            int(bounds.most) + 1,
            2**63,
            10**5000,
        ]
    )
]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_number_that_is_no_limit_is_refused_whoever_gives_it(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} must be "):
        RunLimits(**{name: value})

    if name in OPTIONS:
        option = OPTIONS[name]
        with pytest.raises(ConfigError, match=f"^{option} must be "):
            LimitOptions(**{option[2:].replace("-", "_"): value}).given()
        with pytest.raises(ConfigError, match=f"^{name} must be "):
            GivenLimits(**{name: value})


@pytest.mark.parametrize(("name", "value"), CASES)
def test_the_settings_refuse_the_same_numbers(name: str, value: Any) -> None:
    section = Llm if name.startswith("retry") else Processing

    with pytest.raises(ValidationError):
        section(**{KEYS[name]: value})


@pytest.mark.parametrize("name", BOUNDS)
def test_both_ends_of_the_bounds_are_allowed_by_everybody(name: str) -> None:
    section = Llm if name.startswith("retry") else Processing
    ends = (BOUNDS[name].least, BOUNDS[name].most)

    assert [getattr(RunLimits(**{name: end}), name) for end in ends] == list(ends)  # type: ignore[arg-type]
    assert [getattr(section(**{KEYS[name]: end}), KEYS[name]) for end in ends] == list(ends)


@given(st.sampled_from(sorted(BOUNDS)), st.one_of(st.integers(), st.floats(), st.decimals(), st.booleans(), st.text()))
def test_no_value_whatever_is_more_than_a_refusal(name: str, value: Any) -> None:
    reason = refusal(name, value)

    assert reason is None or reason.startswith("must be ")
    assert reason is None or len(reason) < 150


def test_a_refusal_says_what_would_be_right() -> None:
    assert refusal("concurrency", 5000) == "must be more than 0 and at most 256, not 5000"
    assert refusal("calls_per_minute", 1e9) == "must be more than 0 and at most 100,000, not 1000000000.0"
    assert refusal("calls_per_minute", 1e-9) == "must be at least 0.0001 and at most 100,000, not 1e-09"
    assert refusal("max_emails", 2.5) == "must be a whole number, more than 0 and at most 1,000,000,000, not 2.5"


@pytest.mark.parametrize(("value", "understood"), [("auto", "auto"), (1, 1), ("16", 16), (256, 256)])
def test_calls_at_once_are_a_number_or_auto(value, understood):
    assert Processing(concurrency=value).concurrency == understood


@pytest.mark.parametrize(
    ("value", "allowed"),
    [("many", "a valid integer"), (0, "greater than or equal to 1"), (257, "less than or equal to 256")],
)
def test_another_word_or_number_is_refused_with_one_line(value, allowed):
    with pytest.raises(ValidationError) as refused:
        Processing(concurrency=value)

    (problem,) = refused.value.errors()
    assert allowed in problem["msg"]


def test_the_defaults_are_eight_calls_at_once_and_no_limit_on_tokens():
    assert (Processing().concurrency, Processing().tokens_per_minute) == (8, None)


def test_what_is_given_wins_over_what_was_wished_and_that_over_what_is_configured():
    unsaid = resolve_limits(GivenLimits(), None, CONFIGURED)
    wished = resolve_limits(GivenLimits(concurrency="auto"), 30, CONFIGURED)
    given_too = resolve_limits(GivenLimits(calls_per_minute=20, tokens_per_minute=50_000), 30, CONFIGURED)

    assert unsaid == CONFIGURED
    assert (wished.calls_per_minute, wished.concurrency, wished.tokens_per_minute) == (30, "auto", 1000)
    assert (given_too.calls_per_minute, given_too.concurrency, given_too.tokens_per_minute) == (20, 4, 50_000)


def test_a_pace_that_an_older_version_wished_for_and_this_one_refuses_is_left_out():
    assert resolve_limits(GivenLimits(), 1e9, CONFIGURED) == CONFIGURED


def test_what_is_recorded_of_a_run_is_what_it_works_with():
    limits = RunLimits(
        calls_per_minute=0.5,
        tokens_per_minute=1e6,
        concurrency="auto",
        max_emails=7,
        max_cost_usd=Decimal("0.000000001"),
        max_cost_usd_per_day=Decimal("2.50"),
        max_per_day=10,
        between=Hours.parse("22:00-24:00"),
        retry_attempts=5,
        retry_delay_s=0.25,
    )
    recorded = RunParameters(limits, "calls:https://api.example/v1", only_retried=True)

    assert RunParameters.from_json(recorded.to_json()) == recorded
    assert {field.name for field in fields(RunLimits) if getattr(limits, field.name) is None} == set()


def test_the_row_of_an_older_version_is_read_as_far_as_it_goes():
    older = '{"api": "calls:x", "concurrency": 5000, "max_emails": 3, "max_cost_usd": "many", "between": "noon"}'

    read = RunParameters.from_json(older)

    assert read == RunParameters(RunLimits(max_emails=3), "calls:x")


def test_a_classifier_that_costs_nothing_has_no_limits_on_calls_and_money():
    limits = RunLimits(max_per_day=3, max_cost_usd=Decimal(1), max_cost_usd_per_day=Decimal(1), tokens_per_minute=5)

    assert limits.unmetered() == RunLimits()
