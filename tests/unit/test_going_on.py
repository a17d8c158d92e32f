"""The command that goes on with a job: it bears what was said, so that no limit is forgotten."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal

import pytest

from backfill.cli.options import LimitOptions
from backfill.hours import Hours
from backfill.operations.pace import Pace

SAID = {
    "max_emails": 100,
    "calls_per_minute": 0.5,
    "tokens_per_minute": 2_000_000.0,
    "concurrency": "auto",
    "max_cost": Decimal("1E-4"),
    "max_cost_per_day": Decimal("2.50"),
    "max_per_day": 1000,
    "between": Hours.parse("22:00-07:00"),
}


def test_the_command_that_goes_on_bears_every_limit_but_the_size_of_one_run() -> None:
    assert Pace(**SAID).going_on(3) == (  # type: ignore[arg-type]
        "backfill run --job 3 --calls-per-minute 0.5 --tokens-per-minute 2000000 --concurrency auto"
        " --max-cost 0.0001 --max-cost-per-day 2.50 --max-per-day 1000 --between 22:00-07:00"
    )


def test_what_was_not_said_is_left_to_the_configuration() -> None:
    assert Pace().going_on(3) == "backfill run --job 3"


@pytest.mark.parametrize("name", [field.name for field in fields(Pace)])
def test_every_limit_has_the_name_of_its_option(name: str) -> None:
    assert name in SAID
    assert name in {field.name for field in fields(LimitOptions)}
