"""What a call may cost, whether there is money for it, and whether it is one too many for its day.

The estimate is an upper one: a token for every character of the question, and as many as are allowed for the
answer. So a budget is not exceeded; when it is nearly used up, it may be said to be used up a call too early. The
number of a day's calls is kept exactly. Runs without a limit are not held to that of others; what they spend and
call beside them is taken from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

from backfill.clock import Clock
from backfill.ledger import Ledger
from backfill.ledger.budgets import Purse, Reservation, nano
from backfill.ports import ROOMIER, Price

# Estimates of tokens are made as characters / 4, which suits English; no tokeniser makes more than one of a character
# on the average of a whole mail.
CHARS_PER_TOKEN = 4


@dataclass(slots=True)
class DayLimit:
    """No call to an API beyond so many on a day (UTC), whoever made those through this ledger. Thread-safe.

    A gate of the executor's, which tells when to wait; that parallel calls do not overshoot is up to their
    reservations. Every attempt counts, for nobody knows which of those that failed the provider counts.
    """

    ledger: Ledger
    clock: Clock
    api: str  # its throttle's name
    most: int
    _purses: dict[int, Purse] = field(default_factory=dict)

    def today(self) -> Purse:
        """The purse of this day's calls. Writes when a day is new to this process."""
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
        now = self.clock.now()  # once, or at midnight a used-up day would last until the next one
        if not self.ledger.budgets.is_used_up(self._of_day(now)):
            return 0.0
        return (_midnight_after(now) - now).total_seconds()

    def reason(self) -> str:
        """Why no more calls are made, with the time of the next ones."""
        midnight = _midnight_after(self.clock.now())
        return f"today's {self.most:,} calls (max_per_day) are made; goes on at {midnight:%Y-%m-%d %H:%M} UTC"


@dataclass(slots=True)
class Budget:
    """The limits of a run; None: no limit. Thread-safe: the ledger decides."""

    ledger: Ledger
    clock: Clock
    job_id: int
    price: Price | None  # None where no money is limited
    max_answer_tokens: int
    max_cost: Decimal | None = None  # USD
    max_cost_per_day: Decimal | None = None  # USD
    calls: DayLimit | None = None
    _of_job: Purse | None = None
    _of_day: dict[int, Purse] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Writes: the job's purse holds from now on what its calls have cost so far."""
        if self.max_cost is not None:
            self._of_job = self.ledger.budgets.open(self.job_id, nano(self.max_cost))

    def reservation(self, estimated_tokens: int, *, is_roomier: bool = False) -> Reservation:
        """What a call with so many tokens (characters / 4) is to set aside."""
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
