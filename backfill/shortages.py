"""Which errors say that the machine has run short of memory, threads, open files or room on the disk.

Such an error is no bug, and no mail is at fault. The operator raises the limit or lets the run use less.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final

#: The name of each resource, with the limit that the operator can look at.
_BY_ERRNO: Final = {
    errno.EMFILE: "open files (ulimit -n)",
    errno.ENFILE: "open files of the whole machine (fs.file-max)",
    errno.ENOMEM: "memory (ulimit -v, or the container's limit)",
    errno.ENOSPC: "room on the disk",
    errno.EDQUOT: "room on the disk (quota)",
}
_MEMORY: Final = _BY_ERRNO[errno.ENOMEM]
_THREADS: Final = "threads (ulimit -u and ulimit -v, or the container's limit)"
#: Words in messages of CPython and of the dynamic loader, which have no error class for these shortages.
_NO_THREAD: Final = "can't start new thread"
_NO_LIBRARY: Final = ("failed to map segment", "cannot allocate memory", "too many open files")
_FILES_WORD: Final = "too many open files"


def shortage(error: BaseException) -> str | None:
    """What ran short, by `error` or one of its causes; None where nothing did."""
    return next((found for each in _chain(error) if (found := _of(each)) is not None), None)


def _of(error: BaseException) -> str | None:
    match error:
        case MemoryError():
            return _MEMORY
        case OSError():
            return _BY_ERRNO.get(error.errno or 0)
        case RuntimeError() if _NO_THREAD in str(error):
            return _THREADS
        case ImportError() if any(word in str(error).lower() for word in _NO_LIBRARY):
            return _BY_ERRNO[errno.EMFILE] if _FILES_WORD in str(error).lower() else _MEMORY
        case _:
            return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
