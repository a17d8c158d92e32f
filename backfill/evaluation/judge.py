"""Asks a classifier about labelled mails, one after the other.

A mail that cannot be read or judged counts as a mail without an answer. An error that concerns more than one mail, such
as a refused key or a service that stays away, is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from loguru import logger

from backfill.clock import StopRequest
from backfill.errors import AnswerUnusable, MessageRefused, Unexpected, around_one_mail
from backfill.evaluation.agreement import Judged
from backfill.evaluation.labels import Labelled, Truth
from backfill.message import Message
from backfill.metered import Stopped
from backfill.verdict import Answer

#: The answer about a mail, and whether it took a call.
Ask = Callable[[Message], tuple[Answer, bool]]


@dataclass(frozen=True, slots=True)
class Judge:
    """`read` makes a `Message` of a mail's bytes; `ask` gets the classifier's answer about it."""

    read: Callable[[Labelled], Message]
    ask: Ask
    stop: StopRequest

    def judge(self, mails: Iterable[Labelled]) -> Iterator[Judged]:
        """Each mail once; ends early when a stop is asked for. Raises the error that concerns more than one mail."""
        for number, mail in enumerate(mails, start=1):
            if self.stop.is_set():
                return
            try:
                yield self._judged(mail)
            except Stopped:
                return
            except Unexpected as error:
                logger.opt(exception=error).error("mail {} of the set has no answer: {}", number, error)
                yield Judged(mail.truth, None)

    def _judged(self, mail: Labelled) -> Judged:
        with around_one_mail():
            message = self.read(mail)
        return self._answered(message, mail.truth)

    def _answered(self, message: Message, truth: Truth) -> Judged:
        try:
            answer, was_called = self.ask(message)
        except (AnswerUnusable, MessageRefused) as error:
            return Judged(truth, None, True, error.usage.cost_usd if error.usage else None)
        return Judged(truth, answer, was_called, answer.usage.cost_usd if was_called else None)
