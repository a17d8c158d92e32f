"""UIDs, or positions, in IMAP's form `1:5,8,10:12`, in pieces that fit into a command line.

imapclient writes every UID singly, and servers refuse long lines; RFC 7162 §4 asks them to accept 8,000 octets. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

#: Octets of one set. Leaves room for the rest of the command in a line of 8,000.
LIMIT = 7_000


def uid_sets(uids: Iterable[int], limit: int = LIMIT) -> Iterator[tuple[str, frozenset[int]]]:
    """Ascending sequence sets no longer than `limit`, each with the UIDs that it names."""
    ranges: list[str] = []
    named: set[int] = set()
    length = 0
    for first, last in _ranges(uids):
        text = str(first) if first == last else f"{first}:{last}"
        if ranges and length + 1 + len(text) > limit:
            yield ",".join(ranges), frozenset(named)
            ranges, named, length = [], set(), 0
        length += len(text) + bool(ranges)
        ranges.append(text)
        named.update(range(first, last + 1))
    if ranges:
        yield ",".join(ranges), frozenset(named)


def _ranges(uids: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = last = 0
    for uid in sorted(set(uids)):
        if first and uid == last + 1:
            last = uid
            continue
        if first:
            yield first, last
        first = last = uid
    if first:
        yield first, last
