"""How many calls may be under way, or answered and not committed yet, and as many threads as that takes.

A fixed number of slots stays what it is. An elastic one grows to the pace times the latency: a thread is started when
a call begins and hardly another thread is ready for the next one; it shrinks when more were ready all the time. Answers
that wait for the writer are no reason to grow: more calls would only wait longer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from loguru import logger

try:
    import resource
except ImportError:  # Windows, which sets no such bound
    resource = None  # type: ignore[assignment]

Concurrency = int | Literal["auto"]

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


class Slots:
    """The slots of one run. Thread-safe."""

    def __init__(self, concurrency: Concurrency) -> None:
        self._is_elastic = concurrency == "auto"
        self.size = FIRST if concurrency == "auto" else concurrency
        self._most = most()
        self._free = self.size
        self._calling = 0
        self._uncommitted = 0
        self._leaving = 0  # threads that are not needed any more
        self._calls = 0  # since it was looked last whether there are such
        self._least_ready = self.size
        self._started = 0
        self._is_closed = False
        self._start: Callable[[int], object] = lambda number: None
        self._resized: Callable[[int], object] = lambda size: None
        self._changed = threading.Condition()

    def open(self, start: Callable[[int], object], resized: Callable[[int], object]) -> None:
        """Start the threads: `start` gets each one's number. `resized` is told the number of slots when it changes."""
        self._start, self._resized = start, resized
        for _ in range(self.size):
            self._start_one()

    def close(self) -> None:
        """Let every thread go that comes for a slot."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    # ── the threads ──────────────────────────────────────────────────────────────────────────────────────

    def acquire(self) -> bool:
        """Wait for a free slot; False when the thread is not needed any more."""
        with self._changed:
            # Less than none is free when a slot was taken whose own thread then could not be started.
            while self._free <= 0 and not self._is_closed:
                self._changed.wait()
            if self._is_closed:
                return False
            self._free -= 1
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
            grows = self._is_elastic and self._adapt(self.size - self._calling - self._uncommitted)
            if grows:
                self.size += 1
                self._free += 1
                self._changed.notify()
        try:
            if grows:
                self._resized(self.size)
                self._start_one()
            yield
        finally:
            with self._changed:
                self._calling -= 1

    def answered(self) -> None:
        """The thread has handed its result to the writer, which frees the slot by `commit`."""
        with self._changed:
            self._uncommitted += 1

    def commit(self) -> None:
        """A result is committed: its slot is free again."""
        with self._changed:
            self._uncommitted -= 1
            self._free += 1
            self._changed.notify()

    def give_back(self) -> None:
        """The slot came to no result."""
        with self._changed:
            self._free += 1
            self._changed.notify()

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
        return is_short and self._uncommitted <= self._calling

    def _start_one(self) -> None:
        self._started += 1
        try:
            self._start(self._started)
        except RuntimeError as error:  # the system gives no more threads: that is the bound, then
            logger.warning("{} calls at once are all that this machine allows: {}", self.size - 1, error)
            with self._changed:
                self.size -= 1
                self._free -= 1
                self._most = self.size
