"""The asking stage: `ask_patiently` is the one way to a metered classifier.

Every request, retries included, waits for its slot and opens its attempt first, so no call is faster than allowed
and none goes unrecorded. `backoff` decides how often; the waiting itself is done on the stop request, since
backoff's own sleep cannot be interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import backoff

from backfill.budget import Budget
from backfill.clock import Clock
from backfill.errors import (
    AnswerUnusable,
    BackfillError,
    ClassifierError,
    Concession,
    MessageRefused,
    RateLimited,
    ServiceUnavailable,
)
from backfill.executor.flow import Asked, Flow, Task, Troubled
from backfill.ledger import Ledger
from backfill.ledger.attempts import Question
from backfill.ledger.budgets import Reservation
from backfill.lifecycle import AttemptOutcome
from backfill.ports import Classifier
from backfill.throttle import Throttler
from backfill.verdict import Answer, Usage

# Longer waits are the ledger's: the item is given back and everybody waits for the block to end.
PATIENCE_S = 60.0

OUTCOMES: dict[type[ClassifierError], AttemptOutcome] = {
    RateLimited: AttemptOutcome.RATE_LIMITED,
    ServiceUnavailable: AttemptOutcome.UNAVAILABLE,
    AnswerUnusable: AttemptOutcome.UNUSABLE,
    MessageRefused: AttemptOutcome.REFUSED,
}


#: Turned away at the door: known to have cost nothing. Anything else that has no cost in its answer may have cost.
FREE = (AttemptOutcome.RATE_LIMITED, AttemptOutcome.HALTED)


class Stopped(Exception):
    """A stop came before the call was made; the item stays claimed and is given back with the run."""


class Blocked(RateLimited):
    """Calls are blocked for so long that the mail is given back; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Asker:
    """One of a run's `concurrency` asking threads. `throttler` is None for an unmetered classifier."""

    flow: Flow
    ledger: Ledger
    classifier: Classifier
    throttler: Throttler | None
    clock: Clock
    budget: Budget | None = None

    def work(self) -> None:
        """Ask until the tasks end. A slot is held from before the task is taken until its result is committed."""
        while True:
            self.flow.slots.acquire()
            task = self.flow.tasks.get()
            if task is None or self.flow.stop.is_set():
                self.flow.slots.release()
                return
            self.flow.calling.add(task.item.id)
            try:
                answer, attempt_id = self._ask(task)
            except Stopped:
                self.flow.calling.discard(task.item.id)
                self.flow.slots.release()
            except BackfillError as error:
                self.flow.results.put(Troubled(task.item, error, task.message.key, was_asked=True))
            except BaseException:
                self.flow.calling.discard(task.item.id)  # a bug: nobody will commit this, so nobody waits for it
                raise
            else:
                self.flow.results.put(Asked(task, answer, attempt_id))

    def _ask(self, task: Task) -> tuple[Answer, int | None]:
        """The answer, with its attempt where it took a call. What costs nothing takes no slot either."""
        free = self.classifier.decide_free(task.message)
        if free is not None:
            return free, None
        if self.throttler is None:
            return self.classifier.classify(task.message), None
        try:
            return self.ask_patiently(task, self.throttler)
        except ClassifierError as error:
            if error.concession is None:
                raise
            return self.ask_patiently(task, self.throttler, error.concession)  # once: a second such error stands

    def ask_patiently(
        self, task: Task, throttler: Throttler, concession: Concession | None = None
    ) -> tuple[Answer, int]:
        """The answer and the number of its attempt, which stays open until the verdict is recorded.

        Short trouble of the service is tried again, `retry_attempts` calls in all. Raises `Stopped`, `ClaimLost`,
        `AskedElsewhere` or the `ClassifierError` of the last call.
        """

        question = Question.about(self.flow.job, task.message.key)

        @backoff.on_exception(
            backoff.constant,
            (RateLimited, ServiceUnavailable),
            max_tries=self.flow.limits.retry_attempts,
            giveup=_asks_for_long,
            on_backoff=self._pause,
            interval=0,  # `_pause` sleeps
            jitter=None,  # a random share of Retry-After would be less than what was asked for
            logger=None,  # it would write the exception's text
        )
        def ask_once() -> tuple[Answer, int]:
            if not throttler.wait(self.flow.stop, PATIENCE_S, self.flow.observer.waiting):
                if self.flow.stop.is_set():
                    raise Stopped
                raise Blocked(throttler.reason(), wait_s=throttler.blocked_for())
            attempt_id = self.ledger.attempts.open(
                self.flow.run, task.item, self._reservation(task, concession), question
            )
            try:
                return self.classifier.classify(task.message, concession), attempt_id
            except ClassifierError as error:
                outcome = OUTCOMES.get(type(error), AttemptOutcome.HALTED)
                usage = error.usage or Usage(http_status=error.http_status)
                if outcome in FREE and usage.cost_usd is None:
                    usage = replace(usage, cost_usd=Decimal(0))
                self.ledger.attempts.close(attempt_id, outcome, usage)
                if isinstance(error, RateLimited | ServiceUnavailable) and error.wait_s:
                    throttler.block(error.wait_s, error.reason)
                raise

        return ask_once()

    def _reservation(self, task: Task, concession: Concession | None) -> Reservation | None:
        if self.budget is None:
            return None
        tokens = self.classifier.estimate_tokens(task.message)
        return self.budget.reservation(tokens, is_roomier=concession is Concession.ROOMIER)

    def _pause(self, details: Any) -> None:
        """Between two calls: what the service asked for is waited out by the throttle; else 5 s, 10 s, 20 s, …"""
        if not details["exception"].wait_s:
            seconds = self.flow.limits.retry_delay_s * 2.0 ** (details["tries"] - 1)
            if self.clock.sleep(min(seconds, PATIENCE_S), self.flow.stop):
                raise Stopped


def _asks_for_long(error: Any) -> bool:
    return (error.wait_s or 0.0) > PATIENCE_S
