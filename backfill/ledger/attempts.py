"""Writes about attempts: one row per call to a metered classifier, opened before the call is made.

So there is a row for every call, also after a crash. If a run dies, its open attempts become "unknown outcome": those
calls may have cost. While a call is open, no other run asks the same question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, text

from backfill.clock import Clock, micros
from backfill.errors import AskedElsewhere, BackfillError, ClaimLost
from backfill.ledger.budgets import Reservation, count_call, count_calls, nano, set_aside, settle
from backfill.ledger.databases.bulk import RowStatement, in_order
from backfill.ledger.databases.database import Database
from backfill.ledger.rows import Item, Job, Run
from backfill.ledger.schema import ATTEMPT_OPEN
from backfill.lifecycle import AttemptOutcome
from backfill.verdict import Usage

# If a run dies during a call, the mail counts a loss. Waiting for a call does not count.
BEGIN = RowStatement(
    """UPDATE item SET begun = TRUE FROM {rows}
        WHERE item.id = given.item AND +item.claimed_by = :run AND item.claim_no = given.claim_no
    RETURNING item.id, item.claim_no""",
    item="BIGINT",
    claim_no="INTEGER",
)
REST = text(
    """UPDATE item SET begun = FALSE WHERE id = (SELECT item_id FROM attempt WHERE id = :attempt)
        AND claimed_by = (SELECT run_id FROM attempt WHERE id = :attempt)"""
)

# Do not wait for a question that another run has open: that run may wait for one that this transaction closes.
OPEN = RowStatement(
    f"""INSERT INTO attempt (item_id, run_id, started_at, outcome, estimate_nano, question)
        SELECT item, :run, :now, 'open', estimate, question FROM {{rows}}
         WHERE NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.question = given.question AND {ATTEMPT_OPEN})
         ORDER BY question
            ON CONFLICT (question) WHERE {ATTEMPT_OPEN} DO NOTHING
     RETURNING id, item_id""",
    item="BIGINT",
    estimate="BIGINT",
    question="TEXT",
)
KNOWN = RowStatement(
    """SELECT given.question FROM {rows} WHERE EXISTS (SELECT 1 FROM verdict
        WHERE verdict.message_key = given.message_key AND verdict.fingerprint = given.fingerprint
          AND verdict.generation >= given.generation)""",
    question="TEXT",
    message_key="TEXT",
    fingerprint="TEXT",
    generation="INTEGER",
)
# For a call that is not made: undo its opening within the same transaction.
WITHDRAW = text("DELETE FROM attempt WHERE id = :attempt AND item_id = :item")
UNBEGIN = text("UPDATE item SET begun = FALSE WHERE id = :item")
# 'unknown' too: a living run that was taken for dead still gets its answer, with the cost of the call.
CLOSE = RowStatement(
    """UPDATE attempt SET ended_at = :now, outcome = given.outcome, http_status = given.http_status,
              tokens_in = given.tokens_in, tokens_out = given.tokens_out, tokens_cached = given.tokens_cached,
              cost_nano = given.cost_nano, request_id = given.request_id
         FROM {rows} WHERE attempt.id = given.attempt AND attempt.outcome IN ('open', 'unknown')
    RETURNING attempt.estimate_nano, attempt.cost_nano, attempt.started_at,
              (SELECT job_id FROM run WHERE run.id = attempt.run_id) AS job_id""",
    attempt="BIGINT",
    outcome="TEXT",
    http_status="INTEGER",
    tokens_in="INTEGER",
    tokens_out="INTEGER",
    tokens_cached="INTEGER",
    cost_nano="BIGINT",
    request_id="TEXT",
)
# No run's end would close it, so its outcome is unknown until it is closed. No other call waits for its answer.
OPEN_WITHOUT_RUN = text(
    """INSERT INTO attempt (api, started_at, outcome, estimate_nano)
       VALUES (:api, :now, 'unknown', :estimate) RETURNING id"""
)

LATEST = text(
    """SELECT a.id FROM attempt a JOIN run r ON r.id = a.run_id
        WHERE r.job_id = :job ORDER BY a.id DESC LIMIT 1"""
)


@dataclass(frozen=True, slots=True)
class Question:
    """What a call asks. Mails with the same question share one verdict."""

    message_key: str
    fingerprint: str
    generation: int

    @classmethod
    def about(cls, job: Job, message_key: str) -> Question:
        """The question that this job asks about a mail with this content."""
        return cls(message_key, job.fingerprint, job.generation)

    def digest(self) -> str:
        """32 hex digits, the same in every process."""
        return sha256(f"{self.message_key}\0{self.fingerprint}\0{self.generation}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is about to be made, and what it sets aside."""

    item: Item
    reservation: Reservation | None = None
    question: Question | None = None

    @property
    def counts_itself(self) -> bool:
        """Does its reservation already count it among the calls of the day?"""
        return self.reservation is not None and self.reservation.counts_the_call

    @property
    def row(self) -> dict[str, Any]:
        asked = self.question
        return {
            "item": self.item.id,
            "claim_no": self.item.claim_no,
            "estimate": None if self.reservation is None else self.reservation.estimate_nano,
            "question": None if asked is None else asked.digest(),
            "message_key": None if asked is None else asked.message_key,
            "fingerprint": None if asked is None else asked.fingerprint,
            "generation": None if asked is None else asked.generation,
        }


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempt table."""

    database: Database
    clock: Clock

    def latest(self, job_id: int) -> int | None:
        """The newest call of a job; None when none was made."""
        return self.database.read(lambda connection: connection.execute(LATEST, {"job": job_id}).scalar())

    def open_without_run(self, api: str, reservation: Reservation | None) -> int:
        """Open the attempt of a call that belongs to no run; returns its number. `api`: the name of its throttle.

        Writes. The call counts for the day's calls to this API and for the day's cost, but for no job. Raises
        `BudgetReached` or `CallsUsedUp` as `set_aside` does: then the call must not be made.
        """
        now = micros(self.clock.now())
        estimate = None if reservation is None else reservation.estimate_nano

        def work(connection: Connection) -> int:
            if reservation is not None:
                set_aside(connection, reservation, now)
            opened = connection.execute(OPEN_WITHOUT_RUN, {"api": api, "now": now, "estimate": estimate})
            number = int(opened.scalar_one())
            if reservation is None or not reservation.counts_the_call:
                count_call(connection, api, now)
            return number

        return self.database.write(work)

    def close(self, attempt_id: int, outcome: AttemptOutcome, usage: Usage) -> None:
        """Record the outcome of a call that brought no verdict; `Results.commit` closes the others. Writes."""
        now = micros(self.clock.now())

        def work(connection: Connection) -> None:
            if close_attempts(connection, [closing(attempt_id, outcome, usage)], now):
                connection.execute(REST, {"attempt": attempt_id})

        self.database.write(work)


def open_attempts(connection: Connection, run: Run, calls: Sequence[Call], now: int) -> list[int | BackfillError]:
    """Open the attempts of calls that are about to be made, within the caller's transaction.

    Returns for each call the number of its attempt, or an error: then the call must not be made. `ClaimLost`: the item
    is no longer this run's. `BudgetReached`: the budget is too small for it. `CallsUsedUp`: the day's calls are used
    up, or the reservation is for another day. `AskedElsewhere`: another call has the same question open, or has
    answered it meanwhile.
    """
    together = [call for call in calls if call.reservation is None]
    opened = iter(_open_all(connection, run, together, now))
    answers = [next(opened) if call.reservation is None else _afford(connection, run, call, now) for call in calls]
    made = zip(calls, answers, strict=True)
    count_calls(
        connection, run.id, sum(isinstance(answer, int) and not call.counts_itself for call, answer in made), now
    )
    return answers


def _afford(connection: Connection, run: Run, call: Call, now: int) -> int | BackfillError:
    assert call.reservation is not None
    savepoint = connection.begin_nested()
    try:
        set_aside(connection, call.reservation, now)
    except BackfillError as error:  # the budget, or the day's calls
        savepoint.rollback()
        return error
    [answer] = _open_all(connection, run, [call], now)
    if isinstance(answer, BackfillError):
        savepoint.rollback()
    else:
        savepoint.commit()
    return answer


def _open_all(connection: Connection, run: Run, calls: Sequence[Call], now: int) -> list[int | BackfillError]:
    if not calls:
        return []
    rows = [call.row for call in calls]
    by_item = {(row["item"], row["claim_no"]): row for row in rows}
    held = {(row.id, row.claim_no) for row in BEGIN.execute(connection, in_order(by_item), run=run.id)}
    begun = [row for row in rows if (row["item"], row["claim_no"]) in held]
    numbers = {row.item_id: row.id for row in OPEN.execute(connection, begun, run=run.id, now=now)}
    # Ask after the INSERT: it may have waited for another run's commit, and that commit may hold the verdict.
    known = set(KNOWN.execute(connection, [row for row in begun if row["question"] is not None]).scalars())
    answers: list[int | BackfillError] = []
    for row in rows:
        number = numbers.get(row["item"])
        if (row["item"], row["claim_no"]) not in held:
            answers.append(ClaimLost())
        elif number is None or row["question"] in known:
            connection.execute(WITHDRAW, {"attempt": number, "item": row["item"]})
            connection.execute(UNBEGIN, {"item": row["item"]})
            answers.append(AskedElsewhere())
        else:
            answers.append(number)
    return answers


def close_attempts(connection: Connection, closings: Sequence[dict[str, Any]], now: int) -> int:
    """Close attempts within the caller's transaction, and book their real cost. Returns how many it has closed."""
    closed = CLOSE.execute(connection, closings, now=now).all() if closings else []
    settle(connection, closed)
    return len(closed)


def closing(attempt_id: int, outcome: AttemptOutcome, usage: Usage) -> dict[str, Any]:
    """The row that `close_attempts` needs for one attempt."""
    return {
        "attempt": attempt_id,
        "outcome": outcome,
        "http_status": usage.http_status,
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
        "tokens_cached": usage.tokens_cached,
        "cost_nano": None if usage.cost_usd is None else nano(usage.cost_usd),
        "request_id": usage.request_id,
    }
