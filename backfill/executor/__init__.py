"""The throttled executor: works a job off, mail by mail, each exactly once.

Three stages in threads of their own (reading, asking, effects) and one writer, which is the calling thread: only
here are verdicts and outcomes committed, whatever is ready in one transaction. It holds the one `match` that turns
an error's disposition into what becomes of the mail.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from queue import Empty
from typing import TYPE_CHECKING, assert_never

from loguru import logger

from backfill.budget import Budget
from backfill.clock import Clock, StopRequest
from backfill.errors import (
    AnswersUnusable,
    AnswerUnusable,
    AskedElsewhere,
    BackfillError,
    ClaimLost,
    MailboxChanged,
    RateLimited,
    ServiceUnavailable,
)
from backfill.executor.asker import Asker, Blocked
from backfill.executor.breaker import Breaker
from backfill.executor.effecter import Effecter
from backfill.executor.flow import Applied, Asked, Cap, Ended, Flow, Judgment, Known, Limits, Observer, Result, Troubled
from backfill.executor.gates import Gate, Gates
from backfill.executor.pulse import Pulse
from backfill.executor.reader import Reader
from backfill.executor.steering import Bulletin, Steering
from backfill.export import AnalyticsFile
from backfill.ledger import Ledger
from backfill.ledger.rows import Item, Job, Run
from backfill.ledger.verdicts import Finished, Judgement
from backfill.lifecycle import Disposition, RunOutcome
from backfill.ports import Classifier, Effect, MailSource
from backfill.throttle import MailAllowance, Throttler
from backfill.verdict import Thresholds, Verdict

if TYPE_CHECKING:
    from loguru import Logger

__all__ = ["Cap", "Ended", "Executor", "Limits", "Observer"]

# After a stop, answers in flight are awaited so long: a call costs money, and 10 s is what a supervisor grants.
DRAIN_S = 8.0
ANALYTICS_S = 2.0
# So long another run is left to answer a question before this one looks for the verdict: about one call.
ELSEWHERE = timedelta(seconds=5)
# Results of so many mails are committed together at the most.
GROUP = 200


@dataclass(slots=True)
class Executor:
    """Everything that working off a job needs. Used for one run."""

    ledger: Ledger
    source: MailSource
    classifier: Classifier
    effects: tuple[Effect, ...]
    throttler: Throttler | None  # None: the classifier is unmetered
    thresholds: Thresholds
    analytics: AnalyticsFile | None
    clock: Clock
    stop: StopRequest
    observer: Observer
    allowance: MailAllowance | None = None  # None: the mail account may be read without end
    budget: Budget | None = None  # None: nothing limits what may be spent
    cap: Cap | None = None  # of the whole run, where it has more than one executor; None: a new one
    gates: tuple[Gate, ...] = ()  # what the operator asked the run to wait at
    steering: Steering | None = None  # None: nobody can steer the run
    _breaker: Breaker = field(default_factory=Breaker)
    _next_analytics: float = 0.0
    _began: float = 0.0

    def work(self, job: Job, run: Run, limits: Limits) -> Ended:
        """Work until nothing is left, the cap is reached, the rest is due much later, or a stop is asked for.

        Raises the error that stopped the run; what was achieved until then is committed. The caller ends the run,
        which gives back whatever is still claimed.
        """
        self._began = self.clock.monotonic()
        if self.analytics is not None:
            self.analytics.catch_up()  # a file that cannot be written is found before the first call
        bulletin = Bulletin(self.observer)
        pulse = Pulse(self.ledger.runs, run, self.clock, self.running_us, lambda: self._look(run, bulletin))
        steering = () if self.steering is None else (self.steering,)
        gates = Gates((*steering, *self.gates, pulse), self.clock, self.stop, bulletin.waiting)
        flow = Flow.of(job, run, limits, self.cap or Cap(limits.max_emails), gates, self.stop, bulletin)
        self._look(run, bulletin)  # a job that is paused already is not begun with
        with pulse.beating(flow.start):
            return self._work_off(flow, bulletin)

    def _work_off(self, flow: Flow, bulletin: Bulletin) -> Ended:
        if self.throttler is not None:
            self.throttler.probe()  # whoever starts a run wants to know
        effecter = self._start(flow)
        try:
            while not self.stop.is_set() and (flow.ended is None or flow.window.inside):
                self._settle(flow, self._ready(flow, 0.25))
                self._tick(run=flow.run, bulletin=bulletin)
            is_drained = self._drain(flow, effecter)
        except BaseException as error:  # what the writer meets ends the run as what a stage meets does
            flow.fail(error)
            is_drained = self._drain(flow, effecter)
            raise
        finally:
            self._dismiss(flow)
        if self.analytics is not None:
            self.analytics.catch_up()
        if flow.error is not None:
            raise flow.error
        if self.stop.is_set() and not is_drained:
            return Ended(RunOutcome.INTERRUPTED, self.stop.reason)
        return flow.ended or Ended(RunOutcome.INTERRUPTED, self.stop.reason)

    def _start(self, flow: Flow) -> threading.Thread:
        """Start the stages; the thread of the last one, whose end the writer waits for."""
        reading = Reader(flow, self.ledger, self.source, self.effects, self.throttler, self.clock, self.allowance)
        asking = Asker(flow, self.ledger, self.classifier, self.throttler, self.clock, self.budget)
        effecting = Effecter(flow, self.ledger, self.effects, self.thresholds, self.clock)
        flow.slots.open(lambda number: flow.start(f"asker-{number}", asking.work), flow.fit)
        flow.start("reader", reading.work)
        return flow.start("effecter", effecting.work)

    def _drain(self, flow: Flow, effecter: threading.Thread) -> bool:
        """Record what is in flight and bring its effects about, after a stop for some seconds; is all of it done?

        Before the run is planned anew every answer is awaited: it goes on, and would ask again what is not recorded.
        """
        deadline: float | None = None
        is_last = False
        while True:
            self._settle(flow, self._ready(flow, 0.05))
            is_answered = not flow.calling and flow.results.empty()
            if is_answered and not is_last:
                is_last = flow.hand(flow.judgments, None)
            if is_answered and not effecter.is_alive():
                return self.ledger.queries.count_held(flow.run.id) == 0
            if self.stop.is_set() and (self.stop.is_inherited() or not isinstance(flow.error, MailboxChanged)):
                deadline = deadline or self.clock.monotonic() + DRAIN_S
                if self.clock.monotonic() > deadline:
                    return False

    def _dismiss(self, flow: Flow) -> None:
        """Let the asking threads go."""
        flow.slots.close()
        for _ in range(flow.slots.size):
            if not flow.hand(flow.tasks, None):
                break  # full after a stop: nobody waits at it, and whoever comes sees the stop

    def running_us(self) -> int:
        """Microseconds since `work` began."""
        return round((self.clock.monotonic() - self._began) * 1e6)

    # ── the writer ───────────────────────────────────────────────────────────────────────────────────────

    def _ready(self, flow: Flow, seconds: float) -> list[Result]:
        """What is ready, waiting so long for the first of it and for no more."""
        ready: list[Result] = []
        try:
            ready.append(flow.results.get(timeout=seconds) if seconds else flow.results.get_nowait())
            while len(ready) < GROUP:
                ready.append(flow.results.get_nowait())
        except Empty:
            pass
        return ready

    def _settle(self, flow: Flow, results: Sequence[Result]) -> None:
        judged: list[Asked | Known] = []
        applied: list[Applied] = []
        for result in results:
            match result:
                case Asked() | Known():
                    judged.append(result)
                case Applied():
                    applied.append(result)
                case Troubled():
                    self._trouble(flow, result)
                case _:
                    assert_never(result)
        while judged:
            judged = self._record(flow, judged)
        if applied:
            self._finish(flow, applied)

    def _record(self, flow: Flow, judged: Sequence[Asked | Known]) -> list[Asked | Known]:
        """Commit verdicts, hand them to the effects; the tasks that waited for the same answers."""
        recorded = self.ledger.verdicts.record(flow.run, [_judgement(result) for result in judged])
        waiting: list[Asked | Known] = []
        for result, record in zip(judged, recorded, strict=True):
            item, message = result.task.item, result.task.message
            waiting.extend(self._answered(flow, message.key, record.verdict))
            if isinstance(result, Asked):
                if result.attempt_id is not None:  # what took no call says nothing of the service
                    self._breaker.succeeded()
                flow.calling.discard(item.id)
                flow.slots.commit()
            if record.is_ours:
                reused = isinstance(result, Known) or record.is_reused
                flags = message.flags
                flow.hand(flow.judgments, Judgment(item, message, record.verdict, flags, record.receipts, reused))
            flow.window.leave()
        return waiting

    def _answered(self, flow: Flow, key: str, verdict: Verdict) -> list[Known]:
        with flow.asking_lock:
            return [Known(task, verdict) for task in flow.asking.pop(key, [])]

    def _finish(self, flow: Flow, applied: Sequence[Applied]) -> None:
        done = [result for result in applied if not result.refusals]
        finished = [
            Finished(result.judgment.item, result.judgment.verdict, result.labels, result.receipts) for result in done
        ]
        for result, is_ours in zip(done, self.ledger.verdicts.finish(flow.run, finished), strict=True):
            if is_ours:
                scores = result.judgment.verdict.scores
                self._log(flow, result.judgment.item).info(
                    "done: importance {}, spam {}{}",
                    scores.importance,
                    scores.spam,
                    " (known)" if result.judgment.is_reused else "",
                )
                self.observer.record(processed=1, reused=int(result.judgment.is_reused))
        for result in applied:
            if result.refusals:
                item = result.judgment.item
                self.ledger.verdicts.keep_receipts(item, result.judgment.verdict, result.receipts)
                self._dispose(flow, item, result.refusals[0].error, is_inside=False)

    # ── trouble ──────────────────────────────────────────────────────────────────────────────────────────

    def _trouble(self, flow: Flow, troubled: Troubled) -> None:
        error = troubled.error
        if troubled.key is not None:
            with flow.asking_lock:
                waiting = flow.asking.pop(troubled.key, [])
            if waiting:
                self.ledger.items.release(flow.run, [task.item for task in waiting], self._due_again(error))
            for task in waiting:
                flow.cap.gives_back(task.item.id)
                flow.window.leave()
        self._dispose(flow, troubled.item, error, is_inside=True)
        if troubled.was_asked:  # only now that it is committed, as a verdict's slot
            flow.calling.discard(troubled.item.id)
            flow.slots.commit()
        if isinstance(error, ServiceUnavailable) and self._breaker.failed(troubled.item.id):
            flow.fail(ServiceUnavailable(f"{error} No call gets through, so the run stops; nothing is lost."))
        if isinstance(error, AnswerUnusable) and self._breaker.unusable(troubled.item.id):
            flow.fail(AnswersUnusable(reason=error.reason))
        if isinstance(error, RateLimited) and not error.wait_s and self.throttler is not None:
            # No time was named and three calls were refused: leave it alone for a while, longer each time.
            self._breaker.refusals += 1
            self.throttler.block(min(15.0 * 2**self._breaker.refusals, 900.0), error.reason, is_guess=True)

    def _dispose(self, flow: Flow, item: Item, error: BackfillError, *, is_inside: bool) -> None:
        """What an error means for its mail. `is_inside`: the mail counts in the window until now."""
        items, log = self.ledger.items, self._log(flow, item)
        try:
            match error.disposition:
                case Disposition.RETRY if item.failures + 1 < flow.limits.retry_attempts:
                    delay = timedelta(seconds=flow.limits.retry_delay_s * 2.0**item.failures)
                    until = self.clock.now() + delay
                    items.postpone(flow.run, item, until, error.reason)
                    flow.cap.postpones(item.id, until)
                    log.warning("postponed ({}): {}", error.reason, error)
                case Disposition.RETRY | Disposition.FAIL:
                    items.fail(flow.run, item, error.reason)
                    self.observer.record(failed=1)
                    log.error("failed ({}): {}", error.reason, error)
                case Disposition.RELEASE:
                    items.release(flow.run, [item], self._due_again(error))
                    flow.cap.gives_back(item.id)
                    level = "INFO" if isinstance(error, AskedElsewhere | Blocked) else "WARNING"
                    log.log(level, "given back ({}): {}", error.reason, error)
                case Disposition.SKIP:
                    items.skip(flow.run, item, error.reason)
                    self.observer.record(skipped=1)
                    log.info("skipped: {}", error.reason)
                case Disposition.VANISH:
                    items.vanish(flow.run, item)
                    self.observer.record(vanished=1)
                    log.info("vanished from the server")
                case Disposition.DROP:
                    flow.cap.gives_back(item.id)  # another run works on it
                    log.info("dropped: {}", error)
                case Disposition.HALT | Disposition.REPLAN:
                    flow.fail(error)
                case _:
                    assert_never(error.disposition)
        except ClaimLost as lost:
            log.info("dropped: {}", lost)
        if is_inside:
            flow.window.leave()

    def _due_again(self, error: BackfillError) -> datetime | None:
        """When a mail that is given back may be taken up again; None: at once."""
        return self.clock.now() + ELSEWHERE if isinstance(error, AskedElsewhere) else None

    # ── beside the work ──────────────────────────────────────────────────────────────────────────────────

    def _tick(self, run: Run, bulletin: Bulletin) -> None:
        self._look(run, bulletin)
        now = self.clock.monotonic()
        if self.analytics is not None and now >= self._next_analytics:
            self._next_analytics = now + ANALYTICS_S
            self.analytics.catch_up()

    def _look(self, run: Run, bulletin: Bulletin) -> None:
        if self.steering is not None:
            self.steering.look(run, bulletin)

    def _log(self, flow: Flow, item: Item) -> Logger:
        return logger.bind(job=flow.job.id, run=flow.run.uuid, uid=item.ref.uid, folder=item.ref.mailbox.folder)


def _judgement(result: Asked | Known) -> Judgement:
    match result:
        case Asked(task, answer, attempt_id):
            return Judgement(task.item, task.message, answer=answer, attempt_id=attempt_id)
        case Known(task, verdict):
            return Judgement(task.item, task.message, known=verdict)
        case _:
            assert_never(result)
