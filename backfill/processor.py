"""The programmatic API: plan, run and retry jobs from Python, as the command line does.

`BackfillProcessor` never prints, asks, configures logging, touches signals or exits; it raises typed errors. Who
wants to watch gives an observer, who wants to stop it sets the stop request, who wants to be asked before money is
spent gives `confirm`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

from loguru import logger

from backfill import __version__, wiring
from backfill import settings as facade
from backfill.clock import Clock, StopRequest, SystemClock
from backfill.errors import BackfillError, Declined, FolderUnknown, MailboxChanged
from backfill.executor import Ended, Executor, Limits, Observer
from backfill.executor.reader import LONGEST_WAIT_S
from backfill.folders import FolderPatterns, resolve
from backfill.identity import Decision, Intent, Request, decide, describe
from backfill.ledger import Ledger
from backfill.ledger.liveness import RunLock
from backfill.ledger.rows import Job, Run
from backfill.lifecycle import JobState, RunOutcome
from backfill.planner import Planned, Planner
from backfill.ports import Classifier, Effect, MailSource
from backfill.report.figures import summarize
from backfill.report.summary import Summary
from backfill.selection import DateField, Selection
from backfill.settings import Settings

# A server that changes UIDVALIDITY again and again while a run works cannot be worked with.
MOST_REPLANS = 5


@dataclass(frozen=True, slots=True)
class Pace:
    """What a run may do; None: as configured. Never part of the job."""

    max_emails: int | None = None
    calls_per_minute: float | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a command did: the job's figures, and how its run ended (None: there was nothing to run)."""

    job: Job
    intent: Intent
    planned: Planned | None
    ended: Ended | None
    summary: Summary


class _Silent:
    """An observer that does not look."""

    def begins(self, total: int) -> None:
        return

    def record(
        self, *, processed: int = 0, failed: int = 0, skipped: int = 0, vanished: int = 0, reused: int = 0
    ) -> None:
        return

    def waiting(self, reason: str | None) -> None:
        return


