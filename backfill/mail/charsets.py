"""Bytes to characters, also where a mail names a wrong charset, names none, or has a few broken characters.

Pure, and total: any bytes give a str. Text that is valid UTF-8 is read as UTF-8. The declared charset is used when the
bytes fit it; a few characters may be broken. Otherwise the charset is guessed from the bytes.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

#: Python codecs that decode bytes but are no charsets of mail. punycode and idna are slow on hostile input.
_NO_CHARSETS = frozenset({"idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})

#: Mails that declare the charset on the left use the vendor's superset on the right, with ① and the euro sign.
_SUPERSETS = {
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "iso8859-8": "cp1255",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "big5": "cp950",
}
#: A larger charset to try when the one on the left cannot decode all bytes.
_WIDER = {"cp950": "big5hkscs", "cp932": "shift_jis_2004", "euc_jp": "euc_jis_2004"}

#: Parts of labels that no standard has, such as `ChineseBig5`, `x-windows-874`, `win-1251`.
_ALIASES = (
    (re.compile(r"big-?5"), "cp950"),
    (re.compile(r"gb[^a-z0-9]?(?:2312|k|18030)|chinese|euc-?cn|hz"), "gb18030"),
    (re.compile(r"2022-?jp"), "iso2022_jp"),
    (re.compile(r"s(?:hift)?[-_]?jis|cp-?932|windows-?31j"), "cp932"),
    (re.compile(r"euc[-_]?jp"), "euc_jp"),
    (re.compile(r"euc[-_]?kr|5601|korean|uhc"), "cp949"),
    (re.compile(r"koi8[-_]?u"), "koi8-u"),
    (re.compile(r"koi8"), "koi8-r"),
    (re.compile(r"utf[-_ ]?8"), "utf-8"),
    (re.compile(r"(?:win|windows|cp|ms|x)[-_ ]{0,2}(125[0-8]|874|850|852|866)"), "cp{}"),
    (re.compile(r"8859[-_ ]?(1[0-6]|[1-9])(?!\d)"), "iso8859-{}"),
    (re.compile(r"latin[-_ ]?1"), "cp1252"),
)
_MULTI_BYTE = frozenset({"gb18030", "cp949", "cp932", "shift_jis_2004", "euc_jp", "cp950", "big5hkscs", "utf-8"})
_BY_ESCAPES = frozenset({"hz", "utf-7", "iso2022_kr", "iso2022_jp"})
_TAG = re.compile(rb"<[^<>]{0,2000}>")
_HIGH = re.compile(rb"[\x80-\xff]+")
_ESCAPES = re.compile(rb"\x1b(\$\(?[@ABD]|\([A-Z])")
_HZ = re.compile(rb"~\{(?:[\x21-\x77][\x21-\x7e]){2,}~\}")  # RFC 1843
_UTF_16 = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

_FEW = 5  # sound characters beyond ASCII that there must be for each broken one
_SEVERAL = 6  # bytes beyond ASCII that a guess needs
_MANY = 12  # bytes beyond ASCII that a guess among single-byte alphabets needs
_LOOKED_AT = 20_000  # bytes of a text that a guess reads


def decoded(data: bytes, charset: str = "", *, second: str = "", is_cut: bool = False) -> str:
    """`data` by the charset that fits it best.

    `charset`: what the part's header declares. `second`: what the text itself declares, such as HTML's <meta>.
    `is_cut`: the end of `data` is missing. The last character is dropped when it is incomplete.
    """
    if data.isascii() and not (b"\x1b$" in data or b"\0" in data or b"~{" in data):
        by_escapes = (charset and codec(charset) in _BY_ESCAPES) or (second and codec(second) in _BY_ESCAPES)
        if not by_escapes:
            return data.decode("ascii")
    declared = [name for name in (codec(charset), codec(second)) if name]
    for name in _unusual(data, declared):
        if (text := _whole(data, name, is_cut=is_cut)) is not None:
            return text
    if b"\x1b$" in data and (data.isascii() or "iso2022_jp" in declared):
        return _iso_2022_jp(data)
    return _by_declaration(data, declared, is_cut=is_cut) or _by_look(data, declared, is_cut=is_cut)


@lru_cache(maxsize=512)  # a few dozen labels recur; the bound holds when a mailbox is full of invented labels
def codec(charset: str) -> str:
    """The Python codec for a charset's label; "" for an unknown label, and for ASCII, since it says nothing."""
    label = charset.strip().strip("\"'").lower()
    if not label or not label.isascii() or not label.isprintable():
        return ""
    try:
        name = codecs.lookup(label).name
        b" ".decode(name)  # raises LookupError for rot13 and other codecs that are no charsets
    except (LookupError, ValueError):
        name = map_encoding_to_html5(label, fallback_utf8=False) or ""
    if not name:
        found = ((alias, pattern.search(label)) for pattern, alias in _ALIASES)
        name = next((alias.format(*match.groups()) for alias, match in found if match), "")
    if not name or name == "ascii" or name.replace("_", "-") in _NO_CHARSETS:
        return ""
    return _SUPERSETS.get(name, name)


