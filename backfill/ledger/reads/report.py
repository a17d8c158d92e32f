"""Figures for a report: counts, calls, costs, failures. Nothing here writes.

All figures of a report come from one snapshot, and are counted from the rows. Separate counters could drift.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, text

from backfill.ledger.budgets import usd
from backfill.ledger.databases.database import Database
from backfill.ledger.rows import moment_or_none
from backfill.lifecycle import AttemptOutcome, ItemStatus

# The most UIDs that are listed for one reason of failure; the others are only counted.
UIDS_LISTED = 100


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """The items that failed for one reason. `uids` holds (folder, UID), at most 100."""

    reason: str
    count: int
    uids: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class FolderCounts:
    """One folder's share of a job; the epochs of the folder are added up."""

    folder: str
    planned: int
    statuses: dict[ItemStatus, int]
    cost_usd: Decimal | None  # None: no call for its mails has a known cost


@dataclass(frozen=True, slots=True)
class JobFacts:
    """All the figures of a report on a job, from one snapshot."""

    planned: int  # mails that planning has inserted
    statuses: dict[ItemStatus, int]
    reused: int  # mails whose verdict was already known
    gated: int  # mails that the free rules before the model decided
    attempts: dict[AttemptOutcome, int]
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    cost_usd: Decimal | None  # None: no attempt has a known cost
    receipts: dict[tuple[str, str], int]  # (effect, receipt state) → mails
    first_started_at: datetime | None
    last_ended_at: datetime | None  # None while a run goes on
    running_us: int  # the time that runs worked; for a dead or a living run, until its last write
    failures: tuple[FailureGroup, ...]
    folders: tuple[FolderCounts, ...]
    importance: tuple[int, ...]  # mails by importance score 0 … 10, of items with a verdict
    spam: tuple[int, ...]
    labels: dict[str, int]  # label → DONE items, by the newest outcome of each


@dataclass(frozen=True, slots=True)
class ReportReads:
    """The figures of a job's report."""

    database: Database

    def facts(self, job_id: int) -> JobFacts:
        """All figures of a job, from one snapshot. Reads every item of the job."""
        job = {"job": job_id}

        def work(connection: Connection) -> JobFacts:
            folders = _folders(connection, job_id)
            statuses: Counter[ItemStatus] = Counter()
            for folder in folders:
                statuses.update(folder.statuses)
            tokens = connection.execute(text(TOKENS), job).one()
            times = connection.execute(text(TIMES), job).one()
            return JobFacts(
                planned=sum(folder.planned for folder in folders),
                statuses=dict(statuses),
                reused=int(connection.execute(text(REUSED), job).scalar_one()),
                gated=int(connection.execute(text(GATED), job).scalar_one()),
                attempts={AttemptOutcome(row[0]): row[1] for row in connection.execute(text(ATTEMPTS), job)},
                tokens_in=int(tokens.tokens_in or 0),
                tokens_out=int(tokens.tokens_out or 0),
                tokens_cached=int(tokens.tokens_cached or 0),
                cost_usd=usd(None if tokens.cost_nano is None else int(tokens.cost_nano)),
                receipts={(row[0], row[1]): row[2] for row in connection.execute(text(RECEIPTS), job)},
                first_started_at=moment_or_none(times.started_at),
                last_ended_at=None if times.living else moment_or_none(times.ended_at),
                running_us=int(times.running_us or 0) + int(connection.execute(text(UNBEATEN), job).scalar() or 0),
                failures=_failures(connection, job_id),
                folders=folders,
                importance=_histogram(connection, "importance", job_id),
                spam=_histogram(connection, "spam", job_id),
                labels=_labels(connection, job_id),
            )

        return self.database.read(work)


FOLDERS = """SELECT m.folder, SUM(p.planned) AS planned FROM plan_range p JOIN mailbox m ON m.id = p.mailbox_id
     WHERE p.job_id = :job GROUP BY m.folder ORDER BY MIN(m.id)"""
STATUSES = """SELECT m.folder, c.status, SUM(c.mails) FROM
     (SELECT mailbox_id, status, COUNT(*) AS mails FROM item WHERE job_id = :job GROUP BY mailbox_id, status) c
      JOIN mailbox m ON m.id = c.mailbox_id GROUP BY m.folder, c.status"""
FOLDER_COSTS = """SELECT m.folder, SUM(a.cost_nano) FROM attempt a JOIN item i ON i.id = a.item_id
      JOIN mailbox m ON m.id = i.mailbox_id
     WHERE i.job_id = :job AND a.cost_nano IS NOT NULL GROUP BY m.folder"""
REUSED = "SELECT COUNT(*) FROM item WHERE job_id = :job AND reused"
GATED = """SELECT COUNT(*) FROM item i JOIN verdict v ON v.id = i.verdict_id
     WHERE i.job_id = :job AND v.source = 'gate'"""
