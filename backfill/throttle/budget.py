"""What a call may cost, and whether the budget and the day's number of calls allow it.

The estimate of a call is its upper bound: one token for every character of the question, and all the tokens that the
answer may have. So a budget is never exceeded, but it may refuse a last call that it could pay. The number of calls a
day is exact. A limit binds only the runs that have it, but the calls and the cost of other runs count against it, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

from backfill.clock import Clock
from backfill.ledger import Ledger
from backfill.ledger.budgets import Purse, Reservation, nano
from backfill.ports import ROOMIER, Price

# Tokens are estimated as characters / 4, which fits English. No tokenizer makes more than one token of a character,
# averaged over a whole mail.
CHARS_PER_TOKEN = 4


@dataclass(slots=True)
class DayLimit:
    """At most `most` calls to an API on one day (UTC), by all runs of this ledger. Thread-safe.

    This is a gate of the executor: it says how long to wait. It does not keep parallel calls from overshooting; their
    reservations do. Every attempt counts, also a failed one: the provider may count it.
    """

    ledger: Ledger
    clock: Clock
    api: str  # its throttle's name
    most: int
    _purses: dict[int, Purse] = field(default_factory=dict)

    def today(self) -> Purse:
        """The purse of today's calls (UTC). Writes at this process's first call of a day."""
        return self._of_day(self.clock.now())

    def _of_day(self, now: datetime) -> Purse:
        day = now.toordinal()
        purse = self._purses.get(day)
        if purse is None:
            purse = self.ledger.budgets.open_calls(now, self.api, self.most)
            self._purses = {day: purse}
        return purse

    def closed_for(self) -> float:
        """Seconds until the next day; 0.0 while there are calls left."""
        now = self.clock.now()  # read once: two readings around midnight would add a whole day to the wait
        if not self.ledger.budgets.is_used_up(self._of_day(now)):
            return 0.0
        return (_midnight_after(now) - now).total_seconds()

    def reason(self) -> str:
        """Why no more calls are made, and when calls go on."""
        midnight = _midnight_after(self.clock.now())
        return f"today's {self.most:,} calls (max_per_day) are made; goes on at {midnight:%Y-%m-%d %H:%M} UTC"


@dataclass(slots=True)
class Budget:
    """The limits of a run, or of a command without a run, on cost and calls. Thread-safe: the ledger decides."""

    ledger: Ledger
    clock: Clock
    job_id: int | None  # None: the calls belong to no job, and `max_cost` is None
    price: Price | None  # None: the cost has no limit
    max_answer_tokens: int
    max_cost: Decimal | None = None  # USD, for the job; None, here and below: no limit
    max_cost_per_day: Decimal | None = None  # USD
    calls: DayLimit | None = None
    _of_job: Purse | None = None
    _of_day: dict[int, Purse] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Writes: sets the job's purse to what the job's calls have cost until now."""
        if self.max_cost is not None and self.job_id is not None:
            self._of_job = self.ledger.budgets.open(self.job_id, nano(self.max_cost))

    def reservation(self, estimated_tokens: int, *, is_roomier: bool = False) -> Reservation:
        """What a call must set aside, and from which purses.

        `estimated_tokens`: the question's characters / 4. `is_roomier`: the answer may have `ROOMIER` times the usual
        tokens.
        """
        estimate = None
        if self.price is not None:
            answer = self.max_answer_tokens * (ROOMIER if is_roomier else 1)
            estimate = nano(self.price.cost(estimated_tokens * CHARS_PER_TOKEN, answer))
        purses = [] if self._of_job is None else [self._of_job]
        if self.max_cost_per_day is not None:
            purses.append(self._today(self.max_cost_per_day))
        if self.calls is not None:
            purses.append(self.calls.today())
        return Reservation(estimate, tuple(purses))

    def _today(self, limit: Decimal) -> Purse:
        now = self.clock.now()
        day = now.toordinal()
        if day not in self._of_day:
            self._of_day = {day: self.ledger.budgets.open_day(now, nano(limit))}
        return self._of_day[day]


def _midnight_after(now: datetime) -> datetime:
    return datetime.combine(now.date() + timedelta(days=1), time(), UTC)
