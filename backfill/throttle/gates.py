"""The gates of a run: what it waits for before it claims mail and before each call to the classifier.

A gate is closed because the operator asked for it (hours of the day, calls a day, a pause). So the wait has no limit;
the run says why it waits, and a stop ends the wait at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Protocol

from loguru import logger

from backfill.clock import Clock, StopRequest
from backfill.hours import Hours

# A waiting run looks again after 60 s, since the clock may have been set. A gate that may open at any time returns a
# shorter time.
LOOK_S = 60.0


class Gate(Protocol):
    """Something that makes a run wait. Thread-safe. It is asked before every call, so it must answer quickly."""

    def closed_for(self) -> float:
        """Seconds until it opens, or until it must be asked again; 0.0: it is open."""
        ...

    def reason(self) -> str:
        """Why it is closed, for people, with the time of opening if known. The words stay the same until it opens."""
        ...


class Gates:
    """All the gates of one run. Thread-safe."""

    def __init__(
        self, gates: Sequence[Gate], clock: Clock, stop: StopRequest, tell: Callable[[str | None], None]
    ) -> None:
        """`tell` gets each reason of a wait once, and None when the run goes on."""
        self._gates = tuple(gates)
        self._clock = clock
        self._stop = stop
        self._tell = tell
        self._turn = threading.Lock()

    def are_open(self) -> bool:
        """May the run go on at this moment?"""
        return all(gate.closed_for() <= 0 for gate in self._gates)

    def closed(self) -> Gate | None:
        """The first gate that is closed at this moment; None: all are open."""
        return next((gate for gate in self._gates if gate.closed_for() > 0), None)

    def pass_through(self) -> bool:
        """Wait until every gate is open; False when a stop came first."""
        while not self._stop.is_set():
            if self.are_open():
                return True
            if self._turn.acquire(timeout=0.5):  # one thread waits for all: otherwise each would call `tell`
                try:
                    self._wait()
                finally:
                    self._turn.release()
        return False

    def _wait(self) -> None:
        told: str | None = None
        while not self._stop.is_set():  # after a stop, a thread that gets the lock must not call `tell` again
            gate = self.closed()
            if gate is None:
                break
            # Ask for the reason first: after midnight it would name the time of the next midnight.
            reason, seconds = gate.reason(), gate.closed_for()
            if seconds <= 0:
                continue
            if reason != told:
                logger.info("waiting: {}", reason)
                self._tell(reason)
                told = reason
            if self._clock.sleep(min(seconds, LOOK_S), self._stop):
                break
        if told is not None:
            self._tell(None)


@dataclass(frozen=True, slots=True)
class HoursGate:
    """A gate that is open within given hours of the day."""

    hours: Hours
    clock: Clock
    zone: tzinfo | None = None  # None: the machine's

    def closed_for(self) -> float:
        """Seconds until the hours begin; 0.0: within them.

        Ask again at least every `LOOK_S`: a change to or from summer time can make the answer an hour too long.
        """
        now = self.clock.now()
        if self.hours.include(now.astimezone(self.zone).time()):
            return 0.0
        return (self.hours.next_opening(now, self.zone) - now).total_seconds()

    def reason(self) -> str:
        opening = self.hours.next_opening(self.clock.now(), self.zone).astimezone(UTC)
        return f"outside of {self.hours} (local time); goes on at {opening:%Y-%m-%d %H:%M} UTC"
