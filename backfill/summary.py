"""What has become of a job: the figures that every form of a report shows.

Values only: `ledger.report` reads them. `to_json` is a contract with other programs: keys are added, never
renamed or removed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from backfill.lifecycle import OPEN, ItemStatus, JobState, RunOutcome
from backfill.rubric import Rubric, Score
from backfill.selection import Selection
from backfill.verdict import HIGHEST, LOWEST

MAX_FAILED_MAILS = 100  # listed for each reason; the others are only counted


@dataclass(frozen=True, slots=True)
class JobFacts:
    """Which job is reported on."""

    id: int
    state: JobState
    dry_run: bool
    account: str
    fingerprint: str
    selection: Selection


@dataclass(frozen=True, slots=True)
class Counts:
    """Mails by status. `pending` includes classified mails whose effects are outstanding."""

    found: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    vanished: int = 0
    pending: int = 0

    @classmethod
    def of(cls, found: int, statuses: Mapping[ItemStatus, int]) -> Counts:
        """`found`: the mails planned. `statuses`: the items of each status; one that is not named has none."""
        return cls(
            found=found,
            done=statuses.get(ItemStatus.DONE, 0),
            failed=statuses.get(ItemStatus.FAILED, 0),
            skipped=statuses.get(ItemStatus.SKIPPED, 0),
            vanished=statuses.get(ItemStatus.VANISHED, 0),
            pending=sum(statuses.get(status, 0) for status in OPEN),
        )

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.found + other.found,
            self.done + other.done,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.vanished + other.vanished,
            self.pending + other.pending,
        )

    @property
    def is_conserved(self) -> bool:
        """Is every mail that was found counted under exactly one status?"""
        return self.found == self.done + self.failed + self.skipped + self.vanished + self.pending


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls to the classifier by outcome, and mails that took none.

    `reused` counts mails whose verdict was known already, `gated` those that the gate's rules decided.
    """

    made: int = 0
    succeeded: int = 0
    rate_limited: int = 0
    failed: int = 0
    unknown_outcome: int = 0
    reused: int = 0
    gated: int = 0


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens over all calls, as the service counted them; `cached` is a part of `prompt`."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0


@dataclass(frozen=True, slots=True)
class EffectCounts:
    """Mails with a receipt. `applied`: the number for each output. `foreign`: left alone, since a file of another
    writer has the name."""

    applied: tuple[tuple[str, int], ...] = ()
    not_applicable: int = 0
    foreign: int = 0

    def as_dict(self) -> dict[str, int]:
        """The first four keys are promised; outputs that came later follow."""
        promised = {"flags": 0, "notes": 0, "not_applicable": self.not_applicable, "foreign": self.foreign}
        return promised | dict(self.applied)


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """From the first run's start to the last run's end (UTC; None: not begun, or still running).

    `running_seconds`: the time that runs were at work, with their waits and without the time between two runs. A run
    that died or is still at work counts up to its last heartbeat in the ledger.
    """

    started_at: datetime | None = None
    ended_at: datetime | None = None
    running_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class FailedMail:
    folder: str
    uid: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Failed mails with the same reason; at most `MAX_FAILED_MAILS` of them are listed."""

    reason: str
    count: int
    mails: tuple[FailedMail, ...] = ()


@dataclass(frozen=True, slots=True)
class FolderCounts:
    """One folder's share of a job, over all epochs of the folder. `cost_usd` None: no call has a known cost."""

    name: str
    counts: Counts
    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class ScoreCounts:
    """How many mails have each value of one score; the index is the value, from 0 to 10.

    Raises ValueError for another length.
    """

    score: Score
    mails: tuple[int, ...] = (0,) * (HIGHEST - LOWEST + 1)

    def __post_init__(self) -> None:
        if len(self.mails) != HIGHEST - LOWEST + 1:
            raise ValueError(f"a count is needed for each score from {LOWEST} to {HIGHEST}")

    @property
    def name(self) -> str:
        return self.score.name

    @property
    def reached(self) -> int:
        """Mails from the threshold on."""
        return sum(count for value, count in enumerate(self.mails, LOWEST) if self.score.is_reached(value))


@dataclass(frozen=True, slots=True)
class Example:
    """A mail with a label, and the model's reason for its verdict."""

    label: str
    folder: str
    uid: int
    reason: str


