"""What the ledger holds of a mailbox, UID by UID, for comparing it with the server; and the two repairs of that.

A mail that planning missed is found by planning again, which inserts what is not there and nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, text

from backfill.ledger.databases.database import Database
from backfill.ledger.items import REVIVE
from backfill.ledger.schema import item, mailbox, receipt
from backfill.lifecycle import ItemStatus

PLAN_AGAIN = """UPDATE plan_range SET next_uid = 1 WHERE job_id = :job
     AND mailbox_id IN (SELECT id FROM mailbox WHERE closed_at IS NULL)"""
REOPEN = """UPDATE job SET state = 'planning', done_at = NULL
     WHERE id = :job AND state IN ('open', 'done', 'paused')"""
REVIVE_UIDS = text(f"{REVIVE} AND mailbox_id = :mailbox AND uid IN :uids").bindparams(bindparam("uids", expanding=True))


@dataclass(frozen=True, slots=True)
class Holdings:
    """The item table, by mailbox and UID."""

    database: Database

    def statuses(self, job_id: int, mailbox_id: int, low: int, high: int) -> dict[int, ItemStatus]:
        """UID → status of the items with low <= UID <= high."""
        statement = select(item.c.uid, item.c.status).where(
            item.c.job_id == job_id, item.c.mailbox_id == mailbox_id, item.c.uid.between(low, high)
        )
        return self.database.read(
            lambda connection: {row.uid: ItemStatus(row.status) for row in connection.execute(statement)}
        )

    def has_receipts(self, account: str) -> bool:
        """Has this ledger ever brought anything about in the account?"""
        statement = select(receipt.c.id).join(mailbox, mailbox.c.id == receipt.c.mailbox_id).limit(1)
        of_account = statement.where(mailbox.c.account == account)
        return self.database.read(lambda connection: connection.execute(of_account).first() is not None)

    def plan_again(self, job_id: int) -> None:
        """Have the next planning look at every UID of the job's open mailboxes again. Writes."""

        def work(connection: Connection) -> None:
            connection.execute(text(PLAN_AGAIN), {"job": job_id})
            connection.execute(text(REOPEN), {"job": job_id})

        self.database.write(work)

    def revive(self, job_id: int, mailbox_id: int, uids: Sequence[int]) -> int:
        """VANISHED → PENDING for mails that were found again; how many. Writes."""
        parameters = {"job": job_id, "mailbox": mailbox_id, "uids": list(uids), "run": None}

        def work(connection: Connection) -> int:
            revived: int = connection.execute(REVIVE_UIDS, parameters).rowcount
            if revived:
                connection.execute(text(REOPEN), {"job": job_id})
            return revived

        return self.database.write(work)
