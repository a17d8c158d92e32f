"""The throttled executor: works on a job, mail by mail, until each mail is done exactly once.

Three stages run in threads of their own: `reader` claims and fetches mail, `asker` (in the threads of `askers`) calls
the classifier, `effecter` applies effects. The calling thread is the `writer`: only it commits verdicts and outcomes
and opens attempts, all that is ready in one transaction. `results` and `flow` hold what the stages pass to each other.

Beside them: `bounds` (how many mails are taken) · `breaker` (outages) · `heartbeat` (sign of life, the lock) ·
`steering` (pause, resume, cancel, pace) · `observer` (progress) · `unsaved` (answers that a full disk did not keep) ·
`one_cpu` (threads that take turns on one CPU).
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass

from backfill.analytics import AnalyticsFile
from backfill.clock import Clock, StopRequest
from backfill.errors import BackfillError, MailboxChanged
from backfill.executor.asker import Asker
from backfill.executor.bounds import Cap
from backfill.executor.effecter import Effecter
from backfill.executor.flow import Ended, Flow
from backfill.executor.heartbeat import Heartbeat
from backfill.executor.observer import Observer, Show
from backfill.executor.one_cpu import on_one_cpu
from backfill.executor.reader import Reader
from backfill.executor.steering import Bulletin, Steering
from backfill.executor.unsaved import add_asked_again, late_answers
from backfill.executor.writer import Writer
from backfill.ledger import Ledger
from backfill.ledger.results import Needs
from backfill.ledger.rows import Job, Run
from backfill.lifecycle import RunOutcome
from backfill.limits import RunLimits
from backfill.metered import MeteredCalls
from backfill.ports import Classifier, Effect, MailSource
from backfill.rubric import Rubric
from backfill.throttle.budget import Budget
from backfill.throttle.calls import Throttler
from backfill.throttle.gates import Gate, Gates
from backfill.throttle.mail import MailAllowance

__all__ = ["Cap", "Ended", "Executor", "Observer", "Show"]

# After a stop, wait 8 s for answers in flight, because a call costs money. A supervisor often kills after 10 s.
DRAIN_S = 8.0
ANALYTICS_S = 2.0


@dataclass(slots=True)
class Executor:
    """Everything that one run needs to work on a job."""

    ledger: Ledger
    source: MailSource
    classifier: Classifier
    effects: tuple[Effect, ...]
    throttler: Throttler | None  # None: the classifier is unmetered
    rubric: Rubric
    analytics: AnalyticsFile | None
    clock: Clock
    stop: StopRequest
    observer: Observer
    allowance: MailAllowance | None = None  # None: nothing limits the reads from the mail account
    budget: Budget | None = None  # None: nothing limits the cost or the number of calls
    cap: Cap | None = None  # of the whole run, if it has several executors in turn; None: a new one
    gates: tuple[Gate, ...] = ()  # the gates that the operator asked for
    steering: Steering | None = None  # None: the run cannot be steered
    mails: int = 0  # the mails that the run will work on, as far as known
    only_retried: bool = False  # work only on the items that this run took up again
    show: Show | None = None  # gets each mail that needs no effect; None: nobody looks
    _next_analytics: float = 0.0
    _began: float = 0.0

    def work(self, job: Job, run: Run, limits: RunLimits) -> Ended:
        """Work until nothing is left, the cap is reached, the rest is due much later, or a stop is asked for.

        Raises the error that stopped the run; what was achieved until then is committed. The caller must end the run,
        which frees its claims.
        """
        self._began = self.clock.monotonic()
        if self.analytics is not None:
            self.analytics.catch_up()  # before the first call: an unwritable file must stop the run early
        bulletin = Bulletin(self.observer, self.mails)
        heartbeat = Heartbeat(self.ledger.runs, run, self.clock, self.running_us, lambda: self._look(run, bulletin))
        steering = () if self.steering is None else (self.steering,)
        gates = Gates((*steering, *self.gates, heartbeat), self.clock, self.stop, bulletin.waiting)
        cap = self.cap or Cap(limits.max_emails)
        flow = Flow.of(job, run, limits, cap, gates, self.stop, bulletin, only_retried=self.only_retried)
        self._look(run, bulletin)  # before the first claim: the job may be paused already
        with heartbeat.beating(flow.start):
            return self._work_off(flow, bulletin)

    def _work_off(self, flow: Flow, bulletin: Bulletin) -> Ended:
        if self.throttler is not None:
            self.throttler.probe()  # a new run tries the service at once, unless the service named a time
        writer = Writer(flow, self.ledger, self.throttler, self.needs, self.clock, self.show)
        effecter = self._start(flow)
        try:
            with on_one_cpu():
                while not self.stop.is_set() and (flow.ended is None or flow.window.inside):
                    writer.save(0.25)
                    self._tick(run=flow.run, bulletin=bulletin)
            is_drained = self._drain(flow, writer, effecter)
        except BaseException as error:  # an error in the writer ends the run, like an error in a stage
            flow.fail(error)
            self._drain(flow, writer, effecter)
            self._say_what_is_asked_again(error, flow, writer)
            raise
        finally:
            self._dismiss(flow)
        if flow.error is not None:
            self._say_what_is_asked_again(flow.error, flow, writer)
            with suppress(BackfillError):  # the run ends with the first error
                self._catch_up()
            raise flow.error
        self._catch_up()
        if self.stop.is_set() and not is_drained:
            late = len(flow.calling)
            reason = f"{self.stop.reason}; {late_answers(late)}" if late else self.stop.reason
            return Ended(RunOutcome.INTERRUPTED, reason, late)
        return flow.ended or Ended(RunOutcome.INTERRUPTED, self.stop.reason)

    def _start(self, flow: Flow) -> threading.Thread:
        """Start the stages. Returns the thread of the last stage, for whose end the writer waits."""
        reading = Reader(flow, self.ledger, self.source, self.needs, self.throttler, self.clock, self.allowance)
        asking = Asker(flow, self._calls(flow))
        effecting = Effecter(flow, self.ledger, self.needs, self.clock)
        flow.threads.open(lambda number: flow.start(f"asker-{number}", on_one_cpu()(asking.ask_all)), flow.fit)
        flow.start("reader", on_one_cpu()(reading.read_all))
        return flow.start("effecter", effecting.apply_all)

    def _calls(self, flow: Flow) -> MeteredCalls:
        asked = self.ledger, self.classifier, self.throttler, self.clock
        bounds, tell = (flow.stop, flow.gates, flow.limits), flow.observer.waiting
        return MeteredCalls(*asked, *bounds, tell, self.budget, flow.threads, fail=flow.fail)

    def _drain(self, flow: Flow, writer: Writer, effecter: threading.Thread) -> bool:
        """Record the answers in flight and apply their effects. Is all of it done? After a stop, it waits at most 8 s.

        Before the folder is planned anew there is no such limit: the run goes on, and would ask again for each answer
        that is not recorded.
        """
        deadline: float | None = None
        is_last = False
        while True:
            writer.save(0.05)
            is_answered = not flow.calling and flow.results.empty()
            if is_answered and not is_last:
                is_last = flow.hand(flow.judgments, None)
            if is_answered and not effecter.is_alive():
                return flow.error is None and self.ledger.open_items.count_held(flow.run.id) == 0
            if self.stop.is_set() and (self.stop.is_inherited() or not isinstance(flow.error, MailboxChanged)):
                deadline = deadline or self.clock.monotonic() + DRAIN_S
                if self.clock.monotonic() > deadline:
                    return False

    def _say_what_is_asked_again(self, error: BaseException, flow: Flow, writer: Writer) -> None:
        """Add to the error that ends the run which answers are lost. Tries once more to save the paid ones before."""
        unsaved = writer.unsaved.save(self.ledger, flow.run)
        add_asked_again(error, unsaved, 0 if self.throttler is None else len(flow.calling))

    def _dismiss(self, flow: Flow) -> None:
        """End the asking threads."""
        flow.threads.close()
        flow.close()
        for _ in range(flow.threads.size):
            if not flow.hand(flow.tasks, None):
                break  # the queue is full after a stop: no thread waits for it, and each next `get` sees the stop

    @property
    def needs(self) -> Needs:
        return Needs(self.effects, self.rubric)

    def running_us(self) -> int:
        """Microseconds since `work` began."""
        return round((self.clock.monotonic() - self._began) * 1e6)

    def _catch_up(self) -> None:
        if self.analytics is not None:
            self.analytics.catch_up()

    def _tick(self, run: Run, bulletin: Bulletin) -> None:
        self._look(run, bulletin)
        now = self.clock.monotonic()
        if self.analytics is not None and now >= self._next_analytics:
            self._next_analytics = now + ANALYTICS_S
            self.analytics.catch_up()

    def _look(self, run: Run, bulletin: Bulletin) -> None:
        if self.steering is not None:
            self.steering.look(run, bulletin)
