"""Folder names on the wire and as shown: modified UTF-7 (RFC 9051 §A.1), and other forms that servers list.

A name that cannot be decoded is kept as its octets, so that the folder can be opened. It is shown with escapes. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from imapclient.imap_utf7 import decode, encode

from backfill.mail.client import Record

_ENTRY = re.compile(rb'\s*\(([^()]*)\)\s+(?:"(?:[^"\\]|\\.)*"|NIL)\s+', re.I)
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Listed:
    """A line of LIST: the folder's name on the wire, the name that people see, and its attributes."""

    wire: bytes
    name: str
    attributes: frozenset[str]


def on_the_wire(name: str) -> bytes:
    """A folder's name in modified UTF-7 (RFC 9051 §A.1)."""
    return bytes(encode(name))


def listed(records: Sequence[Record]) -> list[Listed]:
    """The folders of a LIST reply, each name once, in the server's order. Lines without a name are left out."""
    found: dict[bytes, Listed] = {}
    shown: set[str] = set()
    for wire, attributes in _entries(records):
        name = _shown(wire)
        if name in shown:  # one folder's octets equal another folder's decoded name
            name = name.replace("&", "\\x26")
        if wire not in found and name not in shown:
            found[wire] = Listed(wire, name, attributes)
            shown.add(name)
    return list(found.values())


def _entries(records: Sequence[Record]) -> list[tuple[bytes, frozenset[str]]]:
    entries: list[tuple[bytes, frozenset[str]]] = []
    is_rest = False  # whether this record is the rest of a line with a literal
    for record in records:
        line, literal = record if isinstance(record, tuple) else (record or b"", None)
        head = None if is_rest else _ENTRY.match(line)
        is_rest = literal is not None
        if head is None:
            continue
        wire = _name(line[head.end() :]) if literal is None else literal
        if wire and not re.search(rb"[\r\n\0]", wire):  # such a name does not fit into a quoted string
            words = head[1].decode("ascii", "replace").split()
            entries.append((wire, frozenset(words)))
    return entries


def _name(rest: bytes) -> bytes:
    if quoted := _QUOTED.match(rest):
        return re.sub(rb"\\(.)", rb"\1", quoted[1])
    return rest.partition(b" (")[0].strip()  # LIST-EXTENDED adds a list (RFC 5258)


def _shown(wire: bytes) -> str:
    """The decoded name if encoding it gives the same octets. Otherwise the octets: as UTF-8, the rest as escapes."""
    try:
        name = decode(wire)
        if wire.isascii() and on_the_wire(name) == wire:
            name.encode()  # raises for half of a surrogate pair
            return str(name)
    except (ValueError, LookupError):
        pass
    return wire.decode("utf-8", "backslashreplace")
