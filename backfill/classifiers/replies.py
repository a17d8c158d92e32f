"""What an API's reply means: two scores with what they cost, or the error that says what to do next.

Pure: no network, no clock. It decides by status codes and the API's machine words, never by the wording of a
message, and repeats none of a reply's free text, since that may echo the mail. Nothing is guessed: a score is an
integer from 0 to 10 (7.0, "7", true and NaN are not), and what the reply does not tell stays None.

The words are those of OpenRouter, OpenAI, llama.cpp and vLLM; of several, the most specific one decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from backfill.classifiers.rate_headers import MAX_WAIT_S, announced, seconds_until
from backfill.classifiers.untrusted import MAX_CALL_USD, Reply, amount, clean, count, json_object, mapping
from backfill.errors import (
    AnswerUnusable,
    ClassifierError,
    Concession,
    KeyRefused,
    MessageRefused,
    ModelUnknown,
    RateLimited,
    ServiceUnavailable,
)
from backfill.verdict import Announced, Answer, Scores, Usage

MAX_NAMES: Final = 5  # that an error message takes over


def read_reply(reply: Reply, now: datetime) -> Answer:
    """The answer in `reply`; `now` turns the times that the API names into waits.

    Raises a `ClassifierError` with the HTTP status and, where the API reported it, the usage.
    """
    document = json_object(reply.body)
    usage = _usage(reply, document)
    try:
        if (failure := _find_failure(reply, document)) is not None:
            raise _explain(failure, reply.headers, now)
        usage = replace(usage, announced=_announced(reply, document, now))
        return Answer(_scores(document), source="chat", model=clean(document.get("model")) or None, usage=usage)
    except ClassifierError as error:
        error.http_status = reply.status
        error.usage = usage if isinstance(document.get("usage"), dict) else None
        error.announced = _announced(reply, document, now)
        error.concession = _CONCESSIONS.get(error.reason)
        raise


#: What once may be tried otherwise, by the error's reason. What is not named here would fail the same way again.
_CONCESSIONS: Final = {"too_long": Concession.SHORTER, "answer_cut": Concession.ROOMIER}


# ── a reply that is an answer ────────────────────────────────────────────────────────────────────────────


def _scores(document: dict[str, Any]) -> Scores:
    choice = _first_choice(document)
    message = mapping(choice.get("message"))
    finish = choice.get("finish_reason")
    if finish == "content_filter" or message.get("refusal"):
        raise MessageRefused("The model refused to judge this mail.")
    text = _answer_text(message.get("content"))
    if text:
        try:
            answer = json.loads(text)
            return Scores(importance=answer["importance_score"], spam=answer["spam_score"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if finish != "length":
                raise AnswerUnusable(
                    "The model's answer is not a JSON object with two scores from 0 to 10.", reason="answer_invalid"
                ) from error
    if finish == "length":  # reasoning models spend it all on thinking and answer with nothing
        raise AnswerUnusable("The answer was cut off; raise llm.max_output_tokens.", reason="answer_cut")
    raise AnswerUnusable("The model answered with nothing.", reason="answer_empty")


def _answer_text(content: object) -> str:
    """The model's text without its thinking and without the fence that some models put around JSON."""
    if isinstance(content, list):  # some reasoning models answer in parts
        content = "".join(part["text"] for part in map(mapping, content) if isinstance(part.get("text"), str))
    text = content if isinstance(content, str) else ""
    text = text.rpartition("</think>")[2].strip()  # some servers swallow the opening tag
    if text.startswith("```") and text.endswith("```"):
        text = text.strip("`").removeprefix("json").strip()
    return text


def _usage(reply: Reply, document: dict[str, Any]) -> Usage:
    reported = mapping(document.get("usage"))
    return Usage(
        tokens_in=count(reported.get("prompt_tokens")),
        tokens_out=count(reported.get("completion_tokens")),
        tokens_cached=count(mapping(reported.get("prompt_tokens_details")).get("cached_tokens")),
        cost_usd=amount(reported.get("cost"), MAX_CALL_USD),
        request_id=clean(document.get("id")) or clean(reply.headers.get("x-request-id")) or None,
        http_status=reply.status,
    )


# ── a reply that is none ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Failure:
    status: int  # the error's own code where it came inside HTTP 200
    error: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Meaning:
    kind: type[ClassifierError]
    reason: str = ""  # "" is the class's own


