"""The words of services for their errors, as tables: machine words, known sentences, HTTP statuses.

Many services say "no credit", "too long" or "unsafe" only in a sentence, with a status that other services use for
another error. So known sentences are read, too: those in the services' documentation and in public bug reports. A
machine word goes before a sentence. An error may echo the mail, so a sentence that was part of the request is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

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


@dataclass(frozen=True, slots=True)
class Meaning:
    """An error class and its reason; "" is the class's own reason."""

    kind: type[ClassifierError]
    reason: str = ""


KEY: Final = Meaning(KeyRefused)
NO_CREDIT: Final = Meaning(KeyRefused, "no_credit")
PATIENCE: Final = Meaning(RateLimited)
DOWN: Final = Meaning(ServiceUnavailable)
MODEL: Final = Meaning(ModelUnknown)
SETTINGS: Final = Meaning(ModelUnknown, "request_refused")
ADDRESS: Final = Meaning(ConnectionMisconfigured)
REFUSED: Final = Meaning(MessageRefused)
INJECTION: Final = Meaning(MessageRefused, "prompt_injection")
TOO_LONG: Final = Meaning(MessageRefused, "too_long")
CUT: Final = Meaning(AnswerUnusable, "answer_cut")
ODD_REQUEST: Final = Meaning(AnswerUnusable, "request_refused")  # the mail or the settings: the service does not say
RENAMED: Final = Meaning(AnswerUnusable, "limit_renamed")  # `max_tokens` has another name in this API

MOST_TEXT: Final = 2000  # characters read of a sentence


def squashed(word: str) -> str:
    """`API_KEY_INVALID`, `ApiKeyInvalid` and `api-key-invalid` are one word."""
    return re.sub(r"[\W_]", "", word).lower()


#: OpenRouter, OpenAI, Azure, Anthropic, Gemini, llama.cpp, vLLM, DashScope, MiniMax (`base_resp`).
_WORDS: Final[dict[Meaning, tuple[str, ...]]] = {
    KEY: (
        "invalid_api_key", "api_key_invalid", "incorrect_api_key", "authentication", "authentication_error",
        "unauthenticated", "unauthorized", "region_restricted", "unsupported_country_region_territory",
        "account_deactivated", "account_suspended", "access_terminated", "access_denied", "expired_api_key",
        "base_resp.1004", "base_resp.2049",
    ),
    NO_CREDIT: (
        "payment_required", "insufficient_quota", "insufficient_balance", "insufficient_balance_error",
        "insufficient_credits", "insufficient_funds", "billing_not_active", "billing_hard_limit_reached",
        "billing_error", "exceeded_current_quota_error", "arrearage", "account_overdue_error", "credit_limit_reached",
        "openrouter_credits", "openrouter_key_limit", "openrouter_guardrail_budget", "openrouter_workspace_budget",
        "budget_exceeded", "base_resp.1008",
    ),
    PATIENCE: (
        "openrouter_in_flight_budget",  # HTTP 402 for too many calls at once: passes by itself
        "rate_limit_exceeded", "rate_limit_error", "too_many_requests", "throttling", "throttling.ratequota",
        "base_resp.1002", "base_resp.1039",
    ),
    DOWN: ("overloaded_error", "provider_overloaded", "provider_unavailable", "base_resp.1000", "base_resp.1001"),
    MODEL: (
        "model_not_found", "model_deprecated", "model_decommissioned", "no_endpoints", "privacy_restricted",
        "constraint_filtered", "free_variant_ended", "deploymentnotfound", "model_not_available",
    ),
    ADDRESS: ("unknown_url",),
    REFUSED: (
        "moderation", "moderation_blocked", "content_policy_violation", "content_filter", "refusal", "safety",
        "responsible_ai_policy_violation", "data_inspection_failed", "sensitive_words_detected", "prohibited_content",
        "guardrail_intervened", "blocklist", "base_resp.1026", "base_resp.1027",
    ),
    INJECTION: ("prompt_injection",),
    TOO_LONG: (
        "context_length_exceeded", "string_too_long", "string_above_max_length", "exceed_context_size_error",
        "request_too_large", "context_window_exceeded", "input_too_long", "prompt_too_long",
    ),
    CUT: ("max_tokens_exceeded",),
}  # fmt: skip
BY_WORD: Final = {squashed(word): meaning for meaning, words in _WORDS.items() for word in words}
#: Vague words: a known sentence goes before them. The numbers are Zhipu's; other services may give them other meanings.
BY_VAGUE_WORD: Final = {
    "invalidrequest": SETTINGS,
    "permissiondenied": KEY,
    "notfounderror": MODEL,
    **dict.fromkeys(("1002", "1003", "1110", "1111", "1112"), KEY),
    "1113": NO_CREDIT,
    "1211": MODEL,
    "1261": TOO_LONG,
    "1301": REFUSED,
    **dict.fromkeys(("1302", "1303", "1305"), PATIENCE),
}

