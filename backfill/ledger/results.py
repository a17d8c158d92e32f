"""The writes of a run's writer: in one transaction, all items that are ready go a step forward.

An item is DONE when its effects have receipts. An answer becomes a verdict before any effect of it. A call opens its
attempt before it is made, and after the earlier answers are saved. An item that needs no effect is DONE together with
its verdict. A late answer still books its cost; only the run that holds the claim applies the effects.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from sqlalchemy import Connection, Row, text

from backfill.clock import Clock, micros
from backfill.errors import BackfillError
from backfill.ledger.attempts import Call, close_attempts, closing, open_attempts
from backfill.ledger.databases.bulk import RowStatement, in_order
from backfill.ledger.databases.database import Database
from backfill.ledger.item_states import leaves
from backfill.ledger.outcomes import write_outcomes
from backfill.ledger.receipts import Kept, flags_before_us, keep_receipts, kept_receipts
from backfill.ledger.rows import Item, Run
from backfill.ledger.verdicts import Answered, Reused, keep_firsts, refuse_illegal, verdicts_by_id
from backfill.lifecycle import AttemptOutcome, ItemStatus, OutcomeStatus
from backfill.ports import Effect, Receipt
from backfill.rubric import Rubric
from backfill.verdict import Verdict

PENDING, CLASSIFIED, DONE = ItemStatus.PENDING, ItemStatus.CLASSIFIED, ItemStatus.DONE

CLASSIFY = RowStatement(
    f"""UPDATE item SET status = 'classified', verdict_id = given.verdict, message_key = given.message_key,
              reused = given.reused, flags_before = COALESCE(item.flags_before, given.flags), reason = NULL,
              due_at = 0, begun = FALSE
         FROM {{rows}} WHERE item.id = given.item AND item.{leaves(CLASSIFIED, PENDING)}
    RETURNING item.id, item.claimed_by, item.claim_no, item.flags_before""",
    item="BIGINT",
    verdict="BIGINT",
    message_key="TEXT",
    reused="BOOLEAN",
    flags="TEXT",
)
# `+` keeps SQLite from reading all items of the run for each mail.
FINISH = RowStatement(
    f"""UPDATE item SET status = 'done', final_at = :now, claimed_by = NULL, begun = FALSE, reason = NULL
         FROM {{rows}} WHERE item.id = given.item AND item.{leaves(DONE, CLASSIFIED)}
          AND +item.claimed_by = :run AND item.claim_no = given.claim_no
    RETURNING item.id, item.claim_no""",
    item="BIGINT",
    claim_no="INTEGER",
)
OURS = text(
    """SELECT verdict_id, flags_before FROM item
        WHERE id = :item AND status = 'classified' AND claimed_by = :run AND claim_no = :claim_no"""
)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a mail needs until it is done: its effects, and the rubric for its labels."""

    effects: tuple[Effect, ...]
    rubric: Rubric

    def are_met(self, recorded: Recorded) -> bool:
        """Is every effect of this verdict brought about?"""
        return not any(self.outstanding(recorded.verdict, recorded.receipts))

    def message_of(self, verdict: Verdict, receipts: Mapping[str, Kept]) -> bool:
        """Does an outstanding effect need the mail itself?"""
        return any(effect.needs_message for effect in self.outstanding(verdict, receipts))

    def outstanding(self, verdict: Verdict, receipts: Mapping[str, Kept]) -> Iterator[Effect]:
        """The effects of this verdict that are not brought about, by the mail's receipts."""
        labels = self.rubric.labels(verdict)
        for effect in self.effects:
            kept = receipts.get(effect.name)
            if kept is None or not kept.is_current(effect, verdict, labels):
                yield effect


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of an answer: the verdict that counts, and what the item still needs."""

    verdict: Verdict
    is_ours: bool  # this run still holds the claim
    is_reused: bool = False  # an earlier verdict counts
    receipts: Mapping[str, Kept] = field(default_factory=dict)  # by effect; those that are not undone
    flags_before: frozenset[str] = frozenset()  # what the mail bore before us
    is_done: bool = False  # the item needs no effect, so it is DONE already


@dataclass(frozen=True, slots=True)
class Finished:
    """An item whose effects are all applied, or left to a newer job. `receipts`: those that are not in the ledger yet.

    `is_reused`: the verdict was known before this run took the item. The ledger does not read it.
    """

    item: Item
    verdict: Verdict
    labels: tuple[str, ...]
    receipts: tuple[Receipt, ...]
    is_reused: bool = False


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of each thing given to `commit`, in the same order."""

    done: list[bool]  # False: the claim was lost
    recorded: list[Recorded]
    opened: list[int | BackfillError]  # the attempt's number, or why the call must not be made


@dataclass(frozen=True, slots=True)
class Results:
    """The steps forward of items, from a call to the outcome."""

    database: Database
    clock: Clock

    def commit(
        self,
        run: Run,
        *,
        finished: Sequence[Finished] = (),
        judged: Sequence[Answered | Reused] = (),
        calls: Sequence[Call] = (),
        needs: Needs | None = None,
    ) -> Committed:
        """CLASSIFIED → DONE with the receipts and the outcome row, PENDING → CLASSIFIED, and attempts opened. Writes.

        In this order: answers are saved, and their real cost is booked, before the next calls are opened. Receipts are
        recorded even if the claim was lost, because their effects are applied. The first verdict for a message,
        fingerprint and generation counts; every later answer gets that verdict back. With `needs`, an item that needs
        no effect is DONE at once. `open_attempts` says why a call may not be opened.
        """

        def work(connection: Connection) -> Committed:
            now = micros(self.clock.now())  # read once: a call and its reservation must have the same day
            done = _finish(connection, run, finished, now) if finished else []
            recorded = _record(connection, run, judged, now) if judged else []
            if needs is not None:
                recorded = _finish_at_once(connection, run, judged, recorded, needs, now)
            return Committed(done, recorded, open_attempts(connection, run, calls, now))

        return self.database.write(work)


