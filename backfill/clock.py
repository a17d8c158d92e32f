"""The only place that asks what time it is, sleeps, or hears that the run shall stop.

Everything that waits takes a `Clock` and a `StopRequest`, so a stop ends any sleep within a moment and a test
turns the clock instead of waiting.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class StopRequest:
    """A wish to stop, seen by every thread. Thread-safe.

    Not to be set in a signal handler: the thread that was interrupted may hold the lock that setting it takes.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._children: list[StopRequest] = []
        self._parent: StopRequest | None = None
        self.reason = ""

    def set(self, reason: str) -> None:
        """Ask everybody to stop, children included; the first reason stays."""
        if not self._event.is_set():
            self.reason = reason
            self._event.set()
        for child in self._children:
            child.set(reason)

    def child(self) -> StopRequest:
        """A request that is set with this one, and can be set alone without setting this one."""
        child = StopRequest()
        child._parent = self
        self._children.append(child)
        if self.is_set():
            child.set(self.reason)
        return child

    def is_set(self) -> bool:
        return self._event.is_set()

    def is_inherited(self) -> bool:
        """Was the request that this one is a child of set, too?"""
        return self._parent is not None and self._parent.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` of real time; True when a stop was asked for."""
        return self._event.wait(seconds)


class Clock(Protocol):
    """Time, as the program knows it."""

    def now(self) -> datetime:
        """The current time, aware, in UTC. May jump; goes into the ledger."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow, also while the machine sleeps, for durations within this process."""
        ...

    def sleep(self, seconds: float, stop: StopRequest) -> bool:
        """Sleep, or less when a stop is asked for; True when it was."""
        ...


# Python's own monotonic clock stands still on Linux and macOS while the machine sleeps, as its waits do. These go on.
AWAKE_OR_NOT: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
WINK_S = 5.0


class SystemClock:
    """The machine's clock. A laptop that was closed meanwhile has slept long enough soon after it is opened."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic() if AWAKE_OR_NOT is None else time.clock_gettime(AWAKE_OR_NOT)

    def sleep(self, seconds: float, stop: StopRequest) -> bool:
        until = self.monotonic() + seconds
        while (left := until - self.monotonic()) > 0:
            if stop.wait(min(left, WINK_S)):
                return True
        return stop.is_set()


def micros(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC, as the ledger stores times. `moment` must be aware."""
    delta = moment - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
