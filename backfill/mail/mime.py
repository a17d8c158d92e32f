"""Bytes of a mail to `Content`: what a classifier is shown. Survives anything, and is deterministic.

Each header and each part is read for itself; where one is broken its raw text stands in. The same bytes give the
same `Content`, hence the same `message_key`, whichever server they come from and whether the parts were fetched
one by one or the mail as a whole. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from backfill.mail import structure
from backfill.mail.charsets import decoded
from backfill.mail.headers import BROKEN, Headers, authentication, words_decoded
from backfill.mail.html import Link, declared_charset, links_in_text, text_and_links
from backfill.mail.quotes import trimmed
from backfill.mail.spam_marks import marked_spam
from backfill.mail.structure import Part
from backfill.mail.text import clean, one_line, transfer_decoded
from backfill.message import Attachment, Content, MisleadingLink
from backfill.sites import are_one_site

MAX_ADDRESSES, MAX_HOSTS, MAX_MISLEADING = 50, 30, 10


@dataclass(frozen=True, slots=True)
class Reading:
    """How mails are read: for whom, and how much of them."""

    owner: str = ""  # the account's address; "" when it is not known
    max_body_chars: int = 4000

    def byte_limit(self, part: Part, *, is_second: bool = False) -> int:
        """How many transferred bytes of a part are worth fetching.

        4 per character: UTF-8 in base64, or Latin text in quoted-printable. 16 for HTML, most of which is markup.
        A second look, for parts that begin with nothing readable (HTML with a long style sheet), goes four times
        as far.
        """
        limit = max(8192, self.max_body_chars * (16 if part.content_type == "text/html" else 4))
        return 4 * limit if is_second else limit


@dataclass(frozen=True, slots=True)
class Piece:
    """A text part with its bytes as transferred, or the first of them."""

    part: Part
    data: bytes
    is_cut: bool = False

    @classmethod
    def of(cls, part: Part, data: bytes, limit: int) -> Piece:
        """`data` cut to `limit`. Servers are not believed about sizes where the bytes themselves tell."""
        return cls(part, data[:limit], is_cut=len(data) > limit or (len(data) == limit < part.size))


@dataclass(frozen=True, slots=True)
class Text:
    """The readable text of a mail's parts, whole and cleaned, before trimming and cutting."""

    text: str = ""
    links: tuple[Link, ...] = ()
    is_cut: bool = False  # parts of it were not fetched


def content(headers: Headers, text: Text, attached: Iterable[Part], reading: Reading) -> Content:
    """Put together what a classifier is shown."""
    body = trimmed(text.text)
    sent = headers.sent
    recipients, copied = headers.addresses("to"), headers.addresses("cc")
    hosts, misleading = _links(text.links)
    return Content(
        subject=headers.text("subject"),
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


def text_of(pieces: Sequence[Piece]) -> Text:
    """The text of all pieces, joined by an empty line."""
    texts: list[str] = []
    links: list[Link] = []
    for piece in pieces:
        data = transfer_decoded(piece.data, piece.part.encoding, is_cut=piece.is_cut)
        if piece.part.content_type == "text/html":
            second = declared_charset(data)
            text, found = text_and_links(decoded(data, piece.part.charset, second=second, is_cut=piece.is_cut))
        else:
            text = clean(decoded(data, piece.part.charset, is_cut=piece.is_cut))
            found = links_in_text(text)
        links += found
        if text and text not in texts:
            texts.append(text)
    return Text("\n\n".join(texts), tuple(links), any(piece.is_cut for piece in pieces))


def whole(raw: bytes, size: int, reading: Reading) -> Content:
    """`Content` of a mail of `size` bytes whose first bytes are `raw`."""
    if b"\r\n" not in raw:
        raw = raw.replace(b"\n", b"\r\n")  # as every IMAP server gives it
        size = max(size, len(raw))
    try:
        root, payloads = structure.from_bytes(raw)
    except BROKEN:
        rest = raw.partition(b"\r\n\r\n")[2]
        root, payloads = Part("1", "text/plain", size=len(rest)), {"1": rest}
    parts = structure.texts(root)
    text = Text()
    for is_second in (False, True):
        if not text.text:
            text = text_of(
                [
                    Piece.of(part, payloads[part.section], reading.byte_limit(part, is_second=is_second))
                    for part in parts
                ]
            )
    text = replace(text, is_cut=text.is_cut or size > len(raw))
    return content(Headers(raw, structure.charset(root)), text, structure.attachments(root), reading)


def _address(pair: tuple[str, str]) -> str:
    name, address = pair
    return f"{name} <{address}>" if name and address else name or address


def _is_addressed(owner: str, recipients: Iterable[tuple[str, str]]) -> bool | None:
    """None when the owner's address is not known. `me+shop@…` is me (RFC 5233)."""
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
