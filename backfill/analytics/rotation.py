"""The files that a rotation has left beside the analytics file: which outcomes are in them?

Files are told by what is in them, not by inode or time: a restored backup and an editor change both, and a compressed
file has neither. Looked at are the files of the same folder whose names begin alike (`analytics.jsonl.1`,
`analytics.jsonl-20261128.gz`, `analytics-1.jsonl`), the newest first.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from backfill.analytics.lines import identity
from backfill.ledger.outcomes import Identity, Sink

# In bytes. Only a folder's name, a message key and a reason can make a line long.
LONGEST_LINE: Final = 65_536
# Older ones were looked at when they were the newest.
MOST_FILES: Final = 10


#: The number of an outcome in the ledger; None: it has none.
Find = Callable[[Identity], int | None]


def last_rotated(path: Path, sink: Sink, find: Find) -> int | None:
    """The last outcome in the files that were rotated from `path` since the last commit; None: there is none.

    It is later than the last committed one if a killed process had not committed its last lines, and earlier if lines
    were written between the copying and the truncating of copytruncate. A file that cannot be read counts as none. The
    newest one without a whole line was copied before the first line was written.
    """
    found: list[int] = []
    for number, sibling in enumerate(_siblings(path)):
        try:
            with _opened(sibling.path) as file:
                is_blank = number == 0 and _has_no_line(file)
                outcome = sink.rotated_outcome_id if is_blank else _last_outcome(file, sink, find)
        except (OSError, EOFError, zlib.error):
            continue
        found += [] if outcome is None else [outcome]
    return max(found, default=None)


def ending(file: BinaryIO, at: int) -> bytes | None:
    """The whole line that ends at this byte; None: no line ends there."""
    start = max(0, at - LONGEST_LINE)
    file.seek(start)
    lines = file.read(at - start).split(b"\n")
    return lines[-2] if len(lines) > 1 and lines[-1] == b"" else None


def _has_no_line(file: BinaryIO) -> bool:
    """Is the file empty, or does it hold only the beginning of a line?"""
    head = file.readline(LONGEST_LINE)
    file.seek(0)
    return not head.endswith(b"\n") and head[:1] in (b"", b"{")


def _last_outcome(file: BinaryIO, sink: Sink, find: Find) -> int | None:
    first = _outcome(file.readline(LONGEST_LINE), find)
    if first is None or first <= sink.rotated_outcome_id:
        return None  # another file, or one that was known already when it was rotated
    length = file.seek(0, os.SEEK_END)
    holds_commit = first <= sink.last_outcome_id and length >= sink.committed_bytes
    if holds_commit and _outcome(ending(file, sink.committed_bytes), find) != sink.last_outcome_id:
        return None  # it was edited
    file.seek(max(0, length - LONGEST_LINE))
    torn = file.read().rpartition(b"\n")[2]
    return _outcome(ending(file, length - len(torn)), find)


def _outcome(line: bytes | None, find: Find) -> int | None:
    said = None if line is None else identity(line)
    return None if said is None else find(said)


@dataclass(frozen=True, slots=True, order=True)
class _Sibling:
    changed_ns: int
    path: Path


def _siblings(path: Path) -> list[_Sibling]:
    """The files beside `path` that may be rotated from it, the newest first."""
    stem = path.name.partition(".")[0] or path.name
    found: list[_Sibling] = []
    with suppress(FileNotFoundError), os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.startswith(stem) and entry.name not in (path.name, f"{path.name}.lock"):
                with suppress(FileNotFoundError):  # it is rotated away at this moment
                    facts = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(facts.st_mode):
                        found.append(_Sibling(facts.st_mtime_ns, Path(entry.path)))
    return sorted(found, reverse=True)[:MOST_FILES]


def _opened(sibling: Path) -> BinaryIO:
    return gzip.open(sibling) if sibling.suffix == ".gz" else open(sibling, "rb")  # type: ignore[return-value]
