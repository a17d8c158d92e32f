"""Keeps the threads of a busy run on one CPU, if the system allows it (Linux).

The interpreter runs one thread of a process at a time. If several CPUs are free, the system spreads the threads over
them, and must wake a CPU at each switch of threads. With an API that answers at once, this takes a third of a run's
time. A run that waits for its limit may use every CPU, and so may threads that wait for disks. A process that a kept
thread starts, such as a password command, runs on the same CPU.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from secrets import randbelow

from loguru import logger

from backfill.clock import Clock

# Shares of one CPU's time. At 80 % a run becomes busy; below 40 % it is no longer busy.
BUSY, QUIET = 0.8, 0.4
LOOK_S = 0.25
# Each process chooses one CPU at random, so two processes on one machine seldom share a CPU. Two runs of one process
# share it: only one of their threads runs at a time.
CHOICE = randbelow(2**16)


def used_s() -> float:
    """The CPU seconds that this process has used so far."""
    times = os.times()
    return times.user + times.system


class OneCpu:
    """The threads of one run that are kept on one CPU while the run is busy. Thread-safe."""

    def __init__(self, clock: Clock, used_s: Callable[[], float] = used_s, cpus: Collection[int] | None = None) -> None:
        """`cpus`: the numbers of the CPUs that may be used; None: those that the system allows."""
        self._clock = clock
        self._used_s = used_s
        self._cpus = sorted(_allowed() if cpus is None else cpus)
        self._members: set[int] = set()
        self._is_busy = False
        self._looked = clock.monotonic(), used_s()
        self._lock = threading.Lock()

    @contextmanager
    def member(self) -> Iterator[None]:
        """Within the block, the calling thread is one of these threads."""
        thread = threading.get_native_id()
        with self._lock:
            self._members.add(thread)
            self._place([thread], anywhere=not self._is_busy)  # a new thread begins on the CPU of its starter
        try:
            yield
        finally:
            with self._lock:
                self._members.discard(thread)
                if self._is_busy:
                    self._place([thread], anywhere=True)

    def look(self) -> None:
        """Find out whether the run is busy, and place its threads. To be called again and again."""
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
            with suppress(OSError):  # a container does not allow it, or the CPU is no longer there
                os.sched_setaffinity(thread, cpus)


def _allowed() -> Collection[int]:
    """The CPUs that this process may use; none if the system lets no process choose (macOS, Windows)."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
