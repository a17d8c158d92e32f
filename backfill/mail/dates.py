"""The Date header, also in forms that RFC 5322 lacks: year first, month as a number, other languages. Pure."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

_EARLIEST, _LATEST = 1970, 2100  # years of mail; a date outside was misread

#: How months begin in English, German, Dutch, Scandinavian, French, Spanish, Portuguese, Italian and Polish.
_MONTHS = {
    beginning: number
    for number, beginnings in enumerate(
        (
            *("jan ene gen sty", "feb fev lut", "mar maa mrz", "apr avr abr kwi", "may mai mei maj mag"),
            *("jun juin giu cze", "jul juil lug lip", "aug aou ago sie", "sep set wrz", "oct okt ott out paz"),
            *("nov lis", "dec dez des dic gru"),
        ),
        1,
    )
    for beginning in beginnings.split()
}
_HOURS = {
    name: float(hours)
    for hours, names in (
        *(("0", "z ut utc gmt wet"), ("1", "bst west cet mez"), ("2", "cest mesz eet sast"), ("3", "eest msk")),
        *(("5.5", "ist"), ("7", "wib"), ("8", "hkt sgt"), ("9", "jst kst"), ("10", "aest"), ("11", "aedt")),
        *(("-8", "pst"), ("-7", "pdt mst"), ("-6", "mdt cst"), ("-5", "cdt est"), ("-4", "edt")),
    )
    for name in names.split()
}

_HALF = re.compile(r"\b[ap]\.?m\b", re.IGNORECASE)
_TIME = re.compile(
    r"(?<!\d)(?P<hour>\d{1,2})(?P<mark>[:h.])(?P<minute>\d{2})(?:[:.](?P<second>\d{2}))?(?!\d)(?:[.,]\d{1,9})?"
    r"\s*(?P<half>[ap])?(?:\.?m\b\.?)?",
    re.IGNORECASE,
)
_ZONE = re.compile(r"[\s(]*(?:(?:gmt|utc)?\s*([+-])(\d{1,2}):?(\d{2})?(?!\d)|([a-z]{1,4})\b)", re.IGNORECASE)
_WORD = r"([^\W\d_]{3,})"
_DATES = (
    (re.compile(r"(?<!\d)(\d{4})(?P<mark>[-/.])(\d{1,2})(?P=mark)(\d{1,2})(?!\d)"), "ymd"),
    (re.compile(r"(\d{4})\s*[年년]\s*(\d{1,2})\s*[月월]\s*(\d{1,2})"), "ymd"),
    (re.compile(r"(?<!\d)(\d{1,2})\s+(\d{1,2})[月월]\s+(\d{4})"), "dmy"),
    (re.compile(r"(?<!\d)(\d{1,2})(?P<mark>[-/.])(\d{1,2})(?P=mark)(\d{4}|\d{2})(?!\d)"), "dmy"),
    (
        re.compile(
            r"(?<!\d)(\d{1,2})(?:st|nd|rd|th|er|º|\.)?[\s/-]*(?:de |of )?"
            rf"{_WORD}\.?[,\s/-]*(?:de |del )?(\d{{4}}|\d{{2}})(?!\d)",
            re.IGNORECASE,
        ),
        "dmy",
    ),
    (re.compile(rf"{_WORD}\.?[\s-]+(\d{{1,2}})(?:st|nd|rd|th)?[,\s-]+(\d{{4}})(?!\d)", re.IGNORECASE), "mdy"),
)
_MARKS = ("-", "/", ".")
_COMPACT = re.compile(r"(?<!\d)((?:19|20)\d{2})(\d{2})(\d{2})[T_ ]?(?:(\d{2})(\d{2})(\d{2})?)?(?!\d)")


def moment(text: str) -> datetime | None:
    """The header's time, with the offset written there or UTC when there is none; None when it is no date."""
    usual = _usual(text)
    if usual and usual.tzinfo and not _HALF.search(text):
        return usual
    try:
        found = _odd(text)
    except (ValueError, OverflowError):  # such as the 31st of February
        found = None
    if found and _EARLIEST <= found.year <= _LATEST:
        return found
    return usual.replace(tzinfo=usual.tzinfo or UTC) if usual else None


def _usual(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
        found.astimezone(UTC)  # raises OverflowError for a time before the year 1
    except (ValueError, TypeError, OverflowError, IndexError, AttributeError):
        return None
    return found


def _odd(text: str) -> datetime | None:
    text = text.strip()
    if re.fullmatch(r"\d{10}(?:\.\d+)?|\d{13}", text):  # seconds or milliseconds since 1970
        return datetime.fromtimestamp(int(text[:10]), UTC)
    time = next((found for found in _TIME.finditer(text) if found["mark"] in ":hH"), None)
    if time is None and (compact := _COMPACT.search(text)):
        year, month, date, hour, minute, second = (int(each or 0) for each in compact.groups())
        return datetime(year, month, date, hour, minute, min(59, second), tzinfo=_zone(text[compact.end() :]))
    rest = text if time is None else f"{text[: time.start()].rstrip('Tt')} {_behind_zone(text[time.end() :])}"
    day = _day(rest, is_american=bool(_HALF.search(text)))
    if day is None:
        return None
    if time is None:
        return datetime(*day, tzinfo=UTC)
    hour = int(time["hour"])
    if time["half"]:
        hour = hour % 12 + (12 if time["half"].lower() == "p" else 0)
    second = min(59, int(time["second"] or 0))  # a leap second is written as 60
    instant = datetime(*day, hour % 24, int(time["minute"]), second, tzinfo=_zone(text[time.end() :]))
    return instant + timedelta(days=1) if hour == 24 else instant


def _day(text: str, *, is_american: bool) -> tuple[int, int, int] | None:
    folded = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(c))
    folded = unicodedata.normalize("NFC", folded)
    for pattern, order in _DATES:
        for found in pattern.finditer(folded):
            values = dict(zip(order, [each for each in found.groups() if each not in _MARKS], strict=True))
            year, month, day = int(values["y"]), _month(values["m"]), int(values["d"])
            if month is None:
                continue
            if order == "dmy" and values["m"].isdigit() and (month > 12 or (is_american and day <= 12)):
                month, day = day, month
            return (year if year > 99 else year + (2000 if year < 70 else 1900)), month, day
    return None


def _month(word: str) -> int | None:
    return int(word) if word.isdigit() else _MONTHS.get(word[:4], _MONTHS.get(word[:3]))


def _behind_zone(text: str) -> str:
    found = _ZONE.match(text)
    return text[found.end() :] if found and (found[1] or found[4].lower() in _HOURS) else text


def _zone(text: str) -> timezone:
    found = _ZONE.match(text)
    if not found:
        return UTC
    sign, hours, minutes, name = found.groups()
    if name:
        return timezone(timedelta(hours=_HOURS.get(name.lower(), 0)))
    offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
    if offset >= timedelta(days=1):  # such as +9959, which is no zone
        return UTC
    return timezone(-offset if sign == "-" else offset)
