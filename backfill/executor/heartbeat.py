"""The run's heartbeat: a small thread of its own, which no full queue and no slow file holds up.

It is a gate as well: while the heartbeat is overdue (a laptop that slept, a stall, a lost connection) no call begins
until the run's lock has been proved again. Overdue by either clock: one stands still in a laptop that sleeps, the
other is set now and then.
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
# Three beats that did not get through; half of the time after which another run may take this one for dead.
OVERDUE_S = 30.0
LOOK_S = 1.0
# A beat that is under way when the run ends is waited for, but not for a ledger that does not answer.
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
        """`running_us`: the microseconds that the run has worked so far, which every beat writes down.

        `look` is called each second, whatever the run waits for meanwhile.
        """
        self._runs = runs
        self._run = run
        self._clock = clock
        self._running_us = running_us
        self._look = look
        self._proved: tuple[datetime, float] | None = None  # when, by both clocks; None: not yet
        self._beating = threading.Lock()
        self._over = StopRequest()

    @contextmanager
    def beating(self, start: Callable[[str, Callable[[], None]], threading.Thread]) -> Iterator[None]:
        """Beat until the block ends, in a thread that `start` starts under a name; it gets what a beat raises."""
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
        """Write the heartbeat and prove the lock. False: it cannot be proved now, or another thread is at it.

        Raises `LedgerHeld` when another run has taken this one's place, `LedgerUnusable` when the ledger cannot be
        written.
        """
        if not self._beating.acquire(blocking=False):
            return False
        try:
            now = self._clock.now(), self._clock.monotonic()  # before it: a sleep in the middle of it counts
            if not self._runs.beat(self._run, self._running_us()):
                return False
            self._proved = now
            return True
        finally:
            self._beating.release()

    # ── the gate ─────────────────────────────────────────────────────────────────────────────────────────

    def closed_for(self) -> float:
        """0.0 while the run is known to be alive; who asks when it is not proves it."""
        return 0.0 if self._age_s() < OVERDUE_S or self.beat() else LOOK_S

    def reason(self) -> str:
        return "the run's heartbeat is overdue; its lock on the ledger is proved again first"

    def _age_s(self) -> float:
        if self._proved is None:
            return inf
        wall, elapsed = self._proved
        return max(abs((self._clock.now() - wall).total_seconds()), self._clock.monotonic() - elapsed)
