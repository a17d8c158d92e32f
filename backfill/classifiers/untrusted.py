"""What came from an API, narrowed to types: nothing in it is trusted to be what it should be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

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


def json_object(body: bytes) -> dict[str, Any]:
    """The body's JSON object; {} when it is anything else. Fractions come as Decimal: they may be money."""
    try:
        return mapping(json.loads(body, parse_float=Decimal))
    except (ValueError, ArithmeticError, RecursionError):  # Decimal has no room for 1e99999999999999999999
        return {}


def mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def count(value: object) -> int | None:
    """A number of tokens; None for what is none."""
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


def amount(value: object, most_usd: int = MAX_USD) -> Decimal | None:
    """An amount of money; None for what is none, less than nothing, or more than anybody can have meant."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    try:
        usd = Decimal(value)
    except InvalidOperation:
        return None
    return usd if usd.is_finite() and 0 <= usd <= most_usd else None


def clean(word: object) -> str:
    """A machine word, fit for a log line; what has other characters in it is cut down to those."""
    return re.sub(r"[^\w.:/-]", "", word, flags=re.ASCII)[:80] if isinstance(word, str) else ""
