"""How counts, times, shares and hostile text are shown to people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

Row = tuple[str, str]

LINE_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that is done to mails, to be counted. E.g. "set Important on" and "mail", "write" and "note"."""

    verb: str
    unit: str
    what: str  # for machines, e.g. Important

    def times(self, count: int) -> str:
        """set Important on 12 mails · write 1 note"""
        return f"{self.verb} {counted(count, self.unit)}"


def duration(seconds: float) -> str:
    """45.2s · 12m 05s · 3h 12m · 3d 4h 12m"""
    if seconds < 120:
        return f"{max(0.0, seconds):.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h {minutes:02d}m"
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {rest:02d}s"


def dollars(usd: Decimal) -> str:
    """$0.0012 · $12.34"""
    return f"${usd:.4f}" if usd < 1 else f"${usd:.2f}"


def moment(when: datetime | None) -> str:
    """UTC to the second; a dash when there is none."""
    return "–" if when is None else f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def percent(part: int, whole: int) -> str:
    """To a tenth. `100.0%` only for the whole, which includes a `whole` of 0; a smaller part is at most `99.9%`."""
    if part >= whole:
        return "100.0%"
    return f"{min(99.9, 100 * part / whole):.1f}%"


def number(count: int) -> str:
    return f"{count:,}"


def counted(count: int, word: str) -> str:
    """1 call · 2,000 calls"""
    return f"{number(count)} {word}{'' if count == 1 else 's'}"


def folded(parts: Sequence[str], between: str = "; ") -> str:
    """The parts on as few lines of `LINE_WIDTH` as possible. No part is broken: it may hold a command to be copied."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(between) + len(part) <= LINE_WIDTH:
            lines[-1] += f"{between}{part}"
        else:
            lines.append(f"  {part}")
    return "\n".join(lines)


def printable(text: str) -> str:
    r"""`text` on one line that steers no terminal: control, format and line-breaking characters as \x1b or \u202e."""
    return text if text.isprintable() else "".join(char if char.isprintable() else _shown(char) for char in text)


#: ECMA-48's control sequences: CSI, and the strings of OSC, DCS and others with their end.
_SEQUENCE: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x1b\\|\x07|$)|\x1b[ -/]*[0-~]", re.DOTALL
)


def one_line(text: str, most: int) -> str:
    """`text` on one line of at most `most` characters, without what steers a terminal or reorders text.

    For words of strangers that are stored: nothing invisible is left, and a cut ends with "…".
    """
    plain = _SEQUENCE.sub(" ", text.encode("utf-8", "replace").decode())
    line = " ".join("".join(char if char.isprintable() else " " for char in plain).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def _shown(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
