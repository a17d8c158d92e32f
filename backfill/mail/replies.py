"""FETCH replies as rows, read item by item: one odd item does not lose the others, nor the mail.

imapclient's parser loses a whole batch when a keyword has a bracket, or a reply has an item that it does not know.
Here flags are read as far as possible. Items that nobody asked for do no harm. An incomplete reply raises an error that
quotes nothing: the unreadable part may be a mail's text. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from imapclient.datetime_util import parse_to_datetime
from imapclient.exceptions import ProtocolError
from imapclient.response_types import BodyData

from backfill.mail.client import Record

Row = dict[bytes, Any]

#: The largest integer of the ledger. A larger number is a server's mistake.
MOST = 2**63 - 1

_HEAD = re.compile(rb"\s*(\d+)\s*\(")
_NAME = re.compile(rb"\s*([A-Za-z][\w.-]*(?:\[[^]{\r\n]*\])?(?:<\d+(?:\.\d+)?>)?)[ \t]*")
#: Flags end at the first parenthesis that an item or the end can follow: a keyword may hold a parenthesis, too.
_FLAGS = re.compile(rb"\(([^\r\n]*?)\)(?=\s*\)|\s+[A-Za-z][A-Za-z0-9.-]*[\s\[]|\s*$)")
_LITERAL = re.compile(rb"~?\{(\d+)\+?\}\r\n")
_QUOTED = re.compile(rb'"((?:[^"\\\r\n]|\\.)*)"')
_ATOM = re.compile(rb"[^\s()]+")
_END = re.compile(rb"\s*\)")
#: What a parenthesised list is made of: blanks, ( and ), a quoted text, an atom, a literal, or a stray character.
_WITHIN = re.compile(
    rb'\s+|([()])|"((?:[^"\\\n]|\\.)*)"|([^\s()"{]++(?:\{(?!\d+\+?\}\r\n)[^\s()"{]*+)*+)(?=[\s()])'
    rb"|~?\{(\d+)\+?\}\r\n|.",
    re.DOTALL,
)
_ESCAPED = re.compile(rb'\\(["\\])')


class UnreadableReply(ProtocolError):  # type: ignore[misc]  # imapclient has no types
    """A FETCH reply is incomplete, or malformed."""


def fetched(records: Sequence[Record]) -> dict[int, Row]:
    """The rows of all replies, by UID. A reply without UID is unasked news of a mail and is left out.

    Raises `UnreadableReply`.
    """
    rows: dict[int, Row] = {}
    for reply in _replies(records):
        row = _row(reply)
        uid = row.get(b"UID")
        if isinstance(uid, int):
            rows.setdefault(uid, {}).update(row)
    return rows


def _replies(records: Iterable[Record]) -> Iterator[list[Record]]:
    """The records of each reply: (line, literal) pairs, then the last line."""
    reply: list[Record] = []
    for record in records:
        if record is None:
            continue
        reply.append(record)
        if isinstance(record, bytes):
            yield reply
            reply = []
    if reply:
        raise UnreadableReply


class _Scanner:
    """A reply as one text. A literal stands in it as {size} and a line break, which no line of a reply contains."""

    def __init__(self, reply: list[Record]) -> None:
        lines = [record[0] if isinstance(record, tuple) else record or b"" for record in reply]
        self.text = b"\r\n".join(lines)
        self.place = 0
        self._literals = iter([record for record in reply if isinstance(record, tuple)])

    def take(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        found = pattern.match(self.text, self.place)
        if found:
            self.place = found.end()
        return found

    def literal(self, size: bytes) -> bytes:
        _, data = next(self._literals)
        if len(data) != int(size):
            raise UnreadableReply
        return data

    def listed(self, atom: Callable[[bytes], Any]) -> tuple[Any, ...] | None:
        """The parenthesised list that begins here, with the lists in it; None when it is malformed."""
        around: list[list[Any]] = []
        items: list[Any] = []
        is_odd = False
        for found in _WITHIN.finditer(self.text, self.place):
            parenthesis, quoted, word, size = found.groups()
            if word is not None:
                items.append(atom(word))
            elif quoted is not None:
                items.append(_ESCAPED.sub(rb"\1", quoted) if b"\\" in quoted else quoted)
            elif parenthesis == b"(":
                around.append(items)
                items = []
            elif parenthesis == b")":
                around[-1].append(tuple(items))
                items = around.pop()
                if not around:
                    self.place = found.end()
                    return None if is_odd else items[0]
            elif size is not None:
                items.append(self.literal(size))
            elif not found[0].isspace():
                is_odd = True
        raise UnreadableReply


def _row(reply: list[Record]) -> Row:
    scanner = _Scanner(reply)
    head = scanner.take(_HEAD)
    if head is None:
        raise UnreadableReply
    row: Row = {b"SEQ": int(head[1][:20])}
    while not scanner.take(_END):  # the server may add items of its own
        name = scanner.take(_NAME)
        if name is None:
            raise UnreadableReply
        word = name[1].upper()
        value = _value(scanner, word)
        if value is not _ODD:
            row[word] = value
    return row


_ODD = object()  # stands for a malformed item, which is left out of the row


def _value(scanner: _Scanner, word: bytes) -> Any:
    if word in (b"FLAGS", b"X-GM-LABELS") and (listed := _flags(scanner, word)) is not None:
        return listed
    if found := scanner.take(_LITERAL):
        return scanner.literal(found[1])
    if found := scanner.take(_QUOTED):
        text = re.sub(rb"\\(.)", rb"\1", found[1])
        return _moment(text) if word == b"INTERNALDATE" else text
    if scanner.text[scanner.place : scanner.place + 1] == b"(":
        return _listed(scanner.listed(bytes if word == b"X-GM-LABELS" else _atom_within), word)
    if (found := scanner.take(_ATOM)) is None:
        raise UnreadableReply
    return _atom(found[0])


def _flags(scanner: _Scanner, word: bytes) -> tuple[bytes, ...] | None:
    """The words between the parentheses. Keywords of other programs may have any character."""
    if word == b"X-GM-LABELS":  # labels are quoted, and may hold blanks and parentheses
        return None
    found = scanner.take(_FLAGS)
    return None if found is None else tuple(found[1].split())


def _listed(value: tuple[Any, ...] | None, word: bytes) -> Any:
    if value is None:
        return _ODD
    try:
        return BodyData.create(value) if word in (b"BODY", b"BODYSTRUCTURE") else value
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return _ODD


def _atom_within(text: bytes) -> Any:
    """None for NIL. A number that begins with 0, or is larger than the ledger's integers, is a name."""
    if text.isdigit() and len(text) < 19 and (text == b"0" or text[:1] != b"0"):
        return int(text)
    return None if text.upper() == b"NIL" else text


def _atom(text: bytes) -> Any:
    if text.upper() == b"NIL":
        return None
    if not text.isdigit():
        return text
    return int(text[:20]) if int(text[:20]) <= MOST else _ODD


def _moment(text: bytes) -> datetime | None:
    """None for an impossible time, or one that has no date in UTC."""
    try:
        moment: datetime = parse_to_datetime(text, normalise=False)
        moment.astimezone(UTC)
    except (ValueError, OverflowError, TypeError):
        return None
    return moment
