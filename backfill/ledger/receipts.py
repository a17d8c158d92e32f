"""Receipts: which effects are applied, which must be applied again, and which were undone.

A receipt belongs to the mail and not to the job, so a change of a receipt concerns every job with that mail. Epochs
that are closed are left alone: their UIDs now name other mails.
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
# A dry run has no effects, and those of a closed epoch cannot be applied.
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
    """A receipt whose effect is not undone, with its number in the ledger."""

    id: int
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Receipts:
    """The receipt table."""

    database: Database
    clock: Clock

    def reapply(self, job_id: int, effects: Sequence[str], *, stale: bool = False) -> int:
        """DONE → CLASSIFIED for mails that lack a current receipt of one of these effects; how many. Writes.

        `stale`: the thresholds have changed, so first mark every receipt of these effects as not current. A stale
        receipt still says what the effect wrote. A done or undone job with open items is PLANNING again. No mail needs
        another call.
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
        """The current receipts of items: item number → effect → number of the verdict that it was made from."""
        return self.database.read(lambda connection: current_receipts(connection, items))

    def detail_of(self, held: Item, effect: str) -> dict[str, Any] | None:
        """The detail of the mail's receipt of an effect; None: the effect is not applied."""
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
        """Record receipts of an item that is not done yet. Writes."""
        now = micros(self.clock.now())
        self.database.write(lambda connection: keep_receipts(connection, [(held, found, receipts)], now))

    def has_any(self, account: str) -> bool:
        """Has this ledger ever recorded an effect in the account?"""
        return self.database.read(lambda connection: connection.execute(ANY, {"account": account}).first() is not None)

    def standing(self, job_id: int, after: int = 0, limit: int = 1000) -> list[Standing]:
        """The receipts of a job's mails that can be undone, in order of their numbers, from the first after `after`."""
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
        """Mark receipts as not current, because they are not true. Their mails are DONE → CLASSIFIED in every job.

        Writes; how many. Done jobs with such mails are PLANNING again; their next run applies the effects.
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
