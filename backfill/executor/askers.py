"""How many calls may be under way, or answered and not saved yet: as many as there are threads that ask.

A fixed number of slots stays what it is. An elastic one grows to the pace times the latency: a thread is started when
a call begins and hardly another thread is ready for the next one; it shrinks when more were ready all the time. Calls
that wait for the ledger are no reason to grow: more of them would only wait longer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from loguru import logger

from backfill.limits import Concurrency

try:
    import resource
except ImportError:  # Windows, which sets no such bound
    resource = None  # type: ignore[assignment]


# An elastic number begins here, which is enough for most paces, and never falls below the second.
FIRST, FEWEST = 8, 2
# 5 s a call at 6,000 calls a minute, and some that are ready. A thread and its connection take about 200 kB.
MOST = 600
SPARE_FILES = 200  # of those that the system lets a process have open, for everything but the calls' connections


def most() -> int:
    """The bound of an elastic number on this machine: each call has a connection of its own."""
    if resource is None:
        return MOST
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if files == resource.RLIM_INFINITY else max(FIRST, min(MOST, files - SPARE_FILES))


class AskingThreads:
    """The slots of one run. Thread-safe."""

    def __init__(self, concurrency: Concurrency) -> None:
        self._is_elastic = concurrency == "auto"
        self.size = FIRST if concurrency == "auto" else concurrency
        self._most = most()
        self._calling = 0
        self._opening = 0  # of those that are calling
        self._leaving = 0  # threads that are not needed any more
        self._calls = 0  # since it was looked last whether there are such
        self._least_ready = self.size
        self._started = 0
        self._is_closed = False
        self._start: Callable[[int], object] = lambda number: None
        self._resized: Callable[[int], object] = lambda size: None
        self._changed = threading.Lock()

    def open(self, start: Callable[[int], object], resized: Callable[[int], object]) -> None:
        """Start the threads: `start` gets each one's number. `resized` is told the number of slots when it changes."""
        self._start, self._resized = start, resized
        for _ in range(self.size):
            self._start_one()

    def close(self) -> None:
        """Let every thread go."""
        self._is_closed = True

    # ── the threads ──────────────────────────────────────────────────────────────────────────────────────

    def goes_on(self) -> bool:
        """Is the thread needed for another call?"""
        with self._changed:
            if self._is_closed:
                return False
            if self._leaving == 0:
                return True
            self._leaving -= 1
            self.size -= 1
        self._resized(self.size)
        return False

    @contextmanager
    def call_under_way(self) -> Iterator[None]:
        """While the thread is about to ask, or does; whoever is ready for the next call is another one."""
        with self._changed:
            self._calling += 1
            grows = self._is_elastic and self._adapt(self.size - self._calling)
            if grows:
                self.size += 1
        try:
            if grows:
                self._resized(self.size)
                self._start_one()
            yield
        finally:
            with self._changed:
                self._calling -= 1

    @contextmanager
    def opening(self) -> Iterator[None]:
        """While the call waits for the ledger."""
        with self._changed:
            self._opening += 1
        try:
            yield
        finally:
            with self._changed:
                self._opening -= 1

    # ── how many ─────────────────────────────────────────────────────────────────────────────────────────

    def _adapt(self, ready: int) -> bool:
        """Is one more needed? Looks from time to time whether some are not."""
        margin = 2 + self.size // 16
        self._least_ready = min(self._least_ready, ready)
        self._calls += 1
        if self._calls > 2 * self.size + 16:  # about two calls of every thread
            self._leaving = max(0, min(self._least_ready - margin, self.size - FEWEST))
            self._calls, self._least_ready = 0, ready
        is_short = ready < margin and self.size < self._most and not self._is_closed
        if is_short:
            self._leaving = 0
        return is_short and 2 * self._opening <= self._calling

    def _start_one(self) -> None:
        self._started += 1
        try:
            self._start(self._started)
        except RuntimeError as error:  # the system gives no more threads: that is the bound, then
            logger.warning("{} calls at once are all that this machine allows: {}", self.size - 1, error)
            with self._changed:
                self.size -= 1
                self._most = self.size
