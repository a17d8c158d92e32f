# mypy: disable-error-code="no-untyped-call"
"""The folders and mails that the demo server serves, and IMAP SEARCH over them.

Text criteria (FROM, SUBJECT, TEXT, …) search the mail's bytes undecoded.
"""

from __future__ import annotations

import operator
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

from twisted.mail.imap4 import IllegalQueryError, MessageSet, parseIdList

from backfill.demo.mime import Part

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: INTERNALDATE of mail whose Date header is missing, broken or absurd.
UNKNOWN_DATE = datetime(2024, 1, 1, tzinfo=UTC)

_FIRST_YEAR, _LAST_YEAR = 1971, 2037  # a Date header outside these years counts as broken


class StoredMail:
    """One mail of a folder: its bytes never change, its flags do."""

    def __init__(self, uid: int, raw: bytes) -> None:
        self.uid = uid
        self.flags: frozenset[str] = frozenset()
        self.part = Part(re.sub(rb"\r?\n", b"\r\n", raw))
        self.sent = _sent(self.part)
        self.received = self.sent or UNKNOWN_DATE

    @cached_property
    def structure(self) -> bytes:
        return self.part.structure(extended=True)

    @property
    def size(self) -> int:
        return len(self.part.raw)

    def has(self, flag: str) -> bool:
        """Flags and keywords are compared without regard to case (RFC 9051 §2.3.2)."""
        return flag.lower() in {known.lower() for known in self.flags}

    def add(self, flags: Sequence[str]) -> None:
        self.flags |= {flag for flag in flags if not self.has(flag)}

    def remove(self, flags: Sequence[str]) -> None:
        gone = {flag.lower() for flag in flags}
        self.flags = frozenset(flag for flag in self.flags if flag.lower() not in gone)


class Folder:
    """One epoch of a folder. Mails stand in the order of their UIDs."""

    def __init__(self, name: str, uidvalidity: int, mails: Sequence[bytes]) -> None:
        self.name = name
        self.uidvalidity = uidvalidity
        self.uid_next = 1
        self.mails: dict[int, StoredMail] = {}
        for raw in mails:
            self.deliver(raw)

    def deliver(self, raw: bytes) -> int:
        """Add a mail; returns its UID."""
        uid, self.uid_next = self.uid_next, self.uid_next + 1
        self.mails[uid] = StoredMail(uid, raw)
        return uid


class View:
    """A folder as one session has selected it, with the sequence numbers that its client knows."""

    def __init__(self, folder: Folder, *, writable: bool) -> None:
        self.folder = folder
        self.writable = writable
        self.uids = list(folder.mails)

    def pick(self, numbers: MessageSet, *, by_uid: bool) -> list[tuple[int, StoredMail]]:
        """The mails of a sequence set with their sequence numbers; expunged mails are left out."""
        known: Sequence[int] = self.uids if by_uid else range(1, len(self.uids) + 1)
        numbers.last = known[-1] if known else 0
        return [
            (place + 1, self.folder.mails[self.uids[place]])
            for low, high in numbers.ranges
            for place in range(bisect_left(known, low), bisect_right(known, high))
            if self.uids[place] in self.folder.mails
        ]

    def search(self, criteria: list[Any]) -> list[tuple[int, StoredMail]]:
        """The mails that match. Raises `IllegalQueryError` for criteria that IMAP does not have."""
        try:
            matches = _all_of(criteria, self)
        except (IndexError, ValueError, AttributeError, TypeError) as error:  # an argument is missing or of no sense
            raise IllegalQueryError(f"cannot read the search criteria: {error}") from error
        everything = self.pick(MessageSet(1, None), by_uid=False)
        return [(number, mail) for number, mail in everything if matches(number, mail)]

    def catch_up(self) -> tuple[list[int], int | None]:
        """The sequence numbers to send as EXPUNGE, in this order, and the new EXISTS; None: it is unchanged."""
        gone = [number for number, uid in enumerate(self.uids, 1) if uid not in self.folder.mails][::-1]
        kept = len(self.uids) - len(gone)
        self.uids = list(self.folder.mails)
        return gone, len(self.uids) if len(self.uids) > kept else None