class BackfillProcessor:
    """Works on the mailbox of the current settings, or of those given.

    `stop`: set it from anywhere to end a run early; nothing is lost. `confirm`: gets a question with its facts and
    answers yes or no, once per job before its first call that costs; without it nothing is asked. `tell`: gets a
    sentence for people now and then.
    """

    def __init__(
        self,
        calls_per_minute: float | None = None,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        stop: StopRequest | None = None,
        observer: Observer | None = None,
        confirm: Callable[[str], bool] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings or facade.get()
        self.stop = stop or StopRequest()
        self._pace = Pace(calls_per_minute=calls_per_minute)
        self._clock = clock or SystemClock()
        self._observer = observer or _Silent()
        self._confirm = confirm
        self._tell = tell or (lambda sentence: None)

    def backfill_emails(
        self,
        start_date: date | None = None,
        end_date: date | None = None,
        folder: str | Sequence[str] = "INBOX",  # patterns with * and ? are taken, too
        force_reprocess: bool = True,
        dry_run: bool = False,
        max_emails: int | None = None,
        *,
        date_field: DateField = DateField.SENT,
        search: str | None = None,
        all_folders: bool = False,
        exclude: Sequence[str] = (),
    ) -> Summary:
        """Process the mail that is selected; a repeated call goes on where the last one ended.

        Returns the job's figures over all its runs, also when the stop request ended the run early. Raises a
        `BackfillError`; what was achieved until then is in the ledger.
        """
        names = (folder,) if isinstance(folder, str) else tuple(folder)
        if all_folders and names == ("INBOX",):
            names = ()  # not said, and no different when it was
        selection = Selection(
            folders=names or ("INBOX",),
            start_date=start_date,
            end_date=end_date,
            date_field=date_field,
            search=search if search is not None else self.settings.imap.query,
            force_reprocess=force_reprocess,
        )
        request = Request(selection, dry_run, folders=FolderPatterns(names, all_folders, tuple(exclude)))
        return self.run(request, replace(self._pace, max_emails=max_emails)).summary

    def plan(self, request: Request) -> Result:
        """Fill the ledger with what a request selects; the classifier is not called."""
        with self._house() as house:
            decision = house.decide(request)
            planned = house.plan(decision.job)
            return house.result(decision, planned, None)

    def run(self, request: Request, pace: Pace | None = None) -> Result:
        """Plan where needed, then work. Holds the ledger's lock; raises `LedgerHeld` when another run has it."""
        with self._house() as house, house.locked() as lock:
            decision = house.decide(request)
            if decision.intent is Intent.EXTEND:
                if not house.planner().has_newer_mail(decision.job):
                    self._tell("There is nothing new.")
                    return house.result(decision, None, None)
                house.ledger.jobs.reopen(decision.job.id)
            elif decision.job.state is JobState.PAUSED:
                house.ledger.jobs.reopen(decision.job.id)
            ended = house.work(decision.job, "run", pace or self._pace, lock)
            return house.result(decision, None, ended)

    def retry(self, job_id: int | None = None, reasons: Sequence[str] = (), pace: Pace | None = None) -> Result:
        """Take up failed items again, all or those of some reasons, and work on them and nothing else.

        Without a job: that of the latest run. `ended` of the result is None when nothing had failed so.
        """
        with self._house() as house, house.locked() as lock:
            number = job_id if job_id is not None else house.ledger.queries.latest_job()
            decision = house.decide(Request(job=number or 0, as_planned=True))
            ended = house.work(decision.job, "retry", pace or self._pace, lock, retry=tuple(reasons))
            return house.result(decision, None, ended)

    @contextmanager
    def _house(self) -> Iterator[_House]:
        ledger = wiring.open_ledger(self.settings, self._clock)
        house = _House(self, ledger)
        self._tell(f"Ledger: {ledger.database}")
        try:
            yield house
        finally:
            house.close()
            ledger.close()


class _House:
    """What one command works with: the ledger, and adapters that are made when they are needed first."""

    def __init__(self, owner: BackfillProcessor, ledger: Ledger) -> None:
        self.ledger = ledger
        self._owner = owner
        self._settings = owner.settings
        self._clock = owner._clock
        self._source: MailSource | None = None
        self._allowance = wiring.mail_allowance(self._settings, ledger, self._clock)
        self._is_real = False  # may anything be written to the mail server?
        self._classifier: Classifier | None = None

    def close(self) -> None:
        for adapter in (self._source, self._classifier, self._allowance):
            if adapter is not None:
                adapter.close()

    @contextmanager
    def locked(self) -> Iterator[RunLock]:
        """The ledger's lock, held until the command ends."""
        lock = self.ledger.runs.lock()
        self.ledger.runs.take(lock)
        try:
            yield lock
        finally:
            lock.drop()

    @property
    def source(self) -> MailSource:
        if self._source is None:
            self._allowance.wait(self._owner.stop, LONGEST_WAIT_S, self._owner._tell)
            self._source = wiring.mail_source(self._settings, self._allowance, lambda: self._is_real)
        return self._source

    def decide(self, request: Request) -> Decision:
        """The job that a request means; from now on the classifier is the one that it asks."""
        classifier = wiring.classifier(self._settings, self.ledger, self._clock)
        self._classifier = classifier
        default = Selection(search=self._settings.imap.query)
        account = wiring.account(self._settings).name

        if request.selection is not None and request.folders is not None and not request.folders.is_literal:
            literal = resolve(request.folders, self.source.list_folders())
            request = replace(request, selection=replace(request.selection, folders=literal))

        def check(selection: Selection) -> None:
            self._check(selection, dry_run=request.dry_run)

        decision = decide(self.ledger, account, request, classifier.fingerprint, default, check)
        if classifier.fingerprint.digest() != decision.job.fingerprint:  # only by --as-planned
            classifier.close()
            if self._source is not None:  # it reads as today's settings say
                self._source.close()
                self._source = None
            self._settings, self._classifier = wiring.as_planned(self._settings, decision.job, self.ledger, self._clock)
        self._is_real = not decision.job.dry_run
        self._owner._tell(f"{_SAID[decision.intent]} {describe(decision.job)}")
        return decision

    def _check(self, selection: Selection, *, dry_run: bool) -> None:
        """Can a new job be done at all? Raises before anything is written.

        `FolderUnknown`; `ConfigError` for criteria that the server does not understand or a broken note template.
        """
        for folder in selection.folders:
            state = self.source.examine(folder)
            if selection.search:  # no mail has this UID yet, but the server reads the criteria all the same
                self.source.survey(state.key, state.uid_next, state.uid_next, selection)
        for effect in () if dry_run else wiring.effects(self._settings):
            effect.close()

    def planner(self) -> Planner:
        return Planner(self.ledger, self.source, self._owner.stop)

    def plan(self, job: Job) -> Planned:
        """Bring the job's plan up to date."""
        planned = self.planner().plan(job)
        logger.bind(job=job.id).info("planned {} new mails in {} folders", planned.new_mails, planned.folders)
        if planned.new_mails:
            self._owner._tell(f"{planned.new_mails} new mail{'s' if planned.new_mails > 1 else ''} planned.")
        return planned

    def result(self, decision: Decision, planned: Planned | None, ended: Ended | None) -> Result:
        return Result(decision.job, decision.intent, planned, ended, summarize(self.ledger, decision.job))

    # ── working ──────────────────────────────────────────────────────────────────────────────────────────

    def work(
        self, job: Job, command: str, pace: Pace, lock: RunLock, retry: tuple[str, ...] | None = None
    ) -> Ended | None:
        """One run on a job, from its first row to its last; None when there was nothing to retry.

        `retry`: take up what failed for these reasons (none: all), and nothing else.
        """
        limits = self._limits(pace, only_retried=retry is not None)
        parameters: dict[str, Any] = {**asdict(limits), "calls_per_minute": pace.calls_per_minute}
        run = self.ledger.runs.begin(lock, job.id, command, __version__, parameters)
        log = logger.bind(job=job.id, run=run.uuid)
        log.info("{} begins: {}, {}", command, describe(job), parameters)
        outcome, reason, began = RunOutcome.HALTED, "", self._clock.monotonic()
        try:
            if retry is not None and not self._take_up(job, run, retry):
                outcome = RunOutcome.FINISHED
                return None
            ended = self._work(job, run, limits, pace, replan=retry is None)
            outcome, reason = ended.outcome, ended.reason
            return ended
        except BackfillError as error:
            reason = f"{error.reason}: {error}"
            log.error("{} halted: {}", command, error)
            if isinstance(error, FolderUnknown):  # renamed or deleted meanwhile: somebody has to look
                self.ledger.jobs.pause(job.id, str(error))
            raise
        except BaseException as error:
            reason = type(error).__name__
            raise
        finally:
            running_us = round((self._clock.monotonic() - began) * 1e6)
            self.ledger.runs.end(run, outcome, reason, running_us)
            state = self.ledger.jobs.settle(job.id)
            log.info("{} ends: {} {}; the job is {}", command, outcome, reason, state)

    def _take_up(self, job: Job, run: Run, reasons: tuple[str, ...]) -> int:
        taken = self.ledger.items.retry(run, reasons)
        if taken:
            self.ledger.jobs.reopen(job.id)
            self._owner._tell(f"{taken} mails are taken up again.")
        return taken

    def _work(self, job: Job, run: Run, limits: Limits, pace: Pace, *, replan: bool) -> Ended:
        for _ in range(MOST_REPLANS):
            if replan:
                self.plan(job)
            self.ledger.jobs.settle(job.id)
            if self._owner.stop.is_set():
                return Ended(RunOutcome.INTERRUPTED, self._owner.stop.reason)
            self._ask_consent(job)
            waiting = self.ledger.queries.count_open(job.id, retried_by=run.id if limits.only_retried else None)
            self._owner._observer.begins(waiting if limits.max_emails is None else min(waiting, limits.max_emails))
            effects = () if job.dry_run else wiring.effects(self._settings, self._allowance)
            try:
                return self._executor(job, pace, effects).work(job, run, limits)
            except MailboxChanged as changed:
                logger.bind(job=job.id, run=run.uuid).warning("{}", changed)
                self.ledger.runs.release_claims(run)
            finally:
                for effect in effects:
                    effect.close()
        raise MailboxChanged(f"UIDVALIDITY changed {MOST_REPLANS} times during this run; ask the server's operator.")

    def _executor(self, job: Job, pace: Pace, effects: tuple[Effect, ...]) -> Executor:
        classifier = self._classifier
        assert classifier is not None  # `decide` came first
        metered = classifier.is_metered
        rate = pace.calls_per_minute
        return Executor(
            ledger=self.ledger,
            source=self.source,
            classifier=classifier,
            effects=effects,
            throttler=wiring.throttler(self._settings, self.ledger, self._clock, rate) if metered else None,
            thresholds=wiring.thresholds(self._settings),
            analytics=None if job.dry_run else wiring.analytics(self._settings, self.ledger),
            clock=self._clock,
            stop=self._owner.stop.child(),
            observer=self._owner._observer,
            allowance=self._allowance,
        )

    def _limits(self, pace: Pace, *, only_retried: bool) -> Limits:
        processing, llm = self._settings.processing, self._settings.llm
        return Limits(
            max_emails=pace.max_emails if pace.max_emails is not None else processing.max_emails_per_run,
            concurrency=pace.concurrency if pace.concurrency is not None else processing.concurrency,
            retry_attempts=llm.retry_attempts,
            retry_delay_s=llm.retry_delay_seconds,
            only_retried=only_retried,
        )

    def _ask_consent(self, job: Job) -> None:
        """Ask once per job, before its first call that costs. Raises `Declined`."""
        classifier, confirm = self._classifier, self._owner._confirm
        if confirm is None or classifier is None or not classifier.is_metered or job.has_consent:
            return
        if self.ledger.queries.latest_attempt(job.id) is None:
            llm = self._settings.llm
            count = self.ledger.queries.count_open(job.id)
            if count and not confirm(
                f"{count} mails are to be sent to {llm.model} at {llm.api_url}, which may cost money. "
                f"(data_collection: {llm.data_collection}, zdr: {str(llm.zdr).lower()})"
            ):
                raise Declined
        self.ledger.jobs.consent(job.id)


_SAID = {
    Intent.BEGIN: "New:",
    Intent.RESUME: "Going on with",
    Intent.EXTEND: "Looking for newer mail of",
}
