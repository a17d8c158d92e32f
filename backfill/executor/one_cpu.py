"""Keeps the threads of a run that take turns on one CPU, if the system allows it (Linux).

The interpreter runs one thread of a process at a time. If several CPUs are free, the system spreads the threads over
them, and must wake a CPU at each switch of threads. On an idle machine, with an API that answers at once, that cost
40 % of the speed. A run that waits for its API or its limit loses nothing on one CPU. Threads that wait for disks may
use every CPU. A process that a kept thread starts, such as a password command, runs on the same CPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from secrets import randbelow

#: Each process chooses one CPU at random, so two processes on one machine seldom share a CPU.
CHOICE = randbelow(2**16)


@contextmanager
def on_one_cpu() -> Iterator[None]:
    """Within the block, the calling thread keeps to this process's CPU."""
    if not hasattr(os, "sched_setaffinity"):  # macOS, Windows
        yield
        return
    allowed = sorted(os.sched_getaffinity(0))  # of this thread; one CPU if a kept thread has started it
    with suppress(OSError):  # a container does not allow it, or the CPU is no longer there
        os.sched_setaffinity(0, {allowed[CHOICE % len(allowed)]})
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, allowed)
