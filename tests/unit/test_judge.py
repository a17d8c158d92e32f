"""One odd mail does not end an evaluation; what concerns all mails does."""

from __future__ import annotations

import pytest

from backfill.clock import StopRequest
from backfill.errors import AnswerUnusable, ClassifierError, KeyRefused, MessageRefused, ServiceUnavailable, Unexpected
from backfill.evaluation.judge import Judge
from backfill.evaluation.labels import Labelled, Truth
from backfill.message import Content, MailboxKey, Message, MessageRef
from backfill.metered import Stopped
from backfill.verdict import Answer, Scores, Usage

SPAM = Truth.of(spam=True)


def read(mail: Labelled) -> Message:
    if mail.raw == b"odd to read":
        raise RecursionError("a mail that nobody thought of")
    ref = MessageRef(MailboxKey("", "", 1), 1)
    return Message(ref, Content(subject=mail.raw.decode()), frozenset(), None, None, mail.size)


def judge(ask, *subjects, stop=None):
    mails = [Labelled(subject.encode(), len(subject), SPAM) for subject in subjects]
    return list(Judge(read, ask, stop or StopRequest()).judge(mails))


def answers(message):
    return Answer(Scores.of(importance=1, spam=9), "chat", usage=Usage()), True


def test_a_mail_that_cannot_be_read_has_no_answer_and_the_others_have():
    found = judge(answers, "first", "odd to read", "last")

    assert [each.answer is not None for each in found] == [True, False, True]
    assert [each.was_called for each in found] == [True, False, True]


@pytest.mark.parametrize("error", [Unexpected(), AnswerUnusable(), MessageRefused()], ids=lambda each: each.reason)
def test_a_mail_that_cannot_be_judged_has_no_answer_and_the_others_have(error):
    def ask(message):
        if message.content.subject == "odd":
            raise error
        return answers(message)

    found = judge(ask, "first", "odd", "last")

    assert [each.answer is not None for each in found] == [True, False, True]


@pytest.mark.parametrize("error", [KeyRefused(), ServiceUnavailable()], ids=lambda each: each.reason)
def test_what_concerns_all_mails_ends_it(error):
    def ask(message):
        raise error

    with pytest.raises(ClassifierError):
        judge(ask, "first", "last")


def test_a_stop_before_a_call_ends_it_with_what_was_judged():
    def ask(message):
        if message.content.subject == "last":
            raise Stopped
        return answers(message)

    assert len(judge(ask, "first", "last")) == 1
