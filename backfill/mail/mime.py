"""The bytes of a mail to `Content`, which a classifier is shown. Any bytes give a `Content`.

Each header and each part is read alone; a broken one gives its raw text. The same bytes give the same `Content`, and
so the same `message_key`, from every server, and whether the parts or the whole mail were fetched. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from backfill.mail import structure
from backfill.mail.calendars import calendar_text
from backfill.mail.charsets import decoded
from backfill.mail.headers import BROKEN, Headers, authentication, words_decoded
from backfill.mail.html import HIDDEN, Link, declared_charset, links_in_text, looks_like_html, text_and_links
from backfill.mail.passages import CALENDAR, Passage, charset, passages
from backfill.mail.quotes import trimmed
from backfill.mail.spam_marks import marked_spam
from backfill.mail.structure import HTML, Part
from backfill.mail.text import clean, one_line, transfer_decoded
from backfill.message import Attachment, Content, MisleadingLink
from backfill.sites import are_one_site

MOST_KEPT_BYTES = 1_000_000  # of a part as transferred, where the whole text is kept
LOOKS = 3  # reads of a part at most, each four times as long as the one before
FEW_WORDS = 5  # with fewer words, two texts cannot be compared

#: In scripts that are written without blanks, each letter counts as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w{3,}")

MAX_ADDRESSES, MAX_HOSTS, MAX_MISLEADING = 50, 30, 10


@dataclass(frozen=True, slots=True)
class Reading:
    """How mails are read: for which owner, and how much of each."""

    owner: str = ""  # the account's address; "" when unknown
    max_body_chars: int = 4000
    keeps_all: bool = False  # the whole text is fetched as well, up to `MOST_KEPT_BYTES` of a part

    def asked(self, chosen: Iterable[Passage], look: int) -> tuple[tuple[Part, int], ...]:
        """What to ask the server for: `wanted`, or with `keeps_all` the whole of a longer part, in the first look.

        What a classifier is shown is made of `wanted` all the same, so it does not depend on `keeps_all`.
        """
        if not self.keeps_all or look:
            return self.wanted(chosen, look)
        return tuple((part, _whole(part, limit)) for part, limit in self.wanted(chosen, look))

    def wanted(self, chosen: Iterable[Passage], look: int) -> tuple[tuple[Part, int], ...]:
        """The parts to fetch, each with its number of transferred bytes. Each look takes four times as many bytes.

        4 bytes per character are enough for UTF-8 in base64 or Latin text in quoted-printable. HTML takes 16, since
        most of it is markup, or 4 when it is only compared with the plain text. Further looks are for parts that begin
        with style sheets or embedded pictures.
        """
        return tuple(
            (part, self._limit(part, is_compared=bool(passage.plain) and part in passage.rich) * 4**look)
            for passage in chosen
            for part in passage.parts
        )

    def _limit(self, part: Part, *, is_compared: bool) -> int:
        bytes_a_char = (4 if is_compared else 16) if part.content_type in HTML else 4
        return max(8192, self.max_body_chars * bytes_a_char)

    @property
    def enough(self) -> int:
        """Characters of text from which on no further look is taken at parts that were cut."""
        return self.max_body_chars * 3 // 4


@dataclass(frozen=True, slots=True)
class Piece:
    """A text part with its transferred bytes, or with the first of them."""

    part: Part
    data: bytes
    is_cut: bool = False

    @classmethod
    def of(cls, part: Part, data: bytes, limit: int) -> Piece:
        """`data` cut to `limit` bytes. The server's size counts only when exactly `limit` bytes came."""
        return cls(part, data[:limit], is_cut=len(data) > limit or (len(data) == limit < part.size))


@dataclass(frozen=True, slots=True)
class Text:
    """The readable text of a mail's parts, cleaned, before quotes are trimmed and the length is cut."""

    text: str = ""
    links: tuple[Link, ...] = ()
    is_cut: bool = False  # a part was not fetched to its end
    wants_more: bool = False  # another look may find more text that a person sees


def _whole(part: Part, limit: int) -> int:
    """The first of `limit`, four times as much, and so on that takes the whole part. So mails share their FETCHes."""
    asked = limit
    while asked < part.size and asked < MOST_KEPT_BYTES:
        asked *= 4
    return max(limit, min(asked, MOST_KEPT_BYTES))


def content(headers: Headers, text: Text, attached: Iterable[Part], reading: Reading) -> Content:
    """Put together what a classifier is shown."""
    subject = headers.text("subject")
    body = trimmed(text.text, subject)
    sent = headers.sent
    recipients, copied = headers.addresses("to"), headers.addresses("cc")
    hosts, misleading = _links(text.links)
    return Content(
        subject=subject,
        sender=_address(headers.sender("from")),
        to=tuple(map(_address, recipients[:MAX_ADDRESSES])),
        cc=tuple(map(_address, copied[:MAX_ADDRESSES])),
        reply_to=_address(headers.sender("reply-to")),
        date=sent.isoformat() if sent else "",
        addressed_to_owner=_is_addressed(reading.owner, [*recipients, *copied]),
        is_reply="in-reply-to" in headers or "references" in headers,
        list_id=headers.text("list-id"),
        has_unsubscribe="list-unsubscribe" in headers,
        precedence=headers.text("precedence").lower(),
        auto_submitted=headers.text("auto-submitted").partition(";")[0].strip().lower(),
        authentication=authentication(headers.raw("authentication-results")),
        marked_spam=marked_spam(headers.text),
        attachments=tuple(_attachment(part) for part in attached),
        link_hosts=hosts,
        misleading_links=misleading,
        body=body[: reading.max_body_chars].rstrip(),
        truncated=text.is_cut or len(body) > reading.max_body_chars,
    )


