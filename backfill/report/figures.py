"""Makes the `Summary` of a job from the ledger's rows."""

from __future__ import annotations

from backfill.ledger import Ledger
from backfill.ledger.reads.report import JobFacts as LedgerFacts
from backfill.ledger.rows import Job, RunInfo
from backfill.lifecycle import OPEN, AttemptOutcome, ItemStatus, RunOutcome
from backfill.ports import ReceiptState
from backfill.summary import (
    Calls,
    Counts,
    EffectCounts,
    FailedMail,
    Failure,
    FolderCounts,
    JobFacts,
    LastRun,
    ScoreCounts,
    Summary,
    TimeSpan,
    Tokens,
)
from backfill.verdict import Label

FAILED_CALLS = (
    AttemptOutcome.UNAVAILABLE,
    AttemptOutcome.UNUSABLE,
    AttemptOutcome.REFUSED,
    AttemptOutcome.HALTED,
)
UNKNOWN_CALLS = (AttemptOutcome.OPEN, AttemptOutcome.UNKNOWN)


def summarize(ledger: Ledger, job: Job) -> Summary:
    """The job's figures over all its runs. Reads only."""
    facts = ledger.report.facts(job.id)
    current = ledger.jobs.get(job.id) or job
    return Summary(
        job=JobFacts(
            id=job.id,
            state=current.state,
            dry_run=job.dry_run,
            account=job.account,
            fingerprint=job.fingerprint,
            selection=job.selection,
        ),
        counts=_counts(facts.planned, facts.statuses),
        calls=_calls(facts),
        tokens=Tokens(prompt=facts.tokens_in, completion=facts.tokens_out, cached=facts.tokens_cached),
        cost_usd=facts.cost_usd,
        effects=_effects(facts.receipts),
        time=TimeSpan(facts.first_started_at, facts.last_ended_at, facts.running_us / 1e6),
        failures=tuple(
            Failure(group.reason, group.count, tuple(FailedMail(folder, uid) for folder, uid in group.uids))
            for group in facts.failures
        ),
        folders=tuple(
            FolderCounts(
                name=folder.folder,
                found=folder.planned,
                done=folder.statuses.get(ItemStatus.DONE, 0),
                failed=folder.statuses.get(ItemStatus.FAILED, 0),
                pending=sum(folder.statuses.get(status, 0) for status in OPEN),
                cost_usd=folder.cost_usd,
            )
            for folder in facts.folders
        ),
        scores=ScoreCounts(facts.importance, facts.spam),
        labels=tuple((label, facts.labels.get(label, 0)) for label in Label),
        last_run=_last_run(ledger.runs.latest(job.id), is_at_work=ledger.status.is_at_work(job.id)),
    )


def _counts(planned: int, statuses: dict[ItemStatus, int]) -> Counts:
    return Counts(
        found=planned,
        done=statuses.get(ItemStatus.DONE, 0),
        failed=statuses.get(ItemStatus.FAILED, 0),
        skipped=statuses.get(ItemStatus.SKIPPED, 0),
        vanished=statuses.get(ItemStatus.VANISHED, 0),
        pending=sum(statuses.get(status, 0) for status in OPEN),
    )


def _calls(facts: LedgerFacts) -> Calls:
    attempts = facts.attempts
    return Calls(
        made=sum(count for outcome, count in attempts.items() if outcome is not AttemptOutcome.UNSENT),
        succeeded=attempts.get(AttemptOutcome.OK, 0) + attempts.get(AttemptOutcome.LATE, 0),
        rate_limited=attempts.get(AttemptOutcome.RATE_LIMITED, 0),
        failed=sum(attempts.get(outcome, 0) for outcome in FAILED_CALLS),
        unknown_outcome=sum(attempts.get(outcome, 0) for outcome in UNKNOWN_CALLS),
        reused=facts.reused,
        gated=facts.gated,
    )


def _effects(receipts: dict[tuple[str, str], int]) -> EffectCounts:
    def having(state: ReceiptState, effect: str | None = None) -> int:
        return sum(count for (name, found), count in receipts.items() if found == state and effect in (None, name))

    return EffectCounts(
        flags=having(ReceiptState.APPLIED, "flags"),
        notes=having(ReceiptState.APPLIED, "notes"),
        not_applicable=having(ReceiptState.NOT_APPLICABLE),
        foreign=having(ReceiptState.FOREIGN),
    )


def _last_run(run: RunInfo | None, *, is_at_work: bool) -> LastRun | None:
    if run is None:
        return None
    if run.outcome is None and not is_at_work:
        return LastRun(RunOutcome.LOST)  # its process has died, and no later run has recorded that yet
    return LastRun(None if run.outcome is None else RunOutcome(run.outcome), run.outcome_reason or "")
