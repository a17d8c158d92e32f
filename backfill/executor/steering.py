"""Steering a run from another terminal: the run pauses, goes on, changes its pace or ends as the ledger says.

The writer reads the instructions from the ledger every second; while the writer waits, the heartbeat thread does. The
gate only returns what was read last, so it may be asked before every call. What the run waits for is written back in
the same second.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime

from loguru import logger

from backfill.clock import Clock, StopRequest
from backfill.estimates.bottleneck import binding
from backfill.estimates.outlook import budget_lasts_for, expected_end, is_reusing
from backfill.executor.observer import Observer
from backfill.ledger import Ledger
from backfill.ledger.rows import Run
from backfill.lifecycle import GIVEN_UP, JobState
from backfill.throttle.calls import Throttler

LOOK_S = 1.0
# Every 10 s: what limits the speed is read from the ledger's last rows, which takes some milliseconds.
ESTIMATE_S = 10.0


class Bulletin:
    """A run's observer that also keeps what the run waits for, and how many mails are left.

    As thread-safe as the wrapped observer; but only the writer may call `record`.
    """

    def __init__(self, observer: Observer, mails: int = 0) -> None:
        """`mails`: how many mails the run will work on."""
        self._observer = observer
        self.begins = observer.begins
        self.limited_by = observer.limited_by
        self.waiting_for: str | None = None
        self.mails_left = mails

    def record(
        self, *, processed: int = 0, failed: int = 0, skipped: int = 0, vanished: int = 0, reused: int = 0
    ) -> None:
        self.mails_left -= processed + failed + skipped + vanished
        self._observer.record(processed=processed, failed=failed, skipped=skipped, vanished=vanished, reused=reused)

    def waiting(self, reason: str | None) -> None:
        self.waiting_for = reason
        self._observer.waiting(reason)


@dataclass(slots=True)
class Steering:
    """The instructions for one run. A gate: closed while the job is paused."""

    ledger: Ledger
    job_id: int
    clock: Clock
    stop: StopRequest  # the run's; set when the job is cancelled or undone
    throttler: Throttler | None  # None: the classifier is unmetered
    is_paused: bool = False
    _next_look: float = 0.0
    _next_estimate: float = 0.0
    _told: str | None = None
    _rests: tuple[str, datetime] | None = None  # the limit that makes the run rest, and when the run will be done
    _looking: threading.Lock = field(default_factory=threading.Lock)

    def look(self, run: Run, bulletin: Bulletin) -> None:
        """Read the instructions, and record what the run waits for; at most once a second. Writes. Thread-safe."""
        if self.clock.monotonic() < self._next_look or not self._looking.acquire(blocking=False):
            return
        try:
            self._look(run, bulletin)
        finally:
            self._looking.release()

    def _look(self, run: Run, bulletin: Bulletin) -> None:
        now = self.clock.monotonic()
        self._next_look = now + LOOK_S
        wish = self.ledger.steering.read(self.job_id)
        self.is_paused = wish.state is JobState.PAUSED
        if wish.state in GIVEN_UP:
            self.stop.set(f"the job was {wish.reason or wish.state}")
        pace = wish.calls_per_minute
        if self.throttler is not None and pace not in (None, self.throttler.calls_per_minute):
            logger.info("{:g} calls a minute from now on", pace)
            self.throttler.set_pace(pace)
        if now >= self._next_estimate:
            self._next_estimate = now + ESTIMATE_S
            self._estimate(run, bulletin)
        waiting_for = bulletin.waiting_for
        if waiting_for != self._told:
            self.ledger.steering.note_waiting(run, waiting_for)
            self._told = waiting_for

    def _estimate(self, run: Run, bulletin: Bulletin) -> None:
        """Report what limits the run's speed, and, if the run rests at times, when it will be done.

        If other runs work on the job, too, the end is not known: their mails and limits are not this run's.
        """
        speed, left = self.ledger.status.speed(self.job_id), bulletin.mails_left
        bound, ends_at = binding(speed), None
        limits = [None if bound is None else bound.sentence]
        if [each.info.uuid for each in speed.runs] == [run.uuid] and speed.takes.calls and not is_reusing(speed):
            end = expected_end(speed, left)
            if end is not None and end.ends_at is not None:  # else it is not known now: keep the last estimate
                self._rests = None if end.rests_by is None else (end.rests_by, end.ends_at)
            if self._rests is not None:
                limits[0], ends_at = self._rests
            lasts_for = budget_lasts_for(speed)
            limits.append("the budget will not last" if lasts_for is not None and lasts_for < left else None)
        bulletin.limited_by("; ".join(filter(None, limits)) or None, ends_at)

    def closed_for(self) -> float:
        """While the job is paused, one second: it may be resumed at any time."""
        return LOOK_S if self.is_paused else 0.0

    def reason(self) -> str:
        return "paused; `backfill resume` goes on"
