"""Puts a sample mail's bytes together, in the charsets and transfer encodings of twenty years of mail.

The standard library's generator writes only utf-8 headers and random boundaries, so this module writes mails itself:
the sample must be the same at every start. Randomness comes from the caller's `Random` alone.
"""

from __future__ import annotations

import base64
import quopri
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.utils import format_datetime
from random import Random


@dataclass(frozen=True, slots=True)
class SampleMail:
    """One mail of the sample with the labels that a person would give it."""

    raw: bytes
    kind: str
    is_important: bool
    is_spam: bool


@dataclass(frozen=True, slots=True)
class Person:
    """A name with an address. Addresses lie under names reserved by RFC 2606."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Entity:
    """A MIME part: header fields, and the body in its transfer encoding."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


OWNER = Person("Robin Sample", "robin@example.org")

_PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Count 0/Kids[]>>endobj\n"


def text(content: str, *, subtype: str = "plain", charset: str = "utf-8", encoding: str | None = None) -> Entity:
    """A text part. `encoding` defaults to what the content needs: 7bit, or quoted-printable."""
    charset = _fitting(content, charset)
    payload = content.encode(charset)
    encoding = encoding or ("7bit" if payload.isascii() else "quoted-printable")
    headers = (("Content-Type", f"text/{subtype}; charset={charset}"), ("Content-Transfer-Encoding", encoding))
    return Entity(headers, _encoded(payload, encoding))


def attachment(name: str, content_type: str = "application/pdf", payload: bytes = _PDF) -> Entity:
    """A file, in base64."""
    headers = (
        ("Content-Type", f'{content_type}; name="{name}"'),
        ("Content-Transfer-Encoding", "base64"),
        ("Content-Disposition", f'attachment; filename="{name}"'),
    )
    return Entity(headers, _encoded(payload, "base64"))


def multipart(rng: Random, kind: str, *parts: Entity) -> Entity:
    """Parts under one boundary; `kind` is mixed, alternative or related."""
    boundary = f"=_{rng.getrandbits(64):016x}"
    body = b"".join(b"--%b\n%b\n" % (boundary.encode(), _bytes(part)) for part in parts)
    return Entity(
        (("Content-Type", f'multipart/{kind}; boundary="{boundary}"'),), body + b"--%b--\n" % boundary.encode()
    )


def mail(
    rng: Random,
    when: datetime,
    content: Entity,
    *,
    subject: str,
    sender: Person,
    to: Sequence[Person] = (OWNER,),
    charset: str = "utf-8",
    extra: Sequence[tuple[str, str]] = (),
    passes: bool = True,
) -> bytes:
    """The whole mail. `extra` are further header fields; `passes`: does the sender's domain vouch for it?"""
    domain = sender.address.partition("@")[2]
    verdict = "pass" if passes else "fail"
    relay = f"from mail.{domain} (mail.{domain} [192.0.2.{rng.randrange(1, 255)}])"
    vouched = f"spf={verdict} smtp.mailfrom={domain};\n\tdkim={verdict} header.d={domain}; dmarc={verdict}"
    headers = [
        ("Received", f"{relay}\n\tby mx.example.org with ESMTP id {rng.getrandbits(40):010x}; {format_datetime(when)}"),
        ("Authentication-Results", f"mx.example.org; {vouched}"),
        ("Date", format_datetime(when)),
        ("From", _mailbox(sender, charset)),
        ("To", ", ".join(_mailbox(person, charset) for person in to)),
        ("Subject", _words(subject, charset)),
        *extra,
        ("MIME-Version", "1.0"),
    ]
    if not any(name == "Message-ID" for name, _ in extra):
        headers.insert(2, ("Message-ID", message_id(rng, domain)))
    return _bytes(Entity((*headers, *content.headers), content.body))


def message_id(rng: Random, domain: str) -> str:
    return f"<{rng.getrandbits(48):012x}.{rng.randrange(10_000)}@{domain}>"


def _bytes(entity: Entity) -> bytes:
    return "".join(f"{name}: {value}\n" for name, value in entity.headers).encode() + b"\n" + entity.body


def _encoded(payload: bytes, encoding: str) -> bytes:
    match encoding:
        case "base64":
            return base64.encodebytes(payload)
        case "quoted-printable":
            return quopri.encodestring(payload)
    return payload


def _mailbox(person: Person, charset: str) -> str:
    name = _words(person.name, charset)
    if not name:
        return person.address
    return (
        f'"{name}" <{person.address}>'
        if set(name) & set(".,@") and name == person.name
        else f"{name} <{person.address}>"
    )


def _words(value: str, charset: str) -> str:
    """Encoded words (RFC 2047) where the text needs them."""
    return value if value.isascii() else Header(value, _fitting(value, charset)).encode()


def _fitting(value: str, charset: str) -> str:
    """`charset`, or utf-8 where `charset` lacks a character, as mail programs do."""
    try:
        value.encode(charset)
    except UnicodeEncodeError:
        return "utf-8"
    return charset
