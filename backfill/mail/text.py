"""Bytes to readable characters: charsets that lie, transfer encodings that are cut off, characters nobody sees.

Pure, and total: any bytes give a str. Invisible characters are removed because they carry filler and hidden
instructions; what is left is what a person reading the mail would see.
"""

from __future__ import annotations

import binascii
import codecs
import re
import unicodedata
from itertools import chain

from resiliparse.parse.encoding import map_encoding_to_html5

_UNSEEN = chain(
    (c for c in chain(range(0x20), range(0x7F, 0xA0)) if chr(c) not in "\t\n"),  # control characters
    (0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x2800, 0x3164, 0xFEFF, 0xFFA0),
    range(0x200B, 0x2010),  # zero width, joiners, direction marks
    range(0x202A, 0x202F),  # bidi embeddings and overrides
    range(0x2060, 0x2070),  # word joiner, invisible operators, bidi isolates
    range(0xFE00, 0xFE10),  # variation selectors
    range(0xFFF9, 0xFFFC),
    range(0xE0000, 0xE01F0),  # tags, more variation selectors
)
_SEEN = str.maketrans(dict.fromkeys(_UNSEEN) | dict.fromkeys(range(55296, 57344), "�"))

#: Python codecs that decode bytes but are no charsets of mail, or slow on hostile input (punycode, idna).
_NO_CHARSETS = frozenset({"idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
_SUPERSETS = {"iso8859-1": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "euc_kr": "cp949", "shift_jis": "cp932"}


def clean(text: str) -> str:
    """Visible characters only; lines end in \\n, without blanks around them; at most one empty line in a row."""
    lines: list[str] = []
    for line in "\n".join(text.splitlines()).translate(_SEEN).split("\n"):
        words = " ".join(line.split())  # three times as fast as a pattern
        if words or (lines and lines[-1]):
            lines.append(words)
    return "\n".join(lines).strip()


def one_line(text: str, limit: int = 1000) -> str:
    """Visible characters only, on one line, cut to `limit` characters."""
    return " ".join(" ".join(text.splitlines()).translate(_SEEN).split())[:limit]


def decoded(data: bytes, charset: str = "", *, is_cut: bool = False) -> str:
    """`data` by the declared charset, else UTF-8, else cp1252, else with replacement characters.

    `is_cut`: the end is missing, so that the last character may be broken; it is dropped then.
    """
    for name in (*_codec(charset), "utf-8", "cp1252"):
        for missing in range(4 if is_cut else 1):  # no charset of mail has characters of more than four bytes
            try:
                return data[: len(data) - missing].decode(name)
            except (UnicodeError, LookupError, ValueError):
                continue
    return data.decode("cp1252", "replace")


def transfer_decoded(data: bytes, encoding: str, *, is_cut: bool = False) -> bytes:
    """The part's bytes without base64 or quoted-printable, as far as they can be had."""
    match encoding.strip().lower():
        case "base64":
            return _from_base64(data)
        case "quoted-printable":
            if is_cut:
                data = re.sub(rb"=[0-9A-Fa-f]?$", b"", data)
            return binascii.a2b_qp(data)
        case "x-uuencode" | "uuencode" | "x-uue":
            return _from_uuencode(data)
        case _:
            return data


def is_meaningful(text: str) -> bool:
    """Is there a letter or a digit in it?"""
    return any(unicodedata.category(c)[0] in "LN" for c in text)


def _codec(charset: str) -> tuple[str, ...]:
    """The Python codec for what mails call a charset; () for what is none."""
    label = charset.strip().strip("\"'").lower()
    if not label or not label.isascii() or not label.isprintable():
        return ()
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        name = map_encoding_to_html5(label, fallback_utf8=False) or ""
    if not name or name.replace("_", "-") in _NO_CHARSETS:
        return ()
    return (_SUPERSETS.get(name, name),)


def _from_base64(data: bytes) -> bytes:
    """Quantum by quantum where the whole does not decode; a broken last one is dropped."""
    letters = re.sub(rb"[^A-Za-z0-9+/=]", b"", data)
    out = []
    for run in re.split(rb"=+", letters):  # padding in the middle: pieces that were encoded each for itself
        usable = run[: len(run) - 1] if len(run) % 4 == 1 else run
        out.append(binascii.a2b_base64(usable + b"=" * (-len(usable) % 4)))
    return b"".join(out)


def _from_uuencode(data: bytes) -> bytes:
    out = []
    for line in data.splitlines():
        if line.startswith((b"begin ", b"end")):
            continue
        try:
            out.append(binascii.a2b_uu(line))
        except binascii.Error:
            continue
    return b"".join(out)
