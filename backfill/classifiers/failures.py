"""The error for a reply without a verdict. It decides what becomes of the mail and the run, and says what to do.

Only this module puts a service's words into an error's text: machine words, cut and cleaned. A service's sentences are
read for their meaning (see `meanings`) and never repeated: they may echo the mail or the key.
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
from backfill.http.waits import MAX_WAIT_S, header_wait_s, seconds_until

MAX_NAMES: Final = 5  # names from a reply in one error message
MOST_DEPTH, MOST_WORDS = 6, 40  # levels, and words with sentences, read of one error document

_SENTENCES: Final[dict[tuple[type[ClassifierError], str], str]] = {
    (KeyRefused, "no_credit"): "The API account or key has no credit left; add credit or raise its limit.",
    (ModelUnknown, "request_refused"): "The API refuses the request's settings; check model and response_format.",
    (
        AnswerUnusable,
        "request_refused",
    ): "The API refuses the request; if it refuses every mail, check response_format.",
    (AnswerUnusable, "limit_renamed"): "The API has another name for the limit of an answer's length.",
    (AnswerUnusable, "answer_cut"): "The answer did not fit; change llm.max_output_tokens.",
    (MessageRefused, "too_long"): "The mail is too long for the model; lower processing.max_body_chars.",
    (MessageRefused, "prompt_injection"): "The API's filter finds a prompt injection in this mail.",
}
_OUR_SETTINGS: Final = frozenset({"model", "response_format", "temperature", "max_tokens", "max_completion_tokens"})
#: HTTP statuses with which sentences about addresses and models are believed. With others the trouble may pass.
_FOR_GOOD: Final = frozenset({200, 400, 404, 405, 410, 422, 501})


@dataclass(slots=True)
class Said:
    """What an error says, in its order: machine words, sentences for people, and HTTP statuses."""

    words: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Failure:
    """A reply without a verdict.

    `status`: the reply's. `error`: its error object, {} if it has none. `is_bare`: no key shows that the API itself
    wrote the reply.
    """

    status: int
    error: dict[str, Any]
    said: Said
    is_bare: bool = False
    is_page: bool = False  # the body is no JSON, such as a web page


def failure_of(status: int, body: bytes, document: dict[str, Any]) -> Failure | None:
    """The failure that a reply reports, by its status or within a body with HTTP 200; None when it reports none."""
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
    if not document:  # no JSON object: a gateway's page, not the API
        return Failure(status, {}, Said(), is_bare=True, is_page=bool(re.match(rb"\s*[^\s{\[]", body)))
    if not choice and (said.sentences or any(word.startswith("base_resp") for word in said.words)):
        return Failure(status, document, said, is_bare)
    return None


#: Keys of a document with an answer, which are not searched for an error; and keys of an API's own error.
_NO_ERRORS: Final = frozenset({"choices", "usage", "model", "id", "object", "created", "system_fingerprint"})
_ENVELOPES: Final = ("error", "errors", "detail", "base_resp", "error_code", "error_msg", "object", "code")
#: Keys under which services put machine words, and keys for sentences. Values of other keys may echo the request.
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
    """Walk an error's document. A code is a word; a code from 400 to 599 is also a status."""
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
            if isinstance(inner, dict | list):  # OpenRouter passes a provider's error on as JSON text
                _collect(inner, "error", said, depth + 1)
            elif value.strip():
                said.sentences.append(value)


def _rank(key: str) -> int:
    """The most specific first: what a gateway has added, the error type, the code, the type, then all others."""
    order = ("metadata", "limit_source", "error_type", "code", "type")
    return order.index(key) if key in order else len(order)


def explain(failure: Failure, headers: Mapping[str, str], now: datetime, *, sent: str, api_url: str) -> ClassifierError:
    """The error for a failure. `sent`: all text that was sent; a sentence found in it counts as an echo."""
    said = failure.said
    inner_wait_s, wait_s = _inner_wait_s(failure.error, now), header_wait_s(headers, now)
    meaning = _meaning(failure, sent.lower())
    if meaning == meanings.NO_CREDIT:
        # A time in the error's body says when there is credit again, so it is a wait. A Retry-After header says so only
        # without any "no credit" in the body: some services send the header with every 429.
        is_told = any(squashed(word) in BY_WORD for word in said.words) or bool(said.sentences)
        if inner_wait_s is not None or (wait_s is not None and not is_told):
            meaning = meanings.PATIENCE
    wait_s = wait_s if wait_s is not None else inner_wait_s

    named = [word for word in said.words if not word.isdecimal()][:2]
    text = _SENTENCES.get((meaning.kind, meaning.reason)) or str(meaning.kind())
    if meaning.kind is ConnectionMisconfigured:
        text = f"llm.api_url leads to no chat-completions API: {advice(api_url)}."
        if 300 <= failure.status < 400:
            named.append("it redirects")
        elif failure.is_page:
            named.append("it answers with a web page")
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
    """What excluded every endpoint, and which models are offered instead, if the API names them."""
    metadata = mapping(error.get("metadata"))
    for sentence, key in (("Excluded by", "excluded_by"), ("It offers", "fallback_models")):
        named = metadata.get(key) or error.get(key)
        names = [clean(name) for name in list(named if isinstance(named, list | dict) else [named])[:MAX_NAMES]]
        if found := ", ".join(filter(None, names)):
            yield f"{sentence}: {found}."


def _parameter(error: dict[str, Any]) -> str:
    """The request's key that the error is about: `response_format` for OpenAI's "response_format.type"."""
    return re.split(r"[.\[]", clean(error.get("param")), maxsplit=1)[0]


def _inner_wait_s(error: dict[str, Any], now: datetime) -> float | None:
    """The wait that the error's body asks for, in seconds, at most `MAX_WAIT_S`; None when it names no future time."""
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
    """The headers in an error's body. OpenRouter repeats them there; gateways may change the reply's own headers."""
    return {str(name).lower(): value for name, value in mapping(mapping(error.get("metadata")).get("headers")).items()}


def _first_choice(document: dict[str, Any]) -> dict[str, Any]:
    choices = document.get("choices")
    return mapping(choices[0]) if isinstance(choices, list) and choices else {}
