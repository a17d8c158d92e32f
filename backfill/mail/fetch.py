"""Fetch mails in batches: first headers and structure, then only the text parts.

No mail is marked read (BODY.PEEK in an EXAMINEd folder, checked by `seen_guard`). Attachments stay on the server. Each
mail that does not come is reported with its reason. A mail counts as gone only when a search in a fresh session says
so. A batch that the server refuses, or that ends the connection, is halved until the mail at fault is alone. If the
server names a trouble of its own, another mail shows whether the trouble is this mail's or the folder's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from imapclient import SEEN

from backfill.errors import FolderTroubled, MessageGone, MessageUnreadable, ServerUnavailable
from backfill.mail import structure
from backfill.mail.errors import FOREIGN, CommandFailed, ConnectionLost
from backfill.mail.headers import FIELDS, Headers
from backfill.mail.mime import LOOKS, Piece, Reading, Text, content, text_of, whole
from backfill.mail.passages import Passage, charset, passages
from backfill.mail.positions import ends
from backfill.mail.replies import Row
from backfill.mail.sections import Section, Sections, is_nil, literal
from backfill.mail.seen_guard import SeenGuard
from backfill.mail.session import Session
from backfill.mail.structure import Part
from backfill.message import Content, MailboxKey, Message, MessageRef, WholeText
from backfill.ports import Unfetched

BATCH = 50  # mails; larger FETCH batches time out on Dovecot with spinning disks
MAX_REPLY = 4_000_000  # bytes of bodies asked for at once
MAX_SIZE = 2**63 - 1  # bytes, of RFC822.SIZE (RFC 9051 §9, number64)
MOST_KEPT_CHARS = 200_000  # of a mail's whole text: a book has twice as many
RAW_LIMIT = 65_536  # bytes read of a mail whose structure makes no sense

#: Mails in a row that end in a lost connection. Then another mail shows whether the server works.
_PATIENCE = 4
#: Mails. A lost connection halves the batch; each batch that comes makes the next one larger by this.
_GROWTH = 5

#: The subject of the notice that Exchange sends for a mail it cannot turn into MIME. A later try may get the mail.
_STAND_IN = "Retrieval using the IMAP4 protocol failed for the following message"

_FACTS = ("RFC822.SIZE", "INTERNALDATE", "FLAGS")
_OVERVIEW = (*_FACTS, "BODYSTRUCTURE", f"BODY.PEEK[HEADER.FIELDS ({' '.join(FIELDS)})]")
_GMAIL_FACTS = ("X-GM-LABELS",)


@dataclass(slots=True)
class _Draft:
    """What is known so far of a mail that is being fetched."""

    uid: int
    row: Row
    headers: Headers
    root: Part | None  # None: the structure makes no sense, so the mail's first bytes are read instead
    passages: tuple[Passage, ...]
    raw: bytes = b""
    text: Text = field(default_factory=Text)
    all_text: Text | None = None  # None: it is not kept

    @property
    def largest(self) -> int:
        """Bytes of the largest part that is read, by BODYSTRUCTURE; 0 when no part is read."""
        return max((part.size for passage in self.passages for part in passage.parts), default=0)


class Fetcher:
    """Fetches on one session. With `labels_as_flags` a mail's Gmail labels count among its flags."""

    def __init__(self, session: Session, reading: Reading, guard: SeenGuard, *, labels_as_flags: bool = False) -> None:
        self._session = session
        self._sections = Sections(session)
        self._reading = reading
        self._guard = guard
        self._labels_as_flags = labels_as_flags
        self._size = BATCH
        self._lost_in_a_row = 0
        self._good: MessageRef | None = None  # a mail that the server gave out before
        self._flags: dict[int, tuple[object, ...]] = {}  # by UID, from before any body of that mail was asked for

    def fetch(self, mailbox: MailboxKey, uids: Sequence[int]) -> Iterator[Message | Unfetched]:
        """Each of `uids` once, batch by batch; see `ports.MailSource.fetch`."""
        wanted = list(dict.fromkeys(uids))
        self._flags.clear()
        while wanted:
            batch, wanted = wanted[: self._size], wanted[self._size :]
            yield from self._batch(mailbox, batch)

    def _batch(self, mailbox: MailboxKey, uids: list[int]) -> Iterator[Message | Unfetched]:
        try:
            fetched = self._read(mailbox, uids)
        except (CommandFailed, ConnectionLost) as failure:
            if isinstance(failure, ConnectionLost):
                self._size = max(1, len(uids) // 2)
            if len(uids) == 1:
                yield self._alone(mailbox, uids[0], failure)
                return
            middle = len(uids) // 2
            yield from self._batch(mailbox, uids[:middle])
            yield from self._batch(mailbox, uids[middle:])
            return
        if any(isinstance(each, Message) for each in fetched):
            self._lost_in_a_row = 0
        self._good = next((each.ref for each in fetched if isinstance(each, Message)), self._good)
        self._size = min(BATCH, max(self._size, len(uids)) + _GROWTH)
        yield from fetched

    def _alone(self, mailbox: MailboxKey, uid: int, failure: CommandFailed | ConnectionLost) -> Message | Unfetched:
        """A mail that cannot be fetched in the usual way: its first bytes, or the reason why they do not come."""
        if isinstance(failure, ConnectionLost):
            self._lost_in_a_row += 1
            if self._lost_in_a_row >= _PATIENCE:
                if not self._gives_out_another(mailbox, uid):
                    raise ServerUnavailable(str(failure)) from failure
                self._lost_in_a_row = 0
        elif failure.is_transient and not self._gives_out_another(mailbox, uid):
            raise FolderTroubled(f"No mail of {mailbox.folder!r} can be read now. {failure}") from failure
        draft = _Draft(uid, {}, Headers(b""), None, ())
        try:
            row, came = self._first_bytes(mailbox, uid)
            draft.row = self._as_first_seen(uid, row)
            self._guard.check(self._session, mailbox, self._unread([draft]))
        except (CommandFailed, ConnectionLost) as again:
            return self._explained(mailbox, [uid], str(again))[0]
        if (raw := came.get("")) is None:
            return self._explained(mailbox, [uid], str(failure))[0]
        draft.raw = raw[:RAW_LIMIT]
        return self._outcome(mailbox, draft)

    def _first_bytes(self, mailbox: MailboxKey, uid: int) -> tuple[Row, dict[str, bytes]]:
        """The mail's first bytes with its facts; with fewer facts where a fact makes the reply unreadable."""
        nothing: tuple[Row, dict[str, bytes]] = ({}, {})
        tries = (_FACTS, ("RFC822.SIZE", "INTERNALDATE"), ("FLAGS",))
        for facts in tries:
            try:
                return self._sections.fetch(mailbox, {uid: 0}, [Section("", RAW_LIMIT)], facts).get(uid, nothing)
            except CommandFailed as failure:
                if failure.words or facts is tries[-1]:
                    raise
        return nothing

    def _gives_out_another(self, mailbox: MailboxKey, but: int) -> bool:
        """Does the server give out another mail of the folder: one that it gave out before, the newest or oldest?"""
        good, self._good = self._good, None
        if good is not None and good.mailbox == mailbox and good.uid != but and self._gives_out(good):
            self._good = good
            return True
        try:
            for uid in ends(self._session, mailbox):
                if uid not in (0, but) and self._gives_out(ref := MessageRef(mailbox, uid)):
                    self._good = ref
                    return True
        except (CommandFailed, ConnectionLost):
            return False
        return False

    def _gives_out(self, ref: MessageRef) -> bool:
        try:
            found = self._sections.fetch(ref.mailbox, {ref.uid: 0}, [Section("", 1024)], _FACTS)
            row, came = found.get(ref.uid, ({}, {}))
            self._guard.check(self._session, ref.mailbox, self._unread([_Draft(ref.uid, row, Headers(b""), None, ())]))
        except (CommandFailed, ConnectionLost):
            return False
        return "" in came

    def _read(self, mailbox: MailboxKey, uids: list[int]) -> list[Message | Unfetched]:
        items = (*_OVERVIEW, *_GMAIL_FACTS) if self._session.has("X-GM-EXT-1") else _OVERVIEW
        rows = self._session.fetch(mailbox, uids, items)
        found = {uid: self._as_first_seen(uid, rows[uid]) for uid in uids if uid in rows}
        headers = {uid: literal(row, "HEADER", is_open=True) for uid, row in found.items()}
        if nil := [uid for uid, row in found.items() if headers[uid] is None and is_nil(row, "HEADER", is_open=True)]:
            whole_ones = self._session.fetch(mailbox, nil, ["BODY.PEEK[HEADER]"])
            headers.update({uid: literal(whole_ones.get(uid, {}), "HEADER", is_open=True) or b"" for uid in nil})
        drafts = {uid: _draft(uid, row, block) for uid, row in found.items() if (block := headers[uid]) is not None}
        missing = [uid for uid in uids if uid not in drafts]
        self._guard.prepare(self._session, mailbox, self._unread(drafts.values()))
        for look in range(LOOKS):
            asked = [draft for draft in drafts.values() if not look or draft.text.wants_more]
            missing += self._read_bodies(mailbox, asked, look)
        self._guard.check(self._session, mailbox, self._unread(drafts.values()))
        read = [self._outcome(mailbox, draft) for draft in drafts.values() if draft.uid not in missing]
        return [*read, *self._explained(mailbox, missing, "The mail server lists the mail but does not give it out.")]

    def _as_first_seen(self, uid: int, row: Row) -> Row:
        """The row with the flags that this fetch saw first. A failed fetch of the body may have changed them since."""
        if isinstance(row.get(b"FLAGS"), tuple):
            row[b"FLAGS"] = self._flags.setdefault(uid, row[b"FLAGS"])
        return row

    def _unread(self, drafts: Iterable[_Draft]) -> set[int]:
        """The mails that the server listed as unread before their bodies were asked for."""
        known = {draft.uid: draft.row.get(b"FLAGS") for draft in drafts}
        return {uid for uid, flags in known.items() if isinstance(flags, tuple) and SEEN not in flags}

    def _read_bodies(self, mailbox: MailboxKey, drafts: list[_Draft], look: int) -> list[int]:
        """Fill in the text of `drafts`; the UIDs whose text did not come. Drafts with equal sections share a FETCH."""
        groups: dict[tuple[Section, ...], list[_Draft]] = defaultdict(list)
        for draft in drafts:
            if wanted := self._wanted(draft, look):
                groups[wanted].append(draft)
        missing: list[int] = []
        for wanted, group in groups.items():
            for together in _bounded(group, sum(section.limit for section in wanted)):
                sizes = {draft.uid: draft.largest for draft in together}
                found = self._sections.fetch(mailbox, sizes, wanted)
                missing += [
                    draft.uid for draft in together if not self._fill(draft, found.get(draft.uid, ({}, {}))[1], look)
                ]
        return missing

    def _wanted(self, draft: _Draft, look: int) -> tuple[Section, ...]:
        if draft.root is None:
            return () if look else (Section("", RAW_LIMIT),)
        return tuple(Section(part.section, limit) for part, limit in self._reading.asked(draft.passages, look))

    def _fill(self, draft: _Draft, came: dict[str, bytes], look: int) -> bool:
        """False when a section did not come."""
        if draft.root is None:
            draft.raw = came.get("", b"")[:RAW_LIMIT]
            return "" in came
        wanted = self._reading.wanted(draft.passages, look)
        if any(part.section not in came for part, _ in wanted):
            return False
        pieces = {part.section: Piece.of(part, came[part.section], limit) for part, limit in wanted}
        draft.text = text_of(draft.passages, pieces, self._reading)
        if self._reading.keeps_all and not look:
            asked = self._reading.asked(draft.passages, look)
            pieces = {part.section: Piece.of(part, came[part.section], limit) for part, limit in asked}
            draft.all_text = text_of(draft.passages, pieces, self._reading)
        return True

    def _outcome(self, mailbox: MailboxKey, draft: _Draft) -> Message | Unfetched:
        message = self._message(mailbox, draft)
        if message.content.subject.startswith(_STAND_IN):
            why = "The mail server cannot read this mail itself and sends a notice in its place (Exchange)."
            return Unfetched(message.ref, MessageUnreadable(why))
        return message

    def _message(self, mailbox: MailboxKey, draft: _Draft) -> Message:
        size = draft.row.get(b"RFC822.SIZE")
        size = size if isinstance(size, int) and 0 <= size <= MAX_SIZE else 0
        headers = draft.headers
        shown: Content
        if draft.root is None:
            headers = Headers(draft.raw)
            shown = whole(draft.raw, size, self._reading)
        else:
            shown = content(headers, draft.text, structure.attachments(draft.root), self._reading)
        sent = headers.sent
        return Message(
            ref=MessageRef(mailbox, draft.uid),
            content=shown,
            flags=self._flags_of(draft.row),
            received_at=_utc(draft.row.get(b"INTERNALDATE")),
            sent_at=sent.astimezone(UTC) if sent else None,
            size=size,
            message_id=headers.text("message-id"),
            ancestors=headers.ancestors(),
            all_text=None if draft.all_text is None else WholeText(*_kept(draft.all_text)),
            attachment_sizes=() if draft.root is None else structure.sizes(structure.attachments(draft.root)),
        )

    def _flags_of(self, row: Row) -> frozenset[str]:
        flags = {_flag(flag) for flag in row.get(b"FLAGS") or ()}
        if self._labels_as_flags:
            flags |= {_flag(label) for label in row.get(b"X-GM-LABELS") or ()}
        return frozenset(flags)

    def _explained(self, mailbox: MailboxKey, uids: list[int], why: str) -> list[Unfetched]:
        """Is each mail gone, or there but unreadable? Decided by a search in a fresh session."""
        if not uids:
            return []
        there = self._session.present(mailbox, uids)
        return [
            Unfetched(MessageRef(mailbox, uid), MessageUnreadable(why) if uid in there else MessageGone())
            for uid in uids
        ]


def _kept(text: Text) -> tuple[str, bool]:
    """The text, and whether it was longer."""
    return text.text[:MOST_KEPT_CHARS].strip(), text.is_cut or len(text.text) > MOST_KEPT_CHARS


def _utc(received: object) -> datetime | None:
    """None for an impossible time: in a zone of more than 24 hours, or before the year 1 in UTC."""
    if not isinstance(received, datetime) or not received.tzinfo:
        return None
    try:
        return received.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _draft(uid: int, row: Row, block: bytes) -> _Draft:
    try:
        root = structure.from_bodystructure(row[b"BODYSTRUCTURE"])
        chosen = passages(root)
    except FOREIGN:  # an odd structure may raise anything
        return _Draft(uid, row, Headers(block), None, ())
    if root.is_multipart and not chosen and not structure.attachments(root):  # its boundary never comes in the mail
        return _Draft(uid, row, Headers(block), None, ())
    return _Draft(uid, row, Headers(block, charset(chosen)), root, chosen)


def _bounded(drafts: list[_Draft], bytes_each: int) -> Iterator[list[_Draft]]:
    step = max(1, MAX_REPLY // bytes_each)
    for place in range(0, len(drafts), step):
        yield drafts[place : place + step]


def _flag(flag: object) -> str:
    return flag.decode("ascii", "replace") if isinstance(flag, bytes) else str(flag)
