"""Sections of mails' bodies: the first octets of each, or the whole section if the server gives no parts of it.

A section that comes as NIL is asked for once more, whole: some servers give it then. NIL twice counts as empty. A
section that does not come at all is left out: an OK without a literal proves nothing (iCloud).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loguru import logger

from backfill.mail.errors import CommandFailed
from backfill.mail.replies import Row
from backfill.mail.session import Session
from backfill.message import MailboxKey

#: Octets. A larger section is not read whole.
MOST_WHOLE = 8_000_000

#: How servers refuse `<0.100>` that do not know it: BAD, or one of these words.
_NO_PIECES = re.compile(r"command error: BAD\b|\bpartial\b|\bbyte range|\boctets?\b", re.I)


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a mail, at most `limit` octets of it. `name` as in BODY[name]; "" is the whole mail."""

    name: str
    limit: int


class Sections:
    """Fetches sections on one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._gives_pieces = True

    def fetch(
        self,
        mailbox: MailboxKey,
        sizes: Mapping[int, int],
        wanted: Sequence[Section],
        facts: Sequence[str] = (),
    ) -> dict[int, tuple[Row, dict[str, bytes]]]:
        """By UID, the row (with `facts`) and the sections that came, by name.

        A section has at most `limit` + 1 octets: one more than the limit shows that it was cut. `sizes`: the UIDs, each
        with the size that the server names for its largest section (0: not known).
        """
        found: dict[int, tuple[Row, dict[str, bytes]]] = {}
        empty: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for uid, row in self._rows(mailbox, sizes, wanted, facts).items():
            came = [(section, literal(row, section.name)) for section in wanted]
            found[uid] = row, {section.name: data[: section.limit + 1] for section, data in came if data is not None}
            nil = tuple(section.name for section in wanted if is_nil(row, section.name))
            if nil and sizes.get(uid, 0) <= MOST_WHOLE:
                empty[nil].append(uid)
        for names, those in empty.items():
            rows = self._session.fetch(mailbox, those, [f"BODY.PEEK[{name}]" for name in names])
            for uid in those:
                found[uid][1].update({name: literal(rows.get(uid, {}), name) or b"" for name in names})
        return found

    def _rows(
        self, mailbox: MailboxKey, sizes: Mapping[int, int], wanted: Sequence[Section], facts: Sequence[str]
    ) -> dict[int, Row]:
        if self._gives_pieces:
            try:
                return self._session.fetch(mailbox, list(sizes), [*facts, *map(self._item, wanted)])
            except CommandFailed as refusal:
                if not _NO_PIECES.search(refusal.words):
                    raise
                rows = self._whole(mailbox, sizes, wanted, facts)  # raises if the refusal had another reason
                self._gives_pieces = False
                logger.info("the mail server cannot send the beginning of a text alone, so whole texts are read")
                return rows
        return self._whole(mailbox, sizes, wanted, facts)

    def _item(self, section: Section) -> str:
        return f"BODY.PEEK[{section.name}]<0.{section.limit}>"

    def _whole(
        self, mailbox: MailboxKey, sizes: Mapping[int, int], wanted: Sequence[Section], facts: Sequence[str]
    ) -> dict[int, Row]:
        """Whole sections, one mail a FETCH, since each may be large. Mails above `MOST_WHOLE` are left out."""
        items = [*facts, *(f"BODY.PEEK[{section.name}]" for section in wanted)]
        rows: dict[int, Row] = {}
        for uid in (uid for uid, size in sizes.items() if size <= MOST_WHOLE):
            rows.update(self._session.fetch(mailbox, [uid], items))
        return rows


def literal(row: Mapping[bytes, object], name: str, *, is_open: bool = False) -> bytes | None:
    """The octets of a section; None when it did not come. Servers end its name in `<0>`, `<0.100>` or neither.

    `is_open`: `name` is the beginning of the section's name, as HEADER is of HEADER.FIELDS.
    """
    start = f"BODY[{name}".encode() + (b"" if is_open else b"]")
    found = next((value for key, value in row.items() if key.startswith(start)), None)
    return found if isinstance(found, bytes) else None


def is_nil(row: Mapping[bytes, object], name: str, *, is_open: bool = False) -> bool:
    """Did the section come as NIL?"""
    start = f"BODY[{name}".encode() + (b"" if is_open else b"]")
    values = [value for key, value in row.items() if key.startswith(start)]
    return bool(values) and all(value is None for value in values)
