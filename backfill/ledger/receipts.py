"""Receipts: what has been brought about, what is to be brought about anew, and what has been taken back.

A receipt belongs to the mail and not to the job, so whatever is said of one concerns every job about that mail. Folders
whose UIDVALIDITY has changed are left alone: their UIDs name other mails now.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select, text

from backfill.clock import Clock, micros
from backfill.ledger.databases.bulk import RowStatement, in_order
from backfill.ledger.databases.database import Database
from backfill.ledger.item_states import leaves
from backfill.ledger.job_states import move
from backfill.ledger.rows import Item
from backfill.ledger.schema import ITEM_OPEN, RECEIPT_CURRENT, receipt
from backfill.lifecycle import ItemStatus, JobState
from backfill.message import MailboxKey, MessageRef
from backfill.ports import Receipt, ReceiptState
from backfill.verdict import Verdict

DONE, CLASSIFIED = ItemStatus.DONE, ItemStatus.CLASSIFIED
BACK = f"""UPDATE item SET status = 'classified', final_at = NULL, reason = NULL, failures = 0, losses = 0, due_at = 0
         WHERE {leaves(CLASSIFIED, DONE)}"""
# Effects of a dry run are never brought about, and those of a closed epoch cannot be.
OUTDATE = text(
    """UPDATE receipt SET stale = TRUE WHERE undone_at IS NULL AND effect IN :effects AND EXISTS
        (SELECT 1 FROM item JOIN job ON job.id = item.job_id JOIN mailbox ON mailbox.id = item.mailbox_id
          WHERE item.mailbox_id = receipt.mailbox_id AND item.uid = receipt.uid AND job.id = :job
            AND NOT job.dry_run AND mailbox.closed_at IS NULL)"""
).bindparams(bindparam("effects", expanding=True))
REAPPLY = text(
    f"""{BACK} AND job_id = :job
          AND mailbox_id IN (SELECT id FROM mailbox WHERE closed_at IS NULL)
          AND EXISTS (SELECT 1 FROM job WHERE job.id = :job AND NOT dry_run)
          AND (SELECT COUNT(*) FROM receipt
                WHERE receipt.mailbox_id = item.mailbox_id AND receipt.uid = item.uid AND effect IN :effects
                  AND receipt.verdict_id = item.verdict_id AND {RECEIPT_CURRENT}) < :count"""
).bindparams(bindparam("effects", expanding=True))
HAS_OPEN_ITEMS = f"id = :job AND EXISTS (SELECT 1 FROM item WHERE job_id = :job AND {ITEM_OPEN})"
ENDED = frozenset({JobState.DONE, JobState.UNDONE})

ANY = text(
    """SELECT 1 FROM receipt JOIN mailbox ON mailbox.id = receipt.mailbox_id
        WHERE mailbox.account = :account LIMIT 1"""
)
STANDING = text(
    """SELECT t.id, t.uid, t.effect, t.state, t.detail, m.account, m.folder, m.uidvalidity
         FROM receipt t JOIN mailbox m ON m.id = t.mailbox_id
        WHERE t.id > :after AND t.undone_at IS NULL AND m.closed_at IS NULL AND EXISTS
              (SELECT 1 FROM item i WHERE i.job_id = :job AND i.mailbox_id = t.mailbox_id AND i.uid = t.uid)
        ORDER BY t.id LIMIT :limit"""
)
TAKE_BACK = text(
    """UPDATE receipt SET undone_at = :now WHERE id IN :ids AND undone_at IS NULL
          AND mailbox_id IN (SELECT id FROM mailbox WHERE closed_at IS NULL)
    RETURNING mailbox_id, uid"""
).bindparams(bindparam("ids", expanding=True))
DOUBT = text(
    "UPDATE receipt SET stale = TRUE WHERE id IN :ids AND undone_at IS NULL RETURNING mailbox_id, uid"
).bindparams(bindparam("ids", expanding=True))
UNAPPLIED = text(
    f"""{BACK} AND job_id IN (SELECT id FROM job WHERE NOT dry_run) AND mailbox_id = :mailbox AND uid = :uid
    RETURNING job_id"""
)

RECEIPTS = RowStatement(
    f"""SELECT given.item, receipt.effect, receipt.verdict_id FROM {{rows}} JOIN receipt
            ON receipt.mailbox_id = given.mailbox AND receipt.uid = given.uid WHERE {RECEIPT_CURRENT}""",
    item="BIGINT",
    mailbox="BIGINT",
    uid="BIGINT",
)
KEEP_RECEIPTS = RowStatement(
    """INSERT INTO receipt (mailbox_id, uid, effect, verdict_id, state, detail, applied_at)
       SELECT mailbox, uid, effect, verdict, state, detail, :now FROM {rows} WHERE TRUE
       ON CONFLICT (mailbox_id, uid, effect) DO UPDATE
          SET verdict_id = excluded.verdict_id, state = excluded.state, detail = excluded.detail,
              applied_at = excluded.applied_at, stale = FALSE, undone_at = NULL""",
    mailbox="BIGINT",
    uid="BIGINT",
    effect="TEXT",
    verdict="BIGINT",
    state="TEXT",
    detail="TEXT",
)


@dataclass(frozen=True, slots=True)
class Standing:
    """A receipt whose effect stands in the world, with its number in the ledger."""

    id: int
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Receipts:
    """The receipt table."""

    database: Database
    clock: Clock

    def reapply(self, job_id: int, effects: Sequence[str], *, stale: bool = False) -> int:
        """DONE → CLASSIFIED for mails without a current receipt of each of these effects; how many. Writes.

        `stale`: no receipt of theirs is current any more, since the thresholds have changed; what they say of the
        world stays true until the effects are brought about anew. A done or undone job with something to do is
        PLANNING again. Nothing is asked again.
        """
        if not effects:
            return 0
        parameters = {"job": job_id, "effects": sorted(set(effects)), "count": len(set(effects))}

        def work(connection: Connection) -> int:
            if stale:
                connection.execute(OUTDATE, parameters)
            taken: int = connection.execute(REAPPLY, parameters).rowcount
            move(connection, JobState.PLANNING, HAS_OPEN_ITEMS, {"job": job_id}, only=ENDED)
            return taken

        return self.database.write(work)

    def current(self, items: Sequence[Item]) -> dict[int, dict[str, int]]:
        """Item number → effect → number of the verdict that the receipt was made from."""
        return self.database.read(lambda connection: current_receipts(connection, items))

    def detail_of(self, held: Item, effect: str) -> dict[str, Any] | None:
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

    def keep(self, held: Item, found: Verdict, receipts: Sequence[Receipt]) -> None:
        """Record receipts of an item that is not finished yet. Writes."""
        now = micros(self.clock.now())
        self.database.write(lambda connection: keep_receipts(connection, [(held, found, receipts)], now))

    def has_any(self, account: str) -> bool:
        """Has this ledger ever brought anything about in the account?"""
        return self.database.read(lambda connection: connection.execute(ANY, {"account": account}).first() is not None)

    def standing(self, job_id: int, after: int = 0, limit: int = 1000) -> list[Standing]:
        """What the mails of a job have receipts of and can be taken back, in the order of its numbers after `after`."""
        parameters = {"job": job_id, "after": after, "limit": limit}

        def work(connection: Connection) -> list[Standing]:
            return [
                Standing(
                    row.id,
                    Receipt(
                        MessageRef(MailboxKey(row.account, row.folder, row.uidvalidity), row.uid),
                        row.effect,
                        ReceiptState(row.state),
                        json.loads(row.detail),
                    ),
                )
                for row in connection.execute(STANDING, parameters)
            ]

        return self.database.read(work)

    def doubt(self, untrue: Sequence[Standing]) -> int:
        """These receipts say what is not so: their mails are DONE → CLASSIFIED in every job; how many. Writes.

        Done jobs with such mails are PLANNING again, and bring the effects about when they are run.
        """

        def work(connection: Connection) -> int:
            mails = connection.execute(DOUBT, {"ids": sorted(each.id for each in untrue)}).all()
            jobs: set[int] = set()
            for row in sorted({(row.mailbox_id, row.uid) for row in mails}):
                jobs.update(connection.execute(UNAPPLIED, {"mailbox": row[0], "uid": row[1]}).scalars().all())
            for job in sorted(jobs):
                move(connection, JobState.PLANNING, HAS_OPEN_ITEMS, {"job": job}, only=ENDED)
            return len(mails)

        return self.database.write(work) if untrue else 0

    def take_back(self, job_id: int, taken: Sequence[Standing]) -> int:
        """The job becomes UNDONE, and its mails DONE → CLASSIFIED, as these effects are undone; how many. Writes.

        To be called when they are no longer in the world; calling it again changes nothing. Done mails of other
        jobs lack their effects as well: those jobs are PLANNING again, and bring them about when they are run.
        """
        now = micros(self.clock.now())

        def work(connection: Connection) -> int:
            move(connection, JobState.UNDONE, "id = :job", {"job": job_id})
            ids = sorted(each.id for each in taken)
            mails = connection.execute(TAKE_BACK, {"ids": ids, "now": now}).all()
            others: set[int] = set()
            for row in sorted({(row.mailbox_id, row.uid) for row in mails}):
                mail = {"mailbox": row[0], "uid": row[1]}
                others.update(connection.execute(UNAPPLIED, mail).scalars().all())
            for other in sorted(others - {job_id}):
                move(connection, JobState.PLANNING, HAS_OPEN_ITEMS, {"job": other}, only=ENDED)
            return len(mails)

        return self.database.write(work)


def keep_receipts(connection: Connection, given: Iterable[tuple[Item, Verdict, Sequence[Receipt]]], now: int) -> None:
    rows = {
        (held.mailbox_id, receipt.ref.uid, receipt.effect): {
            "mailbox": held.mailbox_id,
            "uid": receipt.ref.uid,
            "effect": receipt.effect,
            "verdict": found.id,
            "state": receipt.state,
            "detail": json.dumps(receipt.detail, sort_keys=True),
        }
        for held, found, receipts in given
        for receipt in receipts
    }
    if rows:
        KEEP_RECEIPTS.execute(connection, in_order(rows), now=now)


def current_receipts(connection: Connection, items: Sequence[Item]) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = {held.id: {} for held in items}
    rows = [{"item": held.id, "mailbox": held.mailbox_id, "uid": held.ref.uid} for held in items]
    for row in RECEIPTS.execute(connection, rows):
        found[row.item][row.effect] = row.verdict_id
    return found
