"""The verdict of the receiving server's spam filter, from the headers that it wrote.

A sender can write such headers, too. So "spam" is evidence; "not spam", or no header, is no evidence. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_WORD: Final = re.compile(r"\s*(?:(?P<yes>yes|true)|(?P<no>no|false))\b", re.IGNORECASE)
#: Microsoft's spam confidence level: from 5 on the mail goes to the junk folder; -1 was not filtered.
_LEVEL: Final = re.compile(r"(?:^|.*\bSCL:)\s*(?:(?P<yes>[5-9])|(?P<no>-1|[0-4]))\s*(?:;|$)", re.IGNORECASE)

#: Headers of SpamAssassin, amavis and most providers; of Rspamd; of Exchange and Microsoft 365.
WORDS: Final = {
    "x-spam-flag": _WORD,
    "x-spam-status": _WORD,
    "x-spam": _WORD,
    "x-ms-exchange-organization-scl": _LEVEL,
    "x-forefront-antispam-report": _LEVEL,
}


def marked_spam(header: Callable[[str], str]) -> bool | None:
    """True when any filter says spam, False when filters say only "not spam", None when no filter says anything.

    `header`: gives the topmost field of a name as text, "" when there is none.
    """
    said = [found for name, words in WORDS.items() if (found := words.match(header(name)))]
    return any(found["yes"] for found in said) if said else None