def text_of(chosen: Iterable[Passage], pieces: Mapping[str, Piece], reading: Reading) -> Text:
    """The text of all passages, with an empty line between them. `pieces`: what was fetched, by section."""
    texts: list[Text] = []
    for passage in chosen:
        faces = [face for face in (passage.plain, passage.rich) if face]
        read = [_joined([_read(pieces[part.section]) for part in face]) for face in faces]
        texts.append(_of_two_faces(*read) if len(read) == 2 else _joined(read))
    every = _joined(texts)
    return replace(every, wants_more=every.wants_more or (every.is_cut and len(every.text) < reading.enough))


def _of_two_faces(plain: Text, rich: Text) -> Text:
    """The plain text if it says the same as the HTML, else the HTML: some plain texts are stubs or decoys."""
    seen, said = _vocabulary(rich.text), _vocabulary(plain.text)
    if not seen or rich.text.startswith(HIDDEN):
        return replace(plain, links=rich.links, wants_more=rich.is_cut) if plain.text else rich
    links = rich.links + plain.links
    if 2 * len(seen & said) >= len(seen):
        return replace(plain, links=links, wants_more=rich.is_cut and len(seen) < FEW_WORDS)
    if len(seen) < FEW_WORDS and said:  # HTML of a picture or a button: the plain text may say more
        return Text(f"{rich.text}\n\n{plain.text}", links, plain.is_cut, wants_more=rich.is_cut)
    return replace(rich, links=links)


def _vocabulary(text: str) -> set[str]:
    return set(_WORD.findall(text[:20_000].casefold()))


def _joined(texts: Sequence[Text]) -> Text:
    distinct = dict.fromkeys(each.text for each in texts if each.text)
    links = tuple(link for each in texts for link in each.links)
    is_cut, wants_more = any(each.is_cut for each in texts), any(each.wants_more for each in texts)
    return Text("\n\n".join(distinct), links, is_cut, wants_more)


def _read(piece: Piece) -> Text:
    part = piece.part
    data = transfer_decoded(piece.data, part.encoding, is_cut=piece.is_cut)
    is_html = part.content_type in HTML
    text = decoded(data, part.charset, second=declared_charset(data) if is_html else "", is_cut=piece.is_cut)
    if is_html or (part.content_type == "text/plain" and looks_like_html(text)):
        return Text(*_tupled(text_and_links(text)), piece.is_cut)
    if part.content_type == CALENDAR:
        text = calendar_text(text) or text
    text = clean(text)
    return Text(text, tuple(links_in_text(text)), piece.is_cut)


def _tupled(found: tuple[str, list[Link]]) -> tuple[str, tuple[Link, ...]]:
    return found[0], tuple(found[1])


def whole(raw: bytes, size: int, reading: Reading) -> Content:
    """`Content` of a mail of `size` bytes whose first bytes are `raw`."""
    if b"\r\n" not in raw:
        raw = raw.replace(b"\n", b"\r\n")  # IMAP servers send CRLF
        size = max(size, len(raw))
    try:
        root, payloads = structure.from_bytes(raw)
    except BROKEN:
        rest = raw.partition(b"\r\n\r\n")[2]
        root, payloads = Part("1", "text/plain", size=len(rest)), {"1": rest}
    chosen = passages(root)
    text = Text()
    for look in range(LOOKS):
        wanted = reading.wanted(chosen, look)
        pieces = {part.section: Piece.of(part, payloads[part.section], limit) for part, limit in wanted}
        text = text_of(chosen, pieces, reading)
        if not text.wants_more:
            break
    text = replace(text, is_cut=text.is_cut or size > len(raw))
    return content(Headers(raw, charset(chosen)), text, structure.attachments(root), reading)


def _address(pair: tuple[str, str]) -> str:
    name, address = pair
    return f"{name} <{address}>" if name and address else name or address


def _is_addressed(owner: str, recipients: Iterable[tuple[str, str]]) -> bool | None:
    """None when the owner's address is unknown. `me+shop@…` counts as `me@…` (RFC 5233)."""
    if "@" not in owner:
        return None
    plain = _plain_address(owner)
    return any(_plain_address(address) == plain for _, address in recipients)


def _plain_address(address: str) -> str:
    local, _, host = address.strip().lower().rpartition("@")
    return f"{local.partition('+')[0]}@{host}"


def _attachment(part: Part) -> Attachment:
    return Attachment(one_line(words_decoded(part.filename), 200), one_line(part.content_type, 100))


def _links(links: Iterable[Link]) -> tuple[tuple[str, ...], tuple[MisleadingLink, ...]]:
    hosts = dict.fromkeys(real for _, real in links)
    misleading = dict.fromkeys(
        MisleadingLink(shown, real) for shown, real in links if shown and not are_one_site(shown, real)
    )
    return tuple(hosts)[:MAX_HOSTS], tuple(misleading)[:MAX_MISLEADING]
