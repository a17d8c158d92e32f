"""Keeps the threads of a busy run on one CPU, where the system lets it (Linux).

The interpreter runs one thread of a process at a time. Where several CPUs are free the system spreads the threads over
them, and each time that one hands over to another a CPU has to be woken: with an API that answers at once, a run spends
a third of its time on that. A run that waits for its limit is left alone, and so are threads that wait for disks.
What a kept thread starts, such as a password command, begins on the same CPU and stays there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from secrets import randbelow

from loguru import logger

from backfill.clock import Clock

# Shares of one CPU's time: from the first on a run is busy, below the second it no longer is.
BUSY, QUIET = 0.8, 0.4
LOOK_S = 0.25
# Chosen once by each process: two on one machine seldom choose the same, and two runs of one take turns anyway.
CHOICE = randbelow(2**16)


def used_s() -> float:
    """The CPU seconds that this process has used so far."""
    times = os.times()
    return times.user + times.system


class OneCpu:
    """The threads of one run that take turns. Thread-safe."""

    def __init__(self, clock: Clock, used_s: Callable[[], float] = used_s, cpus: Collection[int] | None = None) -> None:
        """`cpus`: the numbers of those that may be used; None: as the system says."""
        self._clock = clock
        self._used_s = used_s
        self._cpus = sorted(_allowed() if cpus is None else cpus)
        self._members: set[int] = set()
        self._is_busy = False
        self._looked = clock.monotonic(), used_s()
        self._lock = threading.Lock()

    @contextmanager
    def member(self) -> Iterator[None]:
        """In the block, the thread takes turns with the others."""
        thread = threading.get_native_id()
        with self._lock:
            self._members.add(thread)
            self._place([thread], anywhere=not self._is_busy)  # it began where the thread was that started it
        try:
            yield
        finally:
            with self._lock:
                self._members.discard(thread)
                if self._is_busy:
                    self._place([thread], anywhere=True)

    def look(self) -> None:
        """To be called again and again: is the run busy, or no longer so?"""
        since, before_s = self._looked
        elapsed_s = self._clock.monotonic() - since
        if elapsed_s < LOOK_S or len(self._cpus) < 2:
            return
        self._looked = since + elapsed_s, self._used_s()
        share = (self._looked[1] - before_s) / elapsed_s
        if share < QUIET if self._is_busy else share >= BUSY:
            with self._lock:
                self._is_busy = not self._is_busy
                self._place(self._members, anywhere=not self._is_busy)
            logger.debug("{} of a CPU used: the run {}", f"{share:.0%}", "keeps to one" if self._is_busy else "is free")

    def _place(self, threads: Collection[int], *, anywhere: bool = False) -> None:
        if len(self._cpus) < 2:
            return
        cpus = self._cpus if anywhere else [self._cpus[CHOICE % len(self._cpus)]]
        for thread in threads:
            with suppress(OSError):  # not allowed, in a container; or the CPU was taken away
                os.sched_setaffinity(thread, cpus)


def _allowed() -> Collection[int]:
    """The CPUs that this process may use; none where the system lets nobody choose (macOS, Windows)."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