_NO_CREDIT = _Meaning(KeyRefused, "no_credit")
_TOO_LONG = _Meaning(MessageRefused, "too_long")
_ODD_REQUEST = _Meaning(AnswerUnusable, "request_refused")  # not told whether mail or settings are at fault

_BY_WORD: Final[dict[str, _Meaning]] = {
    # the key and the purse
    "authentication": _Meaning(KeyRefused),
    "invalid_api_key": _Meaning(KeyRefused),
    "permission_denied": _Meaning(KeyRefused),
    "region_restricted": _Meaning(KeyRefused),
    "payment_required": _NO_CREDIT,
    "insufficient_quota": _NO_CREDIT,  # OpenAI sends it as a 429, but no patience helps
    "openrouter_credits": _NO_CREDIT,
    "openrouter_key_limit": _NO_CREDIT,
    "openrouter_guardrail_budget": _NO_CREDIT,
    "openrouter_workspace_budget": _NO_CREDIT,
    "openrouter_in_flight_budget": _Meaning(RateLimited),  # a 402 that ends by itself: too many calls at once
    # the model and the settings
    "model_not_found": _Meaning(ModelUnknown),
    "model_deprecated": _Meaning(ModelUnknown),
    "no_endpoints": _Meaning(ModelUnknown),
    "privacy_restricted": _Meaning(ModelUnknown),
    "constraint_filtered": _Meaning(ModelUnknown),
    "free_variant_ended": _Meaning(ModelUnknown),
    "invalid_request": _Meaning(ModelUnknown, "request_refused"),
    # this mail
    "moderation": _Meaning(MessageRefused),
    "content_policy_violation": _Meaning(MessageRefused),
    "content_filter": _Meaning(MessageRefused),
    "refusal": _Meaning(MessageRefused),
    "prompt_injection": _Meaning(MessageRefused, "prompt_injection"),
    "context_length_exceeded": _TOO_LONG,
    "string_too_long": _TOO_LONG,
    "exceed_context_size_error": _TOO_LONG,  # llama.cpp
    "max_tokens_exceeded": _Meaning(AnswerUnusable, "answer_cut"),
}

_BY_STATUS: Final[dict[int, _Meaning]] = {
    400: _ODD_REQUEST,
    401: _Meaning(KeyRefused),
    402: _NO_CREDIT,
    403: _Meaning(KeyRefused),
    404: _Meaning(ModelUnknown),
    405: _Meaning(ModelUnknown),
    410: _Meaning(ModelUnknown),
    413: _TOO_LONG,
    422: _ODD_REQUEST,
    429: _Meaning(RateLimited),
}  # any other: 408, 425, all of 5xx, redirects, and whatever stands between us and the API

_OUR_SETTINGS: Final = frozenset({"model", "response_format", "temperature", "max_tokens", "max_completion_tokens"})


def refusal(reply: Reply, now: datetime) -> ClassifierError:
    """What a reply means that is no success, to a question that is about no mail."""
    document = json_object(reply.body)
    error = _explain(_Failure(reply.status, mapping(document.get("error")) or document), reply.headers, now)
    error.http_status = reply.status
    return error


def _find_failure(reply: Reply, document: dict[str, Any]) -> _Failure | None:
    """The failure that `reply` reports: by its status, or inside a body that came with HTTP 200."""
    succeeded = 200 <= reply.status < 300
    choice = _first_choice(document)
    for error in (document.get("error"), choice.get("error")):
        if error:
            details = mapping(error)
            return _Failure(_status_in(details) if succeeded else reply.status, details)
    if not succeeded:
        return _Failure(reply.status, document)  # some servers put type and code at the top
    if choice.get("finish_reason") == "error" or not document:  # no JSON at all: a gateway's page, not the API
        return _Failure(503, {})
    return None


