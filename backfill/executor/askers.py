"""The number of asking threads. It limits the calls that are under way, or answered and not saved yet.

A fixed number stays as it is. An elastic number grows to about the pace times the latency: when a call begins and too
few threads are ready for the next call, one more thread is started. It shrinks when more threads than needed were ready
all the time. It does not grow while most calls wait for the ledger, because more calls would only wait longer. It
looks again after each such wait: if all calls waited at once, perhaps no call begins before one of them is answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from loguru import logger

from backfill.limits import Concurrency

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

# An elastic number begins at 8, which is enough for most paces, and never falls below 2.
FIRST, FEWEST = 8, 2
# 500 calls at once are 6,000 calls a minute of 5 s each; 100 more are ready. A thread and its connection take 200 kB.
MOST = 600
SPARE_FILES = 200  # open files that are kept for everything but the calls' connections


def most() -> int:
    """The most threads of an elastic number on this machine. Each call's connection needs one of the open files."""
    if resource is None:
        return MOST
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if files == resource.RLIM_INFINITY else max(FIRST, min(MOST, files - SPARE_FILES))


class AskingThreads:
    """The asking threads of one run. Thread-safe."""

    def __init__(self, concurrency: Concurrency) -> None:
        self._is_elastic = concurrency == "auto"
        self.size = FIRST if concurrency == "auto" else concurrency
        self._most = most()
        self._calling = 0
        self._opening = 0  # how many of the calling threads wait for the ledger
        self._leaving = 0  # how many threads must still end
        self._calls = 0  # calls since `_leaving` was last set
        self._least_ready = self.size
        self._started = 0
        self._is_closed = False
        self._start: Callable[[int], object] = lambda number: None
        self._resized: Callable[[int], object] = lambda size: None
        self._changed = threading.Lock()

    def open(self, start: Callable[[int], object], resized: Callable[[int], object]) -> None:
        """Start the threads. `start` gets the number of each thread, `resized` each new number of threads."""
        self._start, self._resized = start, resized
        for _ in range(self.size):
            self._start_one()

    def close(self) -> None:
        """End every thread before its next call."""
        self._is_closed = True

    def goes_on(self) -> bool:
        """Shall the calling thread make another call? If not, it must end."""
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
        """Count this thread as calling, and start another thread if too few are ready for the next call."""
        with self._changed:
            self._calling += 1
            self._look_for_spare()
        try:
            self._grow_if_short()
            yield
        finally:
            with self._changed:
                self._calling -= 1

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Count this thread's call as waiting for the ledger."""
        with self._changed:
            self._opening += 1
        try:
            yield
        finally:
            with self._changed:
                self._opening -= 1
        self._grow_if_short()

    @property
    def _ready(self) -> int:
        """How many threads are not calling."""
        return self.size - self._calling

    @property
    def _margin(self) -> int:
        """How many threads should be ready."""
        return 2 + self.size // 16

    def _look_for_spare(self) -> None:
        """At the beginning of a call; now and then sets how many threads must end."""
        if not self._is_elastic:
            return
        self._least_ready = min(self._least_ready, self._ready)
        self._calls += 1
        if self._calls > 2 * self.size + 16:  # about two calls of every thread
            self._leaving = max(0, min(self._least_ready - self._margin, self.size - FEWEST))
            self._calls, self._least_ready = 0, self._ready

    def _grow_if_short(self) -> None:
        with self._changed:
            if not self._is_elastic or self._is_closed or self._ready >= self._margin or self.size >= self._most:
                return
            self._leaving = 0
            if 2 * self._opening > self._calling:
                return
            self.size += 1
        self._resized(self.size)
        self._start_one()

    def _start_one(self) -> None:
        self._started += 1
        try:
            self._start(self._started)
        except RuntimeError as error:  # the system starts no more threads, so this is the most
            logger.warning("this machine allows only {} calls at once: {}", self.size - 1, error)
            with self._changed:
                self.size -= 1
                self._most = self.size
