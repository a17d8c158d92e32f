"""Several simulated processes with a simulated time: one works at a time, and a sleep ends when all others sleep.

So they run in the same order each time, and take no real time. A process may wait for another only by a sleep.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count

from backfill.clock import StopRequest, micros
from tests.support.clocks import NOON


class SimulatedTime:
    """A `Clock` for the processes that `run` starts. `step` sets the clock that they read; time itself goes on."""

    def __init__(self) -> None:
        self.seconds = 1000.0  # the true time
        self.steps = 0.0  # by how much the clock was set, all together
        self._sleepers: list[tuple[float, int, threading.Event]] = []
        self._order = count()
        self._error: BaseException | None = None

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds + self.steps)

    def now_us(self) -> int:
        return micros(self.now())

    def monotonic(self) -> float:
        return self.seconds

    def step(self, seconds: float) -> None:
        self.steps += seconds

    def sleep(self, seconds: float, stop: StopRequest) -> bool:
        if seconds > 0:
            self._sleep_until(self.seconds + seconds)
        return stop.is_set()

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.sleep(seconds, StopRequest())

    def run(self, *works: Callable[[], None]) -> None:
        """Let the processes work until each has ended. Raises what the first of them raised."""
        self._error = None
        threads = [threading.Thread(target=self._work, args=(work, self._enlist()), daemon=True) for work in works]
        for thread in threads:
            thread.start()
        self._wake_next()
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _work(self, work: Callable[[], None], begins: threading.Event) -> None:
        begins.wait()
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            self._error = self._error or error
        self._wake_next()

    def _enlist(self, at: float | None = None) -> threading.Event:
        wakes = threading.Event()
        heapq.heappush(self._sleepers, (self.seconds if at is None else at, next(self._order), wakes))
        return wakes

    def _sleep_until(self, at: float) -> None:
        wakes = self._enlist(at)
        self._wake_next()
        wakes.wait()

    def _wake_next(self) -> None:
        if self._sleepers:
            at, _, wakes = heapq.heappop(self._sleepers)
            self.seconds = max(self.seconds, at)
            wakes.set()
