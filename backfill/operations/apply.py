"""`backfill apply`: what stored verdicts derive today is brought about, without one call.

Thresholds, keywords, the note template and the choice of outputs may have changed since a mail was done. A mail from
whose verdict something else follows now is CLASSIFIED again and gets the outputs that differ; the others are not
touched. The run works on these mails alone, as `retry` does, so the same command goes on after any interruption, and a
mail that waits for a call is not taken. Mails for which a newer job's verdict counts are left to that job.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from loguru import logger

from backfill import __version__
from backfill.errors import (
    BackfillError,
    Concession,
    ConfigError,
    Declined,
    FolderUnusable,
    MailboxChanged,
    MailThrottled,
    ServerUnavailable,
)
from backfill.executor import Ended, Executor, Observer
from backfill.executor.steering import Steering
from backfill.fingerprint import Fingerprint
from backfill.ledger.parameters import RunParameters
from backfill.ledger.rows import Item, Job, Run, describe
from backfill.lifecycle import ItemStatus, JobState, RunOutcome
from backfill.message import MailboxKey, Message
from backfill.operations.apply_preview import Expected, Tally, changing, expect
from backfill.operations.parts import Audience, Parts, locked
from backfill.operations.request import insist_on_account, known_job
from backfill.operations.run import catch_up
from backfill.ports import Effect
from backfill.summary import Summary
from backfill.verdict import Answer
from backfill.wording import counted

CLASSIFIED = ItemStatus.CLASSIFIED
# A run stops when UIDVALIDITY has changed this often while it worked.
MOST_CHANGES = 5


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply did, or, in a preview, would do. `ended` None: nothing had to be done, or it was a preview."""

    job: Job
    expected: Expected
    summary: Summary
    is_preview: bool = False
    ended: Ended | None = None
    done: int = 0  # also mails that turned out to be left to a newer job
    failed: int = 0
    vanished: int = 0

    @property
    def again(self) -> str:
        """The command that goes on."""
        return f"backfill apply {self.job.id}"


def apply(parts: Parts, audience: Audience, job_id: int | None, *, preview: bool = False) -> Applied:
    """Bring about what a job's verdicts derive today; without a number, of the job of the latest run.

    Asks before it writes. Needs neither key nor classifier. Raises `ConfigError` for a dry run, `Declined`,
    `LedgerHeld`, and what the outputs raise about all mails; then the same command goes on.
    """
    ledger = parts.ledger
    with ExitStack() as opened:
        job = known_job(ledger, job_id)
        insist_on_account(parts.account, job)
        if job.dry_run:
            raise ConfigError(
                f"Job {job.id} was a dry run, which writes nothing. A real run over the same mail reuses its verdicts."
            )
        parts.go_by(job)
        effects = parts.effects()
        for effect in effects:
            opened.callback(effect.close)
        if preview:
            expected = expect(ledger, effects, parts.rubric, job)
            return Applied(job, expected, ledger.report.summary(job), is_preview=True)
        lock = opened.enter_context(locked(ledger))
        if audience.confirm is not None:
            expected = expect(ledger, effects, parts.rubric, job)
            if expected.mails and not audience.confirm(question(job, expected)):
                raise Declined("Nothing was changed.")
        run = ledger.runs.begin(lock, job.id, "apply", __version__, RunParameters(parts.limits, only_retried=True))
        return _Apply(parts, audience, job, run, effects).work()


def question(job: Job, expected: Expected) -> str:
    """What the operator is asked."""
    outputs = ", ".join(f"{name} of {counted(mails, 'mail')}" for name, mails in expected.outputs)
    left = f" {counted(expected.left, 'mail')} are left to a newer job." if expected.left else ""
    what = outputs or f"the labels of {counted(expected.mails, 'mail')}"
    return f"Apply job {job.id}: {what} will be brought up to date, without a call.{left}"


