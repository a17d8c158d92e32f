"""The verdict table: known verdicts, and how a new one is stored.

The first verdict for a message, a fingerprint and a generation counts, also if its run no longer holds the claim. Every
later answer gets that verdict back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, text

from backfill.clock import Clock, micros
from backfill.ledger.databases.bulk import RowStatement, in_order
from backfill.ledger.databases.database import Database
from backfill.ledger.rows import Item
from backfill.ledger.schema import job, verdict
from backfill.lifecycle import ItemStatus, check_transition
from backfill.message import Message
from backfill.verdict import Answer, Scores, Verdict

HELD = text("SELECT status FROM item WHERE id = :item AND claimed_by = :run AND claim_no = :claim_no")
KEEP_MESSAGES = RowStatement(
    """INSERT INTO message (message_key, sent_at, received_at, from_addr, list_id, size)
       SELECT message_key, sent_at, received_at, from_addr, list_id, size FROM {rows} WHERE TRUE
           ON CONFLICT DO NOTHING""",
    message_key="TEXT",
    sent_at="BIGINT",
    received_at="BIGINT",
    from_addr="TEXT",
    list_id="TEXT",
    size="BIGINT",
)
KEEP_VERDICTS = RowStatement(
    """INSERT INTO verdict (message_key, fingerprint, generation, scores, category, reason, source, model,
                            explanation, truncated, created_at)
       SELECT message_key, job.fingerprint, job.generation, scores, category, reason, source, model,
              explanation, truncated, :now
         FROM {rows}, job WHERE job.id = :job ON CONFLICT DO NOTHING RETURNING id, message_key""",
    message_key="TEXT",
    scores="TEXT",
    category="TEXT",
    reason="TEXT",
    source="TEXT",
    model="TEXT",
    explanation="TEXT",
    truncated="BOOLEAN",
)


@dataclass(frozen=True, slots=True)
class Answered:
    """A mail with the classifier's answer, to be recorded. `attempt_id` None: the answer took no metered call."""

    item: Item
    message: Message
    answer: Answer
    attempt_id: int | None = None


@dataclass(frozen=True, slots=True)
class Reused:
    """A mail whose verdict is already in the ledger, to be recorded."""

    item: Item
    message: Message
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The verdict table."""

    database: Database
    clock: Clock

    def known(self, fingerprint: str, generation: int, keys: Iterable[str]) -> dict[str, Verdict]:
        """The known verdicts for these message keys, by key, of this generation or a later one."""
        statement = (
            select(verdict)
            .where(
                verdict.c.message_key.in_(sorted(set(keys))),
                verdict.c.fingerprint == fingerprint,
                verdict.c.generation >= generation,
            )
            .order_by(verdict.c.generation)
        )
        return self.database.read(
            lambda connection: {row.message_key: _verdict(row) for row in connection.execute(statement)}
        )


def keep_firsts(
    connection: Connection, job_id: int, answered: dict[str, Answered], now: int
) -> dict[str, tuple[Verdict, bool]]:
    """Store the answers that are the first for their question.

    Returns for each message key the verdict that counts, and whether it was stored now.
    """
    KEEP_MESSAGES.execute(connection, in_order({key: _facts(each.message) for key, each in answered.items()}))
    rows = {key: _row(each) for key, each in answered.items()}
    kept = KEEP_VERDICTS.execute(connection, in_order(rows), now=now, job=job_id)
    numbers = {row.message_key: row.id for row in kept}
    firsts = {key: (_first(number, answered[key]), True) for key, number in numbers.items()}
    earlier = sorted(answered.keys() - numbers.keys())
    if earlier:
        statement = select(verdict).where(
            verdict.c.message_key.in_(earlier),
            verdict.c.fingerprint == job.c.fingerprint,
            verdict.c.generation == job.c.generation,
            job.c.id == job_id,
        )
        firsts.update({row.message_key: (_verdict(row), False) for row in connection.execute(statement)})
    return firsts


def _facts(mail: Message) -> dict[str, Any]:
    return {
        "message_key": mail.key,
        "sent_at": None if mail.sent_at is None else micros(mail.sent_at),
        "received_at": None if mail.received_at is None else micros(mail.received_at),
        "from_addr": mail.content.sender[:320],
        "list_id": mail.content.list_id[:255],
        "size": mail.size,
    }


def _row(answered: Answered) -> dict[str, Any]:
    mail, answer = answered.message, answered.answer
    return {
        "message_key": mail.key,
        "scores": json.dumps(dict(answer.scores), separators=(",", ":")),
        "category": answer.category,
        "reason": answer.reason,
        "source": answer.source,
        "model": answer.model,
        "explanation": answer.explanation,
        "truncated": mail.content.truncated or answer.truncated,
    }


def _first(number: int, answered: Answered) -> Verdict:
    mail, answer = answered.message, answered.answer
    truncated = mail.content.truncated or answer.truncated
    said = answer.scores, answer.source, answer.model, answer.explanation, truncated, answer.category, answer.reason
    return Verdict(number, mail.key, *said)


def refuse_illegal(connection: Connection, claim: dict[str, Any], after: ItemStatus) -> None:
    """After an update that found no row: tell a lost claim, which is normal, from an illegal step, which is a bug.

    If the claim is still held, only the status can be the cause: raises `IllegalTransition` if its edge is not allowed.
    """
    status = connection.execute(HELD, {name: claim[name] for name in ("item", "run", "claim_no")}).scalar()
    if status is not None:
        check_transition(ItemStatus(status), after)


def verdicts_by_id(connection: Connection, ids: Sequence[int]) -> dict[int, Verdict]:
    """The verdicts with these numbers, by number."""
    if not ids:
        return {}
    return {row.id: _verdict(row) for row in connection.execute(select(verdict).where(verdict.c.id.in_(ids)))}


def _verdict(row: Row[Any]) -> Verdict:
    return Verdict(
        id=row.id,
        message_key=row.message_key,
        scores=Scores(json.loads(row.scores)),
        source=row.source,
        model=row.model,
        explanation=row.explanation,
        truncated=row.truncated,
        category=row.category,
        reason=row.reason,
    )
