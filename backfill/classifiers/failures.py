"""What a reply means that holds no verdict: the error that says what becomes of mail and run, and what to do.

This is the one door through which a service's words reach an error's text: only machine words pass, cut and cleaned.
Its sentences are read for their meaning (see `meanings`) and never repeated, since they may echo the mail or the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from backfill.classifiers import meanings
from backfill.classifiers.addresses import advice
from backfill.classifiers.meanings import BY_STATUS, BY_VAGUE_WORD, BY_WORD, Meaning, squashed
from backfill.classifiers.rate_headers import MAX_WAIT_S, header_wait_s, seconds_until
from backfill.classifiers.untrusted import clean, json_value, mapping
from backfill.errors import (
    AnswerUnusable,
    ClassifierError,
    ConnectionMisconfigured,
    KeyRefused,
    MessageRefused,
    ModelUnknown,
    RateLimited,
    ServiceUnavailable,
)

MAX_NAMES: Final = 5  # that an error message takes over
MOST_DEPTH, MOST_WORDS = 6, 40  # of an error's document that are looked at

_SENTENCES: Final[dict[tuple[type[ClassifierError], str], str]] = {
    (KeyRefused, "no_credit"): "The API account or key has no credit left; add credit or raise its limit.",
    (ModelUnknown, "request_refused"): "The API refuses the request's settings; check model and response_format.",
    (AnswerUnusable, "request_refused"): "The API refuses the request; if it does for all, check response_format.",
    (AnswerUnusable, "limit_renamed"): "The API has another name for the limit of an answer's length.",
    (AnswerUnusable, "answer_cut"): "The answer did not fit; change llm.max_output_tokens.",
    (MessageRefused, "too_long"): "The mail is too long for the model; lower processing.max_body_chars.",
    (MessageRefused, "prompt_injection"): "The API's guard sees a prompt injection in this mail.",
}
_OUR_SETTINGS: Final = frozenset({"model", "response_format", "temperature", "max_tokens", "max_completion_tokens"})
#: Statuses under which sentences about addresses and models are believed: others are trouble that passes.
_FOR_GOOD: Final = frozenset({200, 400, 404, 405, 410, 422, 501})


@dataclass(slots=True)
class Said:
    """What an error says, in its order."""

    words: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Failure:
    """`status` is the reply's; `error` its innermost error object, {} where it has none; `is_bare`: none at all."""

    status: int
    error: dict[str, Any]
    said: Said
    is_bare: bool = False
    is_page: bool = False  # a text for people, no JSON


def failure_of(status: int, body: bytes, document: dict[str, Any]) -> Failure | None:
    """The failure that a reply reports: by its status, or inside a body that came with HTTP 200. None: it is none."""
    has_succeeded = 200 <= status < 300
    choice = _first_choice(document)
    for error in (document.get("error"), choice.get("error")):
        if error:
            return Failure(status, mapping(error), _said(error))
    value = json_value(body)
    if isinstance(value, list) and value and isinstance(value[0], dict):  # Gemini's way
        return failure_of(status, b"", value[0]) or Failure(status, value[0], _said(value[0]))
    said = _said({name: part for name, part in document.items() if name not in _NO_ERRORS})
    is_bare = not any(name in document for name in _ENVELOPES)
    if not has_succeeded:
        return Failure(status, document, said, is_bare, is_page=not document and bool(body.strip()))
    if not document:  # no JSON at all: a gateway's page, not the API
        return Failure(status, {}, Said(), is_bare=True, is_page=bool(re.match(rb"\s*[^\s{\[]", body)))
    if not choice and (said.sentences or any(word.startswith("base_resp") for word in said.words)):
        return Failure(status, document, said, is_bare)
    return None


#: What a document with an answer has; and where an error of the API's own stands.
_NO_ERRORS: Final = frozenset({"choices", "usage", "model", "id", "object", "created", "system_fingerprint"})
_ENVELOPES: Final = ("error", "errors", "detail", "base_resp", "error_code", "error_msg", "object", "code")
#: Names under which services put machine words, and sentences. Values that echo the request are left out.
_WORD_NAMES: Final = frozenset(
    {"code", "type", "status", "errortype", "reason", "errorcode", "statuscode", "blockreason", "limitsource"}
    | {"errcode", "httpcode", "finishreason"}
)
_TEXT_NAMES: Final = frozenset(
    {"message", "msg", "errormsg", "statusmsg", "errormessage", "detail", "details", "errordescription", "title"}
    | {"error", "errors", "raw", "fault", "faultstring", "innererror", "metadata", "baseresp", "loc", "param"}
)


def _said(error: object) -> Said:
    said = Said()
    _collect(error, "error", said, 0)
    return said


