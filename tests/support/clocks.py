"""A clock that tests turn forwards and back."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from backfill.clock import StopRequest, micros

NOON = datetime(2024, 5, 3, 9, 30, tzinfo=UTC)


class TurnedClock:
    """A `Clock` that moves only when a test turns it or a thread sleeps by it. Thread-safe."""

    def __init__(self, seconds: float = 1000.0) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()

    def turn(self, seconds: float) -> None:
        with self._lock:
            self.seconds += seconds

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds)

    def now_us(self) -> int:
        return micros(self.now())

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float, stop: StopRequest) -> bool:
        self.turn(max(0.0, seconds))
        return stop.is_set()
