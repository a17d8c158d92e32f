"""Which words may be IMAP keywords: those that every server takes and no command can be smuggled in with.

A part of RFC 9051's atom (§9, `flag-keyword`) that needs no quoting anywhere.
"""

from __future__ import annotations

import re
from typing import Final

RULE: Final = "1 to 50 of the characters A-Z a-z 0-9 _ . $ -"
_KEYWORD: Final = re.compile(r"[A-Za-z0-9_.$-]{1,50}")


def is_keyword(word: str) -> bool:
    """May `word` be sent to a server as a keyword, as it stands?"""
    return _KEYWORD.fullmatch(word) is not None