ATTEMPTS = """SELECT a.outcome, COUNT(*) FROM attempt a JOIN run r ON r.id = a.run_id
     WHERE r.job_id = :job GROUP BY a.outcome"""
TOKENS = """SELECT SUM(a.tokens_in) AS tokens_in, SUM(a.tokens_out) AS tokens_out,
           SUM(a.tokens_cached) AS tokens_cached, SUM(a.cost_nano) AS cost_nano
      FROM attempt a JOIN run r ON r.id = a.run_id WHERE r.job_id = :job"""
TIMES = """SELECT MIN(started_at) AS started_at, MAX(ended_at) AS ended_at, SUM(running_us) AS running_us,
           SUM(CASE WHEN ended_at IS NULL THEN 1 ELSE 0 END) AS living
      FROM run WHERE job_id = :job"""
RECEIPTS = """SELECT t.effect, t.state, COUNT(*) FROM receipt t
      JOIN item i ON i.mailbox_id = t.mailbox_id AND i.uid = t.uid AND i.job_id = :job AND i.verdict_id = t.verdict_id
     WHERE t.undone_at IS NULL GROUP BY t.effect, t.state"""
# How long a run without a recorded end worked after its last heartbeat. For a call without an answer, its start counts:
# a successor has set its end.
SIGN = "CASE WHEN a.outcome IN ('open', 'unknown') THEN a.started_at ELSE a.ended_at END"
UNBEATEN = f"""SELECT SUM(s.at - r.heartbeat_at) FROM
     (SELECT signs.run_id, MAX(signs.at) AS at FROM
       (SELECT a.run_id, {SIGN} AS at FROM attempt a UNION ALL SELECT o.run_id, o.at FROM outcome o) signs
       WHERE signs.run_id IN (SELECT id FROM run WHERE job_id = :job AND (ended_at IS NULL OR outcome = 'lost'))
       GROUP BY signs.run_id) s
      JOIN run r ON r.id = s.run_id WHERE s.at > r.heartbeat_at"""
REASONS = """SELECT COALESCE(reason, 'unknown'), COUNT(*) FROM item
     WHERE job_id = :job AND status = 'failed' GROUP BY COALESCE(reason, 'unknown') ORDER BY 2 DESC, 1"""
FAILED_UIDS = """SELECT m.folder, i.uid FROM item i JOIN mailbox m ON m.id = i.mailbox_id
     WHERE i.job_id = :job AND i.status = 'failed' AND COALESCE(i.reason, 'unknown') = :reason
     ORDER BY m.id, i.uid LIMIT :limit"""
HISTOGRAM = """SELECT v.{score}, COUNT(*) FROM item i JOIN verdict v ON v.id = i.verdict_id
     WHERE i.job_id = :job GROUP BY v.{score}"""
LABELS = """SELECT o.labels, COUNT(*) FROM outcome o JOIN item i ON i.id = o.item_id
     WHERE i.job_id = :job AND i.status = 'done' AND o.status = 'done' AND o.labels <> ''
       AND NOT EXISTS (SELECT 1 FROM outcome later WHERE later.item_id = o.item_id AND later.id > o.id)
     GROUP BY o.labels"""


def _folders(connection: Connection, job_id: int) -> tuple[FolderCounts, ...]:
    job = {"job": job_id}
    statuses: dict[str, dict[ItemStatus, int]] = {}
    for folder, status, mails in connection.execute(text(STATUSES), job):
        statuses.setdefault(folder, {})[ItemStatus(status)] = int(mails)
    costs = {folder: int(cost) for folder, cost in connection.execute(text(FOLDER_COSTS), job)}
    return tuple(
        FolderCounts(folder, int(planned), statuses.get(folder, {}), usd(costs.get(folder)))
        for folder, planned in connection.execute(text(FOLDERS), job)
    )


def _failures(connection: Connection, job_id: int) -> tuple[FailureGroup, ...]:
    groups = []
    for reason, count in connection.execute(text(REASONS), {"job": job_id}).all():
        uids = connection.execute(text(FAILED_UIDS), {"job": job_id, "reason": reason, "limit": UIDS_LISTED}).all()
        groups.append(FailureGroup(reason, count, tuple((row.folder, row.uid) for row in uids)))
    return tuple(groups)


def _histogram(connection: Connection, score: str, job_id: int) -> tuple[int, ...]:
    rows = connection.execute(text(HISTOGRAM.format(score=score)), {"job": job_id})
    counts: dict[int, int] = {row[0]: row[1] for row in rows}
    return tuple(counts.get(value, 0) for value in range(11))


def _labels(connection: Connection, job_id: int) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for labels, mails in connection.execute(text(LABELS), {"job": job_id}):
        counts.update(dict.fromkeys(labels.split(","), mails))
    return dict(counts)
