"""What a person wrote, without the signature and the quoted history below it.

Quoted text is the bulk of long threads, is paid for by the token, and judges the wrong mail. Cuts only at marks
that mail programs set, only from below, and only when something readable remains; forwarded mail is left whole,
since there the quoted text is the message. Pure.
"""

from __future__ import annotations

import re

from backfill.mail.text import is_meaningful

_SIGNATURES = ("--", "-- ")
_QUOTE = re.compile(r"^\s*[>|]")
_FORWARD = (
    *("forwarded message", "weitergeleitete nachricht", "message transféré", "mensaje reenviado"),
    *("messaggio inoltrato", "doorgestuurd bericht", "mensagem encaminhada", "begin forwarded"),
    "anfang der weitergeleiteten",
)
#: "On Mon, 1 Jan 2024, Ann wrote:" and its sisters. On one line, or on two where the program broke it.
_WROTE = re.compile(
    r"^(?:On|Am|Le|El|Il|Op|Em|Den|Dnia|W dniu|Dne|Em)\b.{4,250}"
    r"(?:wrote|schrieb|a écrit|escribió|ha scritto|schreef|escreveu|skrev|napisał(?:\(a\)|a)?|napsal(?:\(a\)|a)?)"
    r"\b.{0,80}:$",
    re.IGNORECASE,
)
_RULES = frozenset("-_* ")
_ORIGINAL = re.compile(
    r"^[-_* ]{3,}\s*(?:Original Message|Original Appointment|Ursprüngliche Nachricht|Originalnachricht"
    r"|Message d'origine|Mensaje original|Messaggio originale|Oorspronkelijk bericht|Mensagem original)\s*[-_* ]{3,}$",
    re.IGNORECASE,
)


def trimmed(text: str) -> str:
    """`text` (cleaned) without signature and trailing quotes; as it is when nothing readable would remain."""
    lines = text.split("\n")
    kept = _without_quotes(_without_signature(lines))
    if len(kept) == len(lines) or _is_forward(text):
        return text
    result = "\n".join(kept).strip()
    return result if is_meaningful(result) else text


def _is_forward(text: str) -> bool:
    folded = text.lower()
    return any(mark in folded for mark in _FORWARD)


def _without_signature(lines: list[str]) -> list[str]:
    """Cut at the last signature mark, unless an answer below the quote follows it."""
    for place in range(len(lines) - 1, -1, -1):
        if lines[place] in _SIGNATURES:
            below = lines[place + 1 :]
            if len([line for line in below if line and not _QUOTE.match(line)]) <= 15:  # longer: no signature
                return lines[:place]
            break
    return lines


def _without_quotes(lines: list[str]) -> list[str]:
    """Cut the history that hangs below the text: from its heading on, or the quoted lines at the end."""
    marked = [place for place, line in enumerate(lines) if line[:1] in _RULES or line[-1:] == ":"]
    for place in sorted({*marked, *(place - 1 for place in marked if place)}):  # a heading may begin a line above
        line, following = lines[place], "".join(lines[place + 1 : place + 2])
        if line[:1] in _RULES and _ORIGINAL.match(line):
            return lines[:place]
        if line.endswith(":") or following.endswith(":"):  # few do, and the pattern is slow
            heading = _heading_length(line, following)
            if heading and _all_quoted(lines[place + heading :]):
                return lines[:place]
    end = len(lines)
    while end and (not lines[end - 1] or _QUOTE.match(lines[end - 1])):
        end -= 1
    return lines[:end]


def _heading_length(line: str, following: str) -> int:
    """How many lines "… wrote:" takes here: 1, 2, or 0 when it is none."""
    if _WROTE.match(line):
        return 1
    return 2 if following and _WROTE.match(f"{line} {following}") else 0


def _all_quoted(lines: list[str]) -> bool:
    """Nothing but quotes follows, or, from HTML, text that lost its quote marks: no answer in between."""
    quoted = [bool(_QUOTE.match(line)) for line in lines if line]
    return all(quoted) or not any(quoted)
