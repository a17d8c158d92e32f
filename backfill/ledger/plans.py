"""Writes about plans: the mailboxes of a job, their UIDs, and how far they are planned.

One transaction inserts the items of a window of UIDs and moves `next_uid` past the window. So an interrupted planning
goes on at the next window, and a repeated planning inserts nothing twice.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, text, update

from backfill.clock import Clock, micros
from backfill.ledger.databases.database import Database
from backfill.ledger.item_states import leaves
from backfill.ledger.job_states import move, reopen_done
from backfill.ledger.rows import PlanRange
from backfill.ledger.schema import ITEM_OPEN, mailbox, plan_range
from backfill.lifecycle import ItemStatus, JobState
from backfill.message import MailboxKey
from backfill.ports import Surveyed

# The rank orders items by mailbox, then by UID, so the items of one claim can be fetched from one folder.
RANK_BITS = 32

VANISHED = ItemStatus.VANISHED
CLOSE_EPOCH_ITEMS = text(
    f"""UPDATE item SET status = 'vanished', reason = 'uidvalidity_changed', final_at = :now, claimed_by = NULL,
              begun = FALSE
         WHERE mailbox_id = :mailbox AND {leaves(VANISHED, ItemStatus.PENDING, ItemStatus.CLASSIFIED)}"""
)
REOPEN_EPOCH_ITEMS = text(
    f"""UPDATE item SET status = 'pending', reason = NULL, final_at = NULL, verdict_id = NULL, due_at = 0
        WHERE mailbox_id = :mailbox AND {leaves(ItemStatus.PENDING, VANISHED)} AND reason = 'uidvalidity_changed'"""
)
# A done job that meets this condition has something to do again.
HAS_OPEN_ITEMS = f"""EXISTS (SELECT 1 FROM item
        WHERE item.job_id = job.id AND item.mailbox_id = :mailbox AND {ITEM_OPEN})"""
# One statement for all UIDs of a window: three times as fast as one statement for each UID (measured on SQLite 3.40
# and PostgreSQL 18).
INSERT = """INSERT INTO item (job_id, mailbox_id, uid, rank, status, reason, final_at)
    SELECT :job, :mailbox, value, :rank | value, :status, :reason, CAST(:final_at AS BIGINT) FROM {uids} WHERE TRUE
        ON CONFLICT DO NOTHING"""
INSERT_SQLITE = text(INSERT.format(uids="json_each(:uids)"))
INSERT_POSTGRESQL = text(INSERT.format(uids="unnest(CAST(:uids AS BIGINT[])) AS value"))
# Open jobs with a rebuilt folder must plan the folder's new epoch before they can be done.
PLANNED_IT = "id IN (SELECT job_id FROM plan_range WHERE mailbox_id = :mailbox)"
OPEN_MAILBOXES = text(
    """SELECT m.id FROM plan_range p JOIN mailbox m ON m.id = p.mailbox_id
        WHERE p.job_id = :job AND m.closed_at IS NULL"""
)
RECOUNT = text(
    """UPDATE plan_range SET planned = (SELECT COUNT(*) FROM item
            WHERE item.job_id = plan_range.job_id AND item.mailbox_id = plan_range.mailbox_id)
        WHERE job_id = :job"""
)
PLAN_AGAIN = text(
    """UPDATE plan_range SET next_uid = 1 WHERE job_id = :job
        AND mailbox_id IN (SELECT id FROM mailbox WHERE closed_at IS NULL)"""
)


@dataclass(frozen=True, slots=True)
class Plans:
    """The mailbox and plan_range tables."""

    database: Database
    clock: Clock

    def open_mailbox(self, key: MailboxKey) -> int:
        """The number of this epoch. Closes the folder's other epochs: their open items become VANISHED. Writes.

        An epoch that comes back (the server was restored from a backup) is opened again, and its items, too.
        """
        now = micros(self.clock.now())
        folder = (mailbox.c.account == key.account) & (mailbox.c.folder == key.folder)
        this = folder & (mailbox.c.uidvalidity == key.uidvalidity)

        def work(connection: Connection) -> int:
            row = {"account": key.account, "folder": key.folder, "uidvalidity": key.uidvalidity}
            connection.execute(self.database.insert(mailbox).on_conflict_do_nothing(), [row])
            number: int = connection.execute(select(mailbox.c.id).where(this)).scalar_one()
            reopened = connection.execute(
                update(mailbox).where(this, mailbox.c.closed_at.is_not(None)).values(closed_at=None)
            )
            if reopened.rowcount:
                connection.execute(REOPEN_EPOCH_ITEMS, {"mailbox": number})
                move(
                    connection,
                    JobState.PLANNING,
                    HAS_OPEN_ITEMS,
                    {"mailbox": number},
                    only={JobState.DONE},
                )
            old = select(mailbox.c.id).where(folder, mailbox.c.id != number, mailbox.c.closed_at.is_(None))
            for closed in connection.execute(old).scalars().all():
                connection.execute(update(mailbox).where(mailbox.c.id == closed).values(closed_at=now))
                connection.execute(CLOSE_EPOCH_ITEMS, {"mailbox": closed, "now": now})
                move(connection, JobState.PLANNING, PLANNED_IT, {"mailbox": closed}, only={JobState.OPEN})
            return number

        return self.database.write(work)

    def freeze(self, job_id: int, mailbox_id: int, high_uid: int) -> PlanRange:
        """Start or extend the plan of a mailbox: the UIDs up to `high_uid` belong to the job. Writes.

        If this gives a done job something to plan, the job is PLANNING again.
        """
        this = (plan_range.c.job_id == job_id) & (plan_range.c.mailbox_id == mailbox_id)
        row = {"job_id": job_id, "mailbox_id": mailbox_id, "high_uid": high_uid, "next_uid": 1}

        def work(connection: Connection) -> PlanRange:
            if connection.execute(self.database.insert(plan_range).on_conflict_do_nothing(), [row]).rowcount:
                # This finds no item, unless somebody has deleted the plan range and not its items.
                connection.execute(RECOUNT, {"job": job_id})
            connection.execute(
                update(plan_range).where(this, plan_range.c.high_uid < high_uid).values(high_uid=high_uid)
            )
            window = PlanRange(*connection.execute(select(plan_range).where(this)).one())
            if not window.is_planned:
                reopen_done(connection, job_id)
            return window

        return self.database.write(work)

    def plan_window(self, window: PlanRange, up_to: int, mails: Sequence[Surveyed]) -> int:
        """Insert the mails with window.next_uid <= UID <= up_to, and move `next_uid` past them; how many were new.

        Writes; one transaction. 0 also if another process has planned this window meanwhile, or the epoch is closed.
        """
        now = micros(self.clock.now())
        this = (plan_range.c.job_id == window.job_id) & (plan_range.c.mailbox_id == window.mailbox_id)
        is_open = select(mailbox.c.id).where(mailbox.c.id == window.mailbox_id, mailbox.c.closed_at.is_(None))
        is_open = is_open.with_for_update(read=True)
        move = update(plan_range).where(this, plan_range.c.next_uid == window.next_uid).values(next_uid=up_to + 1)
        count = update(plan_range).where(this).values(planned=plan_range.c.planned + bindparam("inserted"))

        def work(connection: Connection) -> int:
            # The lock delays the closing of the epoch until the window's items are inserted and can be closed with it.
            if connection.execute(is_open).one_or_none() is None or connection.execute(move).rowcount == 0:
                return 0
            inserted = self._insert(connection, window, mails, now)
            connection.execute(count, {"inserted": inserted})
            if inserted:
                reopen_done(connection, window.job_id)
            return inserted

        return self.database.write(work)

    def ranges(self, job_id: int) -> list[PlanRange]:
        """The job's plan ranges, in the order of their mailboxes."""
        statement = select(plan_range).where(plan_range.c.job_id == job_id).order_by(plan_range.c.mailbox_id)
        return self.database.read(lambda connection: [PlanRange(*row) for row in connection.execute(statement)])

    def mailbox_keys(self, job_id: int) -> dict[int, MailboxKey]:
        """The keys of the mailboxes of a job's plan, by number."""
        statement = (
            select(mailbox.c.id, mailbox.c.account, mailbox.c.folder, mailbox.c.uidvalidity)
            .join(plan_range, plan_range.c.mailbox_id == mailbox.c.id)
            .where(plan_range.c.job_id == job_id)
        )
        return self.database.read(
            lambda connection: {row[0]: MailboxKey(*row[1:]) for row in connection.execute(statement)}
        )

    def open_mailboxes(self, job_id: int) -> frozenset[int]:
        """The numbers of the mailboxes of a job's plan whose epoch is not closed."""
        return self.database.read(
            lambda connection: frozenset(connection.execute(OPEN_MAILBOXES, {"job": job_id}).scalars())
        )

    def plan_again(self, job_id: int) -> None:
        """Make the next planning look at every UID of the job's open mailboxes again. Writes.

        It inserts the mails that an earlier planning missed, and none twice. A done or open job is PLANNING again.
        """

        def work(connection: Connection) -> None:
            connection.execute(PLAN_AGAIN, {"job": job_id})
            move(connection, JobState.PLANNING, "id = :job", {"job": job_id}, only={JobState.OPEN, JobState.DONE})

        self.database.write(work)

    def _insert(self, connection: Connection, window: PlanRange, mails: Sequence[Surveyed], now: int) -> int:
        by_rule: dict[str | None, list[int]] = defaultdict(list)
        for mail in mails:
            by_rule[mail.skip_rule].append(mail.uid)
        place = {
            "job": window.job_id,
            "mailbox": window.mailbox_id,
            "rank": window.mailbox_id << RANK_BITS,
        }
        inserted = 0
        for rule, uids in by_rule.items():
            final = {
                "status": ItemStatus.PENDING if rule is None else ItemStatus.SKIPPED,
                "reason": rule,
                "final_at": None if rule is None else now,
            }
            if self.database.is_sqlite:
                rows = connection.execute(INSERT_SQLITE, {**place, **final, "uids": json.dumps(uids)})
            else:
                rows = connection.execute(INSERT_POSTGRESQL, {**place, **final, "uids": uids})
            inserted += rows.rowcount
        return inserted
