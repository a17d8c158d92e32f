"""The values that the ledger returns: jobs, runs, claimed items, plan ranges and outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from backfill.clock import EPOCH
from backfill.fingerprint import CLEANUP, Fingerprint
from backfill.lifecycle import ItemStatus, JobState, OutcomeStatus
from backfill.message import MessageRef
from backfill.rubric import Rubric
from backfill.selection import Selection
from backfill.verdict import Scores, Verdict


@dataclass(frozen=True, slots=True)
class Job:
    """An account, a selection, a classifier fingerprint, dry or real."""

    id: int
    key: str
    account: str
    selection: Selection
    fingerprint: str  # the digest of `planned_with`
    planned_with: Fingerprint
    rubric: Rubric  # as it was when the job was planned
    dry_run: bool
    generation: int
    state: JobState
    state_reason: str | None
    has_consent: bool  # the operator answered yes to the question before the first metered call

    @property
    def is_cleanup(self) -> bool:
        """Did it remove keywords of older systems, and judge nothing?"""
        return self.planned_with.settings.classifier == CLEANUP


@dataclass(frozen=True, slots=True)
class Run:
    """One process working on a job."""

    id: int
    uuid: str
    job_id: int


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What people are shown of a run."""

    uuid: str
    command: str
    host: str
    pid: int
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    outcome_reason: str | None


@dataclass(frozen=True, slots=True)
class Item:
    """A message of a job, claimed by a run. `claim_no`: the claim's number; an older claim can write nothing."""

    id: int
    ref: MessageRef
    mailbox_id: int
    status: ItemStatus
    claim_no: int
    failures: int
    verdict: Verdict | None
    flags_before: frozenset[str]


@dataclass(frozen=True, slots=True)
class PlanRange:
    """How far one mailbox of a job is planned. The UIDs from `next_uid` to `high_uid` are not planned yet."""

    job_id: int
    mailbox_id: int
    high_uid: int
    next_uid: int
    planned: int

    @property
    def is_planned(self) -> bool:
        return self.next_uid > self.high_uid


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """One final outcome, with all that its analytics line holds."""

    id: int
    job_id: int
    ref: MessageRef
    message_key: str | None
    sent_at: datetime | None  # None, also for the next one: the mail was not read, or does not say it
    received_at: datetime | None
    status: OutcomeStatus | ItemStatus  # of the item only in an export, where it is not final
    reason: str | None
    scores: Scores  # empty: the item has no verdict
    category: str | None  # None also: the rubric has no categories
    why: str  # the verdict's reason; "": there is none
    model: str | None  # without a model: the verdict's source; None: the item has no verdict
    labels: tuple[str, ...]
    tokens: int | None
    cost_nano: int | None
    latency_us: int | None
    run_uuid: str | None  # None only in an export: its effects are outstanding, so no run has finished it
    at: datetime
    supersedes: bool


@dataclass(frozen=True, slots=True)
class ExportRow:
    """A mail that has a verdict or failed, as an export tells of it. None: the mail was not read.

    `superseded`: another verdict, of a newer job, counts for this mail.
    """

    outcome: OutcomeRow
    sender: str | None
    list_id: str | None
    size: int | None
    superseded: bool


def rubric_of(stored: str | None) -> Rubric:
    """What a job asks. `stored`: as the ledger keeps it; None: the job is older than rubrics."""
    return Rubric.default() if stored is None else Rubric.from_canonical(stored)


def moment(micros: int) -> datetime:
    """The aware UTC time. `micros`: microseconds since 1970-01-01 UTC, as the ledger stores them."""
    return EPOCH + timedelta(microseconds=micros)


def moment_or_none(micros: int | None) -> datetime | None:
    """Like `moment`, for a column that may be NULL."""
    return None if micros is None else moment(micros)


def describe(job: Job) -> str:
    """A job on one line."""
    selection = job.selection
    parts = [f"job {job.id}", ", ".join(selection.folders)]
    if selection.start_date or selection.end_date:
        parts.append(f"{selection.start_date or '…'} to {selection.end_date or '…'} ({selection.date_field})")
    if selection.search:
        parts.append(selection.search)
    parts.append(("dry run, " if job.dry_run else "") + job.state)
    return " · ".join(parts)
