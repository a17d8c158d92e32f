"""The run's heartbeat, in a thread of its own, so that a full queue or a slow file does not delay it.

It is also a gate: while the heartbeat is overdue (a laptop slept, the process stalled, the connection was lost), no
call begins until the run has proved its lock again. It is overdue if either clock says so: one clock may stand still
while a laptop sleeps, and the other may be set.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from math import inf

from backfill.clock import Clock, StopRequest
from backfill.ledger.rows import Run
from backfill.ledger.runs import Runs

BEAT_S = 10.0
# Three beats failed. This is half of the 60 s after which another run may take this run for dead.
OVERDUE_S = 30.0
LOOK_S = 1.0
# At the end of the run, wait this long for a beat that is under way. The ledger may not answer at all.
FAREWELL_S = 5.0


class Heartbeat:
    """One run's heartbeat. Thread-safe."""

    def __init__(
        self,
        runs: Runs,
        run: Run,
        clock: Clock,
        running_us: Callable[[], int],
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """`running_us`: how many microseconds the run has worked so far; every beat records it.

        `look` is called every second, also while the run waits.
        """
        self._runs = runs
        self._run = run
        self._clock = clock
        self._running_us = running_us
        self._look = look
        self._proved: tuple[datetime, float] | None = None  # the last proof of the lock, by both clocks; None: not yet
        self._beating = threading.Lock()
        self._over = StopRequest()

    @contextmanager
    def beating(self, start: Callable[[str, Callable[[], None]], threading.Thread]) -> Iterator[None]:
        """Beat until the block ends. `start` starts the thread, by name; an exception of a beat ends that thread."""
        thread = start("heartbeat", self._beat_on)
        try:
            yield
        finally:
            self._over.set("the run ends")
            thread.join(FAREWELL_S)

    def _beat_on(self) -> None:
        while not self._over.wait(LOOK_S):
            self._look()
            if self._age_s() >= BEAT_S:
                self.beat()

    def beat(self) -> bool:
        """Write the heartbeat and prove the lock. False: the lock cannot be proved now, or another thread does it.

        Raises `LedgerHeld` if another run has taken this run's place, `LedgerUnusable` if the ledger cannot be written.
        """
        if not self._beating.acquire(blocking=False):
            return False
        try:
            now = self._clock.now(), self._clock.monotonic()  # read before the beat, so a sleep during the beat counts
            if not self._runs.beat(self._run, self._running_us()):
                return False
            self._proved = now
            return True
        finally:
            self._beating.release()

    def closed_for(self) -> float:
        """0.0 if the lock was proved in the last 30 s, or can be proved now."""
        return 0.0 if self._age_s() < OVERDUE_S or self.beat() else LOOK_S

    def reason(self) -> str:
        return "the run's heartbeat is overdue; its lock on the ledger is proved again first"

    def _age_s(self) -> float:
        if self._proved is None:
            return inf
        wall, elapsed = self._proved
        return max(abs((self._clock.now() - wall).total_seconds()), self._clock.monotonic() - elapsed)
