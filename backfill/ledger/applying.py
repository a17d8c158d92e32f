"""Bringing stored verdicts about anew: which mails of a job have a verdict that counts, and taking them up again.

What differs from today's configuration is not for SQL to say: the outputs compare their receipts. A run works on the
items that it has taken up, and on no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from backfill.clock import Clock
from backfill.ledger.current import current_verdict, superseded
from backfill.ledger.databases.bulk import RowStatement
from backfill.ledger.databases.database import Database
from backfill.ledger.item_states import leaves
from backfill.ledger.items import item_of
from backfill.ledger.job_states import move
from backfill.ledger.receipts import Kept, kept_receipts
from backfill.ledger.rows import Item, Run
from backfill.ledger.verdicts import verdicts_by_id
from backfill.lifecycle import ItemStatus, JobState
from backfill.message import MailboxKey

NEWER = current_verdict("i.mailbox_id", "i.uid", column="job_id")
# A row value, so that the unique index serves both the order and the place to go on from. `+ 0` keeps PostgreSQL from
# walking all outcomes backwards by their number.
PAGE = text(
    f"""SELECT i.id, i.mailbox_id, i.uid, i.status, i.claim_no, i.failures, i.verdict_id, i.flags_before, i.message_key,
           m.account, m.folder, m.uidvalidity,
           CASE WHEN {superseded("i")} THEN {NEWER} END AS newer_job,
           (SELECT o.labels FROM outcome o WHERE o.item_id = i.id ORDER BY o.id + 0 DESC LIMIT 1) AS labels
      FROM item i JOIN mailbox m ON m.id = i.mailbox_id
     WHERE i.job_id = :job AND (i.mailbox_id, i.uid) > (:mailbox, :uid) AND i.status IN ('classified', 'done')
       AND i.verdict_id IS NOT NULL AND m.closed_at IS NULL
     ORDER BY i.mailbox_id, i.uid LIMIT :limit"""
)
TAKE_UP = RowStatement(
    f"""UPDATE item SET status = 'classified', final_at = NULL, reason = NULL, failures = 0, losses = 0, due_at = 0,
              retried_by = :run
         FROM {{rows}} WHERE item.id = given.item AND item.{leaves(ItemStatus.CLASSIFIED, ItemStatus.DONE)}""",
    item="BIGINT",
)
TAKE_LEFT = RowStatement(
    """UPDATE item SET retried_by = :run, due_at = 0 FROM {rows}
        WHERE item.id = given.item AND item.status = 'classified' AND item.claimed_by IS NULL""",
    item="BIGINT",
)


@dataclass(frozen=True, slots=True)
class Judged:
    """An item with a verdict, and what was made of the verdict."""

    item: Item
    message_key: str | None
    newer_job: int | None  # the job whose verdict counts for the mail instead; None: this one's counts
    labels: tuple[str, ...] | None  # by the thresholds when it was last done; None: it was not done yet
    kept: Mapping[str, Kept]  # the receipts of its mail that are not undone, by effect


@dataclass(frozen=True, slots=True)
class Applying:
    """The reads and writes of `apply`."""

    database: Database
    clock: Clock

    def page(self, job_id: int, after: Item | None = None, limit: int = 1000) -> list[Judged]:
        """The job's DONE and CLASSIFIED items by mailbox and UID, from the first one after `after`."""
        place = {"mailbox": 0, "uid": 0} if after is None else {"mailbox": after.mailbox_id, "uid": after.ref.uid}

        def work(connection: Connection) -> list[Judged]:
            rows = connection.execute(PAGE, {"job": job_id, "limit": limit, **place}).all()
            verdicts = verdicts_by_id(connection, [row.verdict_id for row in rows])
            items = [
                item_of(row, MailboxKey(row.account, row.folder, row.uidvalidity), verdicts[row.verdict_id])
                for row in rows
            ]
            kept = kept_receipts(connection, items)
            return [
                Judged(held, row.message_key, row.newer_job, _labels(row.labels), kept[held.id])
                for held, row in zip(items, rows, strict=True)
            ]

        return self.database.read(work)

    def begin(self, run: Run) -> None:
        """The job is UNDONE no more: its verdicts count again. Writes."""
        parameters = {"job": run.job_id}
        self.database.write(
            lambda connection: move(connection, JobState.PLANNING, "id = :job", parameters, only={JobState.UNDONE})
        )

    def take_up(self, run: Run, items: Sequence[Item]) -> int:
        """Let this run work on the items: DONE → CLASSIFIED, and those that an earlier run left CLASSIFIED; how many.

        A done job is PLANNING again. Writes.
        """
        rows = [{"item": held.id} for held in items]

        def work(connection: Connection) -> int:
            left: int = TAKE_LEFT.execute(connection, rows, run=run.id).rowcount
            taken: int = TAKE_UP.execute(connection, rows, run=run.id).rowcount
            if left + taken:
                move(connection, JobState.PLANNING, "id = :job", {"job": run.job_id}, only={JobState.DONE})
            return left + taken

        return self.database.write(work) if rows else 0


def _labels(stored: str | None) -> tuple[str, ...] | None:
    if stored is None:
        return None
    return tuple(stored.split(",")) if stored else ()
