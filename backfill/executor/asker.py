"""The asking stage: `ask_patiently` is the one way to a metered classifier.

Every request, retries included, waits for its slot and opens its attempt first, so no call is faster than allowed
and none goes unrecorded. `backoff` decides how often; the waiting itself is done on the stop request, since
backoff's own sleep cannot be interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import backoff

from backfill.clock import Clock
from backfill.errors import (
    AnswerUnusable,
    BackfillError,
    CallsUsedUp,
    ClassifierError,
    Concession,
    MessageRefused,
    RateLimited,
    ServiceUnavailable,
    around_one_mail,
)
from backfill.executor.flow import Flow
from backfill.executor.results import Stopped, Task, Troubled
from backfill.ledger import Ledger
from backfill.ledger.attempts import Call, Question
from backfill.ledger.budgets import Reservation
from backfill.ledger.throttles import Slot
from backfill.ledger.verdicts import Answered
from backfill.lifecycle import AttemptOutcome
from backfill.message import Message
from backfill.ports import ROOMIER, Classifier
from backfill.throttle.budget import Budget
from backfill.throttle.calls import Throttler
from backfill.verdict import Announced, Answer, Usage

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


class Blocked(RateLimited):
    """Calls are blocked for so long that the mail is given back; nothing was sent."""


@dataclass(slots=True)
class Asker:
    """What each of a run's asking threads does. `throttler` is None for an unmetered classifier."""

    flow: Flow
    ledger: Ledger
    classifier: Classifier
    throttler: Throttler | None
    clock: Clock
    budget: Budget | None = None
    _patiently: Callable[..., tuple[Answer, int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Wraps the one call in its retries, once for all mails."""
        patience = backoff.on_exception(
            backoff.constant,
            (RateLimited, ServiceUnavailable),
            max_tries=self.flow.limits.retry_attempts,
            giveup=_asks_for_long,
            on_backoff=self._pause,
            interval=0,  # `_pause` sleeps
            jitter=None,  # a random share of Retry-After would be less than what was asked for
            logger=None,  # it would write the exception's text
        )
        self._patiently = patience(self._ask_once)

    def ask_all(self) -> None:
        """Ask until the tasks end, or until there are threads enough.

        A thread may look for its next task while its answer is not saved yet, but its next call is opened only
        together with that or later: so no more answers that cost something are ever lost than there are threads.
        """
        while self.flow.threads.goes_on():
            task = self.flow.tasks.get()
            if task is None:
                return
            # Before the look at `stop`: who drains after one sees this call, or it is not made.
            self.flow.calling.add(task.item.id)
            if self.flow.stop.is_set():
                self.flow.calling.discard(task.item.id)
                return
            try:
                answer, attempt_id = self._ask(task)
            except Stopped:
                self.flow.calling.discard(task.item.id)
            except BackfillError as error:
                self.flow.results.put(Troubled(task.item, error, task.message.key, was_asked=True))
            except BaseException:  # a bug: nobody will commit this, so nobody is to wait for it
                self.flow.calling.discard(task.item.id)
                raise
            else:
                self.flow.results.put(Answered(task.item, task.message, answer, attempt_id))

    def _ask(self, task: Task) -> tuple[Answer, int | None]:
        """The answer, with its attempt where it took a call. What costs nothing takes no slot either."""
        with around_one_mail():
            free = self.classifier.decide_free(task.message)
        if free is not None:
            return free, None
        if self.throttler is None:
            if not self.flow.gates.pass_through():
                raise Stopped
            return self._classify(task.message, None), None
        concession: Concession | None = None
        while True:
            try:
                return self.ask_patiently(task, self.throttler, concession)
            except ClassifierError as error:
                # Each once, and one alone; but what the service calls things is learnt beside them.
                if error.concession in (None, concession) or concession not in (None, Concession.RENAMED):
                    raise
                concession = error.concession

    def ask_patiently(
        self, task: Task, throttler: Throttler, concession: Concession | None = None
    ) -> tuple[Answer, int]:
        """The answer and the number of its attempt, which stays open until the verdict is recorded.

        Short trouble of the service is tried again, `retry_attempts` calls in all. Raises `Stopped`, `ClaimLost`,
        `AskedElsewhere` or the `ClassifierError` of the last call.
        """
        return self._patiently(task, throttler, self._most_tokens(task, throttler, concession), concession)

    def _ask_once(
        self, task: Task, throttler: Throttler, tokens: int, concession: Concession | None
    ) -> tuple[Answer, int]:
        slot = self._wait_for_turn(throttler, tokens)
        with self.flow.threads.call_under_way():
            with self.flow.threads.opening():
                attempt_id, slot = self._open(task, throttler, slot, tokens, concession)
            try:
                answer = self._classify(task.message, concession)
            except ClassifierError as error:
                self._heed(throttler, slot, error)
                outcome = OUTCOMES.get(type(error), AttemptOutcome.HALTED)
                usage = error.usage or Usage(http_status=error.http_status)
                if outcome in FREE and usage.cost_usd is None:
                    usage = replace(usage, cost_usd=Decimal(0))
                self.ledger.attempts.close(attempt_id, outcome, usage)
                self._learn(throttler, slot, usage, error.announced)
                raise
        self._learn(throttler, slot, answer.usage, answer.usage.announced)
        return answer, attempt_id

    def _classify(self, message: Message, concession: Concession | None) -> Answer:
        with around_one_mail():
            answer = self.classifier.classify(message, concession)
            if not isinstance(answer, Answer):
                raise TypeError("an answer that is none")
            return answer

    def _tokens(self, message: Message) -> int:
        with around_one_mail():
            return self.classifier.estimate_tokens(message)

    def _open(
        self, task: Task, throttler: Throttler, slot: Slot, tokens: int, concession: Concession | None
    ) -> tuple[int, Slot]:
        """Note that a call is about to be made, with its slot. One that the ledger does not let use is given back."""
        question = Question.about(self.flow.job, task.message.key)
        while True:
            try:
                reservation = self._reservation(task, concession)
                attempt_id = self.flow.open_attempt(Call(task.item, reservation, question))
            except CallsUsedUp:  # another call has taken the day's last; the gate is closed now
                throttler.give_back(slot)
                slot = self._wait_for_turn(throttler, tokens)
            except (BackfillError, Stopped):
                throttler.give_back(slot)
                raise
            else:
                current = self._still_current(throttler, slot, tokens)
                if current is not None:
                    return attempt_id, current
                self.ledger.attempts.close(attempt_id, AttemptOutcome.UNSENT, Usage(cost_usd=Decimal(0)))
                slot = self._wait_for_turn(throttler, tokens)

    def _still_current(self, throttler: Throttler, slot: Slot, tokens: int) -> Slot | None:
        """The slot, or another one where the ledger took so long that the call would be made too late.

        None where none is to be had, or a gate is closed: the noted call is not made, but counts among its day's.
        """
        if throttler.is_current(slot):
            return slot
        throttler.settle(slot, 0)
        later = throttler.wait(self.flow.stop, PATIENCE_S, self.flow.observer.waiting, tokens)
        if later is not None and not self.flow.gates.are_open():
            throttler.give_back(later)
            return None
        return later

    def _wait_for_turn(self, throttler: Throttler, tokens: int) -> Slot:
        """Until a call may be made. A slot is left to others when a gate was closed while it was waited for."""
        while self.flow.gates.pass_through():
            slot = throttler.wait(self.flow.stop, PATIENCE_S, self.flow.observer.waiting, tokens)
            if slot is None:
                if self.flow.stop.is_set():
                    raise Stopped
                raise Blocked(throttler.reason(), wait_s=throttler.blocked_for())
            if self.flow.gates.are_open():
                return slot
            throttler.give_back(slot)
        raise Stopped

    def _most_tokens(self, task: Task, throttler: Throttler, concession: Concession | None) -> int:
        """What a call may take at the most, in tokens; 0 where nobody counts them."""
        if throttler.tokens_per_minute is None:
            return 0
        answer = throttler.answer_tokens * (ROOMIER if concession is Concession.ROOMIER else 1)
        return self._tokens(task.message) + answer

    def _heed(self, throttler: Throttler, slot: Slot, error: ClassifierError) -> None:
        """Before anything else: until the ledger knows, the other threads go on calling."""
        if isinstance(error, RateLimited | ServiceUnavailable) and error.wait_s:
            throttler.block(error.wait_s, error.reason)
        if isinstance(error, RateLimited):
            throttler.refused(slot, error.wait_s)

    def _learn(self, throttler: Throttler, slot: Slot, usage: Usage, announced: Announced | None) -> None:
        """What the call took, and what the service said beside its answer."""
        if usage.tokens_in is not None and usage.tokens_out is not None:
            throttler.settle(slot, usage.tokens_in + usage.tokens_out)
        if announced is not None:
            throttler.heed(announced)

    def _reservation(self, task: Task, concession: Concession | None) -> Reservation | None:
        if self.budget is None:
            return None
        tokens = self._tokens(task.message)
        return self.budget.reservation(tokens, is_roomier=concession is Concession.ROOMIER)

    def _pause(self, details: Any) -> None:
        """Between two calls: what the service asked for is waited out by the throttle; else 5 s, 10 s, 20 s, …

        A service that asks for patience means everybody; one that fails may have failed this mail alone.
        """
        error = details["exception"]
        if error.wait_s:
            return
        seconds = min(self.flow.limits.retry_delay_s * 2.0 ** (details["tries"] - 1), PATIENCE_S)
        if isinstance(error, RateLimited) and self.throttler is not None:
            self.throttler.block(seconds, error.reason, is_guess=True)
        elif self.clock.sleep(seconds, self.flow.stop):
            raise Stopped


def _asks_for_long(error: Any) -> bool:
    return (error.wait_s or 0.0) > PATIENCE_S
