"""Several things at the same moment, each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def at_once(*works: Callable[[], T]) -> list[T | Exception]:
    """What each returned, or the exception that it raised."""
    barrier = threading.Barrier(len(works))

    def start(work: Callable[[], T]) -> T | Exception:
        barrier.wait(timeout=30)
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(start, works))
