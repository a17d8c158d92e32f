"""What came from an API, narrowed to types: nothing in it is trusted to be what it should be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from backfill.redaction import redacted

# What nobody can have meant is not known, so that the ledger's columns and sums never overflow: no model reads a
# thousandth of these tokens in a call, and nobody sells a call, a token or a key for so much.
MAX_TOKENS: Final = 10**9
MAX_USD: Final = 10**6
MAX_CALL_USD: Final = 1000  # nine million of them fit into the ledger's nano-dollars
MAX_TOKEN_USD: Final = 1


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP response, whole. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def json_value(body: bytes) -> Any:
    """The body's JSON, None when it is none. Fractions come as Decimal: they may be money.

    A byte order mark and a byte that is no UTF-8 are no reason to lose an answer.
    """
    try:
        return json.loads(body, parse_float=Decimal)
    except UnicodeDecodeError:
        return json_value(body.decode("utf-8", "replace").encode())
    except (ValueError, ArithmeticError, RecursionError):  # Decimal has no room for 1e99999999999999999999
        return None


def json_object(body: bytes) -> dict[str, Any]:
    """The body's JSON object; {} when it is anything else."""
    return mapping(json_value(body))


def mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def count(value: object) -> int | None:
    """A number of tokens, which some gateways write as 12.0 or "12"; None for what is none."""
    number = _number(value)
    return int(number) if number is not None and number <= MAX_TOKENS and number == int(number) else None


def amount(value: object, most_usd: int = MAX_USD) -> Decimal | None:
    """An amount of money; None for what is none, less than nothing, or more than anybody can have meant.

    Only a plain number is one: with a currency's sign or a comma in it, nobody knows of what it is an amount.
    """
    number = _number(value)
    return number if number is not None and number <= most_usd else None


def _number(value: object) -> Decimal | None:
    """A number that is not negative, also as a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    if isinstance(value, str) and not _PLAIN.fullmatch(value.strip()):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() and number >= 0 else None


_PLAIN: Final = re.compile(r"\+?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})(e[+-]?\d{1,3})?", re.IGNORECASE | re.ASCII)


def clean(word: object) -> str:
    """A machine word, fit for a log line; what has other characters in it is cut down to those.

    The key is no machine word: what an API quotes of it becomes `***`, before it is cut or stripped of characters.
    """
    return re.sub(r"[^\w.:/*-]", "", redacted(word), flags=re.ASCII)[:80] if isinstance(word, str) else ""
