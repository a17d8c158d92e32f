"""Does the ledger agree with itself? Each row that a question finds is a difference that should not be there.

Plans, items, claims, outcomes and receipts are in different tables. The questions compare these tables, in one
snapshot. No difference proves that nothing was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, text

from backfill.clock import Clock, micros
from backfill.ledger.current import superseded
from backfill.ledger.databases.database import Database
from backfill.ledger.job_states import move, settle
from backfill.ledger.schema import ATTEMPT_OPEN, ITEM_CLAIMED, ITEM_OPEN
from backfill.lifecycle import JobState


class DifferenceKind(StrEnum):
    """Which rule is broken. The comment of each states the rule."""

    COUNT = "count"  # the number of planned mails equals the number of items
    OUTSIDE_PLAN = "outside_plan"  # an item lies within the part of the plan that is done
    CLOSED_EPOCH = "closed_epoch"  # an open item lies in an epoch that is not closed
    NO_OUTCOME = "no_outcome"  # the latest outcome of a done or failed item says the same status
    TWICE_FINAL = "twice_final"  # one of an item's outcomes supersedes no other; none if another job came first
    NO_VERDICT = "no_verdict"  # a done item has a verdict of its own content
    DEAD_CLAIM = "dead_claim"  # a claim belongs to a run that has not ended
    DEAD_ATTEMPT = "dead_attempt"  # an attempt is open only while its run has not ended
    NO_RECEIPT = "no_receipt"  # a done item whose verdict is the current one has a receipt of it for each effect
    OPEN_IN_DONE_JOB = "open_in_done_job"  # a done job has no open item


@dataclass(frozen=True, slots=True)
class Difference:
    """One broken rule, in a sentence for people. `uid` None: it concerns the whole folder.

    `mailbox_id` None: no repair needs it.
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
        """The differences within the ledger, at most `limit` of each kind. Reads every item of the job.

        `effects`: the names of the configured effects. A DONE mail of a real job must have a receipt for each.
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
        """Every `size`-th UID of a mailbox's items, ascending; [] if there are fewer than `size` items."""
        parameters = {"job": job_id, "mailbox": mailbox_id, "size": size}
        return self.database.read(lambda connection: list(connection.execute(text(NTH_UIDS), parameters).scalars()))

    def repair(self, job_id: int) -> int:
        """Repair the differences that need no mail server. Writes. Returns the number of rows changed.

        Frees the claims and closes the attempts of ended runs, reopens a done job that has open items, corrects the
        number of planned mails, and deletes the outcomes of items that somebody has deleted.
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

#: Each question finds rows (folder, uid, …) that break the rule. Their columns fill in the sentence.
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
              JOIN (SELECT item_id, SUM(CASE WHEN supersedes THEN 0 ELSE 1 END) AS firsts, MIN(id) AS first_id
                      FROM outcome GROUP BY item_id) c ON c.item_id = i.id
             WHERE i.job_id = :job AND (c.firsts > 1 OR (c.firsts = 0 AND NOT EXISTS
                   (SELECT 1 FROM job other CROSS JOIN item same JOIN outcome o ON o.item_id = same.id
                     WHERE same.job_id = other.id AND same.mailbox_id = i.mailbox_id AND same.uid = i.uid
                       AND same.id <> i.id AND o.id < c.first_id))) {ORDER}""",
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
# A done item whose effect was taken back alone, or is being taken back, has a receipt that says so.
RECEIPTS = (
    f"""SELECT m.folder, i.uid, CAST(:effect AS TEXT) AS effect {ITEMS} JOIN job j ON j.id = i.job_id
          LEFT JOIN receipt t ON t.mailbox_id = i.mailbox_id AND t.uid = i.uid AND t.effect = :effect
                             AND (t.verdict_id = i.verdict_id OR t.undone_at IS NOT NULL)
         WHERE i.job_id = :job AND i.status = 'done' AND NOT j.dry_run AND t.id IS NULL
           AND NOT {superseded("i")} {ORDER}""",
    "{folder}, UID {uid} is done, but there is no receipt that {effect} has been brought about.",
)
HAS_OPEN_ITEMS = f"id = :job AND EXISTS (SELECT 1 FROM item WHERE job_id = :job AND {ITEM_OPEN})"
NTH_UIDS = """SELECT uid FROM (SELECT uid, ROW_NUMBER() OVER (ORDER BY uid) AS place FROM item
    WHERE job_id = :job AND mailbox_id = :mailbox) AS placed WHERE place % :size = 0 ORDER BY uid"""
REPAIRS = (
    # Outcomes of items that somebody has deleted: SQLite may give the number to a new item. PostgreSQL's foreign key
    # prevents such a deletion.
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
