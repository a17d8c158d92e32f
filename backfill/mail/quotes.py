"""What a person wrote, without signature, quoted history, footers of mailing lists and PGP blocks.

In long threads these are most of the text: they cost tokens, and they make the model judge another mail. Text is cut
only at marks that programs set, and only if readable text remains. History and footers are cut only at the end. A quote
between answers keeps six lines of its first level. Forwarded mail stays whole: there the quoted text is the message.
Pure.
"""

from __future__ import annotations

import re

from backfill.mail.text import is_meaningful

QUOTED_LINES = 6  # kept of each quote

_SIGNATURES = ("--", "-- ")
_QUOTE = re.compile(r"^\s*>(?!From )")  # ">From" is mbox's form of a line that begins with "From"
_DEEPER = re.compile(r"^\s*>\s*>")
#: A sentence. Signatures have names, numbers and addresses instead.
_SENTENCE = re.compile(r".{20,}[.!?…。！？]$")
_SMALL_PRINT = re.compile(
    r"confidential|privileged|intended (?:recipient|only)|disclaimer|vertraulich|confidenti[ae]l|riservat[oe]"
    r"|printing this|registered (?:in|office|number)|unsubscri|google groups",
    re.IGNORECASE,
)
_FORWARDING = re.compile(r"\s*(?:\[[^\]]{1,30}\]\s*)?(?:fwd?|wg|tr|rv|enc|i|doorst|vs|vb|pd)\s*:", re.IGNORECASE)
_FORWARD = (
    *("forwarded message", "weitergeleitete nachricht", "message transféré", "mensaje reenviado"),
    *("messaggio inoltrato", "doorgestuurd bericht", "mensagem encaminhada", "begin forwarded"),
    "anfang der weitergeleiteten",
)
#: "On Mon, 1 Jan 2024, Ann wrote:" in several languages. It may be broken into two lines.
_WROTE = re.compile(
    r"^(?:On|Am|Le|El|Il|Op|Em|Den|Dnia|W dniu|Dne|Em)\b.{4,250}"
    r"(?:wrote|schrieb|a écrit|escribió|ha scritto|schreef|escreveu|skrev|napisał(?:\(a\)|a)?|napsal(?:\(a\)|a)?)"
    r"\b.{0,80}:$",
    re.IGNORECASE,
)
_RULES = frozenset("-_* ")
_RULE = re.compile(r"[-_=*~]{10,}")
_LIST_FOOTER = re.compile(
    r"mailing[- ]?list|unsubscri|listinfo|subscription|list archive|mailman|majordomo", re.IGNORECASE
)
_FOOTER_LINES = 10
_ARMOUR = re.compile(
    r"^-----BEGIN PGP (SIGNATURE|MESSAGE|PUBLIC KEY BLOCK)-----\n[\s\S]*?(?:-----END PGP \1-----|\Z)\n?", re.MULTILINE
)
_SIGNED = re.compile(r"^-----BEGIN PGP SIGNED MESSAGE-----\n(?:Hash: .*\n)?\n?", re.MULTILINE)
_UUENCODED = re.compile(r"^begin [0-7]{3} (.{1,80})\n(?:[!-`]{2,61}\n){2,}(?:`?\n?end\b)?", re.MULTILINE)
#: Outlook's heading above the answered mail: From, Sent, To, Subject.
_OUTLOOK = (
    re.compile(r"\*?(?:From|Von|De|Da|Van|Från|Fra|Od)\*?\s?:", re.IGNORECASE),
    re.compile(
        r"\*?(?:Sent|Date|Gesendet|Datum|Envoyé|Enviad[oa](?: el)?|Inviato|Verzonden|Skickat|Sendt|Data)\*?\s?:", re.I
    ),
    re.compile(r"\*?(?:Subject|Betreff|Objet|Asunto|Oggetto|Onderwerp|Ämne|Emne|Assunto|Temat)\*?\s?:", re.IGNORECASE),
)
_ORIGINAL = re.compile(
    r"^[-_* ]{3,}\s*(?:Original Message|Original Appointment|Ursprüngliche Nachricht|Originalnachricht"
    r"|Message d'origine|Mensaje original|Messaggio originale|Oorspronkelijk bericht|Mensagem original)\s*[-_* ]{3,}$",
    re.IGNORECASE,
)


def trimmed(text: str, subject: str = "") -> str:
    """`text` (cleaned) without PGP blocks, signature, history and footers.

    Only the blocks are taken out of a forwarded mail, or when nothing readable would remain otherwise.
    """
    text = _without_blocks(text)
    if _FORWARDING.match(subject) or _is_forward(text):
        return text
    lines = text.split("\n")
    kept = _without_quotes(_without_signature(_without_footers(lines)))
    if ">" in text:
        kept = _with_short_quotes(kept)
    if kept == lines:
        return text
    result = "\n".join(kept).strip()
    return result if is_meaningful(result) else text


