"""Every secret that this process has read, and the one way to hide them: `***` wherever text leaves the process.

The doors are the ledger's text columns, the log, standard output and error, and the message of each error of ours.
A server may quote what it was sent in any form, so the forms are known here, too: as it is, quoted for a URL, for
JSON, for HTML or for IMAP, and within base64, as SASL sends it (RFC 4616, and XOAUTH2).
"""

from __future__ import annotations

import base64
import html
import json
import re
import string
import threading
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"
#: A shorter secret may be a part of ordinary words: hiding it there would show it.
DISTINCT_CHARS: Final = 8
#: As many characters of base64 are hardly there by chance.
DISTINCT_BASE64: Final = 8
_BASE64: Final = frozenset(string.ascii_letters + string.digits + "+/=_-")

_secrets: set[str] = set()
_plain: re.Pattern[str] | None = None
_encoded: re.Pattern[str] | None = None
_protecting = threading.Lock()


def protect(*secrets: str | None) -> None:
    """Show `***` for these values from now on. Thread-safe."""
    global _plain, _encoded
    with _protecting:
        fresh = {secret for secret in secrets if secret} - _secrets
        if fresh:
            _secrets.update(fresh)
            _plain = _any_of(_bounded, {form for secret in _secrets for form in _forms(secret)})
            _encoded = _any_of(re.escape, {form for secret in _secrets for form in _base64_forms(secret)})


def redacted(text: str) -> str:
    """`text` with `***` for each secret. To be called before a text is cut: a half of a secret is not recognised."""
    plain, encoded = _plain, _encoded
    if plain is not None:
        text = plain.sub(MASK, text)
    return text if encoded is None else _without_runs(encoded, text)


def _without_runs(encoded: re.Pattern[str], text: str) -> str:
    """`text` with `***` for each run of base64 that holds a secret: at its ends are some bits of the secret's ends.

    By hand, since a pattern that looks for the whole run tries it anew at each of its characters.
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
    """A pattern for any of the forms; the longest first, since one may begin with another."""
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
    """The part of the base64 of any text around the secret that depends on the secret alone."""
    raw = secret.encode("utf-8", "surrogateescape")
    for before in range(3):  # bytes of its first group of three that belong to the text before
        first = (3 - before) % 3
        whole = raw[first : first + (len(raw) - first) // 3 * 3]
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            form = encode(whole).decode("ascii")
            if len(form) >= DISTINCT_BASE64:
                yield form
