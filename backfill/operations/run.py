"""What one command works with, and one run from its first row to its last.

The processor decides what is to be done; here the job is found, checked, planned and worked off, with adapters that
are made when they are needed first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from loguru import logger

from backfill import __version__, wiring
from backfill.clock import Clock, StopRequest
from backfill.errors import BackfillError, ClassifierError, Declined, FolderUnknown, FolderUnusable, MailboxChanged
from backfill.estimates.forecast import Forecast, Forecaster
from backfill.executor import Cap, Ended, Executor, Observer
from backfill.executor.reader import LONGEST_WAIT_S
from backfill.executor.steering import Steering
from backfill.folders import resolve
from backfill.ledger.locks import RunLock
from backfill.ledger.parameters import RunParameters
from backfill.ledger.reads.audit import Difference, DifferenceKind
from backfill.ledger.rows import Job, Run, describe
from backfill.lifecycle import RunOutcome
from backfill.limits import GivenLimits, RunLimits, resolve_limits
from backfill.operations.consent import processed_elsewhere
from backfill.operations.request import SAID, Decision, Intent, Request, decide
from backfill.operations.verify import ServerDifference, Verification
from backfill.planner import Planned, Planner
from backfill.ports import Classifier, Effect, MailSource, UidWindow
from backfill.report.figures import summarize
from backfill.report.summary import Summary
from backfill.report.text import render_text
from backfill.selection import Selection
from backfill.settings import Settings
from backfill.throttle.gates import HoursGate
from backfill.throttle.patience import PatientSource

# A server that changes UIDVALIDITY again and again while a run works cannot be worked with.
MOST_REPLANS = 5


@dataclass(frozen=True, slots=True)
class Context:
    """Who a command works for. `confirm` None: nobody is asked; `tell` gets sentences for people."""

    settings: Settings
    clock: Clock
    stop: StopRequest
    observer: Observer
    confirm: Callable[[str], bool] | None
    tell: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What a command did: the job's figures, and how its run ended (None: there was nothing to run)."""

    job: Job
    intent: Intent
    planned: Planned | None
    ended: Ended | None
    summary: Summary
    forecast: Forecast | None = None  # of a plan with a classifier whose calls cost


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` found. `is_repaired`: what can be put right has been. `is_complete`: no stop cut it short."""

    job: Job
    differences: tuple[Difference | ServerDifference, ...]
    notes: tuple[str, ...]  # what could not be compared, for people
    is_repaired: bool
    is_complete: bool
    summary: Summary


class Workshop:
    """One command's ledger and adapters; an adapter is made when it is needed first."""

    def __init__(self, context: Context) -> None:
        self.ledger = wiring.open_ledger(context.settings, context.clock, context.stop)
        self._context = context
        self._settings = context.settings
        self._clock = context.clock
        self._source: MailSource | None = None
        self._allowance = wiring.mail_allowance(self._settings, self.ledger, self._clock)
        self._allowance.tell = lambda sentence: context.tell(sentence) if sentence else None
        self._is_real = False  # may anything be written to the mail server?
        self._classifier: Classifier | None = None

    def close(self) -> None:
        for adapter in (self._source, self._classifier, self._allowance):
            if adapter is not None:
                adapter.close()
        self.ledger.close()

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
            self._allowance.wait(self._context.stop, LONGEST_WAIT_S, self._context.tell)
            source = wiring.mail_source(self._settings, self._allowance, lambda: self._is_real)
            context = self._context
            self._source = PatientSource(source, self._clock, context.stop, LONGEST_WAIT_S, context.tell)
        return self._source

    def _hang_up(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    def decide(self, request: Request, said: str | None = None) -> Decision:
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
            self._hang_up()  # it reads as today's settings say
            self._settings, self._classifier = wiring.as_planned(self._settings, decision.job, self.ledger, self._clock)
        self._is_real = not decision.job.dry_run
        self._context.tell(f"{said or SAID[decision.intent]} {describe(decision.job)}")
        return decision

    def _check(self, selection: Selection, *, dry_run: bool) -> None:
        """Can a new job be done at all? Raises before anything is written.

        `FolderUnknown`; `ConfigError` for criteria that the server does not understand or a broken note template.
        """
        for folder in selection.folders:
            try:
                state = self.source.examine(folder)
            except FolderUnusable:
                # One that the server lists is left out by the planner, for the others' sake. A misspelt name is not.
                is_listed = folder in {each.name for each in self.source.list_folders()}
                if is_listed and len(selection.folders) > 1:
                    continue
                raise
            if selection.search:  # no mail has this UID yet, but the server reads the criteria all the same
                self.source.survey(state.key, UidWindow(state.uid_next, state.uid_next), selection)
        for effect in () if dry_run else wiring.effects(self._settings):
            effect.close()

    def verify(self, job: Job, *, repair: bool) -> Verified:
        """Hold the job against itself and the server; `repair` puts right what can be, unless a stop was asked for."""
        effects = () if job.dry_run else self._settings.effects
        within = self.ledger.audit.differences(job.id, effects)
        verification = Verification(self.ledger, self.source, self._context.stop)
        outside = verification.compare(job)
        is_repaired = repair and outside.is_complete
        if is_repaired:
            self.ledger.audit.repair(job.id)
            if any(each.kind is DifferenceKind.NO_RECEIPT for each in within):
                self.ledger.receipts.reapply(job.id, effects)
            verification.repair(job, outside.differences)
        figures, notes = summarize(self.ledger, job), outside.notes
        return Verified(job, (*within, *outside.differences), notes, is_repaired, outside.is_complete, figures)

    def planner(self) -> Planner:
        return Planner(self.ledger, self.source, self._context.stop)

    def plan(self, job: Job) -> Planned:
        """Bring the job's plan up to date."""
        planned = self.planner().plan(job)
        logger.bind(job=job.id).info("planned; new mails: {}, folders: {}", planned.new_mails, planned.folders)
        for left in planned.left_out:
            self._context.tell(f"{left.folder!r} is left out this time: {left.reason}")
        if planned.new_mails:
            self._context.tell(f"{planned.new_mails} new mail{'s' if planned.new_mails > 1 else ''} planned.")
        return planned

    def result(self, decision: Decision, planned: Planned | None, ended: Ended | None) -> Result:
        return Result(decision.job, decision.intent, planned, ended, summarize(self.ledger, decision.job))

    # ── working ──────────────────────────────────────────────────────────────────────────────────────────

    def work(
        self, job: Job, command: str, given: GivenLimits, lock: RunLock, retry: tuple[str, ...] | None = None
    ) -> Ended | None:
        """One run on a job, from its first row to its last; None when there was nothing to retry.

        `retry`: take up what failed for these reasons (none: all), and nothing else.
        """
        if given.calls_per_minute is not None:
            self.ledger.steering.set_pace(job.id, None)  # what is given now takes the place of an earlier wish
        limits = self.limits(job, given)
        is_metered = self._classifier is not None and self._classifier.is_metered
        api = wiring.api(self._settings) if is_metered else None
        parameters = RunParameters(limits, api, only_retried=retry is not None)
        if given.calls_per_minute is None and limits.calls_per_minute != self._settings.processing.calls_per_minute:
            self._context.tell(f"Pace: {limits.calls_per_minute:g} calls a minute, set by `backfill pace`.")
        run = self.ledger.runs.begin(lock, job.id, command, __version__, parameters)
        log = logger.bind(job=job.id, run=run.uuid)
        log.info("{} begins: {}, {}", command, describe(job), parameters.to_json())
        outcome, reason, began = RunOutcome.HALTED, "", self._clock.monotonic()
        try:
            if retry is not None and not self._take_up(job, run, limits, retry):
                outcome = RunOutcome.FINISHED
                return None
            ended = self._work(job, run, limits, only_retried=retry is not None)
            outcome, reason = ended.outcome, ended.reason
            return ended
        except BackfillError as error:
            reason = f"{error.reason}: {error}"
            log.error("{} halted: {}", command, error)
            if not isinstance(error, Declined):
                self._context.tell(f"Nothing is lost; when it is put right, go on with: {given.going_on(job.id)}")
            if isinstance(error, FolderUnknown):  # renamed or deleted meanwhile: somebody has to look
                self.ledger.steering.pause(job.id, str(error))
            raise
        except BaseException as error:
            reason = type(error).__name__
            raise
        finally:
            running_us = round((self._clock.monotonic() - began) * 1e6)
            self.ledger.runs.end(run, outcome, reason, running_us)
            state = self.ledger.jobs.settle(job.id)
            for line in render_text(summarize(self.ledger, replace(job, state=state))).splitlines():
                log.info("{}", line)
            log.info("{} ends: {} {}; the job is {}", command, outcome, reason, state)

    def _take_up(self, job: Job, run: Run, limits: RunLimits, reasons: tuple[str, ...]) -> int:
        taken = self.ledger.items.retry(run, reasons, limits.max_emails)
        if taken:
            self.ledger.jobs.reopen(job.id)
            self._context.tell(f"{taken} mail{' is' if taken == 1 else 's are'} taken up again.")
        return taken

    def _work(self, job: Job, run: Run, limits: RunLimits, *, only_retried: bool) -> Ended:
        cap = Cap(limits.max_emails)
        for _ in range(MOST_REPLANS):
            if not only_retried:
                self.plan(job)
            self.ledger.jobs.settle(job.id)
            if self._context.stop.is_set():
                return Ended(RunOutcome.INTERRUPTED, self._context.stop.reason)
            mails = self.ledger.open_items.count(job.id, retried_by=run.id if only_retried else None)
            mails = mails if limits.max_emails is None else min(mails, limits.max_emails)
            self._ask_consent(job, limits, mails)
            self._context.observer.begins(mails)
            effects = () if job.dry_run else wiring.effects(self._settings, self._allowance)
            try:
                executor = self._executor(job, limits, effects, cap, mails, only_retried=only_retried)
                return executor.work(job, run, limits)
            except MailboxChanged as changed:
                logger.bind(job=job.id, run=run.uuid).warning("{}", changed)
                self.ledger.runs.release_claims(run)
                self._hang_up()  # the old reader may still be at it, and a connection is one thread's
            finally:
                for effect in effects:
                    effect.close()
        raise MailboxChanged(f"UIDVALIDITY changed {MOST_REPLANS} times during this run; ask the server's operator.")

    def _executor(
        self, job: Job, limits: RunLimits, effects: tuple[Effect, ...], cap: Cap, mails: int, *, only_retried: bool
    ) -> Executor:
        classifier = self._classifier
        assert classifier is not None  # `decide` came first
        metered = classifier.is_metered
        hours = None if limits.between is None else HoursGate(limits.between, self._clock)
        calls = wiring.day_limit(self._settings, self.ledger, self._clock, limits.max_per_day) if metered else None
        throttler = wiring.throttler(self._settings, self.ledger, self._clock, limits) if metered else None
        stop = self._context.stop.child()
        return Executor(
            ledger=self.ledger,
            source=self.source,
            classifier=classifier,
            effects=effects,
            throttler=throttler,
            thresholds=wiring.thresholds(self._settings),
            analytics=None if job.dry_run else wiring.analytics(self._settings, self.ledger),
            clock=self._clock,
            stop=stop,
            observer=self._context.observer,
            allowance=self._allowance,
            budget=wiring.budget(self._settings, self.ledger, self._clock, job.id, limits, calls) if metered else None,
            cap=cap,
            gates=tuple(gate for gate in (hours, calls) if gate is not None),
            steering=Steering(self.ledger, job.id, self._clock, stop, throttler),
            mails=mails,
            only_retried=only_retried,
        )

    def limits(self, job: Job, given: GivenLimits) -> RunLimits:
        """What a run on this job may do."""
        wished = self.ledger.steering.read(job.id).calls_per_minute
        limits = resolve_limits(given, wished, self._settings.run_limits)
        return limits if self._classifier is not None and self._classifier.is_metered else limits.unmetered()

    def forecast(self, job: Job, limits: RunLimits, max_emails: int | None) -> Forecast | None:
        """What the rest of the job, or so many mails of it, will take; None where calls cost nothing.

        A price list out of reach is no error.
        """
        if self._classifier is None or not self._classifier.is_metered:
            return None
        try:
            price = wiring.price(self._settings, self._clock)
        except ClassifierError as error:
            self._context.tell(f"The price is not known: {error}")
            price = None
        return Forecaster(self.ledger, self.source, self._classifier, price, limits).forecast(job, max_emails)

    def _ask_consent(self, job: Job, limits: RunLimits, mails: int) -> None:
        """Ask once per job, before its first call that costs. `mails`: what the run is about. Raises `Declined`."""
        classifier, confirm = self._classifier, self._context.confirm
        begins = mails and not job.has_consent and self.ledger.attempts.latest(job.id) is None
        if begins and (warning := processed_elsewhere(self.ledger, self.source, job, self._context.stop)):
            self._context.tell(warning)
        if confirm is None or classifier is None or not classifier.is_metered or job.has_consent or not mails:
            return
        if begins:
            llm, at_most = self._settings.llm, "At most " if self._settings.classifier == "gated" else ""
            are = "mail is" if mails == 1 else "mails are"
            forecast = self.forecast(job, limits, mails)
            if forecast is not None and forecast.calls == 0:
                return  # every verdict is known: nothing will be sent
            reckoned = "" if forecast is None else f" {forecast.sentence()}"
            question = f"{at_most}{mails} {are} to be sent to {llm.model} at {llm.api_url}, which may cost money."
            if not confirm(question + reckoned):
                raise Declined
        self.ledger.jobs.consent(job.id)