def _without_blocks(text: str) -> str:
    if "-----BEGIN PGP" in text:
        text = _SIGNED.sub("", text)
        text = _ARMOUR.sub(lambda found: "" if found[1] == "SIGNATURE" else f"[PGP {found[1].lower()}]\n", text).strip()
    if "begin " in text:
        text = _UUENCODED.sub(r"[attached: \1]", text)
    return text


def _without_footers(lines: list[str]) -> list[str]:
    """Cut a mailing list's footer: a line of dashes, then at most ten lines that say how to leave the list."""
    for place in range(len(lines) - 1, max(-1, len(lines) - 3 * _FOOTER_LINES), -1):
        if lines[place][:1] in "-_=*~" and _RULE.fullmatch(lines[place]):
            below = [line for line in lines[place + 1 :] if line]
            if len(below) > _FOOTER_LINES:
                break
            if _LIST_FOOTER.search(" ".join(below)):
                lines = lines[:place]
    return lines


def _with_short_quotes(lines: list[str]) -> list[str]:
    kept: list[str] = []
    shown = 0
    for line in lines:
        if not _QUOTE.match(line):
            kept.append(line)
            shown = 0 if line else shown
        elif shown < QUOTED_LINES and not _DEEPER.match(line):
            kept.append(line)
            shown += 1
        elif kept and kept[-1] != "> […]":
            kept.append("> […]")
    return kept


def _is_forward(text: str) -> bool:
    folded = text.lower()
    return any(mark in folded for mark in _FORWARD)


def _without_signature(lines: list[str]) -> list[str]:
    """Cut at the last signature mark, unless the text below is more than a signature: an answer, or the mail itself.

    A mark that stands several times separates parts of the text.
    """
    is_rule = sum(line in _SIGNATURES for line in lines) > 1
    for place in range(len(lines) - 1, -1, -1):
        if lines[place] in _SIGNATURES:
            above, below = lines[:place], [line for line in lines[place + 1 :] if line and not _QUOTE.match(line)]
            is_longer = is_rule or sum(map(len, below)) > sum(map(len, above))
            if len(below) <= 15 and not (is_longer and any(map(_is_written, below))):
                return above
            break
    return lines


def _is_written(line: str) -> bool:
    """Is it a sentence, and no small print such as a legal notice?"""
    return bool(_SENTENCE.match(line)) and not _SMALL_PRINT.search(line)


def _without_quotes(lines: list[str]) -> list[str]:
    """Cut the history below the text: from its heading on, or the quoted lines at the end."""
    if place := _outlook_heading(lines):
        end = next((n for n, _ in enumerate(lines) if n > place + 1 and _outlook_at(lines, n)), len(lines))
        text = [n for n in range(place, end) if lines[n]][: 4 + QUOTED_LINES]  # the heading has four lines
        lines = lines[: text[-1] + 1]
    marked = [place for place, line in enumerate(lines) if line[:1] in _RULES or line[-1:] == ":"]
    for place in sorted({*marked, *(place - 1 for place in marked if place)}):  # a heading may begin one line above
        line, following = lines[place], "".join(lines[place + 1 : place + 2])
        if line[:1] in _RULES and _ORIGINAL.match(line):
            return lines[:place]
        if line.endswith(":") or following.endswith(":"):  # few lines do; the pattern is slow
            heading = _heading_length(line, following)
            if heading and _all_quoted(lines[place + heading :]):
                return lines[:place]
    end = len(lines)
    while end and (not lines[end - 1] or _QUOTE.match(lines[end - 1])):
        end -= 1
    return lines[:end]


def _outlook_heading(lines: list[str]) -> int:
    """The line number of Outlook's heading below the sender's own text; 0 when there is none."""
    colons = (place for place, line in enumerate(lines) if ":" in line[:12])  # few lines; the patterns are slow
    return next((place for place in colons if place and _outlook_at(lines, place) and any(lines[:place])), 0)


def _outlook_at(lines: list[str], place: int) -> bool:
    if not _OUTLOOK[0].match(lines[place]):
        return False
    following = lines[place + 1 : place + 8]
    return all(any(pattern.match(line) for line in following) for pattern in _OUTLOOK[1:])


def _heading_length(line: str, following: str) -> int:
    """How many lines the heading "… wrote:" has here: 1 or 2; 0 when there is none."""
    if _WROTE.match(line):
        return 1
    return 2 if following and _WROTE.match(f"{line} {following}") else 0


def _all_quoted(lines: list[str]) -> bool:
    """Are all lines quoted, or none? None: the text came from HTML and lost its quote marks. Mixed: answers between."""
    quoted = [bool(_QUOTE.match(line)) for line in lines if line]
    return all(quoted) or not any(quoted)
