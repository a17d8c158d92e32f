"""Which words may name a score or a category, and when two names are the same.

A category's name may be written in any script. A score's name may not: it is a key of the model's answer.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

#: The ledger's column has no room for more.
MOST_CHARS: Final = 40
SCORE_RULE: Final = "1 to 40 of the characters A-Z a-z 0-9 _, the first a letter"
CATEGORY_RULE: Final = "1 to 40 letters, digits, blanks and _ & / + . ' ( ) -, the first a letter or digit"

#: Not every service takes other characters in a key of an answer.
_SCORE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
#: No comma: the ledger keeps labels with commas between them. No quotes and brackets: models get them wrong.
_CATEGORY: Final = re.compile(r"[^\W_](?:[\w &/+.'()-]{0,38}[\w).+])?")
#: Marks that nobody sees, such as variation selectors.
_UNSEEN: Final = re.compile("[\u034f\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def is_score(name: str) -> bool:
    """May a score have this name?"""
    return _SCORE.fullmatch(name) is not None


def is_category(name: str) -> bool:
    """May a category have this name? Many scripts write vowels as marks beside a letter; a mark never comes first."""
    letters = "".join(char for char in name if not is_mark(char))
    return _CATEGORY.fullmatch(letters) is not None and letters[0] == name[0] and len(name) <= MOST_CHARS


def is_mark(char: str) -> bool:
    """Is it an accent or a vowel that belongs to the letter before it, and that is seen?"""
    return unicodedata.category(char)[0] == "M" and _UNSEEN.match(char) is None


def folded(name: str) -> str:
    """What names are compared by: neither letter case nor how an accent is encoded makes a difference."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
