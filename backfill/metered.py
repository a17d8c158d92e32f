"""The one way to a metered classifier: slot → attempt → request → settle → learn, for `run`, `evaluate` and `check`.

Every request, retries included, waits for its slot and opens its attempt first. So no call is faster than allowed, and
none goes unrecorded. `backoff` decides how often a call is tried again. The wait between two calls is ours, because a
stop request cannot interrupt a sleep of backoff's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from decimal import Decimal
from math import inf, isfinite
from typing import Any, Final, Protocol

import backoff

from backfill.clock import Clock, StopRequest
from backfill.errors import (
    AnswerUnusable,
    BackfillError,
    CallsUsedUp,
    ClassifierError,
    Concession,
    LedgerUnusable,
    MessageRefused,
    RateLimited,
    ServiceUnavailable,
    around_one_mail,
)
from backfill.ledger import Ledger
from backfill.ledger.budgets import Reservation
from backfill.ledger.throttles import Slot
from backfill.lifecycle import AttemptOutcome
from backfill.limits import RunLimits
from backfill.message import Message
from backfill.ports import ROOMIER, Classifier
from backfill.throttle.budget import Budget
from backfill.throttle.calls import Throttler
from backfill.throttle.gates import Gates
from backfill.verdict import Announced, Answer, Usage

# For a longer block a call does not wait: a run gives the mail back, and the ledger keeps the end of the block.
PATIENCE_S: Final = 60.0

OUTCOMES: Final[dict[type[ClassifierError], AttemptOutcome]] = {
    RateLimited: AttemptOutcome.RATE_LIMITED,
    ServiceUnavailable: AttemptOutcome.UNAVAILABLE,
    AnswerUnusable: AttemptOutcome.UNUSABLE,
    MessageRefused: AttemptOutcome.REFUSED,
}

#: The service turned these calls away before it worked on them, so they cost nothing. Any other call may have cost.
FREE: Final = (AttemptOutcome.RATE_LIMITED, AttemptOutcome.HALTED)

#: Opens the attempt of a call in the ledger and returns its number. Raises the reason where the call must not be made.
Open = Callable[[Reservation | None], int]


class Stopped(Exception):
    """A stop was requested before the call was made. A run's item stays claimed, and is given back with the run."""


class Blocked(RateLimited):
    """Calls are blocked for longer than the caller waits; nothing was sent."""


class CallCounter(Protocol):
    """Counts the calls that are under way at the same time. Thread-safe."""

    def call_under_way(self) -> AbstractContextManager[None]:
        """Held while a thread makes a call, from just before it to its end."""
        ...

    def opening(self) -> AbstractContextManager[None]:
        """Held while the call waits for the ledger."""
        ...


class OneAtATime:
    """A `CallCounter` for commands that ask in one thread: there is nothing to count."""

    def call_under_way(self) -> AbstractContextManager[None]:
        return nullcontext()

    def opening(self) -> AbstractContextManager[None]:
        return nullcontext()


def ask_free(classifier: Classifier, message: Message) -> Answer:
    """The answer of a classifier that is not metered, which needs neither a slot nor a ledger."""
    return _classify(classifier, message)


def _raise(error: LedgerUnusable) -> None:
    raise error


