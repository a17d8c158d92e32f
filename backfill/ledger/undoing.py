"""Taking a job back: which of its receipts still stand, what counts for their mails without it, and how that is kept.

The job is UNDONE before anything is taken back, so that from then on no run brings it about and its verdicts no longer
count. A receipt is closed after its effect is gone. A crash in between leaves it standing: the next undo takes the
effect back again, which changes nothing. At the end the job's DONE items are CLASSIFIED again, each with an outcome.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, text

from backfill.clock import Clock, micros
from backfill.errors import LedgerHeld
from backfill.ledger.current import current_verdict
from backfill.ledger.databases.database import Database
from backfill.ledger.item_states import leaves
from backfill.ledger.job_states import move
from backfill.ledger.outcomes import write_outcomes
from backfill.ledger.receipts import keep_receipts
from backfill.ledger.rows import Item, Run, moment_or_none
from backfill.ledger.runs import latest_run, living_runs
from backfill.ledger.verdicts import verdicts_by_id
from backfill.lifecycle import ItemStatus, JobState, OutcomeStatus, RunOutcome
from backfill.message import MailboxKey, MessageRef
from backfill.ports import Receipt, ReceiptState

# What counts for the mail without this job. For an undone job its own verdicts do not count anyway.
WITHOUT = "standing.job_id <> :job"
RECEIPTS = f"""SELECT t.id, t.uid, t.effect, t.state, t.detail, t.stale, t.verdict_id, m.account, m.folder,
           m.uidvalidity, m.closed_at IS NOT NULL AS is_closed,
           (SELECT i.message_key FROM item i
             WHERE i.job_id = :job AND i.mailbox_id = t.mailbox_id AND i.uid = t.uid) AS message_key,
           {current_verdict("t.mailbox_id", "t.uid", column="job_id")} AS counting_job,
           {current_verdict("t.mailbox_id", "t.uid", which=WITHOUT, column="id")} AS other_item
      FROM receipt t JOIN mailbox m ON m.id = t.mailbox_id
     WHERE t.id > :after AND t.undone_at IS NULL
       AND EXISTS (SELECT 1 FROM item i WHERE i.job_id = :job AND i.mailbox_id = t.mailbox_id AND i.uid = t.uid)
     ORDER BY t.id LIMIT :limit"""
# Something that the job itself wrote, and that no other job's verdict calls for.
OWN = text(
    f"""SELECT 1 FROM item i JOIN receipt t ON t.mailbox_id = i.mailbox_id AND t.uid = i.uid
         WHERE i.job_id = :job AND t.undone_at IS NULL AND t.verdict_id = i.verdict_id
           AND COALESCE({current_verdict("t.mailbox_id", "t.uid", which=WITHOUT)} <> t.verdict_id, TRUE) LIMIT 1"""
)
ITEMS = text(
    """SELECT i.*, m.account, m.folder, m.uidvalidity FROM item i JOIN mailbox m ON m.id = i.mailbox_id
        WHERE i.id IN :ids"""
).bindparams(bindparam("ids", expanding=True))
CLOSE = text("UPDATE receipt SET undone_at = :now WHERE id IN :ids AND undone_at IS NULL").bindparams(
    bindparam("ids", expanding=True)
)
# A mail of which something of ours still stands, and for which no other job's verdict counts, stays DONE.
SETTLE = text(
    f"""UPDATE item SET status = 'classified', final_at = NULL, reason = NULL, failures = 0, losses = 0, due_at = 0
         WHERE id IN :ids AND {leaves(ItemStatus.CLASSIFIED, ItemStatus.DONE)}
           AND mailbox_id IN (SELECT id FROM mailbox WHERE closed_at IS NULL)
           AND NOT (EXISTS (SELECT 1 FROM receipt t
                             WHERE t.mailbox_id = item.mailbox_id AND t.uid = item.uid AND t.undone_at IS NULL)
                    AND {current_verdict("item.mailbox_id", "item.uid")} IS NULL)
     RETURNING id, verdict_id"""
).bindparams(bindparam("ids", expanding=True))
# `+` makes SQLite read the items in order of their numbers, and not sort the whole job for each page.
DONE_ITEMS = text(
    "SELECT id FROM item WHERE id > :after AND +job_id = :job AND status = 'done' ORDER BY id LIMIT :limit"
)
FACTS = text("SELECT message_key, sent_at, from_addr FROM message WHERE message_key IN :keys").bindparams(
    bindparam("keys", expanding=True)
)


@dataclass(frozen=True, slots=True)
class Written:
    """A receipt that stands, about a mail of the job that is taken back."""

    id: int
    receipt: Receipt
    verdict_id: int
    is_stale: bool  # it may say more than was written
    message_key: str | None
    is_closed: bool  # the folder has another UIDVALIDITY since: the UID names another mail
    counting_job: int | None  # the job whose verdict counts for the mail now; None: no job's does
    other_job: int | None  # the job whose verdict counts for the mail without this one; None: no job's does
    other: Item | None  # that job's item


@dataclass(frozen=True, slots=True)
class Sender:
    """What the ledger keeps of a mail for people."""

    sent_at: datetime | None
    address: str


@dataclass(frozen=True, slots=True)
class Undoing:
    """The reads and writes of an undo."""

    database: Database
    clock: Clock

    def begin(self, run: Run) -> None:
        """The job is UNDONE: its verdicts no longer count, and no run goes on with it. Writes.

        Raises `LedgerHeld` if another run is at work on the job, which only PostgreSQL allows.
        """

        def work(connection: Connection) -> None:
            if any(living.id != run.id for living in living_runs(self.database, connection, run.job_id)):
                raise LedgerHeld(f"A run is at work on job {run.job_id}; end it, then undo the job.")
            move(connection, JobState.UNDONE, "id = :job", {"job": run.job_id})

        self.database.write(work)

    def is_left_unfinished(self, job_id: int) -> bool:
        """Must an undone job be undone once more? As `undo_is_unfinished`."""
        return self.database.read(lambda connection: undo_is_unfinished(connection, job_id))

    def written(self, job_id: int, after: int = 0, limit: int = 500) -> list[Written]:
        """The standing receipts of the job's mails, in order of their numbers, from the first after `after`."""
        parameters = {"job": job_id, "after": after, "limit": limit}

        def work(connection: Connection) -> list[Written]:
            rows = connection.execute(text(RECEIPTS), parameters).all()
            others = _items(connection, {row.other_item for row in rows if row.other_item is not None})
            return [_written(row, others.get(row.other_item)) for row in rows]

        return self.database.read(work)

    def intend(self, given: Sequence[tuple[Item, Receipt]]) -> None:
        """Record, as stale, what is about to be left on mails that are handed over to these items. Writes."""
        self._keep(given, is_stale=True)

    def keep(self, given: Sequence[tuple[Item, Receipt]]) -> None:
        """Record receipts of mails that were handed over to these items of other jobs. Writes."""
        self._keep(given, is_stale=False)

    def _keep(self, given: Sequence[tuple[Item, Receipt]], *, is_stale: bool) -> None:
        now = micros(self.clock.now())
        kept = [(held, held.verdict, (receipt,)) for held, receipt in given if held.verdict is not None]
        self.database.write(lambda connection: keep_receipts(connection, kept, now, is_stale=is_stale))

    def close(self, taken: Collection[int]) -> None:
        """Record that the effects of the receipts with these numbers are taken back. Writes; twice is once."""
        parameters = {"ids": sorted(taken), "now": micros(self.clock.now())}
        if taken:
            self.database.write(lambda connection: connection.execute(CLOSE, parameters).rowcount)

    def settle(self, run: Run, limit: int = 1000) -> int:
        """DONE → CLASSIFIED for the mails of which nothing stands, each with its outcome row; how many. Writes.

        One transaction for each `limit` mails. Mails of a closed epoch stay as they are.
        """
        settled = after = 0

        def page(connection: Connection) -> list[int]:
            parameters = {"job": run.job_id, "after": after, "limit": limit}
            return list(connection.execute(DONE_ITEMS, parameters).scalars())

        def work(connection: Connection) -> int:
            rows = sorted(connection.execute(SETTLE, {"ids": ids}).all())
            outcomes = [(row.id, row.verdict_id, None, ()) for row in rows]
            write_outcomes(connection, run, OutcomeStatus.UNDONE, outcomes, micros(self.clock.now()))
            return len(rows)

        while ids := self.database.read(page):
            after = ids[-1]
            settled += self.database.write(work)
        return settled

    def senders(self, keys: Collection[str]) -> Mapping[str, Sender]:
        """Date and sender of mails, by their message keys."""
        if not keys:
            return {}
        statement = {"keys": sorted(keys)}
        return self.database.read(
            lambda connection: {
                row.message_key: Sender(moment_or_none(row.sent_at), row.from_addr)
                for row in connection.execute(FACTS, statement)
            }
        )


