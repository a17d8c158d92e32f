"""One mail's bytes as an IMAP server sees them: header fields, parts by number, BODYSTRUCTURE.

Every section is an exact slice of the mail, so a client that joins the sections gets the delivered bytes, also of a
malformed mail. Nothing is decoded, no input raises an error, and what is missing has RFC 2045's defaults.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cached_property

MAX_DEPTH = 20  # parts within parts; deeper ones stay bytes

_FIELD = re.compile(rb"(?P<name>[^:\s]+)[ \t]*:(?P<value>.*(?:\r\n[ \t].*)*)(?:\r\n|\Z)")
_PARAMETER = re.compile(rb';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;]*)')
_NO_ENVELOPE = b"(" + b" ".join([b"NIL"] * 10) + b")"


class Part:
    """A mail, or a part of one. `raw` has CRLF line ends."""

    def __init__(self, raw: bytes, depth: int = 0) -> None:
        self.raw = raw
        self._depth = depth
        if raw.startswith(b"\r\n"):
            self.header, self.body = raw[:2], raw[2:]
        else:
            head, blank, self.body = raw.partition(b"\r\n\r\n")
            self.header = head + blank

    def field(self, name: str) -> bytes | None:
        """The first field of this name, unfolded; None when there is none."""
        for line in self._fields:
            if line[0] == name.lower().encode():
                return re.sub(rb"\r\n(?=[ \t])", b"", line[1]).strip()
        return None

    def fields(self, names: Collection[bytes], *, negate: bool = False) -> bytes:
        """HEADER.FIELDS, or HEADER.FIELDS.NOT: the fields as they stand in the mail, with a blank line after."""
        wanted = {name.lower() for name in names}
        return b"".join(raw for name, _, raw in self._fields if (name in wanted) is not negate) + b"\r\n"

    def find(self, path: Sequence[int]) -> Part | None:
        """The part that IMAP numbers `path`, counted from 0 (RFC 3501 §6.4.5); None when there is none."""
        part = self
        for place, number in enumerate(path):
            scope = part if place == 0 else part.embedded or part
            if scope.children:
                if number >= len(scope.children):
                    return None
                part = scope.children[number]
            elif number == 0 and (place == 0 or part.embedded):
                part = scope
            else:
                return None
        return part

    @cached_property
    def embedded(self) -> Part | None:
        """The mail within a message/rfc822 part."""
        if self._media != (b"message", b"rfc822") or self._depth >= MAX_DEPTH:
            return None
        return Part(self.body, self._depth + 1)

    @cached_property
    def children(self) -> tuple[Part, ...]:
        """The parts of a multipart. Where its boundary occurs nowhere, it has one empty part, as with Dovecot."""
        if self._media[0] != b"multipart" or self._depth >= MAX_DEPTH:
            return ()
        boundary = self._parameters.get(b"boundary") or b"\0"  # without one, no line divides
        marks = list(re.finditer(rb"(?:\A|\r\n)--%b(--)?[ \t]*(?=\r\n|\Z)" % re.escape(boundary), self.body))
        ends = [*(mark.start() for mark in marks[1:]), len(self.body)]
        parts = []
        for mark, end in zip(marks, ends, strict=False):
            if mark.group(1):
                break
            parts.append(Part(self.body[mark.end() + 2 : end], self._depth + 1))
        return tuple(parts) or (Part(b"", self._depth + 1),)

    def structure(self, *, extended: bool) -> bytes:
        """BODYSTRUCTURE, or BODY when not `extended` (RFC 3501 §7.4.2)."""
        main, sub = self._media
        if self.children:
            words = [b"".join(child.structure(extended=extended) for child in self.children), _string(sub)]
            if extended:
                words.append(_pairs(self._parameters))
        else:
            words = [_string(main), _string(sub), _pairs(self._parameters)]
            words += [_string(self.field(name)) for name in ("Content-ID", "Content-Description")]
            words += [_string(self.field("Content-Transfer-Encoding") or b"7bit"), b"%d" % len(self.body)]
            if self.embedded:
                words += [_NO_ENVELOPE, self.embedded.structure(extended=extended), self._lines]
            elif main == b"text":
                words.append(self._lines)
            if extended:
                words.append(_string(self.field("Content-MD5")))
        if extended:
            words += [
                self._disposition,
                *(_string(self.field(name)) for name in ("Content-Language", "Content-Location")),
            ]
        return b"(" + b" ".join(words) + b")"

    @cached_property
    def _fields(self) -> list[tuple[bytes, bytes, bytes]]:
        return [(found["name"].lower(), found["value"], found[0]) for found in _FIELD.finditer(self.header)]

    @cached_property
    def _media(self) -> tuple[bytes, bytes]:
        main, _, sub = (self.field("Content-Type") or b"").partition(b";")[0].strip().lower().partition(b"/")
        return (main, sub) if main and sub else (b"text", b"plain")

    @cached_property
    def _parameters(self) -> dict[bytes, bytes]:
        given = _parameters(self.field("Content-Type") or b"")
        return {b"charset": b"us-ascii", **given} if self._media[0] == b"text" else given

    @property
    def _disposition(self) -> bytes:
        value = self.field("Content-Disposition")
        if not value:
            return b"NIL"
        return b"(" + _string(value.partition(b";")[0].strip().lower()) + b" " + _pairs(_parameters(value)) + b")"

    @property
    def _lines(self) -> bytes:
        return b"%d" % self.body.count(b"\n")


def _parameters(value: bytes) -> dict[bytes, bytes]:
    """`; name=value` pairs, unquoted but not decoded: `filename*` stays what the mail says (RFC 2231)."""
    return {
        name.lower(): re.sub(rb"\\(.)", rb"\1", text[1:-1]) if text.startswith(b'"') and len(text) > 1 else text
        for name, text in _PARAMETER.findall(value)
    }


def _pairs(parameters: dict[bytes, bytes]) -> bytes:
    words = [_string(word) for pair in parameters.items() for word in pair]
    return b"(" + b" ".join(words) + b")" if words else b"NIL"


def _string(value: bytes | None) -> bytes:
    """An nstring: quoted where RFC 3501 allows it, else a literal."""
    if value is None:
        return b"NIL"
    if value.isascii() and value.decode("ascii").isprintable():
        return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"{%d}\r\n%b" % (len(value), value)
