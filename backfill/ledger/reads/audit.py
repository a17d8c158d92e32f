"""Does the ledger agree with itself? Questions whose every answer is a difference that should not be there.

What is planned, what has become of it, who holds what and what was brought about are kept in different tables; here
they are held against each other, in one snapshot. An empty answer is the proof that nothing was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, text

from backfill.clock import Clock, micros
from backfill.ledger.databases.database import Database
from backfill.ledger.job_states import move, settle
from backfill.ledger.schema import ATTEMPT_OPEN, ITEM_CLAIMED, ITEM_OPEN
from backfill.lifecycle import JobState


class DifferenceKind(StrEnum):
    """What does not agree."""

    COUNT = "count"  # as many mails were planned as there are items
    OUTSIDE_PLAN = "outside_plan"  # an item lies within the part of a plan that is planned
    CLOSED_EPOCH = "closed_epoch"  # an open item lies in an epoch that is not closed
    NO_OUTCOME = "no_outcome"  # a done or failed item has an outcome, which says the same
    TWICE_FINAL = "twice_final"  # of an item's outcomes one does not supersede another
    NO_VERDICT = "no_verdict"  # a done item has the verdict that its outcome was made from
    DEAD_CLAIM = "dead_claim"  # a claim belongs to a run that goes on
    DEAD_ATTEMPT = "dead_attempt"  # an attempt is open only while its run goes on
    NO_RECEIPT = "no_receipt"  # a done item of a real job has a receipt of each effect, of its verdict
    OPEN_IN_DONE_JOB = "open_in_done_job"  # a done job has no open item


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that does not agree, said for people. `uid` is None when it concerns the folder as a whole.

    `mailbox_id` is None where no repair asks for it.
    """

    kind: StrEnum  # `DifferenceKind` within the ledger; `verify` has more kinds
    folder: str
    uid: int | None
    sentence: str
    mailbox_id: int | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """The questions about one job."""

    database: Database
    clock: Clock

    def differences(self, job_id: int, effects: Sequence[str] = (), limit: int = 1000) -> list[Difference]:
        """What does not agree within the ledger, of each kind at most `limit`. Reads every item of the job.

        `effects`: the names of the configured effects, each of which a DONE mail of a real job must have a receipt of.
        """

        def work(connection: Connection) -> list[Difference]:
            found = []
            for kind, (question, sentence) in QUESTIONS.items():
                found += _ask(connection, kind, question, sentence, {"job": job_id, "limit": limit})
            for effect in sorted(effects):
                parameters = {"job": job_id, "limit": limit, "effect": effect}
                found += _ask(connection, DifferenceKind.NO_RECEIPT, *RECEIPTS, parameters)
            return found

        return self.database.read(work)

    def every_nth_uid(self, job_id: int, mailbox_id: int, size: int) -> list[int]:
        """The UIDs that cut the items of a mailbox into pieces of `size`, ascending; [] where there are fewer."""
        parameters = {"job": job_id, "mailbox": mailbox_id, "size": size}
        return self.database.read(lambda connection: list(connection.execute(text(NTH_UIDS), parameters).scalars()))

    def repair(self, job_id: int) -> int:
        """Put right what needs no mail server; how many rows. Writes.

        That is claims and attempts of runs that have ended, a job that was called done too early, and how many mails
        are planned where somebody has removed some.
        """
        parameters = {"job": job_id}
        now = micros(self.clock.now())

        def work(connection: Connection) -> int:
            rows = sum(connection.execute(text(statement), parameters).rowcount for statement in REPAIRS)
            reopened = move(connection, JobState.PLANNING, HAS_OPEN_ITEMS, parameters, only={JobState.DONE})
            if reopened:
                settle(connection, job_id, now)
            return rows + reopened

        return self.database.write(work)


def _ask(
    connection: Connection, kind: DifferenceKind, question: str, sentence: str, parameters: dict[str, Any]
) -> list[Difference]:
    rows = connection.execute(text(f"{question} LIMIT :limit"), parameters).mappings()
    return [Difference(kind, row["folder"], row["uid"], sentence.format(**row)) for row in rows]


ITEMS = "FROM item i JOIN mailbox m ON m.id = i.mailbox_id"
ORDER = "ORDER BY m.id, i.uid"

