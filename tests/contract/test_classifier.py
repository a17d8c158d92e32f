"""What every classifier promises, whether it asks an API, its own rules, or stands in for one in tests."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backfill.classifiers.chat import ChatClassifier, ChatSettings
from backfill.classifiers.gated import GatedClassifier
from backfill.classifiers.heuristic import HeuristicClassifier
from backfill.errors import Concession
from backfill.fingerprint import Fingerprint
from backfill.message import Attachment, Content, MailboxKey, Message, MessageRef, MisleadingLink
from backfill.ports import Classifier
from backfill.verdict import Answer, Usage
from tests.support.api_server import ApiServer
from tests.support.bench import BenchClassifier
from tests.support.world import World, world_classifier

FAKES = {
    "bench": lambda folder: BenchClassifier(),
    "free bench": lambda folder: BenchClassifier(is_metered=False),
    "world": lambda folder: world_classifier(World(), folder, is_first=True),
}


@pytest.fixture(params=["chat", "heuristic", "gated", *FAKES])
def classifier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param in FAKES:
        yield FAKES[request.param](tmp_path)
        return
    rules = HeuristicClassifier(max_body_chars=4000)
    if request.param == "heuristic":
        yield rules
        return
    with ApiServer() as api:
        chat = ChatClassifier(ChatSettings(api.url, "test/model-1", "Judge."), secret=b"secret")
        asking: Classifier = chat if request.param == "chat" else GatedClassifier(rules, chat)
        yield asking
        asking.close()


def mail(uid: int = 1, **content: Any) -> Message:
    shown = Content(**({"subject": "Hello", "sender": "a@example.com", "body": "How are you?"} | content))
    ref = MessageRef(MailboxKey("me", "INBOX", 7), uid)
    return Message(ref, shown, frozenset(), received_at=None, sent_at=None, size=100)


EVERYTHING = {
    "to": ("me@example.org",) * 300,
    "cc": ("you@example.org",),
    "reply_to": "b@example.net",
    "date": "2024-02-29T10:00:00+01:00",
    "addressed_to_owner": True,
    "is_reply": True,
    "list_id": "l",
    "has_unsubscribe": True,
    "precedence": "bulk",
    "auto_submitted": "auto-replied",
    "authentication": (("dkim", "fail"),),
    "marked_spam": True,
    "attachments": (Attachment("", ""), Attachment("a" * 5000, "b")),
    "link_hosts": ("example.net",),
    "misleading_links": (MisleadingLink("a", "b"),),
    "truncated": True,
}


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"subject": "", "sender": "", "body": ""},
        {"body": "x" * 1_000_000},
        {"body": "\ud800\x00\x1b[2J\u202e", "subject": '"}],"x":[{"'},
        {"sender": "<<<>>>@@", "subject": "\n\r\n"},
        EVERYTHING,
    ],
    ids=["plain", "empty", "huge", "odd characters", "odd sender", "everything"],
)
def test_any_mail_gets_two_scores(classifier: Classifier, content: dict[str, Any]):
    answer = classifier.classify(mail(**content))

    assert isinstance(answer, Answer)
    assert 0 <= answer.scores["importance"] <= 10
    assert 0 <= answer.scores["spam"] <= 10
    assert answer.source


def test_the_same_content_gets_the_same_scores_wherever_the_mail_lies(classifier: Classifier):
    elsewhere = replace(mail(), ref=MessageRef(MailboxKey("me", "Archive", 9), 55), flags=frozenset({"\\Seen"}))

    assert classifier.classify(mail()).scores == classifier.classify(elsewhere).scores


def test_many_threads_may_ask_at_once(classifier: Classifier):
    mails = [mail(uid, subject=f"Hello {uid}") for uid in range(40)]
    one_by_one = [classifier.classify(each).scores for each in mails]

    with ThreadPoolExecutor(8) as pool:
        at_once = [answer.scores for answer in pool.map(classifier.classify, mails)]

    assert at_once == one_by_one


def test_asking_changes_nothing_of_the_mail(classifier: Classifier):
    message = mail(**EVERYTHING)
    key = message.key

    classifier.classify(message)

    assert message == mail(**EVERYTHING)
    assert message.key == key


def test_the_fingerprint_stays_the_same_and_can_be_stored(classifier: Classifier):
    before = classifier.fingerprint
    classifier.classify(mail())

    assert classifier.fingerprint.digest() == before.digest()
    assert Fingerprint(before.canonical, before.prompt) == before
    assert before.settings.classifier
    assert before.settings.max_body_chars in (4000, None)  # None: it cuts no body


def test_only_what_costs_is_metered_and_reports_usage(classifier: Classifier):
    answer = classifier.classify(mail())

    assert (answer.usage != Usage()) is classifier.is_metered


def test_the_explanation_never_repeats_the_mail(classifier: Classifier):
    answer = classifier.classify(mail(subject="zebra viagra", sender="zebra@example.com", body="zebra?"))

    assert "zebra" not in answer.explanation


def test_a_free_answer_is_one_of_the_classifiers_own_and_always_the_same(classifier: Classifier):
    answers = {classifier.decide_free(mail(**EVERYTHING)) for _ in range(3)}

    assert len(answers) == 1


def test_what_is_unmetered_answers_everything_for_free(classifier: Classifier):
    if not classifier.is_metered:
        assert classifier.decide_free(mail()) == classifier.classify(mail())


@pytest.mark.parametrize("concession", Concession)
def test_a_second_try_that_may_do_something_otherwise_gets_two_scores_too(
    classifier: Classifier, concession: Concession
):
    assert isinstance(classifier.classify(mail(**EVERYTHING), concession), Answer)


def test_a_longer_mail_is_estimated_to_send_more_tokens_or_none_at_all(classifier: Classifier):
    short, long = (classifier.estimate_tokens(mail(body="word " * count)) for count in (10, 700))

    assert short < long if classifier.is_metered else short == long == 0
