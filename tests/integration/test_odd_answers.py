"""Verdicts as local servers, gateways and odd models wrap them: the one object is read, nothing is made up."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from backfill.classifiers.chat import ChatClassifier, ChatSettings
from backfill.classifiers.questions import schema_of
from backfill.errors import AnswerUnusable, Concession, MessageRefused, ServiceUnavailable
from backfill.rubric import Rubric
from backfill.verdict import Answer, Scores
from tests.support.api_server import ApiServer, Response, completion
from tests.support.asked import mail, refusal_of

ONE = '{"importance_score": 7, "spam_score": 2}'
OTHER = '{"importance_score": 1, "spam_score": 9}'


@pytest.fixture
def classifier(api: ApiServer) -> Iterator[ChatClassifier]:
    classifier = ChatClassifier(ChatSettings(api.url, "test/model-1", "Judge.", "sk-1", timeout_s=10), secret=b"secret")
    yield classifier
    classifier.close()


def answer_to(classifier: ChatClassifier) -> Answer:
    return classifier.classify(mail())


def message(finish_reason: str = "stop", **parts: Any) -> Response:
    """A completion whose message has these keys."""
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", **parts}}
    return Response(body={"id": "x", "model": "m", "choices": [choice], "usage": {"prompt_tokens": 5}})


def call(arguments: object) -> dict[str, Any]:
    return {"id": "c", "type": "function", "function": {"name": "verdict", "arguments": arguments}}


@pytest.mark.parametrize(
    "content",
    [
        f"```JSON\n{ONE}\n```",
        f"```json5\n{ONE}```",
        f"```javascript\n{ONE}\n```\n",
        f"~~~\n{ONE}\n~~~",
        f"`{ONE}`",
        f"Here is my verdict:\n```json\n{ONE}\n```\nIt is a private mail.",
        f"Sure! {ONE} I hope this helps.",
        f"\ufeff{ONE}",
        f"{ONE}<|im_end|>",
        f"{ONE}</s>",
        f"{ONE}<|eot_id|><|start_header_id|>assistant<|end_header_id|>",
        f"<|im_start|>assistant\n{ONE}<end_of_turn>",
        f"{ONE}<|end_of_text|>\n\nHuman: {OTHER}",
        f"<|im_start|>assistant<|im_end|>{ONE}</s>{OTHER}",
        f"</s>{ONE}",
        "{'importance_score': 7, 'spam_score': 2, 'reason': None, 'sure': True}",
        '{"importance_score": 7, "spam_score": 2, "reason": "two\nlines"}',
        ONE.replace('"', '\\"'),
        f"[{ONE}]",
        f"{ONE}\n{ONE}\n{ONE}",
        f"{ONE}}}}}",
        f"JSON: {ONE}.",
        '{"importance_score": 7, "spam_score": 2,}',
        "{'importance_score': 7, 'spam_score': 2}",
        "{importance_score: 7, spam_score: 2}",
        '{"importance_score": 7, // a friend\n "spam_score": 2 /* hardly */}',
        "{“importance_score”: 7, “spam_score”: 2}",
        '{"importance_score": +7, "spam_score": 2}',
        '{\n  "importance_score" : 7 ,\n  "spam_score" : 2\n}',
        f'{{"verdict": {ONE}}}',
        f'{{"name": "verdict", "arguments": {ONE}}}',
        f'<tool_call>\n{{"name": "verdict", "arguments": {ONE}}}\n</tool_call>',
        f'[TOOL_CALLS][{{"name": "verdict", "arguments": {ONE}}}]',
        json.dumps({"name": "verdict", "arguments": ONE}),
        json.dumps(ONE),
        f"<|channel|>analysis<|message|>{OTHER}?<|end|><|start|>assistant<|channel|>final<|message|>{ONE}<|return|>",
        f"<|channel|>final <|constrain|>json<|message|>{ONE}",
        f"<|channel|>commentary to=functions.verdict <|constrain|>json<|message|>{ONE}<|call|>",
        f"analysisWe look at it.assistantfinal{ONE}",
        f"<thinking>{OTHER}</thinking>{ONE}",
        f"<reasoning>{OTHER}</reasoning>\n{ONE}",
        f"[THINK]{OTHER}[/THINK]{ONE}",
        f"◁think▷{OTHER}◁/think▷{ONE}",
        f"<seed:think>{OTHER}</seed:think>{ONE}",
        f"<|START_THINKING|>{OTHER}<|END_THINKING|>{ONE}",
        f"{ONE}<think>Was that right? {OTHER}</think>",
        f"<think>The model forgot to close this. {ONE}",
        f"Here is the schema: {json.dumps(schema_of(Rubric.default()))} and the answer: {ONE}",
        {"importance_score": 7, "spam_score": 2},
        [{"type": "text", "text": ONE}],
        [{"type": "tool_use", "name": "verdict", "input": {"importance_score": 7, "spam_score": 2}}],
    ],
)
def test_the_one_object_is_read_whatever_stands_around_it(
    api: ApiServer, classifier: ChatClassifier, content: Any
) -> None:
    api.reply(completion(content))

    assert answer_to(classifier).scores == Scores.of(importance=7, spam=2)


@pytest.mark.parametrize(
    "parts",
    [
        {"content": None, "reasoning_content": ONE},
        {"content": "", "reasoning_content": f"I think so: {ONE}"},
        {"content": "\n", "reasoning": ONE},
        {"content": "<|im_end|>", "reasoning_content": ONE, "reasoning": ONE},
        {"content": None, "reasoning_details": [{"type": "reasoning.text", "text": ONE}]},
        {"content": None, "tool_calls": [call(ONE)]},
        {"content": "", "tool_calls": [call({"importance_score": 7, "spam_score": 2})]},
        {"content": "I call it.", "tool_calls": [call(ONE)]},
        {"content": ONE, "tool_calls": [call(ONE)]},
        {"content": None, "function_call": {"name": "verdict", "arguments": ONE}},
        {"content": ONE, "reasoning_content": f"At first {OTHER}, but no."},
    ],
)
def test_the_object_is_read_where_the_server_has_put_it(
    api: ApiServer, classifier: ChatClassifier, parts: dict[str, Any]
) -> None:
    api.reply(message(**parts))

    assert answer_to(classifier).scores == Scores.of(importance=7, spam=2)


@pytest.mark.parametrize(
    "parts",
    [
        {"content": f"{ONE} or {OTHER}"},
        {"content": f"{ONE}\n{{'importance_score': 1, 'spam_score': 9}}"},
        {"content": '{"importance_score": 7, "spam_score": 2, "importance_score": 1}'},
        {"content": "{'importance_score': 7, 'spam_score': 2, 'spam_score': 9}"},
        {"content": f'{{"draft": {OTHER}, "importance_score": 7, "spam_score": 2}}'},
        {"content": ONE, "tool_calls": [call(OTHER)]},
        {"content": None, "tool_calls": [call(ONE), call(OTHER)]},
        {"content": None, "reasoning_content": f"{ONE} or rather {OTHER}"},
        {"content": "It is hard to say.", "reasoning_content": ONE},
        {"content": '{"importance_score": 7, "spam_score": 2'},
        {"content": '{"importance_score": 7, "spam_score": '},
        {"content": '```json\n{"importance_score": 7, "spam_score": 2\n```'},
        {"content": "{'importance_score': 7, 'spam_score': 1"},
        {"content": '{"importance_score": 7 "spam_score": 2}'},
        {"content": '{"importance_score": 7}{"spam_score": 2}'},
        {"content": '{"importance_score": 7., "spam_score": 2}'},
        {"content": '{"importance_score": Infinity, "spam_score": 2}'},
        {"content": '{"importance_score": "7", "spam_score": "2"}'},
        {"content": '{"importance_score": [7], "spam_score": 2}'},
        {"content": '{"importance_score": 7, "spam_score": 20}'},
        {"content": f"{OTHER[:-3]}99}} {ONE}"},
        {"content": "importance_score: 7, spam_score: 2"},
        {"content": "{" * 50_000},
        {"content": '{"a":' * 50_000},
        {"content": "{'importance_score': '" * 5_000 + "spam_score"},
        {"content": "<think>" * 50_000},
        {"content": "{'importance_score', 'spam_score'" * 20_000},
    ],
)
def test_what_disagrees_or_is_not_whole_is_no_verdict_and_takes_no_time(
    api: ApiServer, classifier: ChatClassifier, parts: dict[str, Any]
) -> None:
    api.reply(message(**parts))
    began = time.monotonic()

    found = refusal_of(classifier)

    assert (type(found), found.reason) == (AnswerUnusable, "answer_invalid")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("finish", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
@pytest.mark.parametrize(
    "parts", [{"content": "<think>So"}, {"content": "", "reasoning_content": ONE}, {"content": ONE[:-5]}]
)
def test_thoughts_that_were_cut_off_are_no_answer(
    api: ApiServer, classifier: ChatClassifier, finish: str, parts: dict[str, Any]
) -> None:
    api.reply(message(finish, **parts))

    found = refusal_of(classifier)

    assert (found.reason, found.concession) == ("answer_cut", Concession.ROOMIER)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (message("SAFETY", content="").body, "SAFETY"),
        (message("content_filter: PROHIBITED_CONTENT", content="").body, "content_filter:PROHIBITED_CONTENT"),
        (message("PROHIBITED_CONTENT", content=None).body, "PROHIBITED_CONTENT"),
        (message("content_filter", content=None).body, "content_filter"),
        (message("RECITATION", content="").body, "RECITATION"),
        (message("SPII", content="").body, "SPII"),
        (message("sensitive", content="").body, "sensitive"),
        (message("refusal", content="").body, "refusal"),
        (message("guardrail_intervened", content="").body, "guardrail_intervened"),
        ({"choices": [], "promptFeedback": {"blockReason": "SAFETY"}}, "SAFETY"),
        ({"choices": None, "prompt_feedback": {"block_reason": "OTHER"}}, "OTHER"),
        ({"choices": [], "prompt_filter_results": [{"content_filter_results": {"x": {"filtered": True}}}]}, "filter"),
        ({"choices": [{"finish_reason": "error", "native_finish_reason": "SAFETY", "message": {}}]}, "SAFETY"),
        (message(content=None, refusal="I cannot.").body, "refused"),
    ],
)  # fmt: skip
def test_a_mail_that_the_service_finds_unsafe_is_refused_once_with_its_word(
    api: ApiServer, classifier: ChatClassifier, body: Any, word: str
) -> None:
    api.reply(Response(body=body))

    found = refusal_of(classifier)

    assert (type(found), found.reason) == (MessageRefused, "refused")
    assert word in str(found)


# What the answer comes in.


def stream(*deltas: dict[str, Any], end: str = "data: [DONE]\n\n") -> bytes:
    chunks = [{"id": "x", "model": "m", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({"id": "x", "choices": [], "usage": {"prompt_tokens": 345, "completion_tokens": 17}})
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode() + end.encode()


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json", "text/event-stream; charset=utf-8"])
@pytest.mark.parametrize(
    "body",
    [
        stream({"role": "assistant", "content": ""}, {"content": ONE[:9]}, {"content": ONE[9:]}),
        stream({"content": ONE}, end=""),
        b": keep-alive\n\n" + stream({"reasoning_content": "hm"}, {"content": ONE}),
        stream({"tool_calls": [{"index": 0, "function": {"name": "v", "arguments": ONE[:9]}}]},
               {"tool_calls": [{"index": 0, "function": {"arguments": ONE[9:]}}]}),
        stream({"content": ONE}).replace(b"\n", b"\r\n"),
        stream({"content": ONE}).replace(b"data: ", b"data:"),
    ],
)  # fmt: skip
def test_a_stream_that_nobody_asked_for_is_read(
    api: ApiServer, classifier: ChatClassifier, body: bytes, content_type: str
) -> None:
    api.reply(Response(body=body, headers={"Content-Type": content_type}))

    answer = answer_to(classifier)

    assert answer.scores == Scores.of(importance=7, spam=2)
    assert (answer.usage.tokens_in, answer.model) == (345, "m")


def test_a_stream_without_an_answer_says_so(api: ApiServer, classifier: ChatClassifier) -> None:
    api.reply(Response(body=b"data: \n\ndata: [DONE]\n\n", headers={"Content-Type": "text/event-stream"}))

    found = refusal_of(classifier)

    assert type(found) is ServiceUnavailable
    assert "stream of events" in str(found)


def test_an_error_within_a_stream_is_told_as_what_it_is(api: ApiServer, classifier: ChatClassifier) -> None:
    api.reply(Response(body=b'data: {"error": {"message": "x", "code": "insufficient_quota"}}\n\n'))

    assert refusal_of(classifier).reason == "no_credit"


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + completion(ONE).payload,
        completion(ONE).payload.decode().encode("utf-16"),
        completion(ONE).payload.replace(b"test/model-1", b"mod\xe8le"),
        b"\n\n   " + completion(ONE).payload + b"\n",
    ],
    ids=["BOM", "UTF-16", "a byte that is no UTF-8", "white space"],
)
def test_a_body_in_another_encoding_is_read(api: ApiServer, classifier: ChatClassifier, body: bytes) -> None:
    api.reply(Response(body=body))

    assert answer_to(classifier).scores == Scores.of(importance=7, spam=2)
