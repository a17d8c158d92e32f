"""The command that goes on with a job: it bears what was given, so that no limit is forgotten."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal

import pytest

from backfill.cli.options import LimitOptions
from backfill.hours import Hours
from backfill.limits import OPTIONS, GivenLimits

GIVEN = {
    "max_emails": 100,
    "calls_per_minute": 0.5,
    "tokens_per_minute": 2_000_000.0,
    "concurrency": "auto",
    "max_cost_usd": Decimal("1E-4"),
    "max_cost_usd_per_day": Decimal("2.50"),
    "max_per_day": 1000,
    "between": Hours.parse("22:00-07:00"),
}


def test_the_command_that_goes_on_bears_every_limit_but_the_size_of_one_run() -> None:
    assert GivenLimits(**GIVEN).going_on(3) == (  # type: ignore[arg-type]
        "backfill run --job 3 --calls-per-minute 0.5 --tokens-per-minute 2000000 --concurrency auto"
        " --max-cost 0.0001 --max-cost-per-day 2.50 --max-per-day 1000 --between 22:00-07:00"
    )


def test_a_pace_that_was_set_during_the_run_is_not_replaced_by_the_older_option() -> None:
    given = GivenLimits(calls_per_minute=5, max_per_day=7)

    assert given.going_on(3, is_paced=True) == "backfill run --job 3 --max-per-day 7"


def test_what_was_not_given_is_left_to_the_configuration() -> None:
    assert GivenLimits().going_on(3) == "backfill run --job 3"


def test_every_limit_has_an_option() -> None:
    names = {field.name.replace("_", "-") for field in fields(LimitOptions)}

    assert {option.removeprefix("--") for option in OPTIONS.values()} == names


@pytest.mark.parametrize("name", [field.name for field in fields(GivenLimits)])
def test_every_limit_that_can_be_given_is_told_again(name: str) -> None:
    assert name in GIVEN
    assert name in OPTIONS
