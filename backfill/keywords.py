"""Which words may be IMAP keywords: words that every server takes, and that cannot carry a command.

They are some of the atoms that RFC 9051 allows as `flag-keyword` (§9): those that need no quoting anywhere.
"""

from __future__ import annotations

import re
from typing import Final

RULE: Final = "1 to 50 of the characters A-Z a-z 0-9 _ . $ -"
_KEYWORD: Final = re.compile(r"[A-Za-z0-9_.$-]{1,50}")


def is_keyword(word: str) -> bool:
    """May `word` be sent to a server as a keyword, as it stands?"""
    return _KEYWORD.fullmatch(word) is not None
