"""Asks a classifier about labelled mails, one after the other.

Calls keep to the pace of all calls to the API. Where the service is away or slows calls down, a mail is asked about
at most three times: answers are kept nowhere, so a long wait is not worth it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from backfill.clock import StopRequest
from backfill.errors import AnswerUnusable, Concession, MessageRefused, RateLimited, ServiceUnavailable
from backfill.evaluation.agreement import Judged
from backfill.evaluation.labels import Truth
from backfill.ledger.throttles import Slot
from backfill.message import Message
from backfill.ports import Classifier
from backfill.throttle.calls import Throttler
from backfill.verdict import Usage

TRIES: Final = 3
PAUSE_S: Final = 15.0  # after a failed call for which the service named no wait


@dataclass(frozen=True, slots=True)
class Judge:
    """Asks about one mail after the other. `throttler` None: the classifier is unmetered."""

    classifier: Classifier
    throttler: Throttler | None
    stop: StopRequest

    def judge(self, mails: Iterable[tuple[Message, Truth]]) -> Iterator[Judged]:
        """Each mail once; ends early when a stop is asked for.

        Raises the `ClassifierError` that concerns more than one mail.
        """
        for message, truth in mails:
            if self.stop.is_set():
                return
            answer = self.classifier.decide_free(message)
            if answer is not None:
                yield Judged(truth, answer)
            else:
                yield self._called(message, truth)

    def _called(self, message: Message, truth: Truth) -> Judged:
        for remaining in reversed(range(TRIES)):
            slot = self._turn(message)
            if self.throttler is not None and slot is None:
                break
            try:
                answer = self.classifier.classify(message)
            except (AnswerUnusable, MessageRefused) as error:
                self._settle(slot, error.usage)
                if error.concession is Concession.RENAMED and remaining:
                    continue
                return Judged(truth, None, True, error.usage.cost_usd if error.usage else None)
            except (RateLimited, ServiceUnavailable) as error:
                if not remaining or self.throttler is None:
                    raise
                self.throttler.block(error.wait_s if error.wait_s is not None else PAUSE_S, error.reason)
            else:
                self._settle(slot, answer.usage)
                return Judged(truth, answer, True, answer.usage.cost_usd)
        return Judged(truth, None)

    def _turn(self, message: Message) -> Slot | None:
        """The slot of a call; None when a stop came first, or none is needed."""
        if self.throttler is None:
            return None
        tokens = self.classifier.estimate_tokens(message) + self.throttler.answer_tokens
        return self.throttler.wait(self.stop, tokens=tokens)

    def _settle(self, slot: Slot | None, usage: Usage | None) -> None:
        if self.throttler is None or slot is None or usage is None:
            return
        if usage.tokens_in is not None and usage.tokens_out is not None:
            self.throttler.settle(slot, usage.tokens_in + usage.tokens_out)
