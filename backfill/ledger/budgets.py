"""Money: what may be spent, set aside before a call and settled after it, so that parallel calls cannot overshoot.

A purse is what has been spent on a job over its life, or by this ledger on a day (UTC). A call sets its estimate
aside in the transaction that opens its attempt, or is not made; the answer's real cost takes the estimate's place. A
call of unknown outcome or cost stays at its estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Final

from sqlalchemy import Connection, select, text, update

from backfill.clock import micros
from backfill.errors import BudgetReached
from backfill.ledger.database import Database
from backfill.ledger.rows import moment
from backfill.ledger.schema import purse as purse_table

NANO: Final = 1_000_000_000
DAY_US: Final = 86_400_000_000

SET_ASIDE = text(
    """UPDATE purse SET spent_nano = spent_nano + :estimate
        WHERE name = :name AND spent_nano + :estimate <= :limit"""
)
SPENT = text("SELECT spent_nano FROM purse WHERE name = :name")
# The attempt's own purses: those of its job and of the day on which it began.
SETTLE = text(
    """UPDATE purse SET spent_nano = spent_nano + :difference
        WHERE name IN (SELECT 'job:' || r.job_id FROM attempt a JOIN run r ON r.id = a.run_id WHERE a.id = :attempt)
           OR name = (SELECT 'day:' || (a.started_at / 86400000000) FROM attempt a WHERE a.id = :attempt)"""
)
COUNT_JOB = text(
    """SELECT SUM(COALESCE(a.cost_nano, a.estimate_nano)) FROM attempt a JOIN run r ON r.id = a.run_id
        WHERE r.job_id = :job"""
)
COUNT_DAY = text(
    "SELECT SUM(COALESCE(cost_nano, estimate_nano)) FROM attempt WHERE started_at >= :since AND started_at < :until"
)


@dataclass(frozen=True, slots=True)
class Purse:
    """A limit in nano-dollars under the name of what it limits."""

    name: str
    limit_nano: int
    what: str  # for people: "the job", "today"


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a call may cost at the most, and the purses that it comes from."""

    estimate_nano: int
    purses: tuple[Purse, ...]


@dataclass(frozen=True, slots=True)
class Budgets:
    """The purse table."""

    database: Database

    def open(self, job_id: int, limit_nano: int) -> Purse:
        """The purse of a job, holding what its attempts have cost so far. Writes."""
        purse = Purse(f"job:{job_id}", limit_nano, "for this job")
        self._fill(purse, lambda connection: connection.execute(COUNT_JOB, {"job": job_id}).scalar())
        return purse

    def open_day(self, now: datetime, limit_nano: int) -> Purse:
        """The purse of a day (UTC), holding what the day's attempts have cost so far. Writes."""
        day = micros(now) // DAY_US
        purse = Purse(f"day:{day}", limit_nano, f"for {moment(day * DAY_US):%Y-%m-%d} (UTC)")
        span = {"since": day * DAY_US, "until": (day + 1) * DAY_US}
        self._fill(purse, lambda connection: connection.execute(COUNT_DAY, span).scalar())
        return purse

    def _fill(self, purse: Purse, count: Callable[[Connection], int | None]) -> None:
        """Every call that was set aside is an attempt, so the attempts say what the purse holds, at any time."""

        def work(connection: Connection) -> None:
            this = purse_table.c.name == purse.name
            row = {"name": purse.name, "spent_nano": 0}
            connection.execute(self.database.insert(purse_table).on_conflict_do_nothing(), [row])
            # Whoever sets something aside waits for this lock, so that the count misses nobody's.
            connection.execute(select(purse_table.c.name).where(this).with_for_update()).one()
            spent = int(count(connection) or 0)
            connection.execute(update(purse_table).where(this).values(spent_nano=spent))

        self.database.write(work)


def set_aside(connection: Connection, reservation: Reservation) -> None:
    """Take the estimate from every purse, or raise `BudgetReached` with nothing taken (the caller rolls back)."""
    for purse in reservation.purses:
        parameters = {"name": purse.name, "estimate": reservation.estimate_nano, "limit": purse.limit_nano}
        if connection.execute(SET_ASIDE, parameters).rowcount == 0:
            spent = usd(connection.execute(SPENT, {"name": purse.name}).scalar_one()) or Decimal(0)
            raise BudgetReached(
                f"The budget of ${usd(purse.limit_nano):f} {purse.what} does not do for another call: ${spent:f} are "
                "spent or set aside. Nothing is lost; go on with a higher limit, or when it is renewed."
            )


def settle(connection: Connection, attempt_id: int, difference_nano: int) -> None:
    """Book the difference between what a call really cost and what was set aside."""
    connection.execute(SETTLE, {"attempt": attempt_id, "difference": difference_nano})


def nano(amount: Decimal) -> int:
    """Nano-dollars of dollars, rounded up: a cost is never made smaller."""
    return int((amount * NANO).to_integral_value(ROUND_CEILING))


def usd(amount_nano: int | None) -> Decimal | None:
    """Dollars of the ledger's nano-dollars."""
    return None if amount_nano is None else Decimal(amount_nano) / NANO
