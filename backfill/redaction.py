"""Every secret that this process has read, and `***` in its place wherever text leaves the process.

Text leaves through the ledger's text columns, the log, standard output and error, and the message of each
`BackfillError`. A server may quote a secret in another form than it was sent, so these forms are hidden, too: quoted
for a URL, JSON, HTML or IMAP, and within base64, as SASL sends it (RFC 4616, and XOAUTH2).

A secret of fewer than 8 characters may be an ordinary word: with the password "secret", `***` in each of our own
sentences that has the word would tell it. Such a secret is hidden only in the words of others, as a whole word.
"""

from __future__ import annotations

import base64
import html
import json
import re
import string
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"
#: A shorter secret may be an ordinary word, or a part of one.
DISTINCT_CHARS: Final = 8
#: A run of this many base64 characters is hardly equal to a secret's by chance.
DISTINCT_BASE64: Final = 8
_BASE64: Final = frozenset(string.ascii_letters + string.digits + "+/=_-")


@dataclass(frozen=True, slots=True)
class _Known:
    """Patterns of all secrets. None: there is none of that kind."""

    plain: re.Pattern[str] | None = None
    distinct: re.Pattern[str] | None = None  # of the plain ones, those that are no ordinary words
    encoded: re.Pattern[str] | None = None  # in base64


_secrets: set[str] = set()
_known = _Known()
_protecting = threading.Lock()


def protect(*secrets: str | None) -> None:
    """Show `***` for these values from now on. Thread-safe."""
    global _known
    with _protecting:
        fresh = {secret for secret in secrets if secret} - _secrets
        if fresh:
            _secrets.update(fresh)
            plain = {form for secret in _secrets for form in _forms(secret)}
            _known = _Known(
                _any_of(_bounded, plain),
                _any_of(re.escape, {form for form in plain if len(form) >= DISTINCT_CHARS}),
                _any_of(re.escape, {form for secret in _secrets for form in _base64_forms(secret)}),
            )


def redacted(text: str) -> str:
    """`text`, the words of a server, of a program or of an exception, with `***` for each secret.

    Call it before a text is cut: a part of a secret is not recognised.
    """
    known = _known
    return _masked(known.plain, known.encoded, text)


def redacted_own(text: str) -> str:
    """`text`, a sentence of ours in which the words of others are redacted, with `***` for each longer secret."""
    known = _known
    return _masked(known.distinct, known.encoded, text)


def _masked(plain: re.Pattern[str] | None, encoded: re.Pattern[str] | None, text: str) -> str:
    if plain is not None:
        text = plain.sub(MASK, text)
    return text if encoded is None else _without_runs(encoded, text)


def _without_runs(encoded: re.Pattern[str], text: str) -> str:
    """`text` with `***` for each whole run of base64 that holds a secret: characters beside it hold bits of it, too.

    A loop, since a pattern for the whole run would try it anew at each of its characters.
    """
    kept, at = [], 0
    for match in encoded.finditer(text):
        start, end = match.span()
        if start < at:  # within the run before
            continue
        while start > at and text[start - 1] in _BASE64:
            start -= 1
        while end < len(text) and text[end] in _BASE64:
            end += 1
        kept += [text[at:start], MASK]
        at = end
    return "".join([*kept, text[at:]])


def _any_of(written: Callable[[str], str], forms: set[str]) -> re.Pattern[str] | None:
    """A pattern for any of the forms. The longest come first, since one form may begin with another."""
    return re.compile("|".join(map(written, sorted(forms, key=len, reverse=True)))) if forms else None


def _bounded(form: str) -> str:
    if len(form) >= DISTINCT_CHARS:
        return re.escape(form)
    return f"(?<![A-Za-z0-9]){re.escape(form)}(?![A-Za-z0-9])"


def _forms(secret: str) -> Iterator[str]:
    backslashed = secret.replace("\\", "\\\\")
    yield from (secret, quote(secret), quote(secret, safe=""), quote_plus(secret), html.escape(secret))
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1])
    yield backslashed.replace('"', '\\"')  # IMAP's quoted string
    yield repr(secret.encode("utf-8", "surrogateescape"))[2:-1]
    if " " in secret:
        yield " ".join(secret.split())  # as a text is shown on one line


def _base64_forms(secret: str) -> Iterator[str]:
    """The base64 characters that depend on the secret alone, whatever text stands before and after it."""
    raw = secret.encode("utf-8", "surrogateescape")
    for before in range(3):  # bytes of the text before that share a group of three with the secret's first bytes
        first = (3 - before) % 3
        whole = raw[first : first + (len(raw) - first) // 3 * 3]
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            form = encode(whole).decode("ascii")
            if len(form) >= DISTINCT_BASE64:
                yield form
