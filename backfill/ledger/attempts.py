"""Writes about attempts: one row per call to a metered classifier, opened before the call is made.

Whatever happens, the rows say at least as many calls as were made. One that stays open when its run dies becomes
"unknown outcome": it may have cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from backfill.clock import Clock, micros
from backfill.errors import ClaimLost
from backfill.ledger.budgets import Reservation, nano, set_aside, settle
from backfill.ledger.database import Database
from backfill.ledger.rows import Item, Run
from backfill.lifecycle import AttemptOutcome
from backfill.verdict import Usage

# A call that is under way counts against its mail when the run dies; waiting for the next one does not.
BEGIN = text("UPDATE item SET begun = TRUE WHERE id = :item AND claimed_by = :run AND claim_no = :claim_no")
REST = text("UPDATE item SET begun = FALSE WHERE id = (SELECT item_id FROM attempt WHERE id = :attempt)")

OPEN = text(
    """INSERT INTO attempt (item_id, run_id, started_at, outcome, estimate_nano)
       SELECT id, :run, :now, 'open', :estimate FROM item
        WHERE id = :item AND claimed_by = :run AND claim_no = :claim_no
       RETURNING id"""
)
# A run that was taken for dead may still get its answer, which tells what the call cost after all.
CLOSE = text(
    """UPDATE attempt SET ended_at = :now, outcome = :outcome, http_status = :http_status, tokens_in = :tokens_in,
              tokens_out = :tokens_out, tokens_cached = :tokens_cached, cost_nano = :cost_nano,
              request_id = :request_id
        WHERE id = :attempt AND outcome IN ('open', 'unknown') RETURNING estimate_nano"""
)


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempt table."""

    database: Database
    clock: Clock

    def open(self, run: Run, item: Item, reservation: Reservation | None = None) -> int:
        """Note that a call is about to be made, and set aside what it may cost. Writes.

        Raises `ClaimLost` when the item is no longer this run's, `BudgetReached` when the money would not do.
        """
        parameters = {
            "run": run.id,
            "item": item.id,
            "claim_no": item.claim_no,
            "now": micros(self.clock.now()),
            "estimate": None if reservation is None else reservation.estimate_nano,
        }

        def work(connection: Connection) -> int | None:
            connection.execute(BEGIN, parameters)
            if reservation is not None:
                set_aside(connection, reservation)
            return connection.execute(OPEN, parameters).scalar_one_or_none()

        number = self.database.write(work)
        if number is None:
            raise ClaimLost
        return number

    def close(self, attempt_id: int, outcome: AttemptOutcome, usage: Usage) -> None:
        """Note what became of a call that brought no verdict; `record` closes the others. Writes."""
        now = micros(self.clock.now())

        def work(connection: Connection) -> None:
            if close_attempt(connection, attempt_id, outcome, usage, now):
                connection.execute(REST, {"attempt": attempt_id})

        self.database.write(work)


def close_attempt(connection: Connection, attempt_id: int, outcome: AttemptOutcome, usage: Usage, now: int) -> bool:
    """Close an attempt within the caller's transaction, and book what it really cost; False when it was closed."""
    parameters = closing(attempt_id, outcome, usage, now)
    row = connection.execute(CLOSE, parameters).one_or_none()
    if row is not None and row.estimate_nano is not None and parameters["cost_nano"] is not None:
        settle(connection, attempt_id, parameters["cost_nano"] - row.estimate_nano)
    return row is not None


def closing(attempt_id: int, outcome: AttemptOutcome, usage: Usage, now: int) -> dict[str, Any]:
    """The parameters of `CLOSE`."""
    return {
        "attempt": attempt_id,
        "outcome": outcome,
        "now": now,
        "http_status": usage.http_status,
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
        "tokens_cached": usage.tokens_cached,
        "cost_nano": None if usage.cost_usd is None else nano(usage.cost_usd),
        "request_id": usage.request_id,
    }
