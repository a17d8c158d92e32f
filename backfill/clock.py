"""The clock and the stop request: the only module that reads the time or sleeps.

Everything that waits takes a `Clock` and a `StopRequest`. So a stop ends any sleep at once, and a test turns the clock
instead of waiting.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class StopRequest:
    """A request to stop, seen by every thread. Thread-safe.

    Do not set it in a signal handler: the interrupted thread may hold the lock that setting it needs.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._children: list[StopRequest] = []
        self._parent: StopRequest | None = None
        self.reason = ""

    def set(self, reason: str) -> None:
        """Set the request and its children; the first reason is kept."""
        if not self._event.is_set():
            self.reason = reason
            self._event.set()
        for child in self._children:
            child.set(reason)

    def child(self) -> StopRequest:
        """A new request that is set when this one is set. Setting the child does not set this one."""
        child = StopRequest()
        child._parent = self
        self._children.append(child)
        if self.is_set():
            child.set(self.reason)
        return child

    def is_set(self) -> bool:
        return self._event.is_set()

    def is_inherited(self) -> bool:
        """Is the parent request set as well?"""
        return self._parent is not None and self._parent.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` of real time; True when a stop is requested."""
        return self._event.wait(seconds)


class Clock(Protocol):
    """Time, as the program knows it."""

    def now(self) -> datetime:
        """The current time, aware, in UTC. It may jump; the ledger stores it."""
        ...

    def monotonic(self) -> float:
        """Seconds for durations within this process: they only grow, also while the machine sleeps."""
        ...

    def sleep(self, seconds: float, stop: StopRequest) -> bool:
        """Sleep for `seconds`, or until a stop is requested; True when it is."""
        ...


# While a Linux or macOS machine sleeps, Python's own monotonic clock and its waits stand still. These clocks go on.
AWAKE_OR_NOT: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
WINK_S = 5.0  # one wait at the longest, so that a sleep whose end has passed while the machine slept ends soon after


class SystemClock:
    """The machine's clock. Time that the machine sleeps counts, so `sleep` ends at most `WINK_S` after waking."""

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
