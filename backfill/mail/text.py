"""Text as a person sees it: transfer encodings decoded, invisible characters removed.

Pure, and total: any input gives a result, also a part that was cut off. Invisible characters are removed because they
carry filler and hidden instructions.
"""

from __future__ import annotations

import binascii
import re
import unicodedata
from itertools import chain

_UNSEEN = (
    *(range(0x09), range(0x0B, 0x20), range(0x7F, 0xA0)),  # control characters
    *(range(c, c + 1) for c in (0x00AD, 0x034F, 0x061C, 0x180E, 0x2800, 0x3164, 0xFEFF, 0xFFA0)),
    *(range(0x115F, 0x1161), range(0x17B4, 0x17B6)),
    range(0x200B, 0x2010),  # zero width, joiners, direction marks
    range(0x202A, 0x202F),  # bidi embeddings and overrides
    range(0x2060, 0x2070),  # word joiner, invisible operators, bidi isolates
    range(0xFE00, 0xFE10),  # variation selectors
    range(0xFFF9, 0xFFFC),
    range(0xE0000, 0xE01F0),  # tags, more variation selectors
)
#: Each becomes a space; `str.split` counts them as blanks.
_BLANKS = (*(range(c, c + 1) for c in (0x09, 0xA0, 0x1680, 0x202F, 0x205F, 0x3000)), range(0x2000, 0x200B))
_SURROGATES = range(0xD800, 0xE000)
_SEEN = str.maketrans(
    dict.fromkeys(chain(*_UNSEEN)) | dict.fromkeys(chain(*_BLANKS), " ") | dict.fromkeys(_SURROGATES, "�")
)
#: The same characters as a pattern. On text beyond ASCII it takes a sixth of the time of `str.translate`.
_ODD = re.compile(f"[{''.join(f'{chr(each[0])}-{chr(each[-1])}' for each in (*_UNSEEN, *_BLANKS, _SURROGATES))}]+")

_BASE64_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n"
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))
_ODD_LINE = re.compile(rb"[^A-Za-z0-9+/=\s]")  # a character outside of base64
#: The first line of base64 whose Content-Transfer-Encoding got lost.
_BASE64_BEGINS = re.compile(rb"[A-Za-z0-9+/]{40,76}={0,2}\s*(?:\n|$)")
_CODED_LINE = re.compile(rb"[ \t]*[A-Za-z0-9+/]{4,}={0,2}[ \t]*[\r\n]*")


def clean(text: str) -> str:
    """Visible characters only. Lines end in \\n and have no blanks around them; never two empty lines in a row."""
    stripped = "\n".join(map(str.strip, text.splitlines()))
    text = _seen(stripped)
    if text != stripped or "  " in text:
        text = "\n".join([" ".join(line.split()) for line in text.split("\n")])  # a pattern takes three times as long
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip()


def one_line(text: str, limit: int = 1000) -> str:
    """Visible characters only, on one line, cut to `limit` characters."""
    if not (text.isascii() and text.isprintable()):
        text = _seen(" ".join(text.splitlines()))
    return " ".join(text.split())[:limit]


def transfer_decoded(data: bytes, encoding: str, *, is_cut: bool = False) -> bytes:
    """The part's bytes after base64, quoted-printable or uuencode, as far as they can be decoded."""
    match encoding.strip("\"'; \t").lower():
        case "base64" | "base-64" | "b64":
            return _from_base64(data)
        case "quoted-printable":
            if is_cut:
                data = re.sub(rb"=[0-9A-Fa-f]?$", b"", data)
            return binascii.a2b_qp(data)
        case "x-uuencode" | "uuencode" | "x-uue":
            return _from_uuencode(data)
        case _:
            return _from_base64(data) if _is_all_base64(data) else data


def is_meaningful(text: str) -> bool:
    """Has the text a letter or a digit?"""
    return any(unicodedata.category(c)[0] in "LN" for c in text)


def _seen(text: str) -> str:
    """The text without invisible characters, and with a space for each blank character."""
    return text.translate(_SEEN) if text.isascii() else _ODD.sub(lambda run: run[0].translate(_SEEN), text)


def _is_all_base64(data: bytes) -> bool:
    first = _BASE64_BEGINS.match(data)
    if not first or data.translate(None, _BASE64_LETTERS):
        return False
    letters = first[0].decode("ascii")
    return all(any(map(test, letters)) for test in (str.isupper, str.islower, str.isdigit))


def _from_base64(data: bytes) -> bytes:
    """The decoded base64. Plain lines before and after it stay: servers on the way add banners and footers."""
    if not _ODD_LINE.search(data):
        return _letters_decoded(data)
    lines = data.splitlines(keepends=True)
    coded = [number for number, line in enumerate(lines) if _CODED_LINE.fullmatch(line)]
    whole = [number for number in coded if len(lines[number].strip()) % 4 == 0]
    if not whole:
        return data if not coded else _letters_decoded(data)
    first, last = whole[0], whole[0]
    for number in coded:
        if number == last + 1 or (number > last and len(lines[number].strip()) >= 40):
            last = number
    return b"".join((*lines[:first], _letters_decoded(b"".join(lines[first : last + 1])), b"\r\n", *lines[last + 1 :]))


def _letters_decoded(data: bytes) -> bytes:
    """Decode each run of base64 up to a `=`; a single letter left at a run's end is dropped."""
    letters = data.translate(None, _NOT_BASE64)
    out = []
    for run in filter(None, letters.split(b"=")):  # `=` in the middle: the pieces were encoded one by one
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
