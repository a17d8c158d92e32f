"""The kinds of values that keys take, each with the sentence for a value that it does not take.

A sentence says what is allowed and never repeats what was given: that may be a misplaced secret.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, TypeAdapter

from backfill import outputs
from backfill.hosts import LOOPBACK_FORMS, bare, is_loopback
from backfill.hours import Hours
from backfill.keywords import RULE as KEYWORD_RULE
from backfill.keywords import is_keyword
from backfill.ledger_url import RULE as LEDGER_URL_RULE
from backfill.ledger_url import is_ledger_url
from backfill.limits import BOUNDS, MOST_COUNT


def must(pattern: str, requirement: str) -> AfterValidator:
    """A validator: the whole string matches `pattern`, or the message is `requirement`."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(requirement)
        return value

    return AfterValidator(check)


def _split_by(split: Callable[[str], list[str]]) -> BeforeValidator:
    """A validator: one string, as an environment variable holds it, becomes a list."""
    return BeforeValidator(lambda value: split(value) if isinstance(value, str) else value)


def _keyword(word: str) -> str:
    if not is_keyword(word):
        raise ValueError(f"should be {KEYWORD_RULE}")
    return word


def _effect(name: str) -> str:
    if name not in outputs.NAMES:
        *others, last = (f"'{known}'" for known in outputs.NAMES)
        raise ValueError(f"should be {', '.join(others)} or {last}")
    return name


def _ledger_url(url: str) -> str:
    if not is_ledger_url(url):
        raise ValueError(f"should be {LEDGER_URL_RULE}")
    return url


def _host_name(host: str) -> str:
    """A host as a socket takes it. Refuses host:port, which has one colon; an IPv6 address has more."""
    host = bare(host)
    if host.count(":") == 1:
        raise ValueError("should be a bare host name; the port belongs in imap.port")
    return host


Text = Annotated[str, must(r"(?s).*\S.*", "should not be empty")]
HostName = Annotated[
    str,
    must(r"[^\s/@]+", "should be a bare host name, without imaps:// and without user"),
    AfterValidator(_host_name),
]
Keyword = Annotated[str, AfterValidator(_keyword)]
VariableName = Annotated[
    str, must(r"[A-Za-z_][A-Za-z0-9_]*", "should be the name of an environment variable, never the secret itself")
]
HeaderName = Annotated[
    str,
    must(
        r"(?i)(?!(host|content-.*|connection|transfer-encoding|idempotency-key|user-agent|accept.*)$)[a-z0-9-]+",
        "should be the name of a header that is not sent anyway, e.g. Authorization or X-Secret",
    ),
]
Criteria = Annotated[str, must(r"[\x20-\x7e]+", "should be IMAP search criteria on one line in ASCII")]
LedgerUrl = Annotated[str, AfterValidator(_ledger_url)]
EffectName = Annotated[str, AfterValidator(_effect)]
Argv = Annotated[tuple[Text, ...], _split_by(shlex.split), Field(min_length=1)]
EffectNames = Annotated[tuple[EffectName, ...], _split_by(lambda text: re.findall(r"[^,\s]+", text))]
Count = Annotated[int, Field(ge=1, le=MOST_COUNT)]
Bytes = Annotated[int, Field(ge=1, le=10**15)]  # a petabyte
Score = Annotated[int, Field(ge=0, le=10)]


def within(limit: str) -> Any:
    """A field's constraint: the same bounds as on the command line."""
    bounds = BOUNDS[limit]
    is_rate = 0 < bounds.least < 1
    return Field(le=bounds.most, **{"gt": 0} if is_rate else {"ge": bounds.least})


def is_enough(limit: str) -> AfterValidator:
    """A validator: the value is not below the least that the bounds allow, e.g. 0.00001 calls a minute."""

    def check(value: Any) -> Any:
        if value < BOUNDS[limit].least:
            raise ValueError(f"should be at least {BOUNDS[limit].least:f}")
        return value

    return AfterValidator(check)


Money = Annotated[Decimal, within("max_cost_usd"), is_enough("max_cost_usd")]
_CallsAtOnce: Final = TypeAdapter(Annotated[int, within("concurrency")])
Concurrency = Annotated[  # not a plain union, whose message would speak of both
    int | Literal["auto"],
    PlainValidator(lambda value: value if value == "auto" else _CallsAtOnce.validate_python(value)),
]
DailyHours = Annotated[
    Hours, PlainValidator(lambda value: value if isinstance(value, Hours) else Hours.parse(str(value)))
]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, coerce_numbers_to_str=True)


def safe_url(value: str, example: str, sends: str) -> str:
    """`value`, if it is a URL that sends nothing in clear to another machine. `sends`: what it would send."""
    try:
        url = urlsplit(value)
    except ValueError:
        raise ValueError("should be a URL") from None
    if url.scheme not in ("http", "https") or not url.hostname or url.username is not None:
        raise ValueError(f"should be a URL like {example}, without user and password")
    if url.scheme == "http" and not is_loopback(url.hostname):
        raise ValueError(
            f"should begin with https: http sends {sends} in clear, so it is for loopback only ({LOOPBACK_FORMS})"
        )
    return value