def _explain(failure: _Failure, headers: Mapping[str, str], now: datetime) -> ClassifierError:
    words = [clean(word) for word in _words(failure.error) if isinstance(word, str)]
    meaning = next((_BY_WORD[word] for word in words if word in _BY_WORD), None)
    if meaning is None and failure.status in (400, 422) and _parameter(failure.error) in _OUR_SETTINGS:
        meaning = _Meaning(ModelUnknown, "request_refused")
    if meaning is None:
        meaning = _BY_STATUS.get(failure.status, _Meaning(ServiceUnavailable))
    wait_s = _wait_s(failure.error, headers, now)
    if meaning is _NO_CREDIT and wait_s is not None:  # a purse that says when it is filled again
        meaning = _Meaning(RateLimited)

    text = _SENTENCES.get((meaning.kind, meaning.reason)) or str(meaning.kind())
    text = f"{text.rstrip('.')} ({', '.join([f'HTTP {failure.status}', *filter(None, words[:2])])})."
    if meaning.kind is ModelUnknown:
        text = " ".join([text, *_hints(failure.error)])
    if issubclass(meaning.kind, RateLimited | ServiceUnavailable):
        return meaning.kind(text, wait_s=wait_s)
    return meaning.kind(text, reason=meaning.reason or None)


_SENTENCES: Final[dict[tuple[type[ClassifierError], str], str]] = {
    (KeyRefused, "no_credit"): "The API account or key has no credit left; add credit or raise its limit.",
    (ModelUnknown, "request_refused"): "The API refuses the request's settings; check model and response_format.",
    (AnswerUnusable, "request_refused"): "The API refuses the request; if it does for all, check response_format.",
    (AnswerUnusable, "answer_cut"): "The answer did not fit; change llm.max_output_tokens.",
    (MessageRefused, "too_long"): "The mail is too long for the model; lower processing.max_body_chars.",
    (MessageRefused, "prompt_injection"): "The API's guard sees a prompt injection in this mail.",
}


def _words(error: dict[str, Any]) -> Iterator[object]:
    """What the API calls the failure, the most specific word first."""
    metadata = mapping(error.get("metadata"))
    if metadata.get("patterns"):
        yield "prompt_injection"
    if metadata.get("reasons") or metadata.get("flagged_input"):
        yield "moderation"
    yield metadata.get("limit_source")
    yield metadata.get("error_type")
    yield error.get("code")
    yield error.get("type")


def _hints(error: dict[str, Any]) -> Iterator[str]:
    """What excluded every endpoint and which models would do, as far as the API says so in machine words."""
    metadata = mapping(error.get("metadata"))
    for sentence, key in (("Excluded by", "excluded_by"), ("It offers", "fallback_models")):
        named = metadata.get(key) or error.get(key)
        names = [clean(name) for name in list(named if isinstance(named, list | dict) else [named])[:MAX_NAMES]]
        if found := ", ".join(filter(None, names)):
            yield f"{sentence}: {found}."


def _parameter(error: dict[str, Any]) -> str:
    """The request's key that OpenAI complains of: "response_format.type" is about `response_format`."""
    return re.split(r"[.\[]", clean(error.get("param")), maxsplit=1)[0]


def _status_in(error: dict[str, Any]) -> int:
    code = error.get("code")
    if isinstance(code, str) and code.isdecimal():
        code = int(code[:3])
    return code if isinstance(code, int) and 400 <= code < 600 else 503


def _wait_s(error: dict[str, Any], headers: Mapping[str, str], now: datetime) -> float | None:
    """How long the API asks to wait, in seconds, at most `MAX_WAIT_S`; None when it names no time."""
    metadata = mapping(error.get("metadata"))
    inner = _inner_headers(error)
    named = (
        headers.get("retry-after"),
        mapping(error.get("availability")).get("retry_after"),
        headers.get("x-ratelimit-reset"),
        inner.get("x-ratelimit-reset"),
        metadata.get("resets_at"),
        error.get("resets_at"),
    )
    waits = (seconds_until(value, now) for value in named)
    return next((min(max(wait, 0.0), MAX_WAIT_S) for wait in waits if wait is not None), None)


def _announced(reply: Reply, document: dict[str, Any], now: datetime) -> Announced | None:
    return announced({**_inner_headers(mapping(document.get("error"))), **reply.headers}, now)


def _inner_headers(error: dict[str, Any]) -> dict[str, Any]:
    """OpenRouter repeats the headers of a refusal within it, which gateways leave alone."""
    return {str(name).lower(): value for name, value in mapping(mapping(error.get("metadata")).get("headers")).items()}


def _first_choice(document: dict[str, Any]) -> dict[str, Any]:
    choices = document.get("choices")
    return mapping(choices[0]) if isinstance(choices, list) and choices else {}
