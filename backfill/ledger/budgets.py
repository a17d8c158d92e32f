"""Limits on money and on calls. A call sets its part aside before it is made, so parallel calls cannot overshoot.

A purse counts one of three: the money spent on a job over its life, the money spent by this ledger on a day (UTC), or
the calls made to an API on a day. A call sets its estimate aside in the transaction that opens its attempt; if a purse
has too little, the call is not made. The real cost replaces the estimate. If the cost stays unknown, the estimate
stays. Runs without a limit count, too: their calls when they begin, their cost when it is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final

from sqlalchemy import Connection, Row, select, text, update

from backfill.clock import micros
from backfill.errors import BudgetReached, CallsUsedUp
from backfill.ledger.databases.database import Database
from backfill.ledger.parameters import RunParameters
from backfill.ledger.rows import moment
from backfill.ledger.schema import purse as purse_table

NANO: Final = 1_000_000_000
DAY_US: Final = 86_400_000_000

SET_ASIDE = text(
    """UPDATE purse SET spent = spent + :amount
        WHERE name = :name AND spent + :amount <= :limit"""
)
SPENT = text("SELECT spent FROM purse WHERE name = :name")
SETTLE = text("UPDATE purse SET spent = spent + :difference WHERE name = :name")
COUNT = "UPDATE purse SET spent = spent + :calls WHERE name = (SELECT {api} || :of_day FROM run WHERE id = :run)"
COUNT_ONE = text("UPDATE purse SET spent = spent + 1 WHERE name = :name")
API = {"sqlite": "json_extract(parameters, '$.api')", "postgresql": "CAST(parameters AS JSONB) ->> 'api'"}
COUNT_JOB = text(
    """SELECT SUM(COALESCE(a.cost_nano, a.estimate_nano)) FROM attempt a JOIN run r ON r.id = a.run_id
        WHERE r.job_id = :job"""
)
COUNT_DAY = text(
    "SELECT SUM(COALESCE(cost_nano, estimate_nano)) FROM attempt WHERE started_at >= :since AND started_at < :until"
)
COUNT_CALLS = text(
    """SELECT r.parameters, COUNT(*) FROM attempt a JOIN run r ON r.id = a.run_id
        WHERE a.started_at >= :since AND a.started_at < :until GROUP BY r.id, r.parameters"""
)
COUNT_CALLS_WITHOUT_RUN = text(
    "SELECT COUNT(*) FROM attempt WHERE started_at >= :since AND started_at < :until AND api = :api"
)


@dataclass(frozen=True, slots=True)
class Purse:
    """A limit, in nano-dollars, or in calls if `counts_calls`. `name` says what it limits."""

    name: str
    limit: int
    what: str  # for people: "for this job", "for 2024-05-03 (UTC)"
    counts_calls: bool = False
    day: int | None = None  # only calls of this day (days since 1970-01-01 UTC) take from it; None: calls of any day


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a call sets aside, and the purses that it takes it from."""

    estimate_nano: int | None  # the most that the call may cost; None: the cost has no limit
    purses: tuple[Purse, ...]

    @property
    def counts_the_call(self) -> bool:
        """Does setting this aside already count the call among the calls of its day?"""
        return any(purse.counts_calls for purse in self.purses)


@dataclass(frozen=True, slots=True)
class Budgets:
    """The purse table."""

    database: Database

    def open(self, job_id: int, limit_nano: int) -> Purse:
        """The purse of a job, filled with what its attempts have cost until now. Writes."""
        purse = Purse(_of_job(job_id), limit_nano, "for this job")
        self._fill(purse, lambda connection: connection.execute(COUNT_JOB, {"job": job_id}).scalar())
        return purse

    def open_day(self, now: datetime, limit_nano: int) -> Purse:
        """The purse of a day (UTC), filled with what the day's attempts have cost until now. Writes."""
        day = micros(now) // DAY_US
        purse = Purse(_of_day(day), limit_nano, f"for {_date(day)} (UTC)", day=day)
        self._fill(purse, lambda connection: connection.execute(COUNT_DAY, _span(day)).scalar())
        return purse

    def open_calls(self, now: datetime, api: str, limit: int) -> Purse:
        """The purse of the calls to an API on a day (UTC), filled with those that were made until now. Writes.

        These calls are the day's attempts of the runs that call this API, and its attempts that belong to no run.
        """
        day = micros(now) // DAY_US
        purse = Purse(calls_purse(api, day), limit, f"on {_date(day)} (UTC)", counts_calls=True, day=day)

        def count(connection: Connection) -> int:
            by_run = connection.execute(COUNT_CALLS, _span(day))
            of_runs = sum(int(calls) for parameters, calls in by_run if RunParameters.from_json(parameters).api == api)
            others = connection.execute(COUNT_CALLS_WITHOUT_RUN, {**_span(day), "api": api}).scalar_one()
            return of_runs + int(others)

        self._fill(purse, count)
        return purse

    def is_used_up(self, purse: Purse) -> bool:
        """Is the limit reached?"""
        name = {"name": purse.name}
        spent: int = self.database.read(lambda connection: connection.execute(SPENT, name).scalar_one())
        return spent >= purse.limit

    def _fill(self, purse: Purse, count: Callable[[Connection], int | None]) -> None:
        """Fill a purse from the attempts. Every call that set something aside has an attempt, so they add up to it."""

        def work(connection: Connection) -> None:
            this = purse_table.c.name == purse.name
            row = {"name": purse.name, "spent": 0}
            connection.execute(self.database.insert(purse_table).on_conflict_do_nothing(), [row])
            # While this lock is held, no call can set anything aside, so the count is complete.
            connection.execute(select(purse_table.c.name).where(this).with_for_update()).one()
            connection.execute(update(purse_table).where(this).values(spent=int(count(connection) or 0)))

        self.database.write(work)