BY_STATUS: Final[dict[int, Meaning]] = {
    400: ODD_REQUEST,
    401: KEY,
    402: NO_CREDIT,
    403: KEY,
    404: MODEL,
    405: ADDRESS,
    406: DOWN,
    410: MODEL,
    413: TOO_LONG,
    422: ODD_REQUEST,
    429: PATIENCE,
}  # any other status, such as 408, 425, 5xx or a proxy's, means DOWN

_KEY: Final = r"\b(?:api[ _-]?(?:secret[ _-]?)?key|(?:api|access)[ _-]?token|auth\w* (?:token|header)|credentials?)\b"
_PURSE: Final = r"\b(?:balance|credits?|funds|quota|spend\w* limit|budget)\b"
_TOKENS: Final = r"(?:number of )?(?:allowed )?(?:input |prompt )?(?:tokens|length)"

#: The first match counts. `[^.]` keeps both ends of a pattern within one sentence.
_SENTENCES: Final[tuple[tuple[Meaning, tuple[str, ...]], ...]] = (
    (
        PATIENCE,
        (
            r"rate[ -]?limit\w* (?:reached|exceeded|hit)",
            r"too many (?:requests|concurrent)",
            r"(?:requests|tokens) per (?:min|day|hour|sec)",
            r"(?:try again|retry) in \d",
        ),
    ),
    (
        NO_CREDIT,
        (
            rf"\b(?:insufficient|not enough|out of|exhausted|no remaining|no more|used)\b[^.]{{0,40}}{_PURSE}",
            rf"\b(?:exceeded|reached) (?:your|its|the)\b[^.]{{0,40}}{_PURSE}",
            rf"{_PURSE}[^.]{{0,30}}\b(?:too low|insufficient|exhausted|depleted|used up|empty|overdue|exceeded)",
            r"billing[^.]{0,30}(?:not active|inactive|disabled|hard limit)",
            r"payment (?:is )?(?:required|overdue|failed)",
            rf"\b(?:not|n't|without)\b[^.]{{0,20}}\b(?:enough|sufficient)\b[^.]{{0,20}}{_PURSE}",
            r"more credits\b|can only afford|key limit exceeded",
            r"arrears|in good standing|余额不足|欠费|请充值",
        ),
    ),
    (
        KEY,
        (
            rf"\b(?:invalid|incorrect|wrong|expired|revoked|missing|malformed|unknown|disabled|no|bad)\b[^.]{{0,25}}{_KEY}",
            rf"{_KEY}[^.]{{0,40}}\b(?:(?:not |in)valid|incorrect|expired|revoked|missing|required|disabled|malformed)",
            rf"{_KEY}[^.]{{0,40}}\b(?:not found|not provided|does not exist|leaked|suspended)",
            rf"(?:provide|carry|set|pass|use)\b[^.]{{0,30}}{_KEY}",
            r"\b(?:not |un)(?:authenticated|authorized)\b",
            r"authentication (?:fail|error|required)|login fail|invalid token\b|invalid authorization",
            r"\baccount\b[^.]{0,40}\b(?:deactivated|suspended|disabled|(?:not |in)active|banned|locked|terminated)",
            r"\b(?:country|region|location)\b[^.]{0,40}\bnot (?:supported|available)",
        ),
    ),
    (
        TOO_LONG,
        (
            r"(?:maximum|max|available|model'?s?) (?:context|prompt|input|sequence|model) (?:length|size|window)",
            r"context[ _-]?(?:length|size|window)[^.]{0,60}(?:exceed|too (?:long|large|small)|only|overflow|limit)",
            rf"exceed\w*[^.]{{0,60}}(?:context|maximum {_TOKENS}|max_model_len|token limit)",
            r"(?:prompt|input|request|message|text|string|query)s?\b[^.]{0,40}\btoo (?:long|large|many tokens)",
            r"too many (?:input |prompt )?tokens|reduce the length|too large for (?:the )?(?:context|model)",
            r"\btokens?\b[^.]{0,40}\bexceed|must be at least 1, got -\d",
            r"longer than the (?:maximum )?model|greater than the context",
            r"inputs`? tokens \+|context shift is disabled|输入.{0,10}(?:超|过长)",
        ),
    ),
    (
        RENAMED,
        (
            r"\bmax_tokens\b.{0,80}\b(?:unsupported|not supported|use\b).{0,100}\bmax_completion_tokens",
            r"unsupported parameter.{0,20}\bmax_tokens\b",
            r"\b(?:unsupported|unrecognized|unknown|unexpected|extra|invalid)\b.{0,60}\bmax_(?:completion_)?tokens\b",
            r"\bmax_completion_tokens\b.{0,60}\b(?:unsupported|not (?:supported|permitted)|unrecognized|unknown|extra)",
        ),
    ),
    (
        REFUSED,
        (
            r"content[ _-]?(?:polic|filter|management|moderation)",
            r"safety (?:system|filter|polic|setting|reason|guideline|check)",
            r"\b(?:prohibited|inappropriate|harmful|unsafe|sensitive)[ _](?:content|use|words|information)",
            r"\bcontent\b[^.]{0,40}\b(?:prohibited|inappropriate|harmful|unsafe|sensitive|exists risk|flagged|violat)",
            r"\bblocked\b[^.]{0,40}\b(?:safety|polic\w+|filter|guardrails?|moderation|prohibited|content)",
            r"may contain [^.]{0,20}(?:violen|sexual|hate|explicit)",
            r"responsible ai|(?:usage|acceptable use) polic|\bmoderation\b|flagged (?:by|as|for)",
            r"敏感|违规|不安全",
        ),
    ),
    (
        ADDRESS,
        (
            r"unexpected endpoint|unknown (?:request )?(?:url|endpoint|path|route)|unrecognized request url",
            r"invalid (?:url|endpoint|path)\b|no route matched|\broute\b.{0,60}not found",
            r"requested url\b.{0,80}not found|page not found|file not found|cannot (?:post|get) /|method not allowed",
            r"^\W*(?:resource )?not found\W*$",
        ),
    ),
    (
        MODEL,
        (
            r"\bmodel\b[^.]{0,80}\b(?:not (?:found|exist|supported|available|loaded)|(?:does not|doesn't) exist)",
            r"\bmodel\b[^.]{0,80}\b(?:no longer|deprecated|decommissioned)|try pulling it",
            r"\b(?:unknown|invalid|no such|unsupported|not a valid) model\b|no models? (?:loaded|found|available)",
            r"deployment[^.]{0,40}not exist",
        ),
    ),
)
BY_SENTENCE: Final = tuple((meaning, re.compile("|".join(patterns), re.IGNORECASE)) for meaning, patterns in _SENTENCES)

#: Squashed values of `finish_reason` and similar keys: why a model stopped.
SAYS_UNSAFE: Final = re.compile(
    "safety|contentfilter|prohibited|blocklist|spii|recitation|refus|sensitive|guardrail|moderat|blocked|violation"
)
SAYS_CUT: Final = re.compile("^(length|maxtokens|modellength|maxoutputtokens|tokenlimit|maxlength)$")
SAYS_FAILED: Final = re.compile("^(error|networkerror|insufficientsystemresource|abort|aborted|cancelled)$")


def by_sentence(texts: Iterable[str], sent: str) -> Meaning | None:
    """The first meaning of the table with a known sentence in `texts`. `sent`: the request's text, in lower case."""
    found = [text[:MOST_TEXT] for text in texts]
    for meaning, pattern in BY_SENTENCE:
        for text in found:
            match = pattern.search(text)
            if match is not None and match[0].strip().lower() not in sent:
                return meaning
    return None
