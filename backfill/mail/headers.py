"""The header fields of a mail, each read for itself; where one is broken its raw text stands in. Pure."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from email.errors import MessageError
from email.header import decode_header
from email.utils import getaddresses, parsedate_to_datetime
from functools import cached_property
from typing import Any

from backfill.mail.spam_marks import WORDS as SPAM_MARKS
from backfill.mail.text import decoded, one_line

#: The header fields that `Headers` reads; nothing else is fetched.
FIELDS = (
    *("FROM", "TO", "CC", "REPLY-TO", "SUBJECT", "DATE", "MESSAGE-ID", "IN-REPLY-TO", "REFERENCES", "LIST-ID"),
    *("LIST-UNSUBSCRIBE", "PRECEDENCE", "AUTO-SUBMITTED", "AUTHENTICATION-RESULTS"),
    *map(str.upper, SPAM_MARKS),
)

_ENCODED_WORDS = re.compile(r"=\?[^?\s]{1,80}\?[bBqQ]\?[^?]*\?=(?:\s*=\?[^?\s]{1,80}\?[bBqQ]\?[^?]*\?=)*")
_ATOMS = r'[^\s()<>@,:;"\[\]\\]+'
_MAILBOX = rf'(?:(?:({_ATOMS}(?: {_ATOMS})*)|"([^"\\\r]*)") )?<({_ATOMS}@{_ATOMS})>|({_ATOMS}@{_ATOMS})'
#: `Ann Example <ann@example.org>, "Doe, Bob" <bob@example.org>, eve@example.org`, as most headers are.
_MAILBOXES, _PLAIN = re.compile(_MAILBOX), re.compile(rf"(?:{_MAILBOX})(?:, (?:{_MAILBOX}))*")
_COMMENT = re.compile(r"\([^()]*\)")
_METHOD = re.compile(r"\s*([a-z][a-z0-9-]{0,30})\s*(?:/\s*\d+\s*)?=\s*([a-z]{1,20})", re.IGNORECASE)
BROKEN = (MessageError, ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)
#: Newer Pythons give up on a whole header where one address in it is odd (CVE-2023-27043); nothing here trusts them.
_LENIENT: dict[str, Any] = {"strict": False} if hasattr(email.utils, "supports_strict_parsing") else {}


class Headers:
    """The fields of a header block by lower-case name, those of one name in their order. Values are raw, unfolded."""

    def __init__(self, block: bytes) -> None:
        self._fields: dict[str, list[bytes]] = {}
        latest: list[bytes] = []
        for line in block.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
            if not line:
                break
            if line[:1] in b" \t":
                if latest:
                    latest[-1] += b" " + line.strip()
            else:
                name, colon, value = line.partition(b":")
                if colon:
                    latest = self._fields.setdefault(name.strip().lower().decode("ascii", "replace"), [])
                    latest.append(value.strip())

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def raw(self, name: str) -> str:
        """The topmost field of that name, its encoded words as they are; "" when there is none."""
        return decoded(self._fields[name][0]) if name in self._fields else ""

    def text(self, name: str) -> str:
        """The topmost field of that name, readable, on one line."""
        return one_line(words_decoded(self.raw(name)))

    def addresses(self, name: str) -> list[tuple[str, str]]:
        """(display name, address) of all fields of that name; what cannot be parsed stands in as a name."""
        values = [decoded(value) for value in self._fields.get(name, ())]
        if not values:
            return []
        found = _mailboxes(values)
        known = [(one_line(words_decoded(shown), 200), one_line(address, 320)) for shown, address in found]
        known = [pair for pair in known if any(pair)]
        return known or [(text, "") for value in values if (text := one_line(words_decoded(value), 500))]

    @cached_property
    def sent(self) -> datetime | None:
        """The Date header, with the offset as it is written there; None when absent or broken."""
        try:
            moment = parsedate_to_datetime(one_line(self.raw("date"), 100))
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # -0000 (RFC 5322 §3.3)
            moment.astimezone(UTC)
        except BROKEN:
            return None
        return moment

    def sent_day(self) -> date | None:
        """The calendar day as the header writes it."""
        moment = self.sent
        return moment.date() if moment else None


def words_decoded(value: str) -> str:
    """A header value with its encoded words (RFC 2047) readable; broken ones stay as they are."""
    if "=?" not in value:
        return value
    return _ENCODED_WORDS.sub(lambda found: _words(found[0]), value)


def _mailboxes(values: Sequence[str]) -> list[tuple[str, str]]:
    """What `getaddresses` gives, which reads letter by letter: it is asked for headers that are not plain only."""
    together = ", ".join(values)
    if _PLAIN.fullmatch(together):
        return [(name or quoted, angled or bare) for name, quoted, angled, bare in _MAILBOXES.findall(together)]
    try:
        return getaddresses(values, **_LENIENT)
    except BROKEN:  # a group raises AttributeError, floods of parentheses RecursionError
        return []


def _words(words: str) -> str:
    try:
        pieces = decode_header(words)
    except BROKEN:
        return words
    return "".join(piece if isinstance(piece, str) else decoded(piece, charset or "") for piece, charset in pieces)


def authentication(value: str) -> tuple[tuple[str, str], ...]:
    """(method, result) pairs of an Authentication-Results header (RFC 8601), sorted; reasons and names are dropped."""
    for _ in range(3):  # comments nest
        value = _COMMENT.sub(" ", value[:4000])
    found = {(m[1].lower(), m[2].lower()) for claim in value.split(";")[1:] if (m := _METHOD.match(claim))}
    return tuple(sorted(found)[:20])
