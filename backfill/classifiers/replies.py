"""An API's reply as an answer to the rubric with its cost, or an error that says what to do next.

Pure: no network, no clock. Nothing is guessed: a score is an integer from 0 to 10 (7.0, "7", true and NaN are none), a
category is a name of the list, and a value that the reply does not have is None. `answers` finds the values, `failures`
reads the errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from backfill.classifiers.answers import Asked, Values, answers_in
from backfill.classifiers.failures import Failure, Said, explain, failure_of, inner_headers
from backfill.classifiers.meanings import SAYS_CUT, SAYS_FAILED, SAYS_UNSAFE, squashed
from backfill.classifiers.questions import A_NAME, CATEGORY, MOST_REASON, REASON, key_of, keys_of
from backfill.classifiers.rate_headers import announced
from backfill.classifiers.streamed import put_together
from backfill.classifiers.untrusted import MAX_CALL_USD, amount, clean, count, json_object, mapping
from backfill.errors import AnswerUnusable, ClassifierError, Concession, MessageRefused, ServiceUnavailable
from backfill.http.client import Reply
from backfill.redaction import redacted
from backfill.rubric import Rubric
from backfill.verdict import Announced, Answer, Scores, Usage
from backfill.wording import one_line

#: What a second try may change, by the error's reason. With other reasons it would fail in the same way.
_CONCESSIONS: Final = {
    "too_long": Concession.SHORTER,
    "answer_cut": Concession.ROOMIER,
    "limit_renamed": Concession.RENAMED,
    "answer_unlisted": Concession.REMINDED,
}


def read_reply(reply: Reply, now: datetime, rubric: Rubric, *, sent: str = "", api_url: str = "") -> Answer:
    """The answer in `reply` to what `rubric` asks.

    `now`: the present time, to turn the times that the API names into waits.
    `sent`: the text that was sent, which errors may echo. `api_url`: for advice when it is wrong. Raises a
    `ClassifierError` with the HTTP status, and with the usage if the API reported it.
    """
    streamed = put_together(reply.body)
    document = json_object(reply.body) if streamed is None else streamed
    usage = _usage(reply, document)
    try:
        if (failure := failure_of(reply.status, reply.body, document)) is not None:
            if streamed is not None and failure.is_bare:
                raise ServiceUnavailable("The API answers with a stream of events that holds no answer.")
            raise explain(failure, reply.headers, now, sent=sent, api_url=api_url)
        usage = replace(usage, announced=_announced(reply, document, now))
        answer = _answer(_values(document, rubric), rubric)
        return replace(answer, model=clean(document.get("model")) or None, usage=usage)
    except ClassifierError as error:
        error.http_status = reply.status
        error.usage = usage if isinstance(document.get("usage"), dict) else None
        error.announced = _announced(reply, document, now)
        error.concession = _CONCESSIONS.get(error.reason)
        raise


def refusal(reply: Reply, now: datetime, *, api_url: str = "") -> ClassifierError:
    """The error for an unsuccessful reply to a question that is not about a mail."""
    failure = failure_of(reply.status, reply.body, json_object(reply.body))
    error = explain(failure or Failure(reply.status, {}, Said()), reply.headers, now, sent="", api_url=api_url)
    error.http_status = reply.status
    return error


def _values(document: dict[str, Any], rubric: Rubric) -> Values:
    """The values of the one object that counts."""
    choices = document.get("choices")
    choice = mapping(choices[0]) if isinstance(choices, list) and choices else {}
    stops = [choice.get("finish_reason"), choice.get("native_finish_reason"), *_blocks(document)]
    ends = [squashed(stop) for stop in stops if isinstance(stop, str)]
    if any(SAYS_UNSAFE.search(end) for end in ends) or mapping(choice.get("message")).get("refusal"):
        said = next((clean(stop) for stop in stops if isinstance(stop, str) and SAYS_UNSAFE.search(squashed(stop))), "")
        raise MessageRefused(f"The model or its service refused to judge this mail{f' ({said})' if said else ''}.")
    if any(SAYS_FAILED.search(end) for end in ends):
        raise ServiceUnavailable("The API did not finish its answer.")
    is_cut = any(SAYS_CUT.search(end) for end in ends)
    asked = Asked(keys_of(rubric), frozenset({REASON}), frozenset({A_NAME}))
    found, says_something = answers_in(choice, asked, is_whole=not is_cut)
    if len(found) == 1:
        return found[0]
    if is_cut:  # a reasoning model may use all its tokens for thoughts
        raise AnswerUnusable("The answer was cut off; raise llm.max_output_tokens.", reason="answer_cut")
    if found:
        raise AnswerUnusable("The model's answer has several verdicts that disagree.", reason="answer_invalid")
    if says_something:
        raise _invalid(rubric)
    raise AnswerUnusable("The model's answer is empty.", reason="answer_empty")


def _answer(values: Values, rubric: Rubric) -> Answer:
    given = dict(zip(keys_of(rubric), values, strict=True))
    try:
        scores = Scores({score.name: given[key_of(score)] for score in rubric.scores})
    except ValueError as error:
        raise _invalid(rubric) from error
    return Answer(
        scores,
        source="chat",
        category=_category(given[CATEGORY], rubric) if rubric.categories else None,
        reason=_reason(given[REASON], rubric) if rubric.reason else "",
    )


def _category(given: object, rubric: Rubric) -> str:
    """The category as the rubric spells it. Only letter case and blanks around it may differ: no name is guessed."""
    known = rubric.category(given) if isinstance(given, str) else None
    if known is None:
        raise AnswerUnusable("The model's answer names a category that is not in the list.", reason="answer_unlisted")
    return known.name


def _reason(given: object, rubric: Rubric) -> str:
    if not isinstance(given, str):
        raise _invalid(rubric)
    return one_line(redacted(given), MOST_REASON)


def _invalid(rubric: Rubric) -> AnswerUnusable:
    count = len(rubric.scores)
    parts = [f"{'two' if count == 2 else count} score{'' if count == 1 else 's'} from 0 to 10"] if count else []
    parts += [*(["a category of the list"] if rubric.categories else []), *(["a reason"] if rubric.reason else [])]
    reason = "answer_unlisted" if rubric.categories else "answer_invalid"
    return AnswerUnusable(f"The model's answer is not a JSON object with {', '.join(parts)}.", reason=reason)


def _blocks(document: dict[str, Any]) -> list[object]:
    """The reasons for which a service's filter stopped the request, in Gemini's and Azure's form."""
    feedback = mapping(document.get("promptFeedback")) or mapping(document.get("prompt_feedback"))
    reasons: list[object] = [feedback.get("blockReason"), feedback.get("block_reason"), document.get("stop_reason")]
    filtered = document.get("prompt_filter_results")
    has_no_answer = not document.get("choices")
    if (
        has_no_answer
        and isinstance(filtered, list)
        and any('"filtered": true' in json.dumps(part, default=str) for part in filtered)
    ):
        reasons.append("content_filter")
    return [reason if reason is None else f"blocked.{reason}" for reason in reasons[:2]] + reasons[2:]


def _usage(reply: Reply, document: dict[str, Any]) -> Usage:
    reported = mapping(document.get("usage"))
    cached = mapping(reported.get("prompt_tokens_details")).get("cached_tokens")
    return Usage(
        tokens_in=count(reported.get("prompt_tokens")),
        tokens_out=count(reported.get("completion_tokens")),
        tokens_cached=count(cached),
        cost_usd=amount(reported.get("cost"), MAX_CALL_USD),
        request_id=clean(document.get("id")) or clean(reply.headers.get("x-request-id")) or None,
        http_status=reply.status,
    )


def _announced(reply: Reply, document: dict[str, Any], now: datetime) -> Announced | None:
    headers: Mapping[str, str] = {**inner_headers(mapping(document.get("error"))), **reply.headers}
    return announced(headers, now)
