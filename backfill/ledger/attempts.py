"""Writes about attempts: one row per call to a metered classifier, opened before the call is made.

Whatever happens, the rows say at least as many calls as were made. One that stays open when its run dies becomes
"unknown outcome": it may have cost. While a call is open no other run asks the same question.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, text

from backfill.clock import Clock, micros
from backfill.errors import AskedElsewhere, ClaimLost
from backfill.ledger.budgets import Reservation, nano, set_aside, settle
from backfill.ledger.database import Database
from backfill.ledger.rows import Item, Job, Run
from backfill.ledger.schema import ATTEMPT_OPEN
from backfill.lifecycle import AttemptOutcome
from backfill.verdict import Usage

# A call that is under way counts against its mail when the run dies; waiting for the next one does not.
BEGIN = text("UPDATE item SET begun = TRUE WHERE id = :item AND claimed_by = :run AND claim_no = :claim_no")
REST = text(
    """UPDATE item SET begun = FALSE WHERE id = (SELECT item_id FROM attempt WHERE id = :attempt)
        AND claimed_by = (SELECT run_id FROM attempt WHERE id = :attempt)"""
)

OPEN = text(
    f"""INSERT INTO attempt (item_id, run_id, started_at, outcome, estimate_nano, question)
        SELECT id, :run, :now, 'open', :estimate, :question FROM item
         WHERE id = :item AND claimed_by = :run AND claim_no = :claim_no
            ON CONFLICT (question) WHERE {ATTEMPT_OPEN} DO NOTHING
     RETURNING id"""
)
HELD = text("SELECT id FROM item WHERE id = :item AND claimed_by = :run AND claim_no = :claim_no")
KNOWN = text(
    """SELECT id FROM verdict
        WHERE message_key = :message_key AND fingerprint = :fingerprint AND generation >= :generation LIMIT 1"""
)
# A run that was taken for dead may still get its answer, which tells what the call cost after all.
CLOSE = text(
    """UPDATE attempt SET ended_at = :now, outcome = :outcome, http_status = :http_status, tokens_in = :tokens_in,
              tokens_out = :tokens_out, tokens_cached = :tokens_cached, cost_nano = :cost_nano,
              request_id = :request_id
        WHERE id = :attempt AND outcome IN ('open', 'unknown') RETURNING estimate_nano"""
)


@dataclass(frozen=True, slots=True)
class Question:
    """What a call asks. Mails that ask the same share the verdict."""

    message_key: str
    fingerprint: str
    generation: int

    @classmethod
    def about(cls, job: Job, message_key: str) -> Question:
        """What this job asks about a mail of this content."""
        return cls(message_key, job.fingerprint, job.generation)

    def digest(self) -> str:
        """32 hex digits, the same in every process."""
        return sha256(f"{self.message_key}\0{self.fingerprint}\0{self.generation}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempt table."""

    database: Database
    clock: Clock

    def open(
        self, run: Run, item: Item, reservation: Reservation | None = None, question: Question | None = None
    ) -> int:
        """Note that a call is about to be made, and set aside what it may cost. Writes.

        Raises `ClaimLost` when the item is no longer this run's, `BudgetReached` when the money would not do,
        `AskedElsewhere` when a call with the same question is open, or has been answered meanwhile.
        """
        parameters = {
            "run": run.id,
            "item": item.id,
            "claim_no": item.claim_no,
            "now": micros(self.clock.now()),
            "estimate": None if reservation is None else reservation.estimate_nano,
            "question": None if question is None else question.digest(),
        }

        def work(connection: Connection) -> int:
            connection.execute(BEGIN, parameters)
            if reservation is not None:
                set_aside(connection, reservation)
            number: int | None = connection.execute(OPEN, parameters).scalar_one_or_none()
            if number is None:
                held = connection.execute(HELD, parameters).scalar()
                raise ClaimLost if held is None else AskedElsewhere
            # After the insertion: it may have waited for the other run's commit, which brought the verdict.
            if question is not None and connection.execute(KNOWN, asdict(question)).scalar() is not None:
                raise AskedElsewhere
            return number

        return self.database.write(work)

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
