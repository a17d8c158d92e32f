"""`backfill evaluate`: how well a classifier agrees with labelled mails. Works on no job, and keeps no verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Protocol

from backfill.errors import Declined, Unexpected, around_one_mail
from backfill.evaluation.agreement import Evaluation
from backfill.evaluation.agreement import evaluate as figures
from backfill.evaluation.judge import Ask, Judge
from backfill.evaluation.labels import Labelled
from backfill.message import Message
from backfill.metered import ask_free
from backfill.operations.calls import CallParts, calls_for_no_run
from backfill.operations.parts import Audience
from backfill.ports import Classifier
from backfill.rubric import Rubric
from backfill.wording import dollars


class EvaluationParts(CallParts, Protocol):
    """What `evaluate` works with. It uses the ledger only for a metered classifier."""

    @property
    def rubric(self) -> Rubric: ...
    def read_mail(self, raw: bytes, size: int, owner: str) -> Message:
        """A mail outside any mailbox, as the classifier is shown it. `owner`: the owner's address; "" when unknown."""
        ...


def evaluate(
    parts: EvaluationParts, audience: Audience, sets: Mapping[str, Iterable[Labelled]], owner: str
) -> dict[str, Evaluation]:
    """The figures of each set of mails, by its name. After a stop request they cover the mails that were judged before.

    Calls are made only after the question about them was answered with yes; otherwise raises `Declined`. Raises a
    `BackfillError` that concerns more than one mail.
    """

    def read(mail: Labelled) -> Message:
        return parts.read_mail(mail.raw, mail.size, owner)

    classifier = parts.classifier
    if classifier.is_metered:
        mails = (mail for labelled in sets.values() for mail in labelled)
        _ask_consent(parts, audience, _readable(read, mails))
        ask: Ask = calls_for_no_run(parts, audience).ask_for_no_run
    else:
        ask = _free(classifier)
    judge = Judge(read, ask, audience.stop)
    return {name: figures(list(judge.judge(labelled)), parts.rubric) for name, labelled in sets.items()}


def _free(classifier: Classifier) -> Ask:
    return lambda message: (ask_free(classifier, message), False)


def _readable(read: Callable[[Labelled], Message], mails: Iterable[Labelled]) -> Iterator[Message]:
    """The mails that can be read. The others are left out here, and are counted as unanswered when they are judged."""
    for mail in mails:
        message = None
        with suppress(Unexpected), around_one_mail():
            message = read(mail)
        if message is not None:
            yield message


def _ask_consent(parts: EvaluationParts, audience: Audience, mails: Iterable[Message]) -> None:
    """Say what would be sent and what it may cost, and ask. Raises `Declined`."""
    if audience.confirm is None:
        return
    estimates = [tokens for mail in mails if (tokens := _tokens_of_call(parts.classifier, mail)) is not None]
    calls, tokens = len(estimates), sum(estimates)
    price, api = parts.price(), parts.api
    most = None if price is None else price.cost(tokens, calls * api.max_answer_tokens, calls=calls)
    cost = "at a price that is not known" if most is None else f"for at most about {dollars(most)} by the list price"
    question = f"{calls} mails, about {tokens:,} tokens, are to be sent to {api.model} at {api.url}, {cost}."
    if calls and not audience.confirm(question):
        raise Declined


def _tokens_of_call(classifier: Classifier, mail: Message) -> int | None:
    """About how many tokens the call about a mail sends; None where no call is needed, or where that is not known."""
    with suppress(Unexpected), around_one_mail():
        if classifier.decide_free(mail) is None:
            return classifier.estimate_tokens(mail)
    return None
