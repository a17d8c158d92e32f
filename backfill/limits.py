"""What one run may do: its pace, its calls at once, its mails, its cost, its hours.

Limits are no part of the job, so each run of a job may have its own. `RunLimits` is resolved once, when a run begins:
an option of the command wins over the pace of `backfill pace`, which wins over the configuration. The result is
recorded with the run and handed down whole. Settings and command line refuse the same values, by `BOUNDS`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from decimal import Decimal
from math import isfinite
from typing import Final, Literal

from backfill.errors import ConfigError
from backfill.hours import Hours

Concurrency = int | Literal["auto"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The range that a number must lie in, both ends included."""

    least: float | Decimal
    most: float | Decimal
    is_whole: bool = False

    def hold(self, value: object) -> bool:
        match value:
            case bool():
                return False
            case int():
                return self.least <= value <= self.most
            case float():
                return not self.is_whole and isfinite(value) and self.least <= value <= self.most
            case Decimal():
                return not self.is_whole and value.is_finite() and self.least <= value <= self.most
        return False

    def refusal(self, value: object) -> str:
        """Why a value outside the range is refused, e.g. "must be more than 0 and at most 256, not 5000"."""
        whole = "a whole number, " if self.is_whole and not isinstance(value, int) else ""
        least = f"at least {_plain(self.least)}" if self._is_too_small(value) else "more than 0"
        return f"must be {whole}{least} and at most {self.most:,}, not {_shown(value)}"

    def _is_too_small(self, value: object) -> bool:
        """Does the value lie between 0 and `least`?"""
        match value:
            case float():
                return 0 < value < self.least
            case Decimal():
                return value.is_finite() and 0 < value < self.least
        return False


#: 10⁹: more than any number of mails, or of calls a day; it fits into the integer columns of both databases.
MOST_COUNT: Final = 1_000_000_000
#: The ledger stores money in nano-dollars. Its column takes some thousand times the largest amount.
LEAST_USD, MOST_USD = Decimal("0.000000001"), Decimal(1_000_000)

#: The range of each limit, by the name of its field in `RunLimits`.
BOUNDS: Final[dict[str, Bounds]] = {
    "calls_per_minute": Bounds(0.0001, 100_000),  # the least is one call in a week
    "tokens_per_minute": Bounds(1, 1_000_000_000),
    "concurrency": Bounds(1, 256, is_whole=True),  # each call under way has a thread and a connection
    "max_emails": Bounds(1, MOST_COUNT, is_whole=True),
    "max_cost_usd": Bounds(LEAST_USD, MOST_USD),
    "max_cost_usd_per_day": Bounds(LEAST_USD, MOST_USD),
    "max_per_day": Bounds(1, MOST_COUNT, is_whole=True),
    "retry_attempts": Bounds(1, 20, is_whole=True),
    "retry_delay_s": Bounds(0, 3600),
}


def refusal(name: str, value: object) -> str | None:
    """Why a value cannot be the limit `name`, as words that follow the name; None: it can."""
    bounds = BOUNDS.get(name)
    if bounds is None or value is None or bounds.hold(value) or (name == "concurrency" and value == "auto"):
        return None
    return bounds.refusal(value)


@dataclass(frozen=True, slots=True)
class RunLimits:
    """The limits of one run. None: no limit. Raises `ConfigError` for a value outside `BOUNDS`."""

    calls_per_minute: float = 60.0
    tokens_per_minute: float | None = None
    concurrency: Concurrency = 8  # calls under way at the same time; auto: as many as the pace needs
    max_emails: int | None = None  # mails that this run may take
    max_cost_usd: Decimal | None = None  # for the job, over all its runs
    max_cost_usd_per_day: Decimal | None = None  # for all jobs of this ledger, a day in UTC
    max_per_day: int | None = None  # calls to the API by all runs of this ledger, a day in UTC
    between: Hours | None = None
    retry_attempts: int = 3  # calls for one mail in a row, the first included
    retry_delay_s: float = 5.0  # after the first call; each later call doubles it

    def __post_init__(self) -> None:
        _check(self)

    def unmetered(self) -> RunLimits:
        """These limits without those on cost, tokens and calls a day, for a classifier whose calls cost nothing."""
        return replace(self, tokens_per_minute=None, max_cost_usd=None, max_cost_usd_per_day=None, max_per_day=None)


@dataclass(frozen=True, slots=True)
class GivenLimits:
    """The limits in a command's options. None: not given. Raises `ConfigError` as `RunLimits` does."""

    max_emails: int | None = None
    calls_per_minute: float | None = None
    tokens_per_minute: float | None = None
    concurrency: Concurrency | None = None
    max_cost_usd: Decimal | None = None
    max_cost_usd_per_day: Decimal | None = None
    max_per_day: int | None = None
    between: Hours | None = None

    def __post_init__(self) -> None:
        _check(self)

    def over(self, others: RunLimits) -> RunLimits:
        """`others`, with each limit replaced that is given here."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(others, **{name: value for name, value in given.items() if value is not None})

    def going_on(self, job_id: int, *, is_paced: bool = False) -> str:
        """The command that goes on with a job within these limits. Without `max_emails`, which is for one run only.

        `is_paced`: `backfill pace` has set another pace since. The ledger keeps it, and an option would replace it.
        """
        left_out = {"max_emails", "calls_per_minute"} if is_paced else {"max_emails"}
        options = [
            f"{OPTIONS[field.name]} {_plain(value)}"
            for field in fields(self)
            if field.name not in left_out and (value := getattr(self, field.name)) is not None
        ]
        return " ".join([f"backfill run --job {job_id}", *options])


#: The command-line option for each limit.
OPTIONS: Final = {
    "max_emails": "--max-emails",
    "calls_per_minute": "--calls-per-minute",
    "tokens_per_minute": "--tokens-per-minute",
    "concurrency": "--concurrency",
    "max_cost_usd": "--max-cost",
    "max_cost_usd_per_day": "--max-cost-per-day",
    "max_per_day": "--max-per-day",
    "between": "--between",
}


def resolve_limits(given: GivenLimits, wished_calls_per_minute: float | None, configured: RunLimits) -> RunLimits:
    """The limits of a run that begins: an option wins over the pace of `backfill pace`, which wins over the settings.

    A pace outside `BOUNDS`, which another version of backfill may have stored, is ignored.
    """
    if not BOUNDS["calls_per_minute"].hold(wished_calls_per_minute):
        wished_calls_per_minute = None
    return given.over(GivenLimits(calls_per_minute=wished_calls_per_minute).over(configured))


def _check(limits: RunLimits | GivenLimits) -> None:
    for field in fields(limits):
        if reason := refusal(field.name, getattr(limits, field.name)):
            raise ConfigError(f"{field.name} {reason}.")


def _plain(value: object) -> str:
    """A number as people write it: without an exponent, and without a point in a whole number."""
    if isinstance(value, float):
        value = Decimal(str(int(value) if value.is_integer() else value))
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _shown(value: object) -> str:
    """A value as it was given, cut to 40 characters."""
    if isinstance(value, int) and value.bit_length() > 128:  # Python refuses to write a very long one
        return "a number with more than 38 digits"
    return f"{value!s:.40}"