@dataclass(slots=True)
class _Apply:
    """One apply at work."""

    parts: Parts
    audience: Audience
    job: Job
    run: Run
    effects: tuple[Effect, ...]

    def work(self) -> Applied:
        """From the run's first row to its last."""
        ledger, clock = self.parts.ledger, self.audience.clock
        log = logger.bind(job=self.job.id, run=self.run.uuid)
        log.info("apply begins: {}", describe(self.job))
        outcome, reason, began = RunOutcome.HALTED, "", clock.monotonic()
        observer = _Counting(self.audience.observer)
        try:
            tally = self._take_up()
            ended = self._work_off(observer, tally.taken) if tally.taken else self._nothing()
            outcome, reason = ended.outcome, ended.reason
            catch_up(self.parts, self.job)
        except BackfillError as error:
            reason = f"{error.reason}: {error}"
            log.error("apply halted: {}", error)
            self.audience.tell(f"Nothing is lost; when it is put right, go on with: backfill apply {self.job.id}")
            raise
        except BaseException as ending:
            reason = type(ending).__name__
            raise
        finally:
            ledger.runs.end(self.run, outcome, reason, round((clock.monotonic() - began) * 1e6))
            state = ledger.jobs.settle(self.job.id)
            log.info("apply ends: {} {}; the job is {}", outcome, reason, state)
        counts = observer.processed, observer.failed, observer.vanished
        job = known_job(ledger, self.job.id)
        return Applied(job, tally.expected(ledger), ledger.report.summary(job), False, ended, *counts)

    def _take_up(self) -> Tally:
        """Take up every mail that differs, and those that an earlier run left off. Counts them."""
        ledger, tally, places = self.parts.ledger, Tally(), _Places(self.parts)
        ledger.applying.begin(self.run)
        for page, changes in changing(ledger, self.effects, self.parts.rubric, self.job):
            if self.audience.stop.is_set():
                break
            ledger.runs.beat(self.run, 0)
            there = [change for change in changes if places.has(change.judged.item)]
            left_off = [each for each in page if each.newer_job is not None and each.item.status is CLASSIFIED]
            tally.gone += len(changes) - len(there)
            tally.count(page, there)
            taken = [*(change.judged.item for change in there), *(each.item for each in left_off)]
            ledger.applying.take_up(self.run, taken)
            tally.taken += len(taken)
        return tally

    def _nothing(self) -> Ended:
        stop = self.audience.stop
        return Ended(RunOutcome.INTERRUPTED, stop.reason) if stop.is_set() else Ended(RunOutcome.FINISHED)

    def _work_off(self, observer: _Counting, mails: int) -> Ended:
        observer.begins(mails)
        for _ in range(MOST_CHANGES):
            if self.audience.stop.is_set():
                return Ended(RunOutcome.INTERRUPTED, self.audience.stop.reason)
            effects = self.parts.effects()
            try:
                self.parts.allow_writing()
                return self._executor(observer, effects, mails).work(self.job, self.run, self.parts.limits)
            except MailboxChanged as changed:
                logger.bind(job=self.job.id, run=self.run.uuid).warning("{}", changed)
                self.parts.ledger.runs.release_claims(self.run)
                self.parts.hang_up()  # the old reader thread may still use its connection
                self._close_epochs()
            finally:
                for effect in effects:
                    effect.close()
        raise MailboxChanged(f"UIDVALIDITY changed {MOST_CHANGES} times during this run; ask the server's operator.")

    def _executor(self, observer: _Counting, effects: tuple[Effect, ...], mails: int) -> Executor:
        ledger, stop = self.parts.ledger, self.audience.stop.child()
        # A paused or cancelled job stays so: that concerns its calls, and here none is made.
        is_steered = self.job.state not in (JobState.PAUSED, JobState.CANCELLED)
        return Executor(
            ledger=ledger,
            source=self.parts.source,
            classifier=_NeverAsked(self.job.planned_with),
            effects=effects,
            throttler=None,
            rubric=self.parts.rubric,
            analytics=self.parts.analytics(),
            clock=self.audience.clock,
            stop=stop,
            observer=observer,
            allowance=self.parts.allowance,
            steering=Steering(ledger, self.job.id, self.audience.clock, stop, None) if is_steered else None,
            mails=mails,
            only_retried=True,
        )

    def _close_epochs(self) -> None:
        places, still_open = _Places(self.parts), self.parts.ledger.plans.open_mailboxes(self.job.id)
        for mailbox_id, key in self.parts.ledger.plans.mailbox_keys(self.job.id).items():
            if mailbox_id in still_open:
                places.is_there(key)


@dataclass(frozen=True, slots=True)
class _Places:
    """Which mailboxes are still on the server. Each is asked for once."""

    parts: Parts
    known: dict[MailboxKey, bool] = field(default_factory=dict)

    def has(self, held: Item) -> bool:
        """Is the item's mailbox still there? An epoch that has ended is closed in the ledger, and planned anew later.

        A folder that the server lists and does not open, or at which it has trouble, is there: its mails wait.
        """
        mailbox = held.ref.mailbox
        if mailbox not in self.known:
            self.known[mailbox] = self.is_there(mailbox)
        return self.known[mailbox]

    def is_there(self, mailbox: MailboxKey) -> bool:
        """Asks the server. Writes where the epoch has ended: its open items vanish."""
        try:
            state = self.parts.source.examine(mailbox.folder)
        except MailThrottled:
            raise
        except (FolderUnusable, ServerUnavailable):  # the list raises in an outage, which is not this folder's trouble
            return mailbox.folder in {folder.name for folder in self.parts.source.list_folders()}
        if state.key != mailbox:
            self.parts.ledger.plans.open_mailbox(state.key)
        return state.key == mailbox


class _NeverAsked:
    """Stands in the place of a classifier: every mail of an apply has its verdict."""

    is_metered = False

    def __init__(self, fingerprint: Fingerprint) -> None:
        self.fingerprint = fingerprint

    def decide_free(self, message: Message) -> Answer | None:
        return None

    def classify(self, message: Message, concession: Concession | None = None) -> Answer:
        raise LookupError("a mail without a verdict was taken up")

    def estimate_tokens(self, message: Message) -> int:
        return 0

    def close(self) -> None:
        """Nothing is held open."""


class _Counting:
    """An observer that also counts."""

    def __init__(self, observer: Observer) -> None:
        self.begins = observer.begins
        self.waiting = observer.waiting
        self.limited_by = observer.limited_by
        self.processed = self.failed = self.vanished = 0
        self._observer = observer

    def record(
        self, *, processed: int = 0, failed: int = 0, skipped: int = 0, vanished: int = 0, reused: int = 0
    ) -> None:
        self.processed += processed
        self.failed += failed
        self.vanished += vanished
        self._observer.record(processed=processed, failed=failed, skipped=skipped, vanished=vanished, reused=reused)
