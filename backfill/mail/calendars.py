"""An invitation (RFC 5545) as text: what, when, where, who. Pure."""

from __future__ import annotations

import re

_ORDER = ("METHOD", "SUMMARY", "DTSTART", "DTEND", "LOCATION", "ORGANIZER", "STATUS", "DESCRIPTION")
_SHOWN = re.compile(rf"^({'|'.join(_ORDER)})(?:;[^:\n]{{0,200}})?:(.*)", re.IGNORECASE | re.MULTILINE)
_ESCAPED = re.compile(r"\\([nN,;\\])")


def calendar_text(calendar: str) -> str:
    """The first event's lines that a person needs, such as SUMMARY and DTSTART; "" when there are none."""
    unfolded = re.sub(r"\r?\n[ \t]", "", calendar)
    head, _, event = unfolded.partition("BEGIN:VEVENT")
    lines = [*_SHOWN.findall(event.partition("END:VEVENT")[0]), *_SHOWN.findall(head)]  # a time zone has DTSTART, too
    told = {name.upper(): value for name, value in reversed(lines)}
    return "\n".join(f"{name}: {_plain(told[name])}" for name in _ORDER if told.get(name, "").strip())


def _plain(value: str) -> str:
    return _ESCAPED.sub(lambda found: "\n" if found[1] in "nN" else found[1], value.strip())
