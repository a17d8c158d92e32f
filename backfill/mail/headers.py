"""The header fields of a mail. Each is read alone; a broken one gives its raw text. Pure."""

from __future__ import annotations

import binascii
import re
from datetime import date, datetime
from email.errors import MessageError
from functools import cached_property

from backfill.mail.addresses import Mailbox, mailboxes, sender
from backfill.mail.charsets import decoded
from backfill.mail.dates import moment
from backfill.mail.spam_marks import WORDS as SPAM_MARKS
from backfill.mail.text import one_line, transfer_decoded

#: The header fields that `Headers` reads; nothing else is fetched.
FIELDS = (
    *("FROM", "TO", "CC", "REPLY-TO", "SUBJECT", "DATE", "MESSAGE-ID", "IN-REPLY-TO", "REFERENCES", "LIST-ID"),
    *("LIST-UNSUBSCRIBE", "PRECEDENCE", "AUTO-SUBMITTED", "AUTHENTICATION-RESULTS"),
    *map(str.upper, SPAM_MARKS),
)

_ENCODED_WORD = re.compile(r"=\?([^?\s]{0,80})\?([bBqQ])\?([^?]*)\?=")
_ENCODED_WORDS = re.compile(rf"{_ENCODED_WORD.pattern}(?:\s*{_ENCODED_WORD.pattern})*")
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,500}>")
#: Message-IDs that are kept of a thread. A mail that answers is answered itself, so its nearest ancestors are enough.
MAX_ANCESTORS = 10
_COMMENT = re.compile(r"\([^()]*\)")
_QUOTED = re.compile(r'"[^"]*"')
_CLAIM = r"\s*([a-z][a-z0-9-]{0,30})\s*(?:/\s*\d+\s*)?=\s*([a-z]{1,20})"
_METHOD = re.compile(_CLAIM, re.IGNORECASE)
_BEHIND_SERVER = re.compile(rf"\s*[^\s;=]+(?:\s+\d+)?\s(?:{_CLAIM})", re.IGNORECASE)
BROKEN = (MessageError, ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)


class Headers:
    """The fields of a header block by lower-case name; fields of one name in their order. Values are raw, unfolded.

    `charset`: what the mail's text declares. Raw letters beyond ASCII in headers are read by it.
    """

    def __init__(self, block: bytes, charset: str = "") -> None:
        self._charset = charset
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
        """The topmost field of that name, with encoded words undecoded; "" when there is none."""
        return decoded(self._fields[name][0], self._charset) if name in self._fields else ""

    def text(self, name: str) -> str:
        """The topmost field of that name, readable, on one line."""
        return one_line(words_decoded(self.raw(name)))

    def addresses(self, name: str) -> list[tuple[str, str]]:
        """(display name, address) of all fields of that name; text that cannot be parsed is given as a name."""
        values = [decoded(value, self._charset) for value in self._fields.get(name, ())]
        if not values:
            return []
        known = [pair for pair in map(_readable, mailboxes(values)) if any(pair)]
        return known or [(text, "") for value in values if (text := one_line(words_decoded(value), 500))]

    def sender(self, name: str) -> tuple[str, str]:
        """(display name, address) of the topmost field of that name that is not empty."""
        values = [decoded(value, self._charset) for value in self._fields.get(name, ())]
        return next((pair for pair in map(_readable, map(sender, values)) if any(pair)), ("", ""))

    @cached_property
    def sent(self) -> datetime | None:
        """The Date header with the offset written there; None when absent or broken."""
        return moment(one_line(words_decoded(self.raw("date")), 100))

    def ancestors(self) -> tuple[str, ...]:
        """The Message-IDs of the mails before this one in its thread (RFC 5322 §3.6.4), the nearest first."""
        named = [*_MESSAGE_ID.findall(self.raw("in-reply-to")), *reversed(_MESSAGE_ID.findall(self.raw("references")))]
        return tuple(dict.fromkeys(map(one_line, named)))[:MAX_ANCESTORS]

    def sent_day(self) -> date | None:
        """The calendar day as the header writes it."""
        return self.sent.date() if self.sent else None


def words_decoded(value: str) -> str:
    """A header value with its encoded words (RFC 2047) readable; broken ones stay as they are."""
    if "=?" not in value:
        return value
    return _ENCODED_WORDS.sub(lambda found: _words(found[0]), value)


def _readable(mailbox: Mailbox) -> tuple[str, str]:
    name, address = mailbox
    return one_line(words_decoded(name), 200), one_line(words_decoded(address), 320)


def _words(words: str) -> str:
    """Adjacent words of one charset are joined before decoding: some programs split a character between two words."""
    pieces: list[tuple[str, bytes]] = []
    for charset, encoding, text in _ENCODED_WORD.findall(words):
        coded = text.encode("utf-8", "replace")
        if encoding in "bB":
            data = transfer_decoded(coded, "base64")
        else:
            data = binascii.a2b_qp(coded.replace(b" ", b"_"), header=True)
        name = charset.partition("*")[0].lower()  # RFC 2231 §5 adds a language
        if pieces and pieces[-1][0] == name:
            data = pieces.pop()[1] + data
        pieces.append((name, data))
    return "".join(decoded(data, name) for name, data in pieces)


def authentication(value: str) -> tuple[tuple[str, str], ...]:
    """(method, result) pairs of an Authentication-Results header (RFC 8601), sorted; reasons and names are dropped.

    The part before the first semicolon names the server. Microsoft writes a result there instead. Some servers leave
    the semicolon out.
    """
    for _ in range(3):  # a comment may stand within a comment
        value = _COMMENT.sub(" ", value[:4000])
    server, *claims = _QUOTED.sub(" ", value).split(";")
    found = {
        (m[1].lower(), m[2].lower())
        for m in (_METHOD.match(server) or _BEHIND_SERVER.match(server), *map(_METHOD.match, claims))
        if m
    }
    return tuple(sorted(found)[:20])