def taken_for_job(connection: Connection, job_id: int) -> Decimal | None:
    """The USD spent on a job or set aside for it. None: its cost was never limited."""
    taken = connection.execute(SPENT, {"name": _of_job(job_id)}).scalar()
    return usd(None if taken is None else int(taken))


def calls_purse(api: str, day: int) -> str:
    """The name of the purse of a day's calls to an API."""
    return f"{api}:day:{day}"


def set_aside(connection: Connection, reservation: Reservation, now_us: int) -> None:
    """Take a call's estimate from every purse of its reservation. When this raises, the caller must roll back.

    Raises `CallsUsedUp` if the day's calls are used up, or if a purse is for another day than today: then the call
    needs a new reservation. Raises `BudgetReached` if a budget is too small for the call.
    """
    for purse in sorted(reservation.purses, key=_place):
        if purse.day not in (None, now_us // DAY_US):
            raise CallsUsedUp("The call was reserved for a day that is over; it needs a new reservation.")
        amount = 1 if purse.counts_calls else reservation.estimate_nano
        parameters = {"name": purse.name, "amount": amount, "limit": purse.limit}
        if connection.execute(SET_ASIDE, parameters).rowcount:
            continue
        if purse.counts_calls:
            raise CallsUsedUp(f"The {purse.limit} calls {purse.what} are made.")
        spent = usd(connection.execute(SPENT, {"name": purse.name}).scalar_one()) or Decimal(0)
        raise BudgetReached(
            f"The budget of ${usd(purse.limit):f} {purse.what} is too small for another call: ${spent:f} are "
            "spent or set aside. Go on with a higher limit, or when the budget is renewed."
        )


def settle(connection: Connection, closed: Iterable[Row[Any]]) -> None:
    """Book the real cost of calls: the difference from what they set aside, or all of it if they set nothing aside.

    `closed`: attempts with their `job_id`; None: the attempt belongs to no run. It is booked in the purse of the job
    and in that of the day on which the call began.
    """
    differences: Counter[str] = Counter()
    for row in closed:
        if row.cost_nano is not None:
            difference = row.cost_nano - (row.estimate_nano or 0)
            differences[_of_day(row.started_at // DAY_US)] += difference
            if row.job_id is not None:
                differences[_of_job(row.job_id)] += difference
    if differences:
        # Sorted by name, as in `set_aside`: transactions that lock in the same order cannot deadlock.
        rows = [{"name": name, "difference": each} for name, each in sorted(differences.items())]
        connection.execute(SETTLE, rows)


def count_calls(connection: Connection, run_id: int, calls: int, now_us: int) -> None:
    """Count calls of a run that begin now, if there is a purse for today's calls to their API.

    Call it after all `set_aside` of the transaction: purses of money are locked before purses of calls.
    """
    if calls:
        parameters = {"run": run_id, "calls": calls, "of_day": calls_purse("", now_us // DAY_US)}
        connection.execute(text(COUNT.format(api=API[connection.dialect.name])), parameters)


def count_call(connection: Connection, api: str, now_us: int) -> None:
    """Count a call that belongs to no run and begins now, if there is a purse for today's calls to its API."""
    connection.execute(COUNT_ONE, {"name": calls_purse(api, now_us // DAY_US)})


def nano(amount: Decimal) -> int:
    """Nano-dollars (10^-9 USD), rounded up, so a cost never becomes smaller."""
    return int((amount * NANO).to_integral_value(ROUND_CEILING))


def usd(amount_nano: int | None) -> Decimal | None:
    """USD from the ledger's nano-dollars."""
    return None if amount_nano is None else Decimal(amount_nano) / NANO


def _of_job(job_id: int) -> str:
    return f"job:{job_id}"


def _of_day(day: int) -> str:
    return f"day:{day}"


def _place(purse: Purse) -> tuple[bool, str]:
    """The order in which every transaction takes from purses: money by name, then calls."""
    return purse.counts_calls, purse.name


def _span(day: int) -> dict[str, int]:
    return {"since": day * DAY_US, "until": (day + 1) * DAY_US}


def _date(day: int) -> str:
    return f"{moment(day * DAY_US):%Y-%m-%d}"
