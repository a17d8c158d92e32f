"""The keys of pace: how many calls at once, how many tokens a minute, and what the command line says over them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from backfill.operations.pace import Pace
from backfill.settings.model import Processing


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


@pytest.mark.parametrize("value", [0, -1, "nan", "inf"])
def test_tokens_a_minute_are_some(value):
    with pytest.raises(ValidationError):
        Processing(tokens_per_minute=value)


def test_the_defaults_are_eight_calls_at_once_and_no_limit_on_tokens():
    assert (Processing().concurrency, Processing().tokens_per_minute) == (8, None)


def test_what_is_said_wins_over_what_is_configured():
    configured = Processing(concurrency=4, tokens_per_minute=1000)

    said = Pace(concurrency="auto", tokens_per_minute=50_000).over(configured)
    unsaid = Pace().over(configured)

    assert (said.concurrency, said.tokens_per_minute) == ("auto", 50_000)
    assert (unsaid.concurrency, unsaid.tokens_per_minute) == (4, 1000)
