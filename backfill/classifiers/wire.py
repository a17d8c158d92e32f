"""What came from an API, narrowed to types: nothing in it is trusted to be what it should be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any


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
    except (ValueError, RecursionError):
        return {}


def mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def amount(value: object) -> Decimal | None:
    """An amount of money; None for what is none, or less than nothing."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    try:
        usd = Decimal(value)
    except InvalidOperation:
        return None
    return usd if usd.is_finite() and usd >= 0 else None


def clean(word: object) -> str:
    """A machine word, fit for a log line; what has other characters in it is cut down to those."""
    return re.sub(r"[^\w.:/-]", "", word, flags=re.ASCII)[:80] if isinstance(word, str) else ""