@dataclass(slots=True)
class MeteredCalls:
    """A classifier with everything that its calls wait for, and with the budget that they count against. Thread-safe.

    `throttler` None: the classifier is not metered, and its calls are made at once.
    """

    ledger: Ledger
    classifier: Classifier
    throttler: Throttler | None
    clock: Clock
    stop: StopRequest
    gates: Gates
    limits: RunLimits
    tell: Callable[[str | None], None]  # gets the reason for which a call waits; None: it no longer waits
    budget: Budget | None = None
    counter: CallCounter = field(default_factory=OneAtATime)
    concessions: frozenset[Concession] = frozenset(Concession)  # those that are made; each is one more call
    gate_patience_s: float = inf  # for a gate that stays closed for longer, a call does not wait
    #: Called when the ledger cannot store what is known of a call. If it returns, the answer is still handed on.
    fail: Callable[[LedgerUnusable], None] = _raise
    _patiently: Callable[..., tuple[Answer, int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Wrap the one call in its retries, once for all mails."""
        patience = backoff.on_exception(
            backoff.constant,
            (RateLimited, ServiceUnavailable),
            max_tries=self.limits.retry_attempts,
            giveup=_asks_for_long,
            on_backoff=self._pause,
            interval=0,  # `_pause` sleeps
            jitter=None,  # jitter would wait for a random part of Retry-After, which is too short
            logger=None,  # a logger would write the exception's text
        )
        self._patiently = patience(self._ask_once)

    def ask_for_no_run(self, message: Message) -> tuple[Answer, bool]:
        """The answer about a mail of no job, and whether it took a call. Writes the call's attempt, but no verdict.

        Raises as `ask` does.
        """
        free = self._decide_free(message)
        return (self.call_for_no_run(message), True) if free is None else (free, False)

    def call_for_no_run(self, message: Message) -> Answer:
        """The same, by a call in any case. Only where there is a throttler."""
        throttler, attempts = self.throttler, self.ledger.attempts
        assert throttler is not None
        answer, attempt_id = self._call(
            message, lambda reserved: attempts.open_without_run(throttler.resource, reserved), throttler
        )
        attempts.close(attempt_id, AttemptOutcome.OK, answer.usage)
        return answer

    def ask(self, message: Message, open_attempt: Open) -> tuple[Answer, int | None]:
        """The answer, with the number of its attempt where it took a call; the caller closes the attempt.

        What costs nothing takes no slot. Raises `Stopped`, `Blocked`, `CallsUsedUp`, `BudgetReached`, what
        `open_attempt` raises, or the `ClassifierError` of the last call.
        """
        free = self._decide_free(message)
        if free is not None:
            return free, None
        if self.throttler is None:
            if not self.gates.pass_through():
                raise Stopped
            return ask_free(self.classifier, message), None
        return self._call(message, open_attempt, self.throttler)

    def _decide_free(self, message: Message) -> Answer | None:
        with around_one_mail():
            return self.classifier.decide_free(message)

    def _call(self, message: Message, open_attempt: Open, throttler: Throttler) -> tuple[Answer, int]:
        concession: Concession | None = None
        while True:
            try:
                return self.ask_patiently(message, open_attempt, throttler, concession)
            except ClassifierError as error:
                # Each once, and one alone; but what the service calls things is learnt beside them.
                if error.concession in (None, concession) or concession not in (None, Concession.RENAMED):
                    raise
                if error.concession not in self.concessions:
                    raise
                concession = error.concession

    def ask_patiently(
        self, message: Message, open_attempt: Open, throttler: Throttler, concession: Concession | None = None
    ) -> tuple[Answer, int]:
        """The answer and the number of its attempt. All calls have the same `concession`.

        When the service fails or refuses for a short time, the call is tried again: `retry_attempts` calls in all.
        """
        tokens = self._most_tokens(message, throttler, concession)
        return self._patiently(message, open_attempt, throttler, tokens, concession)

    def _ask_once(
        self, message: Message, open_attempt: Open, throttler: Throttler, tokens: int, concession: Concession | None
    ) -> tuple[Answer, int]:
        slot = self._wait_for_turn(throttler, tokens)
        with self.counter.call_under_way():
            with self.counter.opening():
                attempt_id, slot = self._open(message, open_attempt, throttler, slot, tokens, concession)
            try:
                answer = _classify(self.classifier, message, concession)
            except ClassifierError as error:
                with self._keeping_the_answer():
                    self._heed(throttler, slot, error)
                    outcome = OUTCOMES.get(type(error), AttemptOutcome.HALTED)
                    usage = error.usage or Usage(http_status=error.http_status)
                    if outcome in FREE and usage.cost_usd is None:
                        usage = replace(usage, cost_usd=Decimal(0))
                    self.ledger.attempts.close(attempt_id, outcome, usage)
                    self._learn(throttler, slot, usage, error.announced)
                raise
        with self._keeping_the_answer():
            self._learn(throttler, slot, answer.usage, answer.usage.announced)
        return answer, attempt_id

    @contextmanager
    def _keeping_the_answer(self) -> Iterator[None]:
        try:
            yield
        except LedgerUnusable as error:
            self.fail(error)

    def _tokens(self, message: Message) -> int:
        with around_one_mail():
            return self.classifier.estimate_tokens(message)

    def _open(
        self,
        message: Message,
        open_attempt: Open,
        throttler: Throttler,
        slot: Slot,
        tokens: int,
        concession: Concession | None,
    ) -> tuple[int, Slot]:
        """Open the attempt of a call; returns its number, and a slot that is still current.

        The slot is given back where the call must not be made.
        """
        while True:
            try:
                attempt_id = open_attempt(self._reservation(message, concession))
            except CallsUsedUp:  # another call was the last one of the day; the gate is closed now
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
        """The slot, or a new one where the ledger was too slow for the slot to be used in time.

        None where there is no new slot or a gate is closed. The noted call is then not made, but counts as a call of
        its day.
        """
        if throttler.is_current(slot):
            return slot
        throttler.settle(slot, 0)
        later = throttler.wait(self.stop, PATIENCE_S, self.tell, tokens)
        if later is not None and not self.gates.are_open():
            throttler.give_back(later)
            return None
        return later

    def _wait_for_turn(self, throttler: Throttler, tokens: int) -> Slot:
        """Wait until a call may be made. A slot is given back when a gate was closed during the wait for it."""
        while self._pass_through_gates():
            slot = throttler.wait(self.stop, PATIENCE_S, self.tell, tokens)
            if slot is None:
                if self.stop.is_set():
                    raise Stopped
                raise Blocked(throttler.reason(), wait_s=throttler.blocked_for())
            if self.gates.are_open():
                return slot
            throttler.give_back(slot)
        raise Stopped

    def _pass_through_gates(self) -> bool:
        closed = self.gates.closed() if isfinite(self.gate_patience_s) else None
        if closed is not None and closed.closed_for() > self.gate_patience_s:
            raise CallsUsedUp(f"No call is made now: {closed.reason()}.")
        return self.gates.pass_through()

    def _most_tokens(self, message: Message, throttler: Throttler, concession: Concession | None) -> int:
        """The most tokens that a call may take; 0 where there is no limit on tokens."""
        if throttler.tokens_per_minute is None:
            return 0
        answer = throttler.answer_tokens * (ROOMIER if concession is Concession.ROOMIER else 1)
        return self._tokens(message) + answer

    def _heed(self, throttler: Throttler, slot: Slot, error: ClassifierError) -> None:
        """Record the service's refusal. Do this first: until the ledger has it, the other threads go on calling."""
        if isinstance(error, RateLimited | ServiceUnavailable) and error.wait_s:
            throttler.block(error.wait_s, error.reason)
        if isinstance(error, RateLimited):
            throttler.refused(slot, error.wait_s)

    def _learn(self, throttler: Throttler, slot: Slot, usage: Usage, announced: Announced | None) -> None:
        """Record the tokens that a call took, and the limits that the service announced with its answer."""
        if usage.tokens_in is not None and usage.tokens_out is not None:
            throttler.settle(slot, usage.tokens_in + usage.tokens_out)
        if announced is not None:
            throttler.heed(announced)

    def _reservation(self, message: Message, concession: Concession | None) -> Reservation | None:
        if self.budget is None:
            return None
        return self.budget.reservation(self._tokens(message), is_roomier=concession is Concession.ROOMIER)

    def _pause(self, details: Any) -> None:
        """The wait between two calls: `retry_delay_s`, doubled for each further call; none where the throttle waits.

        A service that asks for a wait means all callers, so they are all blocked. A service that fails may have failed
        for this mail only, so only this thread waits.
        """
        error = details["exception"]
        if error.wait_s:
            return
        seconds = min(self.limits.retry_delay_s * 2.0 ** (details["tries"] - 1), PATIENCE_S)
        if isinstance(error, RateLimited) and self.throttler is not None:
            self.throttler.block(seconds, error.reason, is_guess=True)
        elif self.clock.sleep(seconds, self.stop):
            raise Stopped


def _classify(classifier: Classifier, message: Message, concession: Concession | None = None) -> Answer:
    with around_one_mail():
        answer = classifier.classify(message, concession)
        if not isinstance(answer, Answer):
            raise TypeError("the classifier returned something else than an Answer")
        return answer


def _asks_for_long(error: Any) -> bool:
    return (error.wait_s or 0.0) > PATIENCE_S
