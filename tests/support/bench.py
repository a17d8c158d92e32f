"""A whole run in one process: a real ledger, a mailbox and a classifier in memory, and a clock that tests turn."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from backfill.analytics import AnalyticsFile
from backfill.clock import StopRequest
from backfill.errors import Concession, FolderUnknown, MailboxChanged, MessageGone
from backfill.executor import Ended
from backfill.fingerprint import Fingerprint
from backfill.ledger import Ledger
from backfill.ledger.locks import RunLock
from backfill.ledger.parameters import RunParameters
from backfill.ledger.rows import Job, Run
from backfill.lifecycle import RunOutcome
from backfill.limits import RunLimits
from backfill.message import Content, MailboxKey, Message, MessageRef
from backfill.operations.parts import Api, Audience
from backfill.operations.run import work_off
from backfill.planner import Planner
from backfill.ports import (
    Classifier,
    Effect,
    Folder,
    Judged,
    Lost,
    MailboxState,
    MailSource,
    Price,
    Probe,
    Receipt,
    ReceiptState,
    State,
    Surveyed,
    UidWindow,
    Unapplied,
    Undone,
    Unfetched,
)
from backfill.rubric import Rubric
from backfill.selection import Selection
from backfill.throttle.gates import Gate
from backfill.throttle.mail import MailAllowance
from backfill.verdict import Announced, Answer, Scores, Usage
from backfill.wording import Deed

#: A call is set aside with 400 characters at 1e-6 and 100 tokens of answer at 1e-5: 0.0014 USD.
PRICE = Price(Decimal("0.000001"), Decimal("0.00001"))
INBOX = MailboxKey("owner@example.org", "INBOX", 7)
API = "calls:bench"
WINDOW = 5_000  # mails that are surveyed at once
SENT = date(2024, 1, 1)
PROCESSED = "AIProcessed"


class PowerCut(BaseException):
    """Ends a run like a killed process: nothing is given back."""


class BenchClock:
    """A `Clock` that only sleeps move; a sleep returns at once. Thread-safe."""

    def __init__(self) -> None:
        self._now = datetime(2024, 5, 3, tzinfo=UTC)
        self._seconds = 0.0
        self._lock = threading.Lock()

    def turn(self, seconds: float) -> None:
        with self._lock:
            self._now += timedelta(seconds=max(0.0, seconds))
            self._seconds += max(0.0, seconds)

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._seconds

    def sleep(self, seconds: float, stop: StopRequest) -> bool:
        self.turn(seconds)
        return stop.wait(0.001)


@dataclass
class BenchMailbox:
    """One folder in memory; `MailSource`. All its mails are of the day `SENT`; search criteria are ignored."""

    contents: dict[int, str] = field(default_factory=dict)  # UID → subject
    gone: set[int] = field(default_factory=set)
    odd: dict[int, Callable[[], Message | Unfetched]] = field(default_factory=dict)  # UID → what reading it comes to
    keywords: dict[int, set[str]] = field(default_factory=dict)  # UID → what a marker has set
    key: MailboxKey = INBOX

    def holds(self, *uids: int, subject: str | None = None) -> None:
        for uid in uids:
            self.contents[uid] = subject or f"mail {uid}"
            self.keywords[uid] = set()

    def list_folders(self) -> list[Folder]:
        return [Folder(self.key.folder)]

    def examine(self, folder: str) -> MailboxState:
        if folder != self.key.folder:
            raise FolderUnknown
        return MailboxState(self.key, len(self.contents), max(self.contents, default=0) + 1)

    def windows(self, mailbox: MailboxKey, low: int, high: int) -> list[UidWindow]:
        self._open(mailbox)
        starts = [low, *[uid for uid in sorted(self.contents) if low <= uid <= high][WINDOW::WINDOW]]
        ends = [*(start - 1 for start in starts[1:]), high]
        return [UidWindow(start, end) for start, end in zip(starts, ends, strict=True)]

    def survey(self, mailbox: MailboxKey, window: UidWindow, selection: Selection) -> list[Surveyed]:
        self._open(mailbox)
        if not (selection.start_date or SENT) <= SENT <= (selection.end_date or SENT):
            return []
        done = set() if selection.force_reprocess else {uid for uid in self.keywords if PROCESSED in self.keywords[uid]}
        return [
            Surveyed(uid, "already processed" if uid in done else None)
            for uid in sorted(self.contents)
            if window.low <= uid <= window.high
        ]

    def fetch(self, mailbox: MailboxKey, uids: Sequence[int]) -> Iterator[Message | Unfetched]:
        self._open(mailbox)
        for uid in dict.fromkeys(uids):
            ref = MessageRef(mailbox, uid)
            if uid in self.gone or uid not in self.contents:
                yield Unfetched(ref, MessageGone())
            elif uid in self.odd:
                yield self.odd[uid]()
            else:
                flags = frozenset(self.keywords.get(uid, ()))
                yield Message(ref, Content(subject=self.contents[uid]), flags, None, None, 10)

    def close(self) -> None:
        return

    def _open(self, mailbox: MailboxKey) -> None:
        if mailbox != self.key:
            raise MailboxChanged


@dataclass
class BenchClassifier:
    """Metered unless a test says otherwise. `answers` decides per mail: scores, or an error to raise."""

    answers: Callable[[Message], Scores] = lambda message: Scores.of(importance=5, spam=1)
    asked_about: list[int] = field(default_factory=list)
    is_metered: bool = True
    cost: Decimal | None = None
    announced: Announced | None = None  # beside each answer
    fingerprint: Fingerprint = field(default_factory=lambda: Fingerprint.of("prompt", classifier="bench"))

    def decide_free(self, message: Message) -> Answer | None:
        return None if self.is_metered else self.classify(message)

    def classify(self, message: Message, concession: Concession | None = None) -> Answer:
        self.asked_about.append(message.ref.uid)
        usage = Usage(tokens_in=100, tokens_out=5, cost_usd=self.cost, announced=self.announced)
        return Answer(self.answers(message), "bench", usage=usage if self.is_metered else Usage())

    def estimate_tokens(self, message: Message) -> int:
        return max(100, len(message.content.body) // 4) if self.is_metered else 0

    def close(self) -> None:
        return


@dataclass
class BenchEffect:
    """An output that remembers what it was given. `refuses`: UID → error."""

    applied: list[int] = field(default_factory=list)
    refuses: dict[int, Exception] = field(default_factory=dict)
    odd: dict[int, Exception] = field(default_factory=dict)  # UID → the unexpected exception of applying it
    name: str = "notes"
    needs_message: bool = True

    def holds(self, detail: Mapping[str, Any], labels: Sequence[str]) -> bool:
        return list(detail.get("labels", labels)) == list(labels)

    def apply(self, mails: Sequence[Judged]) -> Iterator[Receipt | Unapplied]:
        for mail in mails:
            if mail.ref.uid in self.odd:
                raise self.odd[mail.ref.uid]
            if mail.ref.uid in self.refuses:
                yield Unapplied(mail.ref, self.name, self.refuses[mail.ref.uid])  # type: ignore[arg-type]
            else:
                self.applied.append(mail.ref.uid)
                yield self._receipt(mail)

    def lost(self, receipts: Sequence[Receipt]) -> Iterator[Lost]:
        for receipt in receipts:
            if receipt.ref.uid not in self.applied:
                yield Lost(receipt.ref, "the note")

    def presumed(self, mails: Sequence[Judged]) -> Iterator[Receipt]:
        yield from map(self._receipt, mails)

    def _receipt(self, mail: Judged) -> Receipt:
        return Receipt(mail.ref, self.name, ReceiptState.APPLIED, {"labels": list(mail.labels)})

    def undo(self, receipts: Sequence[Receipt]) -> Iterator[Undone | Unapplied]:
        for receipt in receipts:
            if receipt.ref.uid in self.refuses:
                yield Unapplied(receipt.ref, self.name, self.refuses[receipt.ref.uid])  # type: ignore[arg-type]
            else:
                self.applied[:] = [uid for uid in self.applied if uid != receipt.ref.uid]
                yield Undone(receipt.ref, self.name)

    def traces(self, receipt: Receipt) -> tuple[str, ...]:
        return ("note",)

    def foreseen(self, labels: Sequence[str]) -> tuple[Deed, ...]:
        return (Deed("write", "note", "note"),)

    def probe(self, inbox: MailboxKey | None) -> Iterator[Probe]:
        yield Probe(self.name, State.OK, "It works.")

    def close(self) -> None:
        return


@dataclass
class BenchParts:
    """What a command works with, in memory; `Parts`."""

    ledger: Ledger
    source: MailSource
    classifier: Classifier
    outputs: Callable[[], tuple[Effect, ...]]
    analytics_file: AnalyticsFile | None = None
    listed: Price | None = PRICE
    limits: RunLimits = field(default_factory=RunLimits)
    api: Api = field(default_factory=lambda: Api(API, "bench/model", "memory:", max_answer_tokens=100))
    allowance: MailAllowance | None = None
    account: str = INBOX.account
    default: Selection = field(default_factory=Selection)
    rubric: Rubric = field(default_factory=Rubric.default)
    effect_names: tuple[str, ...] = ("notes",)

    def hang_up(self) -> None:
        return

    def go_by(self, job: Job) -> None:
        return

    def as_planned(self, job: Job) -> None:
        return

    def allow_writing(self) -> None:
        return

    def effects(self) -> tuple[Effect, ...]:
        return self.outputs()

    def rubric_of(self, job: Job) -> Rubric:
        return job.rubric

    def output(self, name: str, job: Job | None = None) -> Effect | None:
        return {effect.name: effect for effect in self.outputs()}.get(name)

    def analytics(self) -> AnalyticsFile | None:
        return self.analytics_file

    def price(self) -> Price | None:
        return self.listed


class RememberedStop(StopRequest):
    """A stop request that knows its latest child, which is the run's own."""

    def __init__(self) -> None:
        super().__init__()
        self.latest: StopRequest = self

    def child(self) -> StopRequest:
        self.latest = super().child()
        return self.latest