Test = Callable[[int, StoredMail], bool]

_FLAGS = {word: f"\\{word.title()}" for word in ("ANSWERED", "DELETED", "DRAFT", "FLAGGED", "SEEN")}
_HEADERS = ("BCC", "CC", "FROM", "SUBJECT", "TO")
_DAYS: dict[str, Callable[[date, date], bool]] = {"BEFORE": operator.lt, "ON": operator.eq, "SINCE": operator.ge}


def _all_of(tokens: list[Any], view: View) -> Test:
    """A test for all criteria of a parsed list; empties the list."""
    tests = []
    while tokens:
        tests.append(_one_of(tokens, view))
    return lambda number, mail: all(test(number, mail) for test in tests)


def _one_of(tokens: list[Any], view: View) -> Test:
    token = tokens.pop(0)
    if isinstance(token, list):
        return _all_of(token, view)
    word = token.decode("ascii").upper()
    if word[0].isdigit() or word[0] == "*":
        return _within(view.pick(parseIdList(token), by_uid=False))
    if word in _FLAGS:
        return lambda number, mail: mail.has(_FLAGS[word])
    if word.removeprefix("UN") in _FLAGS:
        return lambda number, mail: not mail.has(_FLAGS[word.removeprefix("UN")])
    if word.removeprefix("SENT") in _DAYS:
        return _by_day(_DAYS[word.removeprefix("SENT")], _day(tokens.pop(0)), sent=word.startswith("SENT"))
    if word in _HEADERS:
        return _contains(word, tokens.pop(0))
    match word:
        case "ALL" | "OLD":  # nothing is ever \Recent here
            return lambda number, mail: True
        case "NEW" | "RECENT":
            return lambda number, mail: False
        case "NOT":
            test = _one_of(tokens, view)
            return lambda number, mail: not test(number, mail)
        case "OR":
            one, other = _one_of(tokens, view), _one_of(tokens, view)
            return lambda number, mail: one(number, mail) or other(number, mail)
        case "UID":
            return _within(view.pick(parseIdList(tokens.pop(0)), by_uid=True))
        case "KEYWORD" | "UNKEYWORD":
            keyword = tokens.pop(0).decode("ascii")
            return lambda number, mail: mail.has(keyword) is (word == "KEYWORD")
        case "LARGER" | "SMALLER":
            size = int(tokens.pop(0))
            return lambda number, mail: mail.size > size if word == "LARGER" else mail.size < size
        case "HEADER":
            return _contains(tokens.pop(0).decode("ascii"), tokens.pop(0))
        case "BODY" | "TEXT":
            wanted = tokens.pop(0).lower()
            return lambda number, mail: wanted in (mail.part.raw if word == "TEXT" else mail.part.body).lower()
    raise ValueError(f"unknown key {word}")


def _within(mails: Sequence[tuple[int, StoredMail]]) -> Test:
    numbers = {number for number, _ in mails}
    return lambda number, mail: number in numbers


def _contains(header: str, text: bytes) -> Test:
    def test(number: int, mail: StoredMail) -> bool:
        value = mail.part.field(header)
        return value is not None and text.lower() in value.lower()

    return test


def _by_day(compare: Callable[[date, date], bool], day: date, *, sent: bool) -> Test:
    """Compares calendar days as the mail writes them, without zone and time. Undated mail matches no sent day."""

    def test(number: int, mail: StoredMail) -> bool:
        moment = mail.sent if sent else mail.received
        return moment is not None and compare(moment.date(), day)

    return test


def _day(text: bytes) -> date:
    day, month, year = text.decode("ascii").split("-")
    return date(int(year), MONTHS.index(month.title()) + 1, int(day))


def _sent(part: Part) -> datetime | None:
    try:
        moment = parsedate_to_datetime((part.field("Date") or b"").decode("ascii"))
    except (ValueError, OverflowError):  # UnicodeDecodeError is a ValueError
        return None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
