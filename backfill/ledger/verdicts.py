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

from sqlalchemy import Connection, Row, select, text

from backfill.clock import Clock, micros
from backfill.ledger.attempts import close_attempts, closing
from backfill.ledger.database import Database
from backfill.ledger.outcomes import write_outcomes
from backfill.ledger.receipts import current_receipts, keep_receipts
from backfill.ledger.rows import Item, Run
from backfill.ledger.rowset import RowStatement, in_order
from backfill.ledger.schema import receipt, verdict
from backfill.lifecycle import AttemptOutcome, ItemStatus, check_transition
from backfill.message import Message
from backfill.ports import Receipt, ReceiptState
from backfill.verdict import Answer, Label, Scores, Verdict

CLASSIFY = RowStatement(
    """UPDATE item SET status = 'classified', verdict_id = given.verdict, message_key = given.message_key,
              reused = given.reused, flags_before = COALESCE(item.flags_before, given.flags), reason = NULL,
              due_at = 0, begun = FALSE
         FROM {rows} WHERE item.id = given.item AND item.status = 'pending'
    RETURNING item.id, item.claimed_by, item.claim_no""",
    item="BIGINT",
    verdict="BIGINT",
    message_key="TEXT",
    reused="BOOLEAN",
    flags="TEXT",
)
# `+` keeps SQLite from looking through everything that the run holds for each mail.
FINISH = RowStatement(
    """UPDATE item SET status = 'done', final_at = :now, claimed_by = NULL, begun = FALSE, reason = NULL
         FROM {rows} WHERE item.id = given.item AND item.status = 'classified'
          AND +item.claimed_by = :run AND item.claim_no = given.claim_no
    RETURNING item.id, item.claim_no""",
    item="BIGINT",
    claim_no="INTEGER",
)
OURS = text(
    """SELECT verdict_id FROM item
        WHERE id = :item AND status = 'classified' AND claimed_by = :run AND claim_no = :claim_no"""
)
HELD = text("SELECT status FROM item WHERE id = :item AND claimed_by = :run AND claim_no = :claim_no")
JOB_IDENTITY = text("SELECT fingerprint, generation FROM job WHERE id = :job")
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
    """INSERT INTO verdict (message_key, fingerprint, generation, importance, spam, source, model, explanation,
                            truncated, created_at)
       SELECT message_key, :fingerprint, :generation, importance, spam, source, model, explanation, truncated, :now
         FROM {rows} WHERE TRUE ON CONFLICT DO NOTHING RETURNING id, message_key""",
    message_key="TEXT",
    importance="INTEGER",
    spam="INTEGER",
    source="TEXT",
    model="TEXT",
    explanation="TEXT",
    truncated="BOOLEAN",
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
            found = self._verdicts(connection, run, judgements, now)
            closings = map(_closing, judgements, found)
            close_attempts(connection, [each for each in closings if each is not None], now)
            rows = {
                each.item.id: {
                    "item": each.item.id,
                    "verdict": counted.verdict.id,
                    "message_key": each.message.key,
                    "reused": counted.is_reused and each.attempt_id is None,
                    "flags": json.dumps(sorted(each.message.flags)),
                }
                for each, counted in zip(judgements, found, strict=True)
            }
            classified = {row.id: row for row in CLASSIFY.execute(connection, in_order(rows))}
            current = current_receipts(connection, [each.item for each in judgements])
            return [
                self._held(connection, run, each.item, classified.get(each.item.id), counted, current[each.item.id])
                for each, counted in zip(judgements, found, strict=True)
            ]

        return self.database.write(work)

    def _verdicts(self, connection: Connection, run: Run, judgements: Sequence[Judgement], now: int) -> list[Recorded]:
        """For each judgement the verdict that counts, kept if it is the first."""
        answered: dict[str, Judgement] = {}
        for each in judgements:
            if each.answer is not None:
                answered.setdefault(each.message.key, each)
            elif each.known is None:
                raise ValueError("a judgement needs an answer or a known verdict")
        firsts = self._keep_firsts(connection, run, answered, now) if answered else {}
        found = []
        for each in judgements:
            verdict, is_first = firsts[each.message.key] if each.known is None else (each.known, False)
            is_reused = not (is_first and answered[each.message.key] is each)
            found.append(Recorded(verdict, is_ours=False, is_reused=is_reused))
        return found

    def _keep_firsts(
        self, connection: Connection, run: Run, answered: dict[str, Judgement], now: int
    ) -> dict[str, tuple[Verdict, bool]]:
        """Message key → the verdict that counts, and whether it was kept only now."""
        identity = connection.execute(JOB_IDENTITY, {"job": run.job_id}).one()
        KEEP_MESSAGES.execute(connection, in_order({key: _facts(each.message) for key, each in answered.items()}))
        rows = {key: _row(each) for key, each in answered.items()}
        kept = KEEP_VERDICTS.execute(connection, in_order(rows), now=now, **identity._mapping)
        numbers = {row.message_key: row.id for row in kept}
        firsts = {key: (_first(number, answered[key]), True) for key, number in numbers.items()}
        earlier = sorted(answered.keys() - numbers.keys())
        if earlier:
            statement = select(verdict).where(
                verdict.c.message_key.in_(earlier),
                verdict.c.fingerprint == identity.fingerprint,
                verdict.c.generation == identity.generation,
            )
            firsts.update({row.message_key: (_verdict(row), False) for row in connection.execute(statement)})
        return firsts

    def _held(
        self,
        connection: Connection,
        run: Run,
        held: Item,
        row: Row[Any] | None,
        counted: Recorded,
        receipts: dict[str, int],
    ) -> Recorded:
        """Is the item that was classified still this run's?"""
        is_ours = row is not None and row.claimed_by == run.id and row.claim_no == held.claim_no
        found = counted.verdict
        if row is None:
            # A late answer of an earlier claim came first: its verdict is the item's, the effects are still ours.
            claim = {"item": held.id, "run": run.id, "claim_no": held.claim_no}
            earlier = connection.execute(OURS, claim).scalar()
            if earlier is not None:
                is_ours, found = True, verdicts_by_id(connection, [earlier])[earlier]
        return Recorded(found, is_ours, counted.is_reused, receipts)

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
        return self.database.read(lambda connection: current_receipts(connection, items))

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
            keep_receipts(connection, [(each.item, each.verdict, each.receipts) for each in finished], now)
            rows = [{"item": each.item.id, "claim_no": each.item.claim_no} for each in finished]
            ended = {(row.id, row.claim_no) for row in FINISH.execute(connection, rows, run=run.id, now=now)}
            ours = [(each.item.id, each.item.claim_no) in ended for each in finished]
            done = [each for each, is_ours in zip(finished, ours, strict=True) if is_ours]
            for each, is_ours in zip(finished, ours, strict=True):
                if not is_ours:
                    claim = {"item": each.item.id, "run": run.id, "claim_no": each.item.claim_no}
                    refuse_illegal(connection, claim, ItemStatus.DONE)
            write_outcomes(
                connection,
                run,
                ItemStatus.DONE,
                [(each.item.id, each.verdict.id, None, each.labels) for each in done],
                now,
            )
            return ours

        return self.database.write(work)

    def keep_receipts(self, held: Item, found: Verdict, receipts: Sequence[Receipt]) -> None:
        """Record receipts of an item that is not finished yet. Writes."""
        now = micros(self.clock.now())
        self.database.write(lambda connection: keep_receipts(connection, [(held, found, receipts)], now))