def undo_is_unfinished(connection: Connection, job_id: int) -> bool:
    """Did the last undo of an undone job end early, or leave something that the job wrote? Reads the job's items."""
    last = latest_run(connection, job_id)
    if last is not None and last.command == "undo" and last.outcome != RunOutcome.FINISHED:
        return True
    return connection.execute(OWN, {"job": job_id}).first() is not None


def _items(connection: Connection, ids: Collection[int]) -> dict[int, tuple[int, Item]]:
    """The items with these numbers, each after its job's number."""
    rows = connection.execute(ITEMS, {"ids": sorted(ids)}).all() if ids else []
    verdicts = verdicts_by_id(connection, [row.verdict_id for row in rows])
    return {
        row.id: (
            row.job_id,
            Item(
                id=row.id,
                ref=_ref(row),
                mailbox_id=row.mailbox_id,
                status=ItemStatus(row.status),
                claim_no=row.claim_no,
                failures=row.failures,
                verdict=verdicts[row.verdict_id],
                flags_before=frozenset(json.loads(row.flags_before or "[]")),
            ),
        )
        for row in rows
    }


def _written(row: Row[Any], other: tuple[int, Item] | None) -> Written:
    return Written(
        id=row.id,
        receipt=Receipt(_ref(row), row.effect, ReceiptState(row.state), json.loads(row.detail)),
        verdict_id=row.verdict_id,
        is_stale=bool(row.stale),
        message_key=row.message_key,
        is_closed=bool(row.is_closed),
        counting_job=row.counting_job,
        other_job=None if other is None else other[0],
        other=None if other is None else other[1],
    )


def _ref(row: Row[Any]) -> MessageRef:
    return MessageRef(MailboxKey(row.account, row.folder, row.uidvalidity), row.uid)
