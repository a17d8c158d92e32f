"""Answers in the shapes of the services that people use, and what a second try with a mail may do otherwise."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from backfill.classifiers.chat import LEAST_CHARS, ROOMIER, ChatClassifier, ChatSettings
from backfill.errors import (
    AnswerUnusable,
    Concession,
    MessageRefused,
    ModelUnknown,
    ServiceUnavailable,
)
from backfill.message import MailboxKey, Message, MessageRef
from backfill.ports import Unfetched
from backfill.verdict import Scores
from tests.support.api_server import ApiServer, Response, completion, verdict
from tests.support.asked import mail, refusal_of
from tests.support.bench import Bench, BenchMailbox

ANSWERS = Path(__file__, "../../answers").resolve()


@pytest.fixture
def classifier(api: ApiServer) -> Iterator[ChatClassifier]:
    classifier = ChatClassifier(ChatSettings(api.url, "test/model-1", "Judge.", "sk-1", timeout_s=5), secret=b"secret")
    yield classifier
    classifier.close()


def document(name: str) -> Any:
    return json.loads((ANSWERS / f"{name}.json").read_text("utf-8"))


# Shapes.


@pytest.mark.parametrize(
    ("name", "model", "tokens", "cost"),
    [
        ("openai", "gpt-4.1-mini-2025-04-14", (419, 17, 0), None),
        ("openrouter", "mistralai/mistral-small-3.2-24b-instruct", (402, 18, 384), Decimal("0.0000237")),
        ("ollama", "llama3.2", (431, 20, None), None),
        ("ollama_thinking", "deepseek-r1:8b", (431, 61, None), None),
        ("llamacpp", "gpt-3.5-turbo", (440, 17, None), None),
        ("lmstudio", "qwen2.5-7b-instruct", (428, 17, None), None),
    ],
)
def test_every_service_is_understood_and_what_it_does_not_tell_stays_unknown(
    api: ApiServer, classifier: ChatClassifier, name: str, model: str, tokens: Any, cost: Any
) -> None:
    api.reply_with(body=document(name))

    answer = classifier.classify(mail())

    assert answer.scores == Scores.of(importance=7, spam=2)
    assert answer.model == model
    assert (answer.usage.tokens_in, answer.usage.tokens_out, answer.usage.tokens_cached) == tokens
    assert answer.usage.cost_usd == cost
    assert answer.usage.request_id


def test_a_refusal_in_openais_shape_is_about_this_mail(api: ApiServer, classifier: ChatClassifier) -> None:
    api.reply_with(body=document("openai_refusal"))

    assert type(refusal_of(classifier)) is MessageRefused


def test_a_reasoning_model_that_thinks_until_its_end_is_cut_and_its_cost_is_booked(
    api: ApiServer, classifier: ChatClassifier
) -> None:
    api.reply_with(body=document("openrouter_reasoning"))

    found = refusal_of(classifier)

    assert (type(found), found.reason, found.concession) == (AnswerUnusable, "answer_cut", Concession.ROOMIER)
    assert found.usage is not None
    assert found.usage.cost_usd == Decimal("0.00061")


def test_a_connection_that_is_reset_is_the_services_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reset() -> None:
            connection, _ = listener.accept()
            connection.recv(100)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() sends RST
            connection.close()

        thread = threading.Thread(target=reset)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        classifier = ChatClassifier(ChatSettings(url, "m", "Judge.", timeout_s=5), secret=b"secret")
        found = refusal_of(classifier)
        classifier.close()
        thread.join()

    assert type(found) is ServiceUnavailable


# What may be tried otherwise.


@pytest.mark.parametrize(
    ("status", "body", "concession"),
    [
        (400, {"error": {"code": "context_length_exceeded"}}, Concession.SHORTER),
        (413, b"", Concession.SHORTER),
        (400, {"error": {"code": 400, "metadata": {"error_type": "max_tokens_exceeded"}}}, Concession.ROOMIER),
        (200, completion("", finish_reason="length").body, Concession.ROOMIER),
        (200, completion("no").body, None),
        (403, {"error": {"code": 403, "metadata": {"reasons": ["x"]}}}, None),
        (401, {"error": {"code": 401}}, None),
        (429, {"error": {"code": 429}}, None),
        (500, b"", None),
    ],
)
def test_an_error_says_what_one_more_try_may_do_otherwise(
    api: ApiServer, classifier: ChatClassifier, status: int, body: Any, concession: Concession | None
) -> None:
    api.reply_with(status=status, body=body)

    assert refusal_of(classifier).concession is concession


def test_a_shorter_try_shows_half_of_the_mail_and_the_answer_says_so(
    api: ApiServer, classifier: ChatClassifier
) -> None:
    whole = classifier.classify(mail("x" * 3000))
    half = classifier.classify(mail("x" * 3000), Concession.SHORTER)

    assert [call.mail.count("x") // 100 for call in api.calls] == [30, 15]
    assert api.calls[1].mail.endswith("[…]")
    assert (whole.truncated, half.truncated) == (False, True)


def test_a_shorter_try_leaves_enough_to_judge_by(api: ApiServer, classifier: ChatClassifier) -> None:
    classifier.classify(mail("x" * (LEAST_CHARS + 50)), Concession.SHORTER)

    assert api.calls[0].mail.count("x") >= LEAST_CHARS


def test_a_roomier_try_allows_a_longer_answer_and_changes_nothing_else(
    api: ApiServer, classifier: ChatClassifier
) -> None:
    classifier.classify(mail())
    classifier.classify(mail(), Concession.ROOMIER)

    usual, roomier = (call.body for call in api.calls)
    assert roomier.pop("max_tokens") == ROOMIER * usual.pop("max_tokens")
    assert usual == roomier


def test_the_delimiter_is_the_same_however_much_of_the_mail_is_shown(
    api: ApiServer, classifier: ChatClassifier
) -> None:
    classifier.classify(mail("x" * 3000))
    classifier.classify(mail("x" * 3000), Concession.SHORTER)

    assert len({call.body["messages"][-1]["content"].splitlines()[0] for call in api.calls}) == 1


@pytest.fixture
def bench(tmp_path: Path, classifier: ChatClassifier) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    bench.classifier = classifier  # type: ignore[assignment]
    yield bench
    bench.ledger.close()


class LongMails(BenchMailbox):
    """Its mails have 3,000 characters of text."""

    def fetch(self, mailbox: MailboxKey, uids: Sequence[int]) -> Iterator[Message | Unfetched]:
        for uid in uids:
            yield replace(mail("x" * 3000), ref=MessageRef(mailbox, uid))


def test_a_mail_that_is_too_long_is_asked_about_once_more_in_a_run_and_its_verdict_says_truncated(
    api: ApiServer, bench: Bench
) -> None:
    api.reply_with(status=413)
    bench.mailbox = LongMails()
    bench.mailbox.holds(1)

    bench.run()

    assert bench.statuses() == {1: "done"}
    assert bench.attempts() == ["refused", "ok"]
    assert [call.mail.count("x") // 100 for call in api.calls] == [30, 15]
    assert bench.rows("SELECT message_key, truncated FROM verdict") == [(mail("x" * 3000).key, True)]


def test_a_mail_that_stays_too_long_fails_after_the_second_call(api: ApiServer, bench: Bench) -> None:
    api.reply_with(status=413, times=2)
    bench.mailbox.holds(1)

    bench.run()

    assert bench.statuses() == {1: "failed"}
    assert bench.reasons() == {1: "too_long"}
    assert api.call_count == 2


def test_an_answer_that_was_cut_is_asked_for_once_more_with_more_room(api: ApiServer, bench: Bench) -> None:
    api.reply(completion("", finish_reason="length"), verdict(9, 1))
    bench.mailbox.holds(1)

    bench.run()

    assert bench.statuses() == {1: "done"}
    assert bench.attempts() == ["unusable", "ok"]
    assert [call.body["max_tokens"] for call in api.calls] == [200, 1000]


# Hints.


def test_a_model_that_every_endpoint_excludes_says_by_what_and_what_else_there_is(
    api: ApiServer, classifier: ChatClassifier
) -> None:
    metadata = {
        "error_type": "privacy_restricted",
        "excluded_by": ["zdr", "data_collection\x1b[2J"],
        "fallback_models": [f"vendor/model-{number}" for number in range(50)],
    }
    api.reply_with(status=404, body={"error": {"code": 404, "message": "as you wrote", "metadata": metadata}})

    found = refusal_of(classifier)

    assert type(found) is ModelUnknown
    assert "Excluded by: zdr, data_collection2J." in str(found)
    assert "It offers: vendor/model-0, vendor/model-1," in str(found)
    assert str(found).isprintable()
    assert len(str(found)) < 400


@pytest.mark.parametrize("odd", [7, "zdr", {"zdr": 3}, [None, {}, 7], None])
def test_odd_hints_do_no_harm(api: ApiServer, classifier: ChatClassifier, odd: Any) -> None:
    api.reply_with(status=404, body={"error": {"metadata": {"excluded_by": odd, "fallback_models": odd}}})

    assert type(refusal_of(classifier)) is ModelUnknown


def test_a_limit_that_has_another_name_is_asked_for_by_that_and_the_mail_is_shortened_all_the_same(
    api: ApiServer, bench: Bench
) -> None:
    unsupported = {"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}}
    api.reply(Response(400, unsupported), Response(413))
    bench.mailbox = LongMails()
    bench.mailbox.holds(1)

    bench.run()

    assert bench.statuses() == {1: "done"}
    assert ["max_tokens" in call.body for call in api.calls] == [True, False, False]
    assert [call.mail.count("x") // 100 for call in api.calls] == [30, 30, 15]
