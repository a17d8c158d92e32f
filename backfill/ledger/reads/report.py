"""Figures for a report: counts, calls, costs, failures. Nothing here writes.

All figures of a report come from one snapshot, and are counted from the rows. Separate counters could drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from operator import add

from sqlalchemy import Connection, text

from backfill import outputs
from backfill.ledger.budgets import usd
from backfill.ledger.current import count_superseded
from backfill.ledger.databases.database import Database
from backfill.ledger.reads.answers import answers_of, examples_of
from backfill.ledger.rows import Job, moment_or_none
from backfill.ledger.runs import latest_run, living_runs
from backfill.lifecycle import AttemptOutcome, ItemStatus, JobState, RunOutcome
from backfill.ports import ReceiptState
from backfill.rubric import Rubric
from backfill.summary import (
    MAX_FAILED_MAILS,
    Calls,
    Counts,
    EffectCounts,
    FailedMail,
    Failure,
    FolderCounts,
    JobFacts,
    LastRun,
    Summary,
    TimeSpan,
    Tokens,
)

FAILED_CALLS = (
    AttemptOutcome.UNAVAILABLE,
    AttemptOutcome.UNUSABLE,
    AttemptOutcome.REFUSED,
    AttemptOutcome.HALTED,
)
UNKNOWN_CALLS = (AttemptOutcome.OPEN, AttemptOutcome.UNKNOWN)


@dataclass(frozen=True, slots=True)
class ReportReads:
    """Reads the figures of a job's report."""

    database: Database

    def summary(self, job: Job, today: Rubric | None = None, *, with_examples: bool = False) -> Summary:
        """The job's figures over all its runs, from one snapshot. Reads every item of the job.

        `today`: the rubric with the thresholds that labels follow; None: those that the job was planned with.
        `with_examples`: with reasons, which are words about mails and belong in no log.
        """
        rubric = job.rubric if today is None else job.rubric.having(today)

        def work(connection: Connection) -> Summary:
            folders = _folders(connection, job.id)
            tokens, cost_usd = _tokens(connection, job.id)
            answers = answers_of(connection, job.id, rubric)
            return Summary(
                job=_job(connection, job),
                counts=reduce(add, (folder.counts for folder in folders), Counts()),
                calls=_calls(connection, job.id),
                tokens=tokens,
                cost_usd=cost_usd,
                effects=_effects(connection, job.id),
                time=_time(connection, job.id),
                failures=_failures(connection, job.id),
                folders=folders,
                scores=answers.scores,
                categories=answers.categories,
                labels=answers.labels,
                examples=examples_of(connection, job.id, rubric) if with_examples else (),
                last_run=self._last_run(connection, job.id),
                superseded_by=() if job.dry_run else tuple(count_superseded(connection, job.id).items()),
            )

        return self.database.read(work)

    def _last_run(self, connection: Connection, job_id: int) -> LastRun | None:
        run = latest_run(connection, job_id)
        if run is None:
            return None
        if run.outcome is None and not living_runs(self.database, connection, job_id):
            return LastRun(RunOutcome.LOST)  # it has died, and no other run has recorded its end yet
        return LastRun(None if run.outcome is None else RunOutcome(run.outcome), run.outcome_reason or "")


STATE = "SELECT state FROM job WHERE id = :job"
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
     WHERE t.undone_at IS NULL AND NOT t.stale GROUP BY t.effect, t.state"""
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


def _job(connection: Connection, job: Job) -> JobFacts:
    return JobFacts(
        id=job.id,
        state=JobState(connection.execute(text(STATE), {"job": job.id}).scalar_one()),
        dry_run=job.dry_run,
        account=job.account,
        fingerprint=job.fingerprint,
        selection=job.selection,
    )


def _folders(connection: Connection, job_id: int) -> tuple[FolderCounts, ...]:
    job = {"job": job_id}
    statuses: dict[str, dict[ItemStatus, int]] = {}
    for folder, status, mails in connection.execute(text(STATUSES), job):
        statuses.setdefault(folder, {})[ItemStatus(status)] = int(mails)
    costs = {folder: int(cost) for folder, cost in connection.execute(text(FOLDER_COSTS), job)}
    return tuple(
        FolderCounts(folder, Counts.of(int(planned), statuses.get(folder, {})), usd(costs.get(folder)))
        for folder, planned in connection.execute(text(FOLDERS), job)
    )


def _calls(connection: Connection, job_id: int) -> Calls:
    job = {"job": job_id}
    attempts = {AttemptOutcome(row[0]): int(row[1]) for row in connection.execute(text(ATTEMPTS), job)}
    return Calls(
        made=sum(count for outcome, count in attempts.items() if outcome is not AttemptOutcome.UNSENT),
        succeeded=attempts.get(AttemptOutcome.OK, 0) + attempts.get(AttemptOutcome.LATE, 0),
        rate_limited=attempts.get(AttemptOutcome.RATE_LIMITED, 0),
        failed=sum(attempts.get(outcome, 0) for outcome in FAILED_CALLS),
        unknown_outcome=sum(attempts.get(outcome, 0) for outcome in UNKNOWN_CALLS),
        reused=int(connection.execute(text(REUSED), job).scalar_one()),
        gated=int(connection.execute(text(GATED), job).scalar_one()),
    )


def _tokens(connection: Connection, job_id: int) -> tuple[Tokens, Decimal | None]:
    """The tokens of a job's calls, and their cost in USD. None: no call has a known cost."""
    row = connection.execute(text(TOKENS), {"job": job_id}).one()
    tokens = Tokens(int(row.tokens_in or 0), int(row.tokens_out or 0), int(row.tokens_cached or 0))
    return tokens, usd(None if row.cost_nano is None else int(row.cost_nano))


def _effects(connection: Connection, job_id: int) -> EffectCounts:
    receipts = {(row[0], row[1]): int(row[2]) for row in connection.execute(text(RECEIPTS), {"job": job_id})}

    def having(state: ReceiptState, effect: str | None = None) -> int:
        return sum(count for (name, found), count in receipts.items() if found == state and effect in (None, name))

    return EffectCounts(
        applied=tuple((name, having(ReceiptState.APPLIED, name)) for name in outputs.NAMES),
        not_applicable=having(ReceiptState.NOT_APPLICABLE),
        foreign=having(ReceiptState.FOREIGN),
    )


def _time(connection: Connection, job_id: int) -> TimeSpan:
    job = {"job": job_id}
    row = connection.execute(text(TIMES), job).one()
    running_us = int(row.running_us or 0) + int(connection.execute(text(UNBEATEN), job).scalar() or 0)
    ended_at = None if row.living else moment_or_none(row.ended_at)
    return TimeSpan(moment_or_none(row.started_at), ended_at, running_us / 1e6)


def _failures(connection: Connection, job_id: int) -> tuple[Failure, ...]:
    groups = []
    for reason, count in connection.execute(text(REASONS), {"job": job_id}).all():
        scope = {"job": job_id, "reason": reason, "limit": MAX_FAILED_MAILS}
        mails = tuple(FailedMail(folder, uid) for folder, uid in connection.execute(text(FAILED_UIDS), scope))
        groups.append(Failure(reason, count, mails))
    return tuple(groups)
