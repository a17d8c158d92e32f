"""Writes that take an item forward: `record` commits a verdict before any effect, `finish` commits the receipts.

The first verdict for a message, a fingerprint and a generation wins and is what every later one gets back. It is
accepted from whoever brings it, late or not, and its cost is booked in any case; only the holder of the claim
goes on to the effects.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, text

from backfill.clock import Clock, micros
from backfill.ledger.attempts import close_attempt
from backfill.ledger.database import Database
from backfill.ledger.outcomes import write_outcome
from backfill.ledger.rows import Item, Run
from backfill.ledger.schema import RECEIPT_CURRENT, receipt, verdict
from backfill.lifecycle import AttemptOutcome, ItemStatus, check_transition
from backfill.message import Message
from backfill.ports import Receipt, ReceiptState
from backfill.verdict import Answer, Label, Scores, Verdict

CLASSIFY = text(
    """UPDATE item SET status = 'classified', verdict_id = :verdict, message_key = :key, reused = :reused,
              flags_before = COALESCE(flags_before, :flags), reason = NULL, due_at = 0, begun = FALSE
        WHERE id = :item AND status = 'pending' RETURNING claimed_by, claim_no"""
)
FINISH = text(
    """UPDATE item SET status = 'done', final_at = :now, claimed_by = NULL, begun = FALSE, reason = NULL
        WHERE id = :item AND status = 'classified' AND claimed_by = :run AND claim_no = :claim_no"""
)
OURS = text(
    """SELECT verdict_id FROM item
        WHERE id = :item AND status = 'classified' AND claimed_by = :run AND claim_no = :claim_no"""
)
HELD = text("SELECT status FROM item WHERE id = :item AND claimed_by = :run AND claim_no = :claim_no")
JOB_IDENTITY = text("SELECT fingerprint, generation FROM job WHERE id = :job")
# Built once: putting a statement together takes ten times as long as executing it.
KEEP_MESSAGE = text(
    """INSERT INTO message (message_key, sent_at, received_at, from_addr, list_id, size)
       VALUES (:message_key, :sent_at, :received_at, :from_addr, :list_id, :size) ON CONFLICT DO NOTHING"""
)
KEEP_VERDICT = text(
    """INSERT INTO verdict (message_key, fingerprint, generation, importance, spam, source, model, explanation,
                            truncated, created_at)
       VALUES (:message_key, :fingerprint, :generation, :importance, :spam, :source, :model, :explanation,
               :truncated, :created_at) ON CONFLICT DO NOTHING RETURNING id"""
)
FIND_VERDICT = select(verdict).where(
    verdict.c.message_key == bindparam("message_key"),
    verdict.c.fingerprint == bindparam("fingerprint"),
    verdict.c.generation == bindparam("generation"),
)
RECEIPTS = text(
    f"SELECT effect, verdict_id FROM receipt WHERE mailbox_id = :mailbox AND uid = :uid AND {RECEIPT_CURRENT}"
)
KEEP_RECEIPT = text(
    """INSERT INTO receipt (mailbox_id, uid, effect, verdict_id, state, detail, applied_at)
       VALUES (:mailbox, :uid, :effect, :verdict, :state, :detail, :now)
       ON CONFLICT (mailbox_id, uid, effect) DO UPDATE
          SET verdict_id = excluded.verdict_id, state = excluded.state, detail = excluded.detail,
              applied_at = excluded.applied_at, stale = FALSE, undone_at = NULL"""
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict to be recorded: asked (`answer`, with its attempt when metered) or known already (`known`)."""

    item: Item
    message: Message
    answer: Answer | None = None
    known: Verdict | None = None
    attempt_id: int | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What `record` found: the verdict that counts, whether the claim still holds, receipts there are already."""

    verdict: Verdict
    is_ours: bool
    is_reused: bool = False  # the verdict was there before this one came
    receipts: dict[str, int] = field(default_factory=dict)  # effect → number of the verdict it was made from


@dataclass(frozen=True, slots=True)
class Finished:
    """An item whose effects all have receipts; those of `receipts` are not in the ledger yet."""

    item: Item
    verdict: Verdict
    labels: tuple[Label, ...]
    receipts: tuple[Receipt, ...]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The verdict, message and receipt tables, and the two steps forward of an item."""

    database: Database
    clock: Clock

    def record(self, run: Run, judgements: Sequence[Judgement]) -> list[Recorded]:
        """PENDING → CLASSIFIED: commit verdicts before any effect, and close their attempts. Writes.

        The first verdict for a message, fingerprint and generation wins and is what every later one gets back;
        a late answer still books its cost.
        """
        now = micros(self.clock.now())

        def work(connection: Connection) -> list[Recorded]:
            identity = connection.execute(JOB_IDENTITY, {"job": run.job_id}).one()
            return [self._record(connection, run, identity, judgement, now) for judgement in judgements]

        return self.database.write(work)

    def _record(self, connection: Connection, run: Run, identity: Row[Any], judgement: Judgement, now: int) -> Recorded:
        held, mail = judgement.item, judgement.message
        key = mail.key
        found, is_first = judgement.known, judgement.known is None
        if judgement.answer is not None:
            found, is_first = self._first_verdict(connection, identity, judgement.answer, mail, now)
        if found is None:
            raise ValueError("a judgement needs an answer or a known verdict")
        if judgement.answer is not None and judgement.attempt_id is not None:
            won = AttemptOutcome.OK if is_first else AttemptOutcome.LATE
            close_attempt(connection, judgement.attempt_id, won, judgement.answer.usage, now)
        row = connection.execute(
            CLASSIFY,
            {
                "item": held.id,
                "verdict": found.id,
                "key": key,
                "reused": not is_first and judgement.attempt_id is None,
                "flags": json.dumps(sorted(mail.flags)),
            },
        ).one_or_none()
        is_ours = row is not None and row.claimed_by == run.id and row.claim_no == held.claim_no
        if row is None:
            # A late answer of an earlier claim came first: its verdict is the item's, the effects are still ours.
            claim = {"item": held.id, "run": run.id, "claim_no": held.claim_no}
            earlier = connection.execute(OURS, claim).scalar()
            if earlier is not None:
                is_ours, found = True, verdicts_by_id(connection, [earlier])[earlier]
        return Recorded(found, is_ours, not is_first, _receipts(connection, held))

    def _first_verdict(
        self, connection: Connection, identity: Row[Any], answer: Answer, mail: Message, now: int
    ) -> tuple[Verdict, bool]:
        question = {
            "message_key": mail.key,
            "fingerprint": identity.fingerprint,
            "generation": identity.generation,
        }
        facts = {
            "message_key": mail.key,
            "sent_at": None if mail.sent_at is None else micros(mail.sent_at),
            "received_at": None if mail.received_at is None else micros(mail.received_at),
            "from_addr": mail.content.sender[:320],
            "list_id": mail.content.list_id[:255],
            "size": mail.size,
        }
        connection.execute(KEEP_MESSAGE, facts)
        row = {
            **question,
            "importance": answer.scores.importance,
            "spam": answer.scores.spam,
            "source": answer.source,
            "model": answer.model,
            "explanation": answer.explanation,
            "truncated": mail.content.truncated or answer.truncated,
            "created_at": now,
        }
        number = connection.execute(KEEP_VERDICT, row).scalar_one_or_none()
        if number is None:
            return _verdict(connection.execute(FIND_VERDICT, question).one()), False
        first = Verdict(
            id=number,
            message_key=mail.key,
            scores=answer.scores,
            source=answer.source,
            model=answer.model,
            explanation=answer.explanation,
            truncated=mail.content.truncated,
        )
        return first, True

    def known(self, fingerprint: str, generation: int, keys: Iterable[str]) -> dict[str, Verdict]:
        """The verdicts there are for these message keys, of this generation or a later one."""
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

    def receipts(self, items: Sequence[Item]) -> dict[int, dict[str, int]]:
        """Item number → effect → number of the verdict that the receipt was made from."""
        return self.database.read(lambda connection: {held.id: _receipts(connection, held) for held in items})

    def standing(self, held: Item, effect: str) -> dict[str, Any] | None:
        """The detail of the receipt that an earlier verdict left for this mail; None when nothing was applied."""
        statement = select(receipt.c.detail).where(
            receipt.c.mailbox_id == held.mailbox_id,
            receipt.c.uid == held.ref.uid,
            receipt.c.effect == effect,
            receipt.c.state == ReceiptState.APPLIED,
            receipt.c.undone_at.is_(None),
        )
        detail = self.database.read(lambda connection: connection.execute(statement).scalar_one_or_none())
        return None if detail is None else dict(json.loads(detail))

    def finish(self, run: Run, finished: Sequence[Finished]) -> list[bool]:
        """CLASSIFIED → DONE with the receipts, and the outcome row; False where the claim was lost. Writes.

        Receipts are recorded in any case: they say what has happened in the world.
        """
        now = micros(self.clock.now())

        def work(connection: Connection) -> list[bool]:
            answers = []
            for done in finished:
                self._keep_receipts(connection, done.item.mailbox_id, done.verdict, done.receipts, now)
                held = {"item": done.item.id, "run": run.id, "claim_no": done.item.claim_no, "now": now}
                is_ours = connection.execute(FINISH, held).rowcount == 1
                if not is_ours:
                    refuse_illegal(connection, held, ItemStatus.DONE)
                else:
                    write_outcome(
                        connection, run, done.item.id, ItemStatus.DONE, done.verdict.id, None, done.labels, now
                    )
                answers.append(is_ours)
            return answers

        return self.database.write(work)

    def keep_receipts(self, held: Item, found: Verdict, receipts: Sequence[Receipt]) -> None:
        """Record receipts of an item that is not finished yet. Writes."""
        now = micros(self.clock.now())
        self.database.write(lambda connection: self._keep_receipts(connection, held.mailbox_id, found, receipts, now))

    def _keep_receipts(
        self, connection: Connection, mailbox_id: int, found: Verdict, receipts: Sequence[Receipt], now: int
    ) -> None:
        rows = [
            {
                "mailbox": mailbox_id,
                "uid": given.ref.uid,
                "effect": given.effect,
                "verdict": found.id,
                "state": given.state,
                "detail": json.dumps(given.detail, sort_keys=True),
                "now": now,
            }
            for given in receipts
        ]
        if rows:
            connection.execute(KEEP_RECEIPT, rows)


def refuse_illegal(connection: Connection, claim: dict[str, Any], after: ItemStatus) -> None:
    """Tell a lost claim, which is life, from a step that the state machine does not know, which is a bug.

    Raises `IllegalTransition` when the claim is still held, so that only the status can have been in the way.
    """
    status = connection.execute(HELD, {name: claim[name] for name in ("item", "run", "claim_no")}).scalar()
    if status is not None:
        check_transition(ItemStatus(status), after)


def _receipts(connection: Connection, held: Item) -> dict[str, int]:
    rows = connection.execute(RECEIPTS, {"mailbox": held.mailbox_id, "uid": held.ref.uid})
    return {row.effect: row.verdict_id for row in rows}


def verdicts_by_id(connection: Connection, ids: Sequence[int]) -> dict[int, Verdict]:
    """The verdicts of these numbers."""
    if not ids:
        return {}
    return {row.id: _verdict(row) for row in connection.execute(select(verdict).where(verdict.c.id.in_(ids)))}


def _verdict(row: Row[Any]) -> Verdict:
    return Verdict(
        id=row.id,
        message_key=row.message_key,
        scores=Scores(row.importance, row.spam),
        source=row.source,
        model=row.model,
        explanation=row.explanation,
        truncated=row.truncated,
    )
