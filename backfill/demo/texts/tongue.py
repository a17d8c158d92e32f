"""The phrases of one language, from which letters are made.

Every list holds whole sentences that fit together in any order. `{you}` is the reader's first name, `{matter}` the
letter's subject, `{when}` a deadline.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tongue:
    """What a letter in one language is made of."""

    charsets: tuple[str, ...]
    names: tuple[tuple[str, str], ...]  # as shown, and the local part of the address
    hello: tuple[str, ...]
    news: tuple[str, ...]  # sentences that ask for nothing
    matters: tuple[str, ...]
    whens: tuple[str, ...]
    asks: tuple[str, ...]  # a question or a request with a deadline
    thoughts: tuple[str, ...]  # answers within a thread
    chat_subjects: tuple[str, ...]
    ask_subjects: tuple[str, ...]
    bye: tuple[str, ...]
    wrote: str  # the line above quoted history: {date}, {who}
