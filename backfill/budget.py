"""What a call may cost, and whether there is money for it.

The estimate is an upper one: a token for every character of the question, and as many as are allowed for the
answer. So a budget is not exceeded; when it is nearly used up, it may be said to be used up a call too early.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from backfill.clock import Clock
from backfill.ledger import Ledger
from backfill.ledger.budgets import Purse, Reservation, nano
from backfill.ports import ROOMIER, Price

# Estimates of tokens are made as characters / 4, which suits English; no tokeniser makes more than one of a character
# on the average of a whole mail.
CHARS_PER_TOKEN = 4


@dataclass(slots=True)
class Budget:
    """The limits of a run, in USD; None: no limit. Thread-safe: the ledger decides."""

    ledger: Ledger
    clock: Clock
    job_id: int
    price: Price
    max_answer_tokens: int
    max_cost: Decimal | None = None
    max_cost_per_day: Decimal | None = None
    _of_job: Purse | None = None
    _of_day: dict[int, Purse] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Writes: the job's purse holds from now on what its calls have cost so far."""
        if self.max_cost is not None:
            self._of_job = self.ledger.budgets.open(self.job_id, nano(self.max_cost))

    def reservation(self, estimated_tokens: int, *, is_roomier: bool = False) -> Reservation:
        """What a call with so many tokens (characters / 4) is to set aside."""
        answer = self.max_answer_tokens * (ROOMIER if is_roomier else 1)
        cost = self.price.cost(estimated_tokens * CHARS_PER_TOKEN, answer)
        purses = [self._of_job] if self._of_job is not None else []
        if self.max_cost_per_day is not None:
            purses.append(self._today(self.max_cost_per_day))
        return Reservation(nano(cost), tuple(purses))

    def _today(self, limit: Decimal) -> Purse:
        now = self.clock.now()
        day = now.toordinal()
        if day not in self._of_day:
            self._of_day = {day: self.ledger.budgets.open_day(now, nano(limit))}
        return self._of_day[day]
