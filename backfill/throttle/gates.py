"""The gates of a run: what it waits at before it claims mail, and before each call of the classifier.

A gate is closed because somebody asked for it (hours of the day, a number of calls a day, a pause), so a run waits
there for however long it takes, and says why. A stop ends the wait at once.
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

# A clock that was set is noticed within so long; a gate that may open at any time asks to be looked at sooner.
LOOK_S = 60.0


class Gate(Protocol):
    """Something that keeps a run from going on for a while. Thread-safe; asked before every call, so it is quick."""

    def closed_for(self) -> float:
        """Seconds until it opens, or is to be looked at again; 0.0: it is open."""
        ...

    def reason(self) -> str:
        """Why it is closed, for people, with the time where known; the same words as long as it is."""
        ...


class Gates:
    """All the gates of one run. Thread-safe."""

    def __init__(
        self, gates: Sequence[Gate], clock: Clock, stop: StopRequest, tell: Callable[[str | None], None]
    ) -> None:
        """`tell` gets the reason for which the run waits, once as long as it holds, and None when it goes on."""
        self._gates = tuple(gates)
        self._clock = clock
        self._stop = stop
        self._tell = tell
        self._turn = threading.Lock()

    def are_open(self) -> bool:
        """May the run go on at this moment?"""
        return all(gate.closed_for() <= 0 for gate in self._gates)

    def pass_through(self) -> bool:
        """Wait until every gate is open; False when a stop came first."""
        while not self._stop.is_set():
            if self.are_open():
                return True
            if self._turn.acquire(timeout=0.5):  # one waits for all, or each would tell
                try:
                    self._wait()
                finally:
                    self._turn.release()
        return False

    def _wait(self) -> None:
        told: str | None = None
        while not self._stop.is_set():  # or whoever comes here after a stop would tell it once more
            gate = next((gate for gate in self._gates if gate.closed_for() > 0), None)
            if gate is None:
                break
            # In this order, or at midnight the time of the next one would be told.
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
    """Lets a run through within its hours; a gate of the executor's."""

    hours: Hours
    clock: Clock
    zone: tzinfo | None = None  # None: the machine's

    def closed_for(self) -> float:
        """Seconds until they begin. Where the clock is changed before, it may be an hour too many: look in between."""
        now = self.clock.now()
        if self.hours.include(now.astimezone(self.zone).time()):
            return 0.0
        return (self.hours.next_opening(now, self.zone) - now).total_seconds()

    def reason(self) -> str:
        opening = self.hours.next_opening(self.clock.now(), self.zone).astimezone(UTC)
        return f"outside of {self.hours} (local time); goes on at {opening:%Y-%m-%d %H:%M} UTC"
