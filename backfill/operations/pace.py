"""What was said of a run's limits when it was started, over what is configured."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from backfill.hours import Hours
from backfill.settings.model import Processing

#: Where the configuration's key is another one.
KEYS: Final = {
    "max_emails": "max_emails_per_run",
    "max_cost": "max_cost_usd",
    "max_cost_per_day": "max_cost_usd_per_day",
}


@dataclass(frozen=True, slots=True)
class Pace:
    """What was said; None: nothing, so it is as configured."""

    max_emails: int | None = None
    calls_per_minute: float | None = None
    tokens_per_minute: float | None = None
    concurrency: int | Literal["auto"] | None = None
    max_cost: Decimal | None = None  # USD, on the job over its life
    max_cost_per_day: Decimal | None = None  # USD, by this ledger
    max_per_day: int | None = None  # calls to the API, by this ledger
    between: Hours | None = None

    def over(self, configured: Processing) -> Processing:
        """The configuration, with what was said in the place of what it says."""
        said = {KEYS.get(name, name): getattr(self, name) for name in self.__slots__}
        return configured.model_copy(update={key: value for key, value in said.items() if value is not None})

    def going_on(self, job_id: int) -> str:
        """The command that goes on with a job at this pace. `max_emails` is that of one run and left out."""
        said = {name: getattr(self, name) for name in self.__slots__ if name != "max_emails"}
        options = [f"--{name.replace('_', '-')} {_shown(value)}" for name, value in said.items() if value is not None]
        return " ".join([f"backfill run --job {job_id}", *options])


def _shown(value: object) -> str:
    """Without an exponent, and whole numbers without a point."""
    if isinstance(value, float):
        value = Decimal(str(int(value) if value.is_integer() else value))
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