#: Each question lists (folder, uid, …) of what does not agree; the sentence is filled in with its columns.
QUESTIONS: dict[DifferenceKind, tuple[str, str]] = {
    DifferenceKind.COUNT: (
        """SELECT m.folder, NULL AS uid, COALESCE(p.planned, 0) AS planned, COALESCE(c.mails, 0) AS mails
             FROM mailbox m
             LEFT JOIN plan_range p ON p.mailbox_id = m.id AND p.job_id = :job
             LEFT JOIN (SELECT mailbox_id, COUNT(*) AS mails FROM item WHERE job_id = :job GROUP BY mailbox_id) c
               ON c.mailbox_id = m.id
            WHERE COALESCE(p.planned, 0) <> COALESCE(c.mails, 0) ORDER BY m.id""",
        "{folder}: {planned} mails were planned, but {mails} are in the ledger.",
    ),
    DifferenceKind.OUTSIDE_PLAN: (
        f"""SELECT m.folder, i.uid {ITEMS}
              LEFT JOIN plan_range p ON p.job_id = i.job_id AND p.mailbox_id = i.mailbox_id
             WHERE i.job_id = :job AND (p.next_uid IS NULL OR i.uid >= p.next_uid OR i.uid < 1) {ORDER}""",
        "{folder}, UID {uid} is in the ledger, but beyond what is planned.",
    ),
    DifferenceKind.CLOSED_EPOCH: (
        f"SELECT m.folder, i.uid {ITEMS} WHERE i.job_id = :job AND i.{ITEM_OPEN} AND m.closed_at IS NOT NULL {ORDER}",
        "{folder}, UID {uid} is pending, but the folder has another UIDVALIDITY since.",
    ),
    DifferenceKind.NO_OUTCOME: (
        f"""SELECT m.folder, i.uid, i.status, latest.status AS said {ITEMS}
              LEFT JOIN outcome latest
                ON latest.id = (SELECT MAX(o.id) FROM outcome o WHERE o.item_id = i.id)
             WHERE i.job_id = :job AND i.status IN ('done', 'failed')
               AND (latest.status IS NULL OR latest.status <> i.status) {ORDER}""",
        "{folder}, UID {uid} is {status}, but its latest outcome says {said}.",
    ),
    DifferenceKind.TWICE_FINAL: (
        f"""SELECT m.folder, i.uid, c.firsts {ITEMS}
              JOIN (SELECT item_id, SUM(CASE WHEN supersedes THEN 0 ELSE 1 END) AS firsts
                      FROM outcome GROUP BY item_id) c ON c.item_id = i.id
             WHERE i.job_id = :job AND c.firsts <> 1 {ORDER}""",
        "{folder}, UID {uid} has {firsts} outcomes that supersede none.",
    ),
    DifferenceKind.NO_VERDICT: (
        f"""SELECT m.folder, i.uid {ITEMS} LEFT JOIN verdict v ON v.id = i.verdict_id
             WHERE i.job_id = :job AND i.status = 'done'
               AND (v.id IS NULL OR i.message_key IS NULL OR v.message_key <> i.message_key) {ORDER}""",
        "{folder}, UID {uid} is done, but has no verdict of its own content.",
    ),
    DifferenceKind.DEAD_CLAIM: (
        f"""SELECT m.folder, i.uid, r.uuid {ITEMS} JOIN run r ON r.id = i.claimed_by
             WHERE i.job_id = :job AND i.{ITEM_CLAIMED} AND r.ended_at IS NOT NULL {ORDER}""",
        "{folder}, UID {uid} is held by run {uuid}, which has ended.",
    ),
    DifferenceKind.DEAD_ATTEMPT: (
        f"""SELECT m.folder, i.uid, r.uuid {ITEMS}
              JOIN attempt a ON a.item_id = i.id AND a.{ATTEMPT_OPEN} JOIN run r ON r.id = a.run_id
             WHERE i.job_id = :job AND r.ended_at IS NOT NULL {ORDER}""",
        "{folder}, UID {uid} has a call without an outcome, but its run {uuid} has ended.",
    ),
    DifferenceKind.OPEN_IN_DONE_JOB: (
        f"""SELECT m.folder, i.uid {ITEMS} JOIN job j ON j.id = i.job_id
             WHERE i.job_id = :job AND i.{ITEM_OPEN} AND j.state = 'done' {ORDER}""",
        "{folder}, UID {uid} is pending, but the job is done.",
    ),
}
RECEIPTS = (
    f"""SELECT m.folder, i.uid, CAST(:effect AS TEXT) AS effect {ITEMS} JOIN job j ON j.id = i.job_id
          LEFT JOIN receipt t ON t.mailbox_id = i.mailbox_id AND t.uid = i.uid AND t.effect = :effect
                             AND t.verdict_id = i.verdict_id AND t.undone_at IS NULL
         WHERE i.job_id = :job AND i.status = 'done' AND NOT j.dry_run AND t.id IS NULL {ORDER}""",
    "{folder}, UID {uid} is done, but there is no receipt that {effect} has been brought about.",
)
HAS_OPEN_ITEMS = f"id = :job AND EXISTS (SELECT 1 FROM item WHERE job_id = :job AND {ITEM_OPEN})"
NTH_UIDS = """SELECT uid FROM (SELECT uid, ROW_NUMBER() OVER (ORDER BY uid) AS place FROM item
    WHERE job_id = :job AND mailbox_id = :mailbox) AS placed WHERE place % :size = 0 ORDER BY uid"""
REPAIRS = (
    # Of mails that somebody has removed: a new one may come to bear the number. PostgreSQL does not let it happen.
    "DELETE FROM outcome WHERE NOT EXISTS (SELECT 1 FROM item WHERE item.id = outcome.item_id)",
    """UPDATE plan_range SET planned = (SELECT COUNT(*) FROM item
            WHERE item.job_id = plan_range.job_id AND item.mailbox_id = plan_range.mailbox_id)
        WHERE job_id = :job AND planned <> (SELECT COUNT(*) FROM item
            WHERE item.job_id = plan_range.job_id AND item.mailbox_id = plan_range.mailbox_id)""",
    f"""UPDATE item SET claimed_by = NULL, begun = FALSE WHERE job_id = :job AND {ITEM_CLAIMED}
           AND claimed_by IN (SELECT id FROM run WHERE ended_at IS NOT NULL)""",
    f"""UPDATE attempt SET outcome = 'unknown', ended_at = started_at WHERE {ATTEMPT_OPEN}
           AND run_id IN (SELECT id FROM run WHERE job_id = :job AND ended_at IS NOT NULL)""",
)