def _closing(judgement: Judgement, found: Recorded) -> dict[str, Any] | None:
    if judgement.answer is None or judgement.attempt_id is None:
        return None
    outcome = AttemptOutcome.LATE if found.is_reused else AttemptOutcome.OK
    return closing(judgement.attempt_id, outcome, judgement.answer.usage)


def _facts(mail: Message) -> dict[str, Any]:
    return {
        "message_key": mail.key,
        "sent_at": None if mail.sent_at is None else micros(mail.sent_at),
        "received_at": None if mail.received_at is None else micros(mail.received_at),
        "from_addr": mail.content.sender[:320],
        "list_id": mail.content.list_id[:255],
        "size": mail.size,
    }


def _row(judgement: Judgement) -> dict[str, Any]:
    mail, answer = judgement.message, judgement.answer
    assert answer is not None
    return {
        "message_key": mail.key,
        "importance": answer.scores.importance,
        "spam": answer.scores.spam,
        "source": answer.source,
        "model": answer.model,
        "explanation": answer.explanation,
        "truncated": mail.content.truncated or answer.truncated,
    }


def _first(number: int, judgement: Judgement) -> Verdict:
    mail, answer = judgement.message, judgement.answer
    assert answer is not None
    truncated = mail.content.truncated or answer.truncated
    return Verdict(number, mail.key, answer.scores, answer.source, answer.model, answer.explanation, truncated)


def refuse_illegal(connection: Connection, claim: dict[str, Any], after: ItemStatus) -> None:
    """Tell a lost claim, which is life, from a step that the state machine does not know, which is a bug.

    Raises `IllegalTransition` when the claim is still held, so that only the status can have been in the way.
    """
    status = connection.execute(HELD, {name: claim[name] for name in ("item", "run", "claim_no")}).scalar()
    if status is not None:
        check_transition(ItemStatus(status), after)


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