def _finish(connection: Connection, run: Run, finished: Sequence[Finished], now: int) -> list[bool]:
    keep_receipts(connection, [(each.item, each.verdict, each.receipts) for each in finished], now)
    rows = [{"item": each.item.id, "claim_no": each.item.claim_no} for each in finished]
    ended = {(row.id, row.claim_no) for row in FINISH.execute(connection, rows, run=run.id, now=now)}
    ours = [(each.item.id, each.item.claim_no) in ended for each in finished]
    for each, is_ours in zip(finished, ours, strict=True):
        if not is_ours:
            claim = {"item": each.item.id, "run": run.id, "claim_no": each.item.claim_no}
            refuse_illegal(connection, claim, ItemStatus.DONE)
    done = [each for each, is_ours in zip(finished, ours, strict=True) if is_ours]
    outcomes = [(each.item.id, each.verdict.id, None, each.labels) for each in done]
    write_outcomes(connection, run, OutcomeStatus.DONE, outcomes, now)
    return ours


def _finish_at_once(
    connection: Connection,
    run: Run,
    judged: Sequence[Answered | Reused],
    recorded: list[Recorded],
    needs: Needs,
    now: int,
) -> list[Recorded]:
    at_once = [
        Finished(one.item, each.verdict, needs.rubric.labels(each.verdict), ())
        for one, each in zip(judged, recorded, strict=True)
        if each.is_ours and needs.are_met(each)
    ]
    if not at_once:
        return recorded
    done = zip(at_once, _finish(connection, run, at_once, now), strict=True)
    numbers = {each.item.id for each, is_done in done if is_done}
    return [replace(each, is_done=one.item.id in numbers) for one, each in zip(judged, recorded, strict=True)]


def _record(connection: Connection, run: Run, judged: Sequence[Answered | Reused], now: int) -> list[Recorded]:
    found = _verdicts(connection, run, judged, now)
    kept = kept_receipts(connection, [each.item for each in judged])
    closings = map(_closing, judged, found)
    close_attempts(connection, [each for each in closings if each is not None], now)
    rows = {
        each.item.id: {
            "item": each.item.id,
            "verdict": counted.verdict.id,
            "message_key": each.message.key,
            "reused": counted.is_reused and not (isinstance(each, Answered) and each.attempt_id is not None),
            "flags": json.dumps(flags_before_us(each.message.flags, kept[each.item.id])),
        }
        for each, counted in zip(judged, found, strict=True)
    }
    classified = {row.id: row for row in CLASSIFY.execute(connection, in_order(rows))}
    return [
        _held(connection, run, each.item, classified.get(each.item.id), counted, kept[each.item.id])
        for each, counted in zip(judged, found, strict=True)
    ]


def _verdicts(connection: Connection, run: Run, judged: Sequence[Answered | Reused], now: int) -> list[Recorded]:
    """The verdict that counts for each of `judged`. Stores the first verdict of each question."""
    answered: dict[str, Answered] = {}
    for each in judged:
        if isinstance(each, Answered):
            answered.setdefault(each.message.key, each)
    firsts = keep_firsts(connection, run.job_id, answered, now) if answered else {}
    found = []
    for each in judged:
        match each:
            case Answered():
                verdict, is_first = firsts[each.message.key]
                is_reused = not (is_first and answered[each.message.key] is each)
            case Reused():
                verdict, is_reused = each.verdict, True
            case _:
                assert_never(each)
        found.append(Recorded(verdict, is_ours=False, is_reused=is_reused))
    return found


def _held(
    connection: Connection,
    run: Run,
    held: Item,
    row: Row[Any] | None,
    counted: Recorded,
    receipts: Mapping[str, Kept],
) -> Recorded:
    """What became of one answer: adds whether this run still holds the item, the item's receipts and flags."""
    is_ours = row is not None and row.claimed_by == run.id and row.claim_no == held.claim_no
    found, flags = counted.verdict, None if row is None else row.flags_before
    if row is None:
        # A late answer of an earlier claim came first. The item has its verdict; we still apply the effects.
        claim = {"item": held.id, "run": run.id, "claim_no": held.claim_no}
        earlier = connection.execute(OURS, claim).one_or_none()
        if earlier is not None:
            is_ours, found = True, verdicts_by_id(connection, [earlier.verdict_id])[earlier.verdict_id]
            flags = earlier.flags_before
    return Recorded(found, is_ours, counted.is_reused, receipts, frozenset(json.loads(flags or "[]")))


def _closing(one: Answered | Reused, found: Recorded) -> dict[str, Any] | None:
    if isinstance(one, Reused) or one.attempt_id is None:
        return None
    outcome = AttemptOutcome.LATE if found.is_reused else AttemptOutcome.OK
    return closing(one.attempt_id, outcome, one.answer.usage)
