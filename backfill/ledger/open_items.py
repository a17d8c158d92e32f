"""What is left of a job: how many items are not final, when the next is due, and a sample. Only reads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from backfill.ledger.databases.database import Database
from backfill.ledger.rows import moment_or_none
from backfill.ledger.schema import ITEM_CLAIMABLE, ITEM_CLAIMED, ITEM_OPEN, ITEM_RETRIED
from backfill.message import MailboxKey, MessageRef

COUNT_HELD = text("SELECT COUNT(*) FROM item WHERE claimed_by = :run AND claimed_by IS NOT NULL")
# Cut the open mails, in order, into `size` equal parts, and take the last mail of each part.
SAMPLE_OPEN = text(
    f"""SELECT m.account, m.folder, m.uidvalidity, i.uid FROM
         (SELECT mailbox_id, uid, ROW_NUMBER() OVER (ORDER BY mailbox_id, uid) AS place, COUNT(*) OVER () AS mails
            FROM item WHERE job_id = :job AND {ITEM_OPEN}) i JOIN mailbox m ON m.id = i.mailbox_id
         WHERE i.place * :size / i.mails > (i.place - 1) * :size / i.mails ORDER BY m.id, i.uid"""
)
# Two counts, because no index serves both. Final items, maybe millions, are not read. `+` makes SQLite use the short
# index of claimed items, and not read the whole job.
COUNT_OPEN = f"""SELECT (SELECT COUNT(*) FROM item WHERE {{job}} AND {ITEM_CLAIMABLE} {{scope}})
     + (SELECT COUNT(*) FROM item WHERE +job_id = :job AND {ITEM_CLAIMED} {{scope}})"""
NEXT_DUE = f"SELECT MIN(due_at) FROM item WHERE {{job}} AND {ITEM_CLAIMABLE} {{scope}}"


@dataclass(frozen=True, slots=True)
class OpenItems:
    """Questions about the items that are PENDING or CLASSIFIED."""

    database: Database

    def count(self, job_id: int, *, retried_by: int | None = None, left_out: Collection[int] = ()) -> int:
        """How many items are not final, claimed ones included.

        `retried_by`: count only the items that this run took up again. `left_out`: the numbers of mailboxes whose items
        do not count.
        """
        return int(self._of_open(COUNT_OPEN, job_id, retried_by, left_out) or 0)

    def next_due(
        self, job_id: int, *, retried_by: int | None = None, left_out: Collection[int] = ()
    ) -> datetime | None:
        """When the next unclaimed item is due (UTC); may lie in the past. None: there is none."""
        return moment_or_none(self._of_open(NEXT_DUE, job_id, retried_by, left_out))

    def count_held(self, run_id: int) -> int:
        """How many items a run holds."""
        held = self.database.read(lambda connection: connection.execute(COUNT_HELD, {"run": run_id}).scalar_one())
        return int(held)

    def sample(self, job_id: int, size: int) -> list[MessageRef]:
        """`size` mails that are not final, spread evenly over the job, sorted by mailbox and UID. All if fewer."""
        rows = self.database.read(
            lambda connection: connection.execute(SAMPLE_OPEN, {"job": job_id, "size": size}).all()
        )
        return [MessageRef(MailboxKey(row.account, row.folder, row.uidvalidity), row.uid) for row in rows]

    def _of_open(self, question: str, job_id: int, retried_by: int | None, left_out: Collection[int]) -> int | None:
        parameters = {"job": job_id}
        if retried_by is not None:
            parameters["run"] = retried_by
        of_job, scope = "job_id = :job", ""
        if retried_by is not None:
            of_job, scope = "+job_id = :job", f"AND retried_by = :run AND {ITEM_RETRIED}"
        scope += not_in(left_out)
        statement = text(question.format(job=of_job, scope=scope))
        return self.database.read(lambda connection: connection.execute(statement, parameters).scalar())


def not_in(mailboxes: Collection[int]) -> str:
    """` AND mailbox_id NOT IN (…)` with the numbers as literals; empty for no mailboxes."""
    numbers = ", ".join(str(int(number)) for number in sorted(mailboxes))
    return f" AND mailbox_id NOT IN ({numbers})" if numbers else ""