@dataclass(frozen=True, slots=True)
class LastRun:
    """How the latest run ended. `outcome` None: it is still at work. `reason` is for people, "" when all is well."""

    outcome: RunOutcome | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """A job's figures, over all its runs. `cost_usd` None: unknown, or no call that costs was made."""

    job: JobFacts
    counts: Counts
    calls: Calls = field(default_factory=Calls)
    tokens: Tokens = field(default_factory=Tokens)
    cost_usd: Decimal | None = None
    effects: EffectCounts = field(default_factory=EffectCounts)
    time: TimeSpan = field(default_factory=TimeSpan)
    failures: tuple[Failure, ...] = ()
    folders: tuple[FolderCounts, ...] = ()
    scores: tuple[ScoreCounts, ...] = tuple(map(ScoreCounts, Rubric.default().scores))
    categories: tuple[tuple[str, int], ...] = ()  # how many mails have each; (): none is asked for
    labels: tuple[tuple[str, int], ...] = ()
    examples: tuple[Example, ...] = ()  # (): no reason is asked for
    last_run: LastRun | None = None  # None: no run yet
    #: How many of the done mails follow a newer job's verdict, by the number of that job. They count as done.
    superseded_by: tuple[tuple[int, int], ...] = ()

    @property
    def superseded(self) -> int:
        """Done mails for which a newer job's verdict counts: this job changed nothing, or its work was replaced."""
        return sum(mails for _, mails in self.superseded_by)

    @property
    def is_conserved(self) -> bool:
        return self.counts.is_conserved

    @property
    def total_emails(self) -> int:
        """Mails found, not mails fetched."""
        return self.counts.found

    @property
    def processed(self) -> int:
        return self.counts.done

    @property
    def failed(self) -> int:
        return self.counts.failed

    @property
    def skipped(self) -> int:
        return self.counts.skipped

    @property
    def tried(self) -> int:
        """Mails that were worked on to their end: done or failed."""
        return self.counts.done + self.counts.failed

    @property
    def success_rate(self) -> float:
        """Percent (0 to 100) of the mails tried that are done; 0.0 when none was tried."""
        return 100 * self.counts.done / self.tried if self.tried else 0.0

    @property
    def cost_per_thousand_usd(self) -> Decimal | None:
        """What a thousand done mails cost, with those of reused and free verdicts; None when that is not known."""
        if self.cost_usd is None or not self.counts.done:
            return None
        return (self.cost_usd * 1000 / self.counts.done).quantize(Decimal("0.0001"))

    @property
    def saved_usd(self) -> Decimal | None:
        """What the mails with a reused verdict, or one of the gate, would have cost at this job's average call.

        None when that is not known.
        """
        if self.cost_usd is None or not self.calls.succeeded:
            return None
        saved = self.calls.reused + self.calls.gated
        return (self.cost_usd / self.calls.succeeded * saved).quantize(Decimal("0.0001"))

    @property
    def total_time(self) -> float:
        """Seconds that runs were at work. This is not end minus start: between two runs days may lie."""
        return self.time.running_seconds

    @property
    def average_time(self) -> float:
        """Running seconds per mail tried; 0.0 when none was tried. Not the latency of a mail: calls overlap."""
        return self.time.running_seconds / self.tried if self.tried else 0.0

    @property
    def start_time(self) -> datetime | None:
        return self.time.started_at

    @property
    def end_time(self) -> datetime | None:
        return self.time.ended_at

    def to_json(self) -> str:
        """The form for other programs. In ASCII, so that no folder name can steer a terminal; times in ISO 8601."""
        return json.dumps(self._as_dict(), indent=2)

    def _as_dict(self) -> dict[str, Any]:
        selection = json.loads(self.job.selection.canonical())
        return {
            "job": asdict(self.job) | {"selection": selection},
            "counts": asdict(self.counts),
            "conserved": self.is_conserved,
            "calls": asdict(self.calls),
            "tokens": asdict(self.tokens),
            "cost_usd": _number(self.cost_usd),
            "effects": self.effects.as_dict(),
            "time": {
                "started_at": _iso(self.time.started_at),
                "ended_at": _iso(self.time.ended_at),
                "running_seconds": self.time.running_seconds,
                "average_seconds_per_email": self.average_time,
            },
            "failures": [
                {"reason": failure.reason, "count": failure.count, "uids": _named(failure)} for failure in self.failures
            ],
            "folders": [
                {"name": folder.name} | asdict(folder.counts) | {"cost_usd": _number(folder.cost_usd)}
                for folder in self.folders
            ],
            "scores": {score.name: list(score.mails) for score in self.scores},
            "thresholds": {each.name: each.score.threshold for each in self.scores},
            "categories": dict(self.categories),
            "labels": dict(self.labels),
            "examples": [asdict(example) for example in self.examples],
            "cost_per_thousand_usd": _number(self.cost_per_thousand_usd),
            "saved_usd": _number(self.saved_usd),
            "last_run": None if self.last_run is None else asdict(self.last_run),
            "superseded": self.superseded,
            "superseded_by": [{"job": job, "mails": mails} for job, mails in self.superseded_by],
        }


def _number(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)


def _named(failure: Failure) -> list[dict[str, Any]]:
    return [asdict(mail) for mail in failure.mails[:MAX_FAILED_MAILS]]


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
