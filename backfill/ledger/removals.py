"""Keywords of older systems that `cleanup-flags` removes: which job removed which keyword from which mails.

A row is written before the keyword is removed, when the mail bears it. It is the receipt: putting the keyword back is
right whether or not the removal took place before a crash. Each cleanup is a job, so that `jobs` shows it and `undo`
takes it back. It has no items, no verdicts and no runs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, text

from backfill.clock import Clock, micros
from backfill.fingerprint import CLEANUP, Fingerprint
from backfill.ledger.databases.bulk import RowStatement
from backfill.ledger.databases.database import Database
from backfill.ledger.job_states import move
from backfill.ledger.jobs import Jobs
from backfill.ledger.rows import Job
from backfill.ledger.schema import ITEM_JUDGED
from backfill.lifecycle import JobState
from backfill.message import MailboxKey
from backfill.selection import Selection

NOTE = RowStatement(
    """INSERT INTO removal (job_id, mailbox_id, keyword, uid)
       SELECT :job, :mailbox, :keyword, uid FROM {rows} WHERE TRUE
           ON CONFLICT (job_id, mailbox_id, keyword, uid) DO UPDATE SET undone_at = NULL""",
    uid="BIGINT",
)
FORGET = text(
    """DELETE FROM removal
        WHERE job_id = :job AND mailbox_id = :mailbox AND keyword = :keyword AND uid IN :uids AND undone_at IS NULL"""
).bindparams(bindparam("uids", expanding=True))
CLOSE = text(
    """UPDATE removal SET undone_at = :now
        WHERE job_id = :job AND mailbox_id = :mailbox AND keyword = :keyword AND uid IN :uids AND undone_at IS NULL"""
).bindparams(bindparam("uids", expanding=True))
STANDING = text(
    """SELECT r.mailbox_id, r.keyword, r.uid, m.account, m.folder, m.uidvalidity
         FROM removal r JOIN mailbox m ON m.id = r.mailbox_id
        WHERE r.job_id = :job AND r.undone_at IS NULL ORDER BY m.folder, r.mailbox_id, r.keyword, r.uid"""
)
COUNT = text("SELECT COUNT(*) FROM removal WHERE job_id = :job AND undone_at IS NULL")
ADDED = text(
    """SELECT id, detail FROM receipt WHERE mailbox_id = :mailbox AND uid IN :uids AND undone_at IS NULL
          AND LOWER(detail) LIKE :likely AND detail LIKE '%"added"%' ORDER BY id"""
).bindparams(bindparam("uids", expanding=True))
BEFORE = text(
    f"""SELECT id, flags_before FROM item
         WHERE mailbox_id = :mailbox AND uid IN :uids AND {ITEM_JUDGED} AND flags_before IS NOT NULL ORDER BY id"""
).bindparams(bindparam("uids", expanding=True))
BORNE = text("UPDATE item SET flags_before = :flags WHERE id = :id")
RENAME = text("UPDATE receipt SET detail = :detail WHERE id = :id")
# `detail` is searched before it is read: most receipts name other keywords.
NAMING = text(
    """SELECT t.uid, t.detail FROM receipt t JOIN mailbox m ON m.id = t.mailbox_id
        WHERE m.account = :account AND m.folder = :folder AND m.uidvalidity = :uidvalidity
          AND t.undone_at IS NULL AND LOWER(t.detail) LIKE :likely"""
)


@dataclass(frozen=True, slots=True)
class Removed:
    """A keyword that a cleanup removed from mails of one mailbox, and that was not put back."""

    mailbox_id: int
    mailbox: MailboxKey
    keyword: str
    uids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Removals:
    """The removal table, and the jobs of cleanups."""

    database: Database
    clock: Clock

    def open(self, account: str, selection: Selection, keywords: Collection[str]) -> Job:
        """The job of this cleanup. If there is none, makes one; one that has ended is PLANNING again. Writes."""
        fingerprint = Fingerprint.of(classifier=CLEANUP, keywords=sorted({word.casefold() for word in keywords}))
        jobs = Jobs(self.database, self.clock)
        job = jobs.open(account, selection, fingerprint, dry_run=False)
        jobs.reopen(job.id)
        return jobs.get(job.id) or job

    def note(self, job_id: int, mailbox_id: int, keyword: str, uids: Sequence[int]) -> None:
        """Record that the mails bear the keyword, which is about to be removed. Writes."""
        given = {"job": job_id, "mailbox": mailbox_id, "keyword": keyword}
        rows = [{"uid": uid} for uid in sorted(uids)]
        self.database.write(lambda connection: NOTE.execute(connection, rows, **given).rowcount)

    def forget(self, job_id: int, mailbox_id: int, keyword: str, uids: Collection[int]) -> None:
        """The keyword could not be removed from these mails. Writes."""
        given = {"job": job_id, "mailbox": mailbox_id, "keyword": keyword, "uids": sorted(uids)}
        if uids:
            self.database.write(lambda connection: connection.execute(FORGET, given).rowcount)

    def close(self, job_id: int, mailbox_id: int, keyword: str, uids: Collection[int]) -> None:
        """The keyword is put back on these mails, or they are gone. Writes; twice is once.

        If a run set the same keyword since the cleanup, it is no longer ours alone: its receipt does not call it added
        any more, and the undo of that run leaves it. Mails that a run has read since bore the keyword before it, too.
        """
        now = micros(self.clock.now())
        given = {"job": job_id, "mailbox": mailbox_id, "keyword": keyword, "uids": sorted(uids), "now": now}
        word = keyword.casefold()

        def work(connection: Connection) -> None:
            connection.execute(CLOSE, given)
            for row in connection.execute(ADDED, {**given, "likely": f"%{word}%"}).all():
                detail = json.loads(row.detail)
                left = [each for each in detail.get("added") or () if str(each).casefold() != word]
                detail = json.dumps({**detail, "added": left}, sort_keys=True)
                connection.execute(RENAME, {"id": row.id, "detail": detail})
            for row in connection.execute(BEFORE, given).all():
                flags = json.loads(row.flags_before)
                if word not in {flag.casefold() for flag in flags}:
                    found = json.dumps(sorted([*flags, keyword]))
                    connection.execute(BORNE, {"id": row.id, "flags": found})

        if uids:
            self.database.write(work)

    def settle(self, job_id: int) -> None:
        """The cleanup is DONE. Writes."""

        def work(connection: Connection) -> None:
            this = {"job": job_id}
            move(connection, JobState.OPEN, "id = :job", this, only={JobState.PLANNING})
            move(connection, JobState.DONE, "id = :job", this, only={JobState.OPEN}, done_at=micros(self.clock.now()))

        self.database.write(work)

    def begin_undo(self, job_id: int) -> None:
        """The cleanup is UNDONE, before anything is put back. Writes."""
        self.database.write(lambda connection: move(connection, JobState.UNDONE, "id = :job", {"job": job_id}))

    def count(self, job_id: int) -> int:
        """How many keywords, each on one mail, the job removed and did not put back."""
        return int(self.database.read(lambda connection: connection.execute(COUNT, {"job": job_id}).scalar_one()))

    def standing(self, job_id: int) -> list[Removed]:
        """What the cleanup removed and was not put back, by folder and keyword."""

        def work(connection: Connection) -> list[Removed]:
            found: dict[tuple[int, str], tuple[MailboxKey, list[int]]] = {}
            for row in connection.execute(STANDING, {"job": job_id}):
                key = MailboxKey(row.account, row.folder, row.uidvalidity)
                found.setdefault((row.mailbox_id, row.keyword), (key, []))[1].append(row.uid)
            return [
                Removed(mailbox_id, key, keyword, tuple(uids)) for (mailbox_id, keyword), (key, uids) in found.items()
            ]

        return self.database.read(work)

    def ours(self, mailbox: MailboxKey, keyword: str) -> frozenset[int]:
        """The UIDs of mails that bear the keyword by a standing receipt: `undo` of their job takes it back."""
        word = keyword.casefold()
        given = {
            "account": mailbox.account,
            "folder": mailbox.folder,
            "uidvalidity": mailbox.uidvalidity,
            "likely": f"%{word}%",  # _ stands for any character, so this finds too many at most
        }

        def work(connection: Connection) -> frozenset[int]:
            return frozenset(row.uid for row in connection.execute(NAMING, given) if word in _named(row.detail))

        return self.database.read(work)


def _named(detail: str) -> set[str]:
    document = json.loads(detail)
    return {str(word).casefold() for key in ("keywords", "added") for word in document.get(key) or ()}
