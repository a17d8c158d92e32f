"""The `chat` classifier against a real HTTP server on loopback."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from backfill.classifiers.chat import ChatClassifier, ChatSettings
from backfill.classifiers.questions import schema_of
from backfill.clock import SystemClock
from backfill.errors import (
    AnswerUnusable,
    ClassifierError,
    ConfigError,
    ConnectionMisconfigured,
    KeyRefused,
    MessageRefused,
    ModelUnknown,
    RateLimited,
    ServiceUnavailable,
)
from backfill.message import Content, MailboxKey, Message, MessageRef
from backfill.rubric import Rubric
from backfill.verdict import Scores
from tests.support.api_server import ApiServer, Response, completion, scores_for, verdict

KEY = "sk-very-secret-0123456789"
NOW = datetime(2024, 2, 29, 12, 0, 0, tzinfo=UTC)
PROMPT = Path(__file__, "../../../config/prompt.md").resolve().read_text("utf-8")


class NoonClock(SystemClock):
    """The wall clock stands at noon; durations are real."""

    def now(self) -> datetime:
        return NOW


@pytest.fixture
def make(api):
    """Makes classifiers, by default for `api`, and closes them."""
    made = []

    def _make(**changes: Any) -> ChatClassifier:
        settings = ChatSettings(api_url=api.url, model="test/model-1", prompt=PROMPT, api_key=KEY, timeout_s=5)
        made.append(ChatClassifier(replace(settings, **changes), secret=b"secret", clock=NoonClock()))
        return made[-1]

    yield _make
    for classifier in made:
        classifier.close()


def mail(**content: Any) -> Message:
    shown = Content(
        **({"subject": "Grüße aus Köln", "sender": "Ann <ann@example.com>", "body": "Kommst Du? ☂"} | content)
    )
    return Message(MessageRef(MailboxKey("me", "INBOX", 7), 11), shown, frozenset(), None, None, 100)


def refusal_of(classifier: ChatClassifier, message: Message | None = None) -> ClassifierError:
    with pytest.raises(ClassifierError) as caught:
        classifier.classify(message or mail())
    return caught.value


# The request.


def test_the_bytes_of_the_mail_reach_the_request(api, make):
    answer = make().classify(mail())

    [call] = api.calls
    assert call.path == "/v1/chat/completions"
    for part in ("Grüße aus Köln", "Ann <ann@example.com>", "Kommst Du? ☂"):
        assert part in call.mail
        assert json.dumps(part)[1:-1].encode() in call.raw
    assert (answer.scores["importance"], answer.scores["spam"]) == scores_for(call.mail)


def test_the_request_asks_for_what_is_configured(api, make):
    make(temperature=0.1, max_output_tokens=77).classify(mail())

    [call] = api.calls
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert call.headers["content-type"] == "application/json"
    assert [message["role"] for message in call.body["messages"]] == ["system", "user"]
    assert call.body.keys() == {"model", "messages", "temperature", "max_tokens", "response_format"}
    assert (call.body["model"], call.body["temperature"], call.body["max_tokens"]) == ("test/model-1", 0.1, 77)
    assert call.body["response_format"]["json_schema"] == {
        "name": "verdict",
        "strict": True,
        "schema": schema_of(Rubric.default()),
    }


@pytest.mark.parametrize(("wanted", "sent"), [("json_object", {"type": "json_object"}), ("none", None)])
def test_a_server_without_schemas_is_not_sent_one(api, make, wanted, sent):
    make(response_format=wanted).classify(mail())

    assert api.calls[0].body.get("response_format") == sent


def test_a_model_that_refuses_temperature_is_not_sent_one(api, make):
    make(temperature=None).classify(mail())

    assert "temperature" not in api.calls[0].body


def test_asking_again_sends_the_same_bytes_also_after_a_restart(api, make):
    make().classify(mail())
    make().classify(mail())
    make().classify(mail(subject="Another"))

    first, second, third = [call.raw for call in api.calls]
    assert first == second != third


def test_a_body_longer_than_configured_is_cut_before_it_costs(api, make):
    make(max_body_chars=100).classify(mail(body="x" * 100_000))

    assert api.calls[0].mail.count("x") < 120  # headers have one or two of their own
    assert api.calls[0].mail.endswith("[…]")


def test_a_connection_is_kept_alive_and_each_thread_has_its_own(api, make):
    classifier = make()

    for number in range(5):
        classifier.classify(mail(subject=str(number)))

    assert (api.call_count, api.connection_count) == (5, 1)


def test_calls_of_several_threads_run_at_the_same_time(api, make):
    classifier = make()
    together = threading.Barrier(4, timeout=5)

    def answer(_: Any) -> Response:
        together.wait()  # breaks unless four calls are being answered at once
        return verdict(1, 2)

    api.answer_with(answer)
    threads = [threading.Thread(target=classifier.classify, args=(mail(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not together.broken
    assert api.concurrency_peak == 4


def body_of(classifier: ChatClassifier) -> dict[str, Any]:
    return json.loads(classifier.request_body(mail()))


def test_openrouter_gets_the_privacy_keys_and_the_session(make):
    settings = {"api_url": "https://openrouter.ai/api/v1", "session_id": "backfill-1"}

    body = body_of(make(**settings))
    lenient = body_of(make(**settings, response_format="none", zdr=False, data_collection="allow"))

    assert body["provider"] == {"data_collection": "deny", "zdr": True, "require_parameters": True}
    assert body["session_id"] == "backfill-1"
    assert lenient["provider"] == {"data_collection": "allow", "zdr": False, "require_parameters": False}


@pytest.mark.parametrize(
    "url", ["https://openrouter.ai.example.com/v1", "https://notopenrouter.ai/v1", "http://[::1]/v1"]
)
def test_nobody_else_gets_openrouters_keys(make, url):
    body = body_of(make(api_url=url, session_id="backfill-1"))

    assert "provider" not in body
    assert "session_id" not in body


def test_openai_is_told_the_limit_by_its_new_name(make):
    body = body_of(make(api_url="https://api.openai.com/v1"))

    assert body["max_completion_tokens"] == 200
    assert "max_tokens" not in body


# The answer.


def test_an_answer_brings_scores_model_and_cost(api, make):
    api.reply(verdict(7, 2))

    answer = make().classify(mail())

    assert answer.scores == Scores.of(importance=7, spam=2)
    assert (answer.source, answer.model) == ("chat", "test/model-1")
    usage = answer.usage
    assert (usage.tokens_in, usage.tokens_out, usage.tokens_cached) == (345, 17, 128)
    assert usage.cost_usd == Decimal("0.000123")
    assert (usage.request_id, usage.http_status) == ("gen-1", 200)


@pytest.mark.parametrize(
    "usage",
    [None, {}, "free", {"cost": None, "prompt_tokens": True}, {"cost": -1, "prompt_tokens": -1}, {"cost": "NaN"}],
)
def test_an_unknown_cost_is_unknown_and_not_nothing(api, make, usage):
    api.reply(completion('{"importance_score": 1, "spam_score": 2}', usage=usage))

    found = make().classify(mail()).usage

    assert found.cost_usd is None
    assert found.tokens_in is None
    assert found.tokens_cached is None


def test_a_free_call_costs_nothing_and_that_is_known(api, make):
    api.reply(completion('{"importance_score": 1, "spam_score": 2}', cost=0))

    assert make().classify(mail()).usage.cost_usd == Decimal(0)


@pytest.mark.parametrize(
    "content",
    [
        '{"importance_score": 7, "spam_score": 2}',
        ' \n{"spam_score":2,"importance_score":7}\n',
        '```json\n{"importance_score": 7, "spam_score": 2}\n```',
        '```\n{"importance_score": 7, "spam_score": 2}\n```',
        '<think>Is {"importance_score": 1, "spam_score": 1} right?</think>\n{"importance_score": 7, "spam_score": 2}',
        'no opening tag</think>{"importance_score": 7, "spam_score": 2}',
        '{"importance_score": 7, "spam_score": 2, "reason": "a person asks"}',
        [{"type": "thinking", "thinking": []}, {"type": "text", "text": '{"importance_score": 7, "spam_score": 2}'}],
    ],
)
def test_scores_are_found_in_every_usual_wrapping(api, make, content):
    api.reply(completion(content))

    assert make().classify(mail()).scores == Scores.of(importance=7, spam=2)


@pytest.mark.parametrize(
    "content",
    [
        '{"importance_score": 11, "spam_score": 2}',
        '{"importance_score": -1, "spam_score": 2}',
        '{"importance_score": 7.0, "spam_score": 2}',
        '{"importance_score": true, "spam_score": 2}',
        '{"importance_score": "7", "spam_score": 2}',
        '{"importance_score": NaN, "spam_score": 2}',
        '{"importance_score": null, "spam_score": 2}',
        '{"importance_score": 7}',
        '{"importance_score": 7, "spam_score": 2',
        "7 2",
        "[" * 100_000,
        "9" * 10_000,
        "<think>on and on",
    ],
)
def test_an_answer_without_two_scores_is_unusable_and_nothing_is_guessed(api, make, content):
    api.reply(completion(content))

    error = refusal_of(make())

    assert type(error) is AnswerUnusable
    assert error.reason == "answer_invalid"


def test_an_unusable_answer_still_books_its_cost(api, make):
    api.reply(completion("I would rather not say"))

    error = refusal_of(make())

    assert error.http_status == 200
    assert error.usage is not None
    assert error.usage.cost_usd == Decimal("0.000123")
    assert error.usage.request_id == "gen-1"


def test_a_packed_answer_is_unpacked(api, make):
    api.reply_with(body=gzip.compress(verdict(7, 2).payload), headers={"Content-Encoding": "gzip"})

    assert make().classify(mail()).scores == Scores.of(importance=7, spam=2)


# The error table.


def error(code: object = None, **details: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": "as you wrote: Kommst Du?", **details}}


def meta(code: int, **metadata: Any) -> dict[str, Any]:
    return error(code, metadata=metadata)


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        # the key and the purse
        (401, error(401), KeyRefused, "key_refused"),
        (401, error("invalid_api_key"), KeyRefused, "key_refused"),
        (402, meta(402, error_type="payment_required"), KeyRefused, "no_credit"),
        (402, meta(402, limit_source="openrouter_credits"), KeyRefused, "no_credit"),
        (403, meta(403, limit_source="openrouter_key_limit"), KeyRefused, "no_credit"),
        (403, meta(403, limit_source="openrouter_guardrail_budget"), KeyRefused, "no_credit"),
        (403, meta(403, limit_source="openrouter_workspace_budget"), KeyRefused, "no_credit"),
        (403, meta(403, error_type="permission_denied"), KeyRefused, "key_refused"),
        (403, meta(403, error_type="region_restricted"), KeyRefused, "key_refused"),
        (403, b"<html>go away</html>", KeyRefused, "key_refused"),
        (429, error("insufficient_quota", type="insufficient_quota"), KeyRefused, "no_credit"),
        # the model and the settings
        (404, meta(404, error_type="no_endpoints"), ModelUnknown, "model_unknown"),
        (404, meta(404, error_type="privacy_restricted"), ModelUnknown, "model_unknown"),
        (404, meta(404, error_type="constraint_filtered"), ModelUnknown, "model_unknown"),
        (404, meta(404, error_type="free_variant_ended"), ModelUnknown, "model_unknown"),
        (404, meta(404, error_type="model_deprecated"), ModelUnknown, "model_unknown"),
        (405, b"", ConnectionMisconfigured, "address_wrong"),
        (410, b"gone", ModelUnknown, "model_unknown"),
        (404, {"error": "model 'x' not found"}, ModelUnknown, "model_unknown"),  # Ollama
        (400, error("model_not_found"), ModelUnknown, "model_unknown"),
        (400, meta(400, error_type="invalid_request"), ModelUnknown, "request_refused"),
        (400, error(None, type="invalid_request_error", param="response_format.type"), ModelUnknown, "request_refused"),
        # this mail
        (403, meta(403, reasons=["violence"], flagged_input="Kommst Du?"), MessageRefused, "refused"),
        (403, meta(403, patterns=["ignore previous"]), MessageRefused, "prompt_injection"),
        (400, error("context_length_exceeded", param="messages"), MessageRefused, "too_long"),
        (400, meta(400, error_type="string_too_long"), MessageRefused, "too_long"),
        (400, error(400, type="exceed_context_size_error"), MessageRefused, "too_long"),  # llama.cpp
        (413, b"", MessageRefused, "too_long"),
        (400, error("content_policy_violation"), MessageRefused, "refused"),
        (400, error("content_filter"), MessageRefused, "refused"),  # Azure
        (400, meta(400, error_type="refusal"), MessageRefused, "refused"),
        (400, meta(400, error_type="max_tokens_exceeded"), AnswerUnusable, "answer_cut"),
        (400, {"error": "'response_format.type' must be 'json_schema'"}, AnswerUnusable, "request_refused"),  # LM
        (422, {"detail": [{"loc": ["body"]}]}, AnswerUnusable, "request_refused"),
        # patience
        (429, error(429), RateLimited, "rate_limited"),
        (402, meta(402, limit_source="openrouter_in_flight_budget"), RateLimited, "rate_limited"),
        (408, error(408), ServiceUnavailable, "service_unavailable"),
        (425, b"", ServiceUnavailable, "service_unavailable"),
        (500, b"Internal Server Error", ServiceUnavailable, "service_unavailable"),
        (502, meta(502, error_type="provider_unavailable"), ServiceUnavailable, "service_unavailable"),
        (503, meta(503, error_type="provider_overloaded"), ServiceUnavailable, "service_unavailable"),
        (504, error(504), ServiceUnavailable, "service_unavailable"),
        (529, b"[]", ServiceUnavailable, "service_unavailable"),
        # trouble inside HTTP 200
        (200, error(429), RateLimited, "rate_limited"),
        (200, error("401"), KeyRefused, "key_refused"),
        (200, error(502), ServiceUnavailable, "service_unavailable"),
        (200, error("odd"), ServiceUnavailable, "service_unavailable"),
        (200, {"choices": [error(403, metadata={"reasons": ["x"]})]}, MessageRefused, "refused"),
        (200, {"choices": [error(429)]}, RateLimited, "rate_limited"),
        (200, {"choices": [{"finish_reason": "error"}]}, ServiceUnavailable, "service_unavailable"),
        (200, b"<html>Welcome to our hotel</html>", ConnectionMisconfigured, "address_wrong"),
        (200, completion("", finish_reason="content_filter").body, MessageRefused, "refused"),
        (200, completion('{"importance_score": 1,', finish_reason="length").body, AnswerUnusable, "answer_cut"),
        (200, completion("", finish_reason="length").body, AnswerUnusable, "answer_cut"),
        (200, completion("").body, AnswerUnusable, "answer_empty"),
        (200, completion(None).body, AnswerUnusable, "answer_empty"),
        (200, {"choices": []}, AnswerUnusable, "answer_empty"),
        (200, {"choices": [None]}, AnswerUnusable, "answer_empty"),
        (200, {"choices": "none"}, AnswerUnusable, "answer_empty"),
        (200, {"choices": [{"message": {"content": None, "refusal": "No."}}]}, MessageRefused, "refused"),
        # redirects are not followed
        (302, b"", ConnectionMisconfigured, "address_wrong"),
    ],
)  # fmt: skip
def test_each_trouble_is_told_apart_and_costs_one_request(api, make, status, body, kind, reason):
    api.reply_with(status=status, body=body)

    found = refusal_of(make())

    assert type(found) is kind
    assert found.reason == reason
    assert found.http_status == status
    assert api.call_count == 1
    assert "Kommst" not in str(found)


@pytest.mark.parametrize(
    ("headers", "details", "wait_s"),
    [
        ({}, {}, None),
        ({"Retry-After": "17"}, {}, 17),
        ({"Retry-After": "1.5"}, {}, 1.5),
        ({"Retry-After": "Thu, 29 Feb 2024 12:02:00 GMT"}, {}, 120),
        ({"Retry-After": "Thu, 29 Feb 2024 11:00:00 GMT"}, {}, None),
        ({"Retry-After": "2024-02-29T12:30:00Z"}, {}, None),
        ({"Retry-After": "2024-02-29"}, {}, None),
        ({"Retry-After": "0"}, {}, None),
        ({"Retry-After": "Infinity"}, {}, None),
        ({"Retry-After": "5, 10"}, {}, None),
        ({"Retry-After": ""}, {}, None),
        ({"Retry-After": "1e400"}, {}, None),
        ({}, {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]}, 34),
        ({"Retry-After": "soon"}, {}, None),
        ({"Retry-After": "-5"}, {}, None),
        ({"Retry-After": "99999999"}, {}, 86_400),
        ({"Retry-After": "NaN"}, {}, None),
        ({"X-RateLimit-Reset": str(int(NOW.timestamp()) + 60)}, {}, 60),
        ({"X-RateLimit-Reset": str((int(NOW.timestamp()) + 60) * 1000)}, {}, 60),
        ({"Retry-After": "5", "X-RateLimit-Reset": "60"}, {}, 5),
        ({}, {"metadata": {"headers": {"X-RateLimit-Reset": str((int(NOW.timestamp()) + 60) * 1000)}}}, 60),
        ({}, {"availability": {"retryable": True, "retry_after": 2.5}}, 2.5),
        ({}, {"metadata": {"resets_at": "2024-02-29T12:30:00Z"}}, 1800),
        ({}, {"metadata": {"resets_at": {}}}, None),
    ],
)
@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, ServiceUnavailable)])
def test_the_wait_that_the_api_names_is_passed_on(api, make, status, kind, headers, details, wait_s):
    api.reply_with(status=status, headers=headers, body=error(status, **details))

    found = refusal_of(make())

    assert type(found) is kind
    assert found.wait_s == (wait_s if wait_s is None else pytest.approx(wait_s))


def test_a_purse_that_says_when_it_is_filled_again_is_waited_for(api, make):
    api.reply_with(
        status=403,
        body=meta(403, limit_source="openrouter_key_limit", resets_at="2024-02-29T13:00:00+00:00"),
    )

    found = refusal_of(make())

    assert type(found) is RateLimited
    assert found.wait_s == 3600


def test_an_error_that_cost_something_says_what(api, make):
    api.reply_with(body=error(502) | {"id": "gen-9", "usage": {"prompt_tokens": 300, "cost": 0.01}})

    found = refusal_of(make())

    assert found.usage is not None
    assert (found.usage.tokens_in, found.usage.cost_usd) == (300, Decimal("0.01"))


def test_an_error_without_usage_has_an_unknown_cost(api, make):
    api.reply_with(status=500, body=error(500))

    assert refusal_of(make()).usage is None


def test_an_error_names_the_apis_own_word_but_none_of_its_text(api, make):
    api.reply_with(status=404, body=meta(404, error_type="no_endpoints\x1b[2J\n" + "z" * 500))

    text = str(refusal_of(make()))

    assert "HTTP 404, no_endpoints2Jzzz" in text
    assert text.isprintable()
    assert len(text) < 250


# The line.


def test_a_silent_server_is_given_up_in_time(api, make):
    api.latency_s = 30

    found = refusal_of(make(timeout_s=0.2))

    assert type(found) is ServiceUnavailable
    assert found.http_status is None
    assert "0.2 s" in str(found)


def test_an_answer_that_drips_in_is_given_up_in_time(api, make):
    api.reply(replace(verdict(7, 2), drip_s=0.02))  # more than four seconds, though never a pause of 0.3

    found = refusal_of(make(timeout_s=0.3))

    assert type(found) is ServiceUnavailable


def test_white_space_before_the_answer_is_no_harm(api, make):
    api.reply_with(body=b" \n" * 100 + verdict(7, 2).payload)

    assert make().classify(mail()).scores == Scores.of(importance=7, spam=2)


def test_an_answer_that_breaks_off_is_the_services_fault_and_the_next_call_is_fine(api, make):
    api.reply(replace(verdict(7, 2), is_cut=True), verdict(3, 4))
    classifier = make()

    assert type(refusal_of(classifier)) is ServiceUnavailable
    assert classifier.classify(mail()).scores == Scores.of(importance=3, spam=4)
    assert api.call_count == 2


def test_an_endless_answer_is_not_read(api, make):
    api.reply_with(body=b" " * 3_000_000)

    found = refusal_of(make())

    assert type(found) is AnswerUnusable
    assert found.http_status == 200


def test_a_packed_flood_is_not_unpacked(api, make):
    api.reply_with(body=gzip.compress(b" " * 50_000_000), headers={"Content-Encoding": "gzip"})

    assert type(refusal_of(make())) is AnswerUnusable


def test_nobody_listening_is_an_outage(make):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        classifier = make(api_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")

        assert type(refusal_of(classifier)) is ServiceUnavailable


def test_a_server_that_does_not_speak_http_is_an_outage(make):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"* OK IMAP4rev1 ready\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        found = refusal_of(make(api_url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1"))
        thread.join()

    assert type(found) is ServiceUnavailable


# The key.


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_with_the_key(api, make, status):
    with ApiServer() as thief:
        api.reply_with(status=status, headers={"Location": f"{thief.url}/chat/completions"})

        found = refusal_of(make())

    assert type(found) is ConnectionMisconfigured
    assert thief.call_count == 0


@pytest.mark.parametrize("status", [200, 302, 401, 403, 429, 500])
def test_the_key_stands_in_no_repr_exception_or_log(api, make, caplog, status):
    caplog.set_level(logging.DEBUG)
    api.reply_with(status=status, body=error(f"bad key {KEY}"[:5]))
    classifier = make()

    found = refusal_of(classifier)

    texts = [repr(classifier), repr(ChatSettings(api.url, "m", PROMPT, KEY)), repr(found), str(found), caplog.text]
    texts += traceback.format_exception(found)
    assert not [text for text in texts if KEY in text]
    assert KEY not in classifier.fingerprint.canonical


def test_without_a_key_none_is_sent(api, make, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password stolen\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))

    make(api_key=None).classify(mail())

    assert "authorization" not in api.calls[0].headers


def test_a_proxy_from_the_environment_never_sees_what_stays_on_this_machine(api, make, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:3128")
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:3128")

    make().classify(mail())

    assert api.call_count == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"api_url": "http://api.example.com/v1"},
        {"api_url": "http://192.168.1.5:11434/v1"},
        {"api_url": "http://localhost.example.com/v1"},
        {"api_url": "http://127.0.0.1@evil.example/v1"},
        {"api_url": f"https://me:{KEY}@api.example.com/v1"},
        {"api_url": f"https://api.example.com/v1?key={KEY}"},
        {"api_url": "ftp://api.example.com"},
        {"api_url": "api.example.com/v1"},
        {"api_url": "https://[::1/v1"},
        {"api_url": "https://a b/v1"},
        {"api_url": "https://api.example.com:http/v1"},
        {"api_url": ""},
        {"api_key": ""},
        {"api_key": f"{KEY}\n"},
        {"api_key": f"{KEY}é"},
        {"model": ""},
        {"prompt": "<!-- only a comment -->"},
    ],
)
def test_settings_that_cannot_work_or_give_the_key_away_are_refused(make, changes):
    with pytest.raises(ConfigError) as caught:
        make(**changes)

    assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("url", ["http://localhost:11434/v1", "http://127.0.0.1:8080/v1/", "http://[::1]:8080/v1"])
def test_on_this_machine_the_key_may_go_without_tls(make, url):
    make(api_url=url)


def test_without_a_key_a_server_in_the_next_room_needs_no_tls(make):
    make(api_url="http://192.168.1.5:11434/v1", api_key=None)


# The fingerprint.


@pytest.mark.parametrize(
    "change",
    [
        {"model": "test/model-2"},
        {"prompt": "Judge otherwise."},
        {"response_format": "none"},
        {"temperature": 0.3},
        {"temperature": None},
        {"max_output_tokens": 300},
        {"max_body_chars": 2000},
    ],
)
def test_what_could_change_a_verdict_changes_the_fingerprint(make, change):
    assert make(**change).fingerprint.digest() != make().fingerprint.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"api_url": "https://openrouter.ai/api/v1"},
        {"api_key": None},
        {"timeout_s": 1},
        {"zdr": False},
        {"data_collection": "allow"},
        {"session_id": "x"},
        {"prompt": PROMPT.replace("\n", "\r\n")},
        {"prompt": f"<!-- mine -->\n{PROMPT}"},
    ],
)
def test_what_cannot_change_a_verdict_does_not(make, change):
    assert make(**change).fingerprint.digest() == make().fingerprint.digest()
