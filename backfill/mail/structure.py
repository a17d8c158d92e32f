"""The parts of a mail, from BODYSTRUCTURE or from its bytes.

Both ways give the same tree of `Part`s, so the same parts are read. Pure. Raises ValueError for a structure that makes
no sense.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message as ParsedMail
from email.policy import compat32
from email.utils import collapse_rfc2231_value, decode_params, unquote
from typing import Any

from imapclient.response_types import BodyData

from backfill.mail.charsets import decoded

HTML = frozenset({"text/html", "application/xhtml+xml"})
MAX_DEPTH = 40
MAX_ATTACHMENTS = 50

_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,100}/[a-z0-9!#$&^_.+-]{1,100}")

#: `Content-Type: text/html charset=utf-8`, without a semicolon before the parameters.
_NO_SEMICOLON = re.compile(rb"^(content-type:[ \t]*[\w.+-]+/[\w.+-]+)[ \t\r\n]+(?=[\w-]+[ \t]*=)", re.I | re.M)

#: A boundary as it stands in the mail. Used when the header names none, or another one.
_BOUNDARY = re.compile(rb'^--([^\r\n"]{1,70})\r\nContent-', re.IGNORECASE | re.MULTILINE)

#: A parameter's value with one of these must be unquoted.
_QUOTING = re.compile(r'["\\<]')


@dataclass(frozen=True, slots=True)
class Part:
    """A MIME part. `section` is its name in FETCH; a multipart has the prefix of its children's names."""

    section: str
    content_type: str
    charset: str = ""
    encoding: str = ""
    disposition: str = ""
    filename: str = ""  # encoded words (RFC 2047) not decoded
    size: int = 0  # bytes, as transferred
    parts: tuple[Part, ...] = ()

    @property
    def is_multipart(self) -> bool:
        return self.content_type.startswith("multipart/")

    @property
    def is_attachment(self) -> bool:
        """Is it a file to save? True for disposition attachment, and for a part with a file name that is not inline."""
        return self.disposition == "attachment" or bool(self.filename and self.disposition != "inline")


def attachments(root: Part) -> tuple[Part, ...]:
    """Parts besides the mail's text and the pictures of its HTML, in order; at most `MAX_ATTACHMENTS`."""
    return tuple(_attached(root))[:MAX_ATTACHMENTS]


