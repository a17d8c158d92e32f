"""Errors as services really word them: each by its meaning, under whatever status it comes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backfill.classifiers.addresses import advice
from backfill.classifiers.chat import ChatClassifier, ChatSettings
from backfill.classifiers.endpoint import Endpoint
from backfill.clock import SystemClock
from backfill.errors import (
    AnswerUnusable,
    Concession,
    ConfigError,
    ConnectionMisconfigured,
    KeyRefused,
    MessageRefused,
    ModelUnknown,
    RateLimited,
    ServiceUnavailable,
)
from tests.support.api_server import ApiServer, Response, verdict
from tests.support.asked import mail, refusal_of

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def classifier(api: ApiServer) -> Iterator[ChatClassifier]:
    classifier = ChatClassifier(ChatSettings(api.url, "test/model-1", "Judge.", KEY, timeout_s=10), secret=b"secret")
    yield classifier
    classifier.close()


def says(text: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": None, **more}}


#: By meaning: status and body, a string for what is no JSON. From services' documentation and public bug reports.
ERRORS = json.loads(Path(__file__, "../../answers/errors.json").resolve().read_text("utf-8"))
MEANINGS = {
    "no_key": (KeyRefused, "key_refused"),
    "no_credit": (KeyRefused, "no_credit"),
    "too_long": (MessageRefused, "too_long"),
    "unsafe": (MessageRefused, "refused"),
    "wrong_address": (ConnectionMisconfigured, "address_wrong"),
    "no_model": (ModelUnknown, "model_unknown"),
    "patience": (RateLimited, "rate_limited"),
    "down": (ServiceUnavailable, "service_unavailable"),
}


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [(*case, *MEANINGS[name]) for name, cases in ERRORS.items() for case in cases],
)
def test_each_error_is_told_by_its_meaning(
    api: ApiServer, classifier: ChatClassifier, status: int, body: Any, kind: type, reason: str
) -> None:
    api.reply(Response(status, body if isinstance(body, str) else json.dumps(body)))

    found = refusal_of(classifier)

    assert (type(found), found.reason, found.http_status) == (kind, reason, status)
    assert found.concession is (Concession.SHORTER if reason == "too_long" else None)
    assert str(found).isprintable()
    assert len(str(found)) < 400


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_not_active"])
def test_no_credit_is_not_waited_for_although_the_service_names_a_time(
    api: ApiServer, classifier: ChatClassifier, code: str
) -> None:
    api.reply_with(status=429, body=says("x", code=code), headers={"Retry-After": "20", "X-RateLimit-Reset": "60"})

    assert type(refusal_of(classifier)) is KeyRefused


@pytest.mark.parametrize(
    "echo",
    ["API key not valid", "insufficient balance", "prompt is too long", "The model x does not exist", "page not found"],
)
def test_a_sentence_that_stands_in_the_mail_itself_says_nothing(
    api: ApiServer, classifier: ChatClassifier, echo: str
) -> None:
    api.reply_with(status=400, body=says(f"cannot read '{echo}'"))

    found = refusal_of(classifier, mail(f"Look at this: {echo}. What now?"))

    assert (type(found), found.reason) == (AnswerUnusable, "request_refused")


# The address.


@pytest.mark.parametrize(
    ("api_url", "advice"),
    [
        ("", "{origin}/v1"),
        ("/api", "{origin}/v1"),
        ("/openai", "/v1 at its end"),
        ("/v1", "OpenAI-compatible base URL"),
    ],
)
def test_a_wrong_address_says_in_one_sentence_what_to_put(api: ApiServer, api_url: str, advice: str) -> None:
    origin = api.url.removesuffix("/v1")
    classifier = ChatClassifier(ChatSettings(origin + api_url, "m", "Judge.", timeout_s=5), secret=b"secret")
    api.reply_with(status=404, body=b"404 page not found")

    found = refusal_of(classifier)
    classifier.close()

    assert found.exit_code == 2
    assert advice.format(origin=origin) in str(found)
    assert "Open WebUI" in str(found) or "/v1" in str(found)


@pytest.mark.parametrize(
    "end", ["/chat/completions", "/chat/completions/", "/Chat/Completions", "/chat/completion", "/chat", "/", "//"]
)
def test_the_address_of_the_call_itself_is_taken_as_it_is_meant(api: ApiServer, end: str) -> None:
    classifier = ChatClassifier(ChatSettings(api.url + end, "m", "Judge.", timeout_s=5), secret=b"secret")

    classifier.classify(mail())
    classifier.close()

    assert [call.path for call in api.calls] == ["/v1/chat/completions"]


@pytest.mark.parametrize(
    "end", ["/api/generate", "/api/chat", "/api/tags", "/v1/models", "/v1/completions", "/v1/responses", "/v1/messages"]
)
def test_the_address_of_another_call_is_refused_with_the_right_one(end: str) -> None:
    with pytest.raises(ConfigError, match=re.escape("http://127.0.0.1:11434/v1")):
        Endpoint(f"http://127.0.0.1:11434{end}", None, timeout_s=5, clock=SystemClock())


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("https://openrouter.ai", "https://openrouter.ai/api/v1"),
        ("https://openrouter.ai/v1/models", "https://openrouter.ai/api/v1"),
        ("https://api.groq.com/v1/responses", "https://api.groq.com/openai/v1"),
    ],
)
def test_the_address_of_a_known_service_is_named(wrong: str, right: str) -> None:
    assert right in advice(wrong)


# Another name for a limit.

RENAMED = [
    says("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
         param="max_tokens", code="unsupported_parameter"),
    says("max_tokens is not supported, use max_completion_tokens"),
    {"error": "Unrecognized request argument supplied: max_tokens"},
    {"detail": [{"type": "extra_forbidden", "loc": ["body", "max_tokens"], "msg": "Extra inputs are not permitted"}]},
]  # fmt: skip


def knows_only(name: str, refusal: Any) -> Callable[[Any], Response]:
    return lambda call: verdict(7, 2) if name in call.body else Response(400, refusal)


@pytest.mark.parametrize("refusal", RENAMED)
def test_the_other_name_of_the_limit_is_learnt_and_remembered(
    api: ApiServer, classifier: ChatClassifier, refusal: Any
) -> None:
    api.answer_with(knows_only("max_completion_tokens", refusal))

    found = refusal_of(classifier)
    again = classifier.classify(mail(), found.concession)
    classifier.classify(mail())

    assert found.concession is Concession.RENAMED
    assert again.scores["importance"] == 7
    assert ["max_completion_tokens" in call.body for call in api.calls] == [False, True, True]
    assert ["max_tokens" in call.body for call in api.calls] == [True, False, False]


def test_a_service_that_refuses_both_names_stops_the_run(api: ApiServer, classifier: ChatClassifier) -> None:
    api.answer_with(lambda call: Response(400, RENAMED[0]))

    refusal_of(classifier)

    assert type(refusal_of(classifier)) is ModelUnknown
