"""Data from an API, narrowed to types. No value is trusted to have the type or the size that it should have."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from backfill.redaction import redacted

# A larger value counts as unknown, so that the ledger's columns and sums never overflow. No model reads a thousandth of
# these tokens in one call, and no call, token or key costs that much.
MAX_TOKENS: Final = 10**9
MAX_USD: Final = 10**6
MAX_CALL_USD: Final = 1000  # nine million of them fit into the ledger's nano-dollars
MAX_TOKEN_USD: Final = 1


def json_value(body: bytes) -> Any:
    """The body's JSON; None when it is none. Fractions are Decimal, since they may be money.

    A byte order mark or an invalid UTF-8 byte does not make it fail.
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
    """A number of tokens; None when it is none. Some gateways write 12.0 or "12"."""
    number = _number(value)
    return int(number) if number is not None and number <= MAX_TOKENS and number == int(number) else None


def amount(value: object, most_usd: int = MAX_USD) -> Decimal | None:
    """An amount in USD; None when it is no plain number, negative, or above `most_usd`.

    A number with a currency sign or a comma is not plain: its currency or its size is uncertain.
    """
    number = _number(value)
    return number if number is not None and number <= most_usd else None


def _number(value: object) -> Decimal | None:
    """A number of at least 0, also from a string; None for anything else."""
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
    """A machine word for a log line: other characters are removed, at most 80 are kept; "" when it is no string.

    A secret in it becomes `***` before that.
    """
    return re.sub(r"[^\w.:/*-]", "", redacted(word), flags=re.ASCII)[:80] if isinstance(word, str) else ""
