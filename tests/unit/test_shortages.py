"""What a machine that gives no more says, told apart from what is somebody's bug."""

from __future__ import annotations

import errno

import pytest

from backfill.shortages import shortage


def from_(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "ulimit -v"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (from_(ValueError("odd"), OSError(errno.EMFILE, "Too many open files")), "ulimit -n"),
        (ImportError("libx.so: failed to map segment from shared object"), "memory"),
    ],
)
def test_the_limit_is_named(error, told):
    assert told in (shortage(error) or "")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("oh"),
        OSError(errno.ECONNREFUSED, "Connection refused"),
        from_(TimeoutError("late"), BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")),
        ImportError("No module named x"),
    ],
)
def test_nothing_else_is_a_shortage(error):
    assert shortage(error) is None
