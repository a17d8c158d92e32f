"""Several runs share a job on PostgreSQL: what one asks the other waits for, what one plans the other need not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from backfill import planner
from backfill.clock import StopRequest
from backfill.ledger import Ledger
from backfill.lifecycle import JobState, RunOutcome
from backfill.limits import GivenLimits, RunLimits
from backfill.message import MailboxKey, Message
from backfill.operations.parts import Audience, locked
from backfill.operations.run import work
from backfill.planner import Planner
from backfill.ports import Surveyed, UidWindow
from backfill.selection import Selection
from backfill.verdict import Scores
from tests.support.bench import (
    INBOX,
    WINDOW,
    BenchClassifier,
    BenchClock,
    BenchEffect,
    BenchMailbox,
    BenchParts,
    Observed,
)

PATIENCE_S = 30.0  # of a test that would otherwise hang


@dataclass
class Waiting(Observed):
    """An observer that tells when its run first waits."""

    waits: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__()

    def waiting(self, reason: str | None) -> None:
        super().waiting(reason)
        if reason:
            self.waits.set()


@dataclass
class Surveying(BenchMailbox):
    """A mailbox of which something happens while a window is surveyed."""

    meanwhile: Callable[[int], None] = lambda low: None

    def survey(self, mailbox: MailboxKey, window: UidWindow, selection: Selection) -> list[Surveyed]:
        self.meanwhile(window.low)
        return super().survey(mailbox, window, selection)


@dataclass
class Process:
    """One process working on a shared ledger: everything but the mailbox is its own."""

    ledger: Ledger
    clock: BenchClock
    mailbox: BenchMailbox
    classifier: BenchClassifier
    effect: BenchEffect = field(default_factory=BenchEffect)
    observer: Waiting = field(default_factory=Waiting)

    def plan(self) -> planner.Planned:
        job = self.ledger.jobs.open(INBOX.account, Selection(), self.classifier.fingerprint, dry_run=False)
        return Planner(self.ledger, self.mailbox, StopRequest()).plan(job)

    def work(self, max_emails: int) -> RunOutcome:
        (job,) = self.ledger.jobs.all()
        limits = RunLimits(calls_per_minute=60_000, concurrency=2)
        parts = BenchParts(self.ledger, self.mailbox, self.classifier, lambda: (self.effect,), limits=limits)
        audience = Audience(self.clock, StopRequest(), self.observer, None, lambda sentence: None)
        with locked(self.ledger) as lock:
            ended = work(parts, audience, job, "run", GivenLimits(max_emails=max_emails), lock)
        assert ended is not None
        return ended.outcome


@contextmanager
def processes(url: str, mailbox: BenchMailbox, *classifiers: BenchClassifier) -> Iterator[list[Process]]:
    clocks = [BenchClock() for _ in classifiers]
    ledgers = [Ledger.open(url, clock) for clock in clocks]
    try:
        yield [
            Process(ledger, clock, mailbox, classifier)
            for ledger, clock, classifier in zip(ledgers, clocks, classifiers, strict=True)
        ]
    finally:
        for ledger in ledgers:
            ledger.close()


def statuses(ledger: Ledger) -> Sequence[str]:
    return ledger.database.read(
        lambda connection: connection.exec_driver_sql("SELECT status FROM item ORDER BY uid").scalars().all()
    )


def test_two_copies_in_the_hands_of_two_runs_are_asked_about_once(postgres_url: str) -> None:
    asked, other_waits = threading.Event(), threading.Event()

    def slow(message: Message) -> Scores:
        asked.set()
        assert other_waits.wait(PATIENCE_S)
        return Scores.of(importance=9, spam=1)

    mailbox = BenchMailbox()
    mailbox.holds(11, 12, subject="the same")
    with processes(postgres_url, mailbox, BenchClassifier(answers=slow), BenchClassifier()) as (one, other):
        other.observer.waits = other_waits
        one.plan()

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(one.work, max_emails=1)
            assert asked.wait(PATIENCE_S)
            second = pool.submit(other.work, max_emails=1)
            outcomes = [first.result(PATIENCE_S), second.result(PATIENCE_S)]

        assert outcomes == [RunOutcome.CAPPED, RunOutcome.CAPPED]
        assert (one.classifier.asked_about, other.classifier.asked_about) == ([11], [])
        assert (one.effect.applied, other.effect.applied) == ([11], [12])
        assert statuses(one.ledger) == ["done", "done"]


@pytest.mark.parametrize("mails", [3 * WINDOW])
def test_what_another_process_plans_meanwhile_is_not_planned_twice(postgres_url: str, mails: int) -> None:
    surveyed: list[int] = []
    mailbox = Surveying()
    mailbox.holds(*range(1, mails + 1))
    with processes(postgres_url, mailbox, BenchClassifier(), BenchClassifier()) as (one, other):
        others = []

        def meanwhile(low: int) -> None:
            surveyed.append(low)
            if len(surveyed) == 1:
                others.append(other.plan())

        mailbox.meanwhile = meanwhile
        planned = one.plan()

        assert (others[0].new_mails, planned.new_mails) == (mails, 0)
        assert planned.is_complete
        assert surveyed == [1, 1, WINDOW + 1, 2 * WINDOW + 1]  # the first window twice


def test_a_plan_is_not_called_complete_while_its_folder_is_another_one(postgres_url: str) -> None:
    mailbox = Surveying()
    mailbox.holds(1, 2)
    with processes(postgres_url, mailbox, BenchClassifier(), BenchClassifier()) as (one, other):
        renewed = MailboxKey(INBOX.account, INBOX.folder, INBOX.uidvalidity + 1)

        def meanwhile(low: int) -> None:
            number = other.ledger.plans.open_mailbox(renewed)
            other.ledger.plans.freeze(one.ledger.jobs.all()[0].id, number, 2)

        mailbox.meanwhile = meanwhile
        planned = one.plan()

        assert not planned.is_complete
        assert one.ledger.jobs.all()[0].state is JobState.PLANNING