def _collect(value: object, name: str, said: Said, depth: int) -> None:
    """Walk an error's document. A code is a word, and where it is a number between 400 and 599 a status, too."""
    if depth > MOST_DEPTH or len(said.words) + len(said.sentences) > MOST_WORDS:
        return
    match value:
        case dict():
            metadata = mapping(value.get("metadata"))
            if metadata.get("patterns") or value.get("patterns"):
                said.words.append("prompt_injection")
            if metadata.get("reasons") or metadata.get("flagged_input"):
                said.words.append("moderation")
            if name == "baseresp" and value.get("status_code"):
                said.words.append(clean(f"base_resp.{value['status_code']}"))
            parts = sorted(value.items(), key=lambda item: _rank(str(item[0])))
            for key, part in parts:
                known = squashed(str(key))
                if known in _WORD_NAMES or known in _TEXT_NAMES:
                    _collect(part, known, said, depth + 1)
        case list():
            if name == "loc":
                said.sentences.append(f"unsupported: {' '.join(map(str, value))}")
            else:
                for part in value[:MAX_NAMES]:
                    _collect(part, name, said, depth + 1)
        case bool():
            pass
        case int():
            if 400 <= value < 600:
                said.codes.append(value)
            if name in _WORD_NAMES and name != "status":
                said.words.append(str(value))
        case str() if name in _WORD_NAMES and " " not in value.strip():
            said.words.append(clean(value))
            if value[:3].isdecimal() and 400 <= int(value[:3]) < 600:
                said.codes.append(int(value[:3]))
        case str():
            inner = json_value(value.encode("utf-8", "replace")) if value.lstrip()[:1] in ("{", "[") else None
            if isinstance(inner, dict | list):  # OpenRouter hands on a provider's own error as text
                _collect(inner, "error", said, depth + 1)
            elif value.strip():
                said.sentences.append(value)


def _rank(key: str) -> int:
    """The most specific word first: what a gateway has added, the code, the type, whatever else there is."""
    order = ("metadata", "limit_source", "error_type", "code", "type")
    return order.index(key) if key in order else len(order)


def explain(failure: Failure, headers: Mapping[str, str], now: datetime, *, sent: str, api_url: str) -> ClassifierError:
    """The error that says what to do. `sent`: all text that was sent, which a sentence of the API's may only echo."""
    said = failure.said
    inner_wait_s, wait_s = _inner_wait_s(failure.error, now), header_wait_s(headers, now)
    meaning = _meaning(failure, sent.lower())
    if meaning == meanings.NO_CREDIT:
        # A purse that says when it is filled again. A Retry-After stands at every 429, also where no patience helps.
        is_told = any(squashed(word) in BY_WORD for word in said.words) or bool(said.sentences)
        if inner_wait_s is not None or (wait_s is not None and not is_told):
            meaning = meanings.PATIENCE
    wait_s = wait_s if wait_s is not None else inner_wait_s

    named = [word for word in said.words if not word.isdecimal()][:2]
    text = _SENTENCES.get((meaning.kind, meaning.reason)) or str(meaning.kind())
    if meaning.kind is ConnectionMisconfigured:
        text = f"llm.api_url leads to no chat-completions API: {advice(api_url)}."
        if 300 <= failure.status < 400:
            named.append("it sends elsewhere")
        elif failure.is_page:
            named.append("it answers with a page for people")
    text = f"{text.rstrip('.')} ({', '.join([f'HTTP {failure.status}', *filter(None, named)])})."
    if meaning.kind is ModelUnknown:
        text = " ".join([text, *_hints(failure.error)])
    if issubclass(meaning.kind, RateLimited | ServiceUnavailable):
        error: ClassifierError = meaning.kind(text, wait_s=wait_s)
    else:
        error = meaning.kind(text, reason=meaning.reason or None)
    error.is_bare = failure.is_bare
    return error


def _meaning(failure: Failure, sent: str) -> Meaning:
    words = [squashed(word) for word in failure.said.words]
    for word in words:
        if word in BY_WORD:
            return BY_WORD[word]
    status = failure.status
    if not 400 <= status < 600 and failure.said.codes:
        status = failure.said.codes[0]
    found = meanings.by_sentence(failure.said.sentences, sent)
    if found in (meanings.ADDRESS, meanings.MODEL, meanings.RENAMED) and status not in _FOR_GOOD:
        found = None
    if found is None and status in (400, 422) and _parameter(failure.error) in _OUR_SETTINGS:
        found = meanings.SETTINGS
    found = found or next((BY_VAGUE_WORD[word] for word in words if word in BY_VAGUE_WORD), None)
    if found is not None:
        return found
    if 300 <= status < 400 or (failure.is_page and status == 200) or (failure.is_bare and status == 404):
        return meanings.ADDRESS
    return BY_STATUS.get(status, meanings.DOWN)


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


def _inner_wait_s(error: dict[str, Any], now: datetime) -> float | None:
    """How long the error itself asks to wait, in seconds, at most `MAX_WAIT_S`; None when it names no time to come."""
    metadata = mapping(error.get("metadata"))
    details = error.get("details")
    named = (
        mapping(error.get("availability")).get("retry_after"),
        inner_headers(error).get("retry-after"),
        inner_headers(error).get("x-ratelimit-reset"),
        metadata.get("resets_at"),
        error.get("resets_at"),
        # Gemini's RetryInfo: "34s"
        *(mapping(detail).get("retryDelay") for detail in (details if isinstance(details, list) else ())),
    )
    waits = (seconds_until(value, now) for value in named)
    return next((min(wait, MAX_WAIT_S) for wait in waits if wait is not None and wait > 0), None)


def inner_headers(error: dict[str, Any]) -> dict[str, Any]:
    """OpenRouter repeats the headers of a refusal within it, which gateways leave alone."""
    return {str(name).lower(): value for name, value in mapping(mapping(error.get("metadata")).get("headers")).items()}


def _first_choice(document: dict[str, Any]) -> dict[str, Any]:
    choices = document.get("choices")
    return mapping(choices[0]) if isinstance(choices, list) and choices else {}
