"""What `paths.ledger_url` may be, and which parts of it are secret.

SQLAlchemy parses the URL to connect. Here regular expressions do, so that settings need no database library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import unquote, unquote_plus, urlsplit

from backfill.redaction import MASK

RULE: Final = "sqlite:///FILE or postgresql://USER@HOST/DATABASE"
_URL: Final = re.compile(r"sqlite(\+\w+)?:///[^:?\s][^?]*(\?\S*)?|postgresql(\+\w+)?://\S+")
_SQLITE: Final = re.compile(r"(sqlite(?:\+\w+)?:///)([^?]*)(.*)", re.DOTALL)
#: Options of a URL whose value is secret, e.g. libpq's password and sslpassword.
_SECRET_OPTION: Final = re.compile(r"([?&][^=&#]*(?:pass(?!file)|secret|token)[^=&#]*=)([^&#]*)", re.IGNORECASE)
_LOGIN: Final = re.compile(r"(://[^/?#]*?:)(.*)(@)")


def is_ledger_url(url: str) -> bool:
    """Does `url` name a SQLite file or a PostgreSQL database?"""
    return _URL.fullmatch(url) is not None


def with_file(url: str, place: Callable[[str], str]) -> str:
    """`url` with its SQLite file replaced by `place(file)`; a PostgreSQL URL is returned unchanged."""
    if (parts := _SQLITE.fullmatch(url)) is None:
        return url
    scheme, file, options = parts.groups()
    return f"{scheme}{place(file)}{options}"


def secrets_of(url: str) -> Iterator[str]:
    """Every password in `url`, as it is written there and with its URL quoting removed."""
    try:
        password = urlsplit(url).password
    except ValueError:  # brackets without a partner; SQLAlchemy refuses such a URL
        password = None
    if password:
        yield from (password, unquote(password), unquote_plus(password))
    for _, value in _SECRET_OPTION.findall(url):
        yield from (value, unquote(value), unquote_plus(value))


def without_secrets(url: str) -> str:
    """`url` with `***` for its passwords, to be shown to people."""
    return _SECRET_OPTION.sub(rf"\g<1>{MASK}", _LOGIN.sub(rf"\g<1>{MASK}\g<3>", url))