class Observed:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.waited_for: list[str] = []
        self.processed = 0
        self.failed = 0

    def begins(self, total: int) -> None:
        return

    def record(
        self, *, processed: int = 0, failed: int = 0, skipped: int = 0, vanished: int = 0, reused: int = 0
    ) -> None:
        self.processed += processed
        self.failed += failed

    def waiting(self, reason: str | None) -> None:
        if reason:
            self.waited_for.append(reason)

    def limited_by(self, limit: str | None, ends_at: datetime | None = None) -> None:
        return


class Bench:
    """The parts of a run: put mail in, plan, run, look at the result."""

    def __init__(self, folder: Path, clock: BenchClock | None = None, url: str | None = None) -> None:
        """`url`: the ledger's; by default a new one in the folder."""
        self.folder = folder
        self.clock = clock or BenchClock()
        self.ledger = Ledger.open(url or f"sqlite:///{folder}/ledger.db", self.clock)
        self.mailbox = BenchMailbox()
        self.classifier = BenchClassifier()
        self.effect = BenchEffect()
        self.stop = RememberedStop()
        self.observer = Observed()
        self.told: list[str] = []
        self.lock: RunLock | None = None  # of the run that was begun last

    def close(self) -> None:
        if self.lock is not None:
            self.lock.drop()
        self.ledger.close()

    def plan(self, *, dry_run: bool = False) -> Job:
        job = self.ledger.jobs.open(INBOX.account, Selection(), self.classifier.fingerprint, dry_run=dry_run)
        self.ledger.jobs.reopen(job.id)
        Planner(self.ledger, self.mailbox, self.stop).plan(job)
        return job

    def begin(self, job: Job, limits: RunLimits | None = None) -> Run:
        """The run holds the ledger's lock until `end`."""
        self.lock = self.ledger.runs.lock()
        self.ledger.runs.take(self.lock)
        return self.ledger.runs.begin(self.lock, job.id, "run", "0", RunParameters(limits or RunLimits(), API))

    def end(self, run: Run, outcome: RunOutcome, running_us: int = 0) -> None:
        self.ledger.runs.end(run, outcome, "", running_us)
        assert self.lock is not None
        self.lock.drop()
        self.ledger.jobs.settle(run.job_id)

    def crash(self) -> None:
        """The process of the latest run died a minute ago."""
        assert self.lock is not None
        self.lock.drop()
        self.clock.turn(61)

    def run(
        self,
        *,
        dry_run: bool = False,
        analytics: bool = False,
        max_cost: str | None = None,
        max_cost_per_day: str | None = None,
        max_per_day: int | None = None,
        calls_per_minute: float = 600,
        gates: tuple[Gate, ...] = (),
        **limits: object,
    ) -> Ended:
        """Plan and work; the run is ended also after an error."""
        job = self.plan(dry_run=dry_run)
        of_job, of_day = (None if limit is None else Decimal(limit) for limit in (max_cost, max_cost_per_day))
        allowed = RunLimits(
            calls_per_minute=calls_per_minute,
            max_cost_usd=of_job,
            max_cost_usd_per_day=of_day,
            max_per_day=max_per_day,
            **{"concurrency": 2, "retry_delay_s": 1.0, **limits},  # type: ignore[arg-type]
        )
        run, began = self.begin(job, allowed), self.clock.monotonic()
        outcome = RunOutcome.HALTED
        try:
            ended = work_off(self.parts(analytics=analytics), self.audience(), job, run, allowed, gates=gates)
            outcome = ended.outcome
            return ended
        except PowerCut:
            self.crash()
            raise
        finally:
            if not isinstance(sys.exception(), PowerCut):
                self.end(run, outcome, round((self.clock.monotonic() - began) * 1e6))

    def parts(self, *, analytics: bool = False) -> BenchParts:
        """What a command works with."""
        file = AnalyticsFile(self.ledger, self.folder / "analytics.jsonl") if analytics else None
        return BenchParts(self.ledger, self.mailbox, self.classifier, lambda: (self.effect,), analytics_file=file)

    def audience(self) -> Audience:
        return Audience(self.clock, self.stop, self.observer, None, self.told.append)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the ledger answers to a question in SQL."""
        return self.ledger.database.read(lambda connection: [tuple(row) for row in connection.exec_driver_sql(query)])

    def statuses(self) -> dict[int, str]:
        return dict(self.rows("SELECT uid, status FROM item ORDER BY uid"))  # type: ignore[arg-type]

    def reasons(self) -> dict[int, str]:
        return dict(self.rows("SELECT uid, reason FROM item WHERE reason IS NOT NULL ORDER BY uid"))  # type: ignore[arg-type]

    def attempts(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT outcome FROM attempt ORDER BY id")]
