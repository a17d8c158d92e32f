"""Receipts: which effects are applied, which must be applied again, and which were undone.

A receipt belongs to the mail and not to the job, so a change of a receipt concerns every job with that mail. Epochs
that are closed are left alone: their UIDs now name other mails.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, text

from backfill.clock import Clock, micros
from backfill.ledger.current import superseded
from backfill.ledger.databases.bulk import RowStatement, in_order
from backfill.ledger.databases.database import Database
from backfill.ledger.item_states import leaves
from backfill.ledger.job_states import move
from backfill.ledger.rows import Item
from backfill.ledger.schema import ITEM_JUDGED, ITEM_OPEN, RECEIPT_CURRENT
from backfill.lifecycle import ItemStatus, JobState
from backfill.message import MailboxKey, MessageRef, thread_key
from backfill.ports import Effect, Receipt, ReceiptState
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
          AND EXISTS (SELECT 1 FROM job WHERE job.id = :job AND NOT dry_run) AND NOT {superseded("item")}
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
    """SELECT t.id, t.uid, t.effect, t.state, t.detail, m.account, m.folder, m.uidvalidity, NOT t.stale AND EXISTS
              (SELECT 1 FROM item i WHERE i.job_id = :job AND i.mailbox_id = t.mailbox_id AND i.uid = t.uid
                                      AND i.verdict_id = t.verdict_id AND i.status = 'done') AS is_own
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
          AND {ITEM_JUDGED} AND NOT {superseded("item")} RETURNING job_id"""
)

RECEIPTS = RowStatement(
    """SELECT given.item, receipt.effect, receipt.verdict_id, receipt.stale, receipt.detail FROM {rows} JOIN receipt
            ON receipt.mailbox_id = given.mailbox AND receipt.uid = given.uid WHERE receipt.undone_at IS NULL""",
    item="BIGINT",
    mailbox="BIGINT",
    uid="BIGINT",
)
KEEP_RECEIPTS = RowStatement(
    """INSERT INTO receipt (mailbox_id, uid, effect, verdict_id, state, detail, applied_at, stale, thread_key)
       SELECT mailbox, uid, effect, verdict, state, detail, :now, :stale, thread FROM {rows} WHERE TRUE
       ON CONFLICT (mailbox_id, uid, effect) DO UPDATE
          SET verdict_id = excluded.verdict_id, state = excluded.state, detail = excluded.detail,
              applied_at = excluded.applied_at, stale = excluded.stale, undone_at = NULL,
              thread_key = COALESCE(excluded.thread_key, receipt.thread_key)""",
    mailbox="BIGINT",
    uid="BIGINT",
    effect="TEXT",
    verdict="BIGINT",
    state="TEXT",
    detail="TEXT",
    thread="BIGINT",
)
# The first receipt counts if several mails have the Message-ID, e.g. copies under Gmail's labels.
THREAD = text(
    """SELECT t.thread_key, t.detail FROM receipt t JOIN mailbox m ON m.id = t.mailbox_id
        WHERE t.thread_key IN :keys AND t.effect = :effect AND t.state = 'applied' AND t.undone_at IS NULL
          AND m.account = :account ORDER BY t.id DESC"""
).bindparams(bindparam("keys", expanding=True))


@dataclass(frozen=True, slots=True)
class Kept:
    """A mail's receipt of an effect that is not undone. `is_stale`: the effect may have written more than it says."""

    verdict_id: int
    is_stale: bool
    detail: Mapping[str, Any]

    def is_current(self, effect: Effect, verdict: Verdict, labels: Sequence[str]) -> bool:
        """Is what the effect would do for this verdict, by today's configuration, done?"""
        return not self.is_stale and self.verdict_id == verdict.id and effect.holds(self.detail, labels)


@dataclass(frozen=True, slots=True)
class Standing:
    """A receipt whose effect is not undone, with its number in the ledger.

    `is_own`: it was made from the verdict of the job that was asked about, and says all that was written.
    """

    id: int
    receipt: Receipt
    is_own: bool


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

    def kept(self, items: Sequence[Item]) -> dict[int, dict[str, Kept]]:
        """The receipts of items' mails that are not undone: item number → effect → receipt."""
        return self.database.read(lambda connection: kept_receipts(connection, items))

    def in_threads(self, account: str, effect: str, message_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The details of an effect's receipts on the mails with these Message-IDs, where there are any."""
        keys = {message_id: key for message_id in message_ids if (key := thread_key(message_id)) is not None}
        if not keys:
            return {}
        given = {"keys": sorted(set(keys.values())), "effect": effect, "account": account}
        rows = self.database.read(lambda connection: connection.execute(THREAD, given).all())
        found = {int(row.thread_key): dict(json.loads(row.detail)) for row in rows}
        return {message_id: found[key] for message_id, key in keys.items() if key in found}

    def intend(self, given: Sequence[tuple[Item, Verdict, Sequence[Receipt]]]) -> None:
        """Record, as stale, what the effects are about to leave on mails. Writes.

        After a crash, the next `apply` or `undo` knows from it what is ours.
        """
        now = micros(self.clock.now())
        self.database.write(lambda connection: keep_receipts(connection, given, now, is_stale=True))

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
                    bool(row.is_own),
                )
                for row in connection.execute(STANDING, parameters)
            ]

        return self.database.read(work)

    def doubt(self, untrue: Sequence[Standing]) -> int:
        """Mark receipts as not current, because they are not true. Their mails are DONE → CLASSIFIED where a job's
        verdict on them is the current one.

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


def keep_receipts(
    connection: Connection,
    given: Iterable[tuple[Item, Verdict, Sequence[Receipt]]],
    now: int,
    *,
    is_stale: bool = False,
) -> None:
    rows = {
        (held.mailbox_id, receipt.ref.uid, receipt.effect): {
            "mailbox": held.mailbox_id,
            "uid": receipt.ref.uid,
            "effect": receipt.effect,
            "verdict": found.id,
            "state": receipt.state,
            "detail": json.dumps(receipt.detail, sort_keys=True),
            "thread": None if receipt.message_id is None else thread_key(receipt.message_id),
        }
        for held, found, receipts in given
        for receipt in receipts
    }
    if rows:
        KEEP_RECEIPTS.execute(connection, in_order(rows), now=now, stale=is_stale)


def kept_receipts(connection: Connection, items: Sequence[Item]) -> dict[int, dict[str, Kept]]:
    found: dict[int, dict[str, Kept]] = {held.id: {} for held in items}
    mails = [{"item": held.id, "mailbox": held.mailbox_id, "uid": held.ref.uid} for held in items]
    for row in RECEIPTS.execute(connection, mails):
        found[row.item][row.effect] = Kept(row.verdict_id, bool(row.stale), json.loads(row.detail))
    return found


def flags_before_us(fetched: frozenset[str], kept: Mapping[str, Kept]) -> list[str]:
    """The flags that a mail would have without us. `fetched`: its flags now; `kept`: its receipts."""
    added = {str(word).casefold() for each in kept.values() for word in each.detail.get("added", ())}
    return sorted(flag for flag in fetched if flag.casefold() not in added)
