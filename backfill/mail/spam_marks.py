"""The receiving server's own word on whether a mail is spam, from the headers that its filter wrote.

A sender can write such headers, too. So a mark for spam is evidence, and the absence of one, or a word for the
mail, is none. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_WORD: Final = re.compile(r"\s*(?:(?P<yes>yes|true)|(?P<no>no|false))\b", re.IGNORECASE)
#: Microsoft's spam confidence level: 5 and more goes to the junk folder, -1 was let through unread.
_LEVEL: Final = re.compile(r"(?:^|.*\bSCL:)\s*(?:(?P<yes>[5-9])|(?P<no>-1|[0-4]))\s*(?:;|$)", re.IGNORECASE)

#: What each filter writes: SpamAssassin, amavis and most providers; Rspamd; Exchange and Microsoft 365.
WORDS: Final = {
    "x-spam-flag": _WORD,
    "x-spam-status": _WORD,
    "x-spam": _WORD,
    "x-ms-exchange-organization-scl": _LEVEL,
    "x-forefront-antispam-report": _LEVEL,
}


def marked_spam(header: Callable[[str], str]) -> bool | None:
    """True where any filter says spam, False where one says that it is none, None where none says anything.

    `header`: the topmost field of that name as text, "" when there is none.
    """
    said = [found for name, words in WORDS.items() if (found := words.match(header(name)))]
    return any(found["yes"] for found in said) if said else None