def sizes(parts: tuple[Part, ...]) -> tuple[int, ...]:
    """About how many bytes each part has once it is decoded: base64 makes four bytes of three, and lines."""
    return tuple(part.size * 73 // 100 if part.encoding == "base64" else part.size for part in parts)


def from_bodystructure(body: BodyData) -> Part:
    """The tree that BODYSTRUCTURE describes (RFC 9051 §7.5.2).

    Servers give no type for a part with an invalid Content-Type. Below the root, such a part counts as plain text (RFC
    2045 §5.2). At the root it raises ValueError: the mail's own header tells more.
    """
    if not body.is_multipart and not _content_type(*body[:2]):
        raise ValueError("no content type")
    return _from_body(body, "", 0)


def from_bytes(raw: bytes) -> tuple[Part, dict[str, bytes]]:
    """The tree of a mail, and the transferred bytes of each part without children, by section."""
    payloads: dict[str, bytes] = {}
    head, gap, rest = raw.partition(b"\r\n\r\n")
    head = _NO_SEMICOLON.sub(rb"\1; ", head)
    mail = message_from_bytes(head + gap + rest, policy=compat32)
    if mail.get_content_maintype() == "multipart" and not mail.is_multipart() and (found := _BOUNDARY.search(rest)):
        kind = mail.get_content_subtype().encode("ascii", "replace")
        typed = b'Content-Type: multipart/%s; boundary="%s"\r\n' % (kind, found[1])
        mail = message_from_bytes(typed + head + gap + rest, policy=compat32)
    return _from_mail(mail, "", 0, payloads), payloads


def _attached(part: Part, *, is_related: bool = False) -> Iterator[Part]:
    if part.is_multipart:
        for child in part.parts:
            yield from _attached(child, is_related=part.content_type == "multipart/related")
        return
    is_picture_of_html = is_related and part.content_type.startswith("image/") and part.disposition != "attachment"
    is_read = part.content_type in ({"text/plain"} | HTML) and not part.is_attachment
    if not is_read and not is_picture_of_html:
        yield part


def _from_body(body: BodyData, section: str, depth: int) -> Part:
    """`section`: the part's name; "" for the root. A root that is no multipart is called 1 (RFC 9051 §6.4.5.1)."""
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if body.is_multipart:
        return Part(
            section,
            f"multipart/{_word(body[1])}",
            parts=tuple(
                _from_body(child, f"{section}.{number}" if section else str(number), depth + 1)
                for number, child in enumerate(body[0], 1)
            ),
        )
    section = section or "1"
    kind, subtype, parameters, _id, _description, encoding, size = body[:7]
    content_type = _content_type(kind, subtype) or "text/plain"
    inner: tuple[Part, ...] = ()
    extension = body[8:] if content_type.startswith("text/") else body[7:]  # a text part has its number of lines before
    if content_type == "message/rfc822" and len(body) > 9 and isinstance(body[8], tuple):
        mail = BodyData.create(body[8])
        inner = (_from_body(mail, section if mail.is_multipart else f"{section}.1", depth + 1),)
        extension = body[10:]
    typed = _pairs(parameters)
    disposition, disposed = _disposition(extension[1] if len(extension) > 1 else None)
    return Part(
        section,
        content_type,
        charset=_parameter(typed, "charset"),
        encoding=_word(encoding),
        disposition=disposition,
        filename=_parameter(disposed, "filename") or _parameter(typed, "name"),
        size=size if isinstance(size, int) else 0,
        parts=inner,
    )


def _content_type(kind: Any, subtype: Any) -> str:
    """Such as `text/html`; "" for an invalid type."""
    content_type = f"{_word(kind)}/{_word(subtype)}"
    return content_type if _TYPE.fullmatch(content_type) else ""


def _disposition(value: Any) -> tuple[str, list[tuple[str, str]]]:
    if isinstance(value, tuple) and value:
        return _word(value[0]), _pairs(value[1] if len(value) > 1 else None)
    return (_word(value), []) if isinstance(value, bytes) else ("", [])


def _pairs(value: Any) -> list[tuple[str, str]]:
    if not isinstance(value, tuple):
        return []
    return [(_text(name).lower(), _text(held)) for name, held in zip(value[::2], value[1::2], strict=False)]


def _parameter(pairs: list[tuple[str, str]], wanted: str) -> str:
    """A parameter's value, also when it comes in pieces (RFC 2231); "" when there is none."""
    plain = dict(reversed(pairs))  # of equal names the first counts
    value = plain.get(wanted, "")
    if "*" not in "".join(plain) and not _QUOTING.search(value):
        return value
    try:
        decoded: Mapping[str, Any] = dict(reversed(decode_params([("", ""), *pairs])[1:]))
        return unquote(str(collapse_rfc2231_value(decoded.get(wanted, ""))))
    except (ValueError, LookupError, TypeError):
        return next((value for name, value in pairs if name.startswith(wanted)), "")


def _text(value: Any) -> str:
    return decoded(value) if isinstance(value, bytes) else str(value or "")


def _word(value: Any) -> str:
    return _text(value).strip().lower()


def _from_mail(mail: ParsedMail, section: str, depth: int, payloads: dict[str, bytes]) -> Part:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    content_type = mail.get_content_type()
    content_type = content_type if _TYPE.fullmatch(content_type) else "text/plain"
    children = _children(mail)
    if children and content_type.startswith("multipart/"):
        return Part(
            section,
            content_type,
            parts=tuple(
                _from_mail(child, f"{section}.{number}" if section else str(number), depth + 1, payloads)
                for number, child in enumerate(children, 1)
            ),
        )
    section = section or "1"
    encoding = _word(str(mail.get("content-transfer-encoding", "")))
    inner: tuple[Part, ...] = ()
    payload = b""
    if children:
        has_parts = children[0].get_content_maintype() == "multipart" and children[0].is_multipart()
        inner_section = section if has_parts else f"{section}.1"
        inner = (_from_mail(children[0], inner_section, depth + 1, payloads),)
    else:
        payload = payloads[section] = _transferred(mail)
        if content_type.startswith("multipart/"):  # a multipart without parts is read as text
            content_type = "text/plain"
    typed, disposed = _header_pairs(mail, "content-type"), _header_pairs(mail, "content-disposition")
    return Part(
        section,
        content_type,
        charset=_parameter(typed[1:], "charset"),
        encoding=encoding,
        disposition=disposed[0][0] if disposed else "",
        filename=_parameter(disposed[1:], "filename") or _parameter(typed[1:], "name"),
        size=len(payload),
        parts=inner,
    )


def _transferred(mail: ParsedMail) -> bytes:
    """A part's bytes as they stand in the mail. Without its header, get_payload(decode=True) decodes nothing."""
    del mail["content-transfer-encoding"]
    payload: Any = mail.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _children(mail: ParsedMail) -> list[ParsedMail]:
    payload: Any = mail.get_payload()
    return [child for child in payload if isinstance(child, ParsedMail)] if isinstance(payload, list) else []


def _header_pairs(mail: ParsedMail, name: str) -> list[tuple[str, str]]:
    """A header's value and then its parameters, as (name, value) pairs with raw values."""
    pieces: list[str] = []
    raw = next((value for field, value in mail.raw_items() if field.lower() == name), "")
    for piece in decoded(raw.encode("utf-8", "surrogateescape")).split(";"):
        if pieces and pieces[-1].count('"') % 2:  # a semicolon between quotes
            pieces[-1] += f";{piece}"
        else:
            pieces.append(piece)
    split = [piece.partition("=") for piece in pieces]
    return [(key.strip().lower(), value.strip().strip('"')) for key, _, value in split]