def _unusual(data: bytes, declared: list[str]) -> list[str]:
    """Charsets that the bytes themselves show: by a byte order mark, by zeros, by escapes."""
    names = [name for mark, name in _UTF_16 if data.startswith(mark)]
    if b"\0" in data:
        names += [name for name in declared if name.startswith(("utf-16", "utf-32"))]
        zeros = data[:_LOOKED_AT].count(0) * 3
        if zeros > len(data[:_LOOKED_AT]):
            names.append("utf-16-be" if data[:1] == b"\0" else "utf-16-le")
    if data.isascii():
        names += [name for name in declared if name in _BY_ESCAPES]
        if b"\x1b$)C" in data:
            names.append("iso2022_kr")
        elif b"\x1b$" in data:
            names += ["iso2022_jp", "iso2022_jp_ext"]
        elif _HZ.search(data):
            names.append("hz")
    return names


def _by_declaration(data: bytes, declared: list[str], *, is_cut: bool) -> str | None:
    """The text by a declared charset or UTF-8; None when neither fits.

    Single-byte Latin charsets decode any bytes. They do not fit where most letters beyond ASCII stand in pairs.
    """
    wanted = [name for name in declared if not name.startswith(("utf-16", "utf-32"))]
    multi_byte = [name for name in wanted if name in _MULTI_BYTE]
    if sum(map(len, _HIGH.findall(data[:_LOOKED_AT]))) >= _SEVERAL:  # that many bytes are not valid UTF-8 by chance
        multi_byte.insert(0, "utf-8")
    for name in (*multi_byte, *(_WIDER[name] for name in multi_byte if name in _WIDER), "utf-8"):
        if (text := _whole(data, name, is_cut=is_cut)) is not None:
            return text
    for name in (*multi_byte, "utf-8"):
        if (text := _mostly(data, name, is_cut=is_cut)) is not None:
            return text
    single = next((name for name in wanted if name not in _MULTI_BYTE and name not in _BY_ESCAPES), "")
    if not single or (single in _LATIN and _is_paired(data)):
        return None
    return data.decode(single, "replace")


#: Alphabets whose letters beyond ASCII stand alone. Programs that do not know the charset declare one of these.
_LATIN = frozenset({"cp1252", "cp1250", "cp1254", "cp1257", "iso8859-2", "iso8859-15", "mac-roman", "cp850", "cp437"})


def _by_look(data: bytes, declared: list[str], *, is_cut: bool) -> str:
    looked_at = _TAG.sub(b" ", data[:_LOOKED_AT])
    high = sum(map(len, _HIGH.findall(looked_at)))
    if high >= _SEVERAL:
        found = codec(detect_encoding(looked_at, html5_compatible=False) or "")
        is_clear = found in _MULTI_BYTE or (found not in _LATIN and _is_paired(looked_at)) or high >= _MANY
        for name in (found, _WIDER.get(found, "")) if is_clear else ():
            if name and (text := _whole(data, name, is_cut=is_cut)) is not None:
                return text
        if found in _MULTI_BYTE and (text := _mostly(data, found, is_cut=is_cut)) is not None:
            return text
    latin = next((name for name in declared if name in _LATIN), "cp1252")
    return data.decode(latin, "replace")


def _whole(data: bytes, name: str, *, is_cut: bool) -> str | None:
    try:
        return codecs.getincrementaldecoder(name)().decode(data, not is_cut)
    except (UnicodeError, LookupError, ValueError):
        return None


def _mostly(data: bytes, name: str, *, is_cut: bool) -> str | None:
    """The text with replacement characters; None when they are too many among the characters beyond ASCII."""
    try:
        text = codecs.getincrementaldecoder(name)("replace").decode(data, not is_cut)
    except (UnicodeError, LookupError, ValueError):
        return None
    broken = text.count("\ufffd")
    sound = len(text) - len(text.encode("ascii", "ignore")) - broken
    return text if sound and broken * (2 if name == "utf-8" else _FEW) <= sound else None


def _is_paired(data: bytes) -> bool:
    """Do at least half of the bytes beyond ASCII stand beside another one? Latin accented letters stand alone."""
    runs = list(map(len, _HIGH.findall(_TAG.sub(b" ", data[:_LOOKED_AT]))))
    return sum(runs) >= _SEVERAL and 2 * sum(run for run in runs if run > 1) >= sum(runs)


def _iso_2022_jp(data: bytes) -> str:
    """ISO-2022-JP with vendors' characters (①, ㈱). Python has no codec for it, so each is read as Shift_JIS."""
    first, *rest = _ESCAPES.split(data)
    pieces = [first.decode("ascii", "replace")]
    for escape, run in zip(rest[::2], rest[1::2], strict=True):
        if escape in (b"$@", b"$B", b"$(@", b"$(B"):
            pieces.append(_PAIR.sub(_shift_jis, run).decode("cp932", "replace"))
        elif escape == b"$(D":
            pieces.append(_PAIR.sub(_euc_212, run).decode("euc_jp", "replace"))
        elif escape == b"(I":
            pieces.append(
                bytes(byte | 0x80 if 0x21 <= byte < 0x60 else byte for byte in run).decode("cp932", "replace")
            )
        else:
            pieces.append(run.decode("ascii", "replace"))
    return "".join(pieces)


_PAIR = re.compile(rb"[\x21-\x7e]{2}")


def _shift_jis(pair: re.Match[bytes]) -> bytes:
    row, cell = pair[0]
    lead = (row - 0x21 >> 1) + 0x81
    trail = cell + (0x1F + (cell >= 0x60) if row % 2 else 0x7E)
    return bytes((lead + 0x40 * (lead > 0x9F), trail))


def _euc_212(pair: re.Match[bytes]) -> bytes:
    return bytes((0x8F, pair[0][0] | 0x80, pair[0][1] | 0x80))
