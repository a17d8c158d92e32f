"""How far a run is, and when it will end. Only counts: it reads a clock and writes nowhere."""

from __future__ import annotations

import threading
from collections import deque
from datetime import datetime

from backfill.clock import Clock, SystemClock
from backfill.wording import duration, percent

WINDOW_S = 900.0  # long enough to level out a slow quarter of an hour, short enough to forget yesterday's rate
MIN_WORKED = 5  # fewer finished mails say nothing of the next ones


class ProgressTracker:
    """Counts what became of mails. With a `total` it knows a percentage and an ETA, without one the time elapsed.

    The rate is that of real work, done and failed, in the last quarter of an hour of running time, or longer where
    work is slower. Mail that was skipped, or whose verdict was known already, makes it neither faster nor slower, and
    time between `pause` and `resume` does not count. `total` may be set anew while the plan grows. Thread-safe.
    """

    def __init__(self, total: int | None = None, *, clock: Clock | None = None) -> None:
        self.total = total
        self.processed = 0
        self.failed = 0
        self.skipped = 0
        self.limit: str | None = None  # what binds it, in a few words; None: not known
        self._ends_at: datetime | None = None  # where the rate alone does not tell
        self._vanished = 0
        self._clock = clock or SystemClock()
        self._began = self._clock.monotonic()
        self._paused_since: float | None = None
        self._paused_s = 0.0
        self._worked = 0
        self._samples = deque([(0.0, 0)])  # (running seconds, worked until then), at most one a second
        self._lock = threading.Lock()

    def record(
        self, *, processed: int = 0, failed: int = 0, skipped: int = 0, vanished: int = 0, reused: int = 0
    ) -> None:
        """Add mails that have come to their end; `reused` says how many of them took no work."""
        with self._lock:
            self.processed += processed
            self.failed += failed
            self.skipped += skipped
            self._vanished += vanished
            self._worked += max(0, processed + failed - reused)
            now = self._running_s()
            if len(self._samples) > 1 and int(self._samples[-1][0]) == int(now):
                self._samples.pop()
            self._samples.append((now, self._worked))
            while len(self._samples) > 1 and self._is_past(*self._samples[1], now):
                self._samples.popleft()

    def limited_by(self, limit: str | None, ends_at: datetime | None = None) -> None:
        """What binds it; `ends_at`: when it will be done where it rests at times, so that the rate does not tell."""
        with self._lock:
            self.limit, self._ends_at = limit, ends_at

    def pause(self) -> None:
        """The run waits: for a time of day, a rate limit, a server."""
        with self._lock:
            if self._paused_since is None:
                self._paused_since = self._clock.monotonic()

    def resume(self) -> None:
        """The run works again."""
        with self._lock:
            if self._paused_since is not None:
                self._paused_s += self._clock.monotonic() - self._paused_since
                self._paused_since = None

    @property
    def position(self) -> int:
        """Mails that have come to their end, whichever."""
        return self.processed + self.failed + self.skipped + self._vanished

    @property
    def elapsed_s(self) -> float:
        """Seconds since the tracker was made, waits included."""
        return self._clock.monotonic() - self._began

    @property
    def rate(self) -> float | None:
        """Mails a second; None while too few have been worked on to tell."""
        with self._lock:
            began, worked_before = self._samples[0]
            worked, seconds = self._worked - worked_before, self._running_s() - began
        return worked / seconds if worked >= MIN_WORKED and seconds > 0 else None

    @property
    def eta_s(self) -> float | None:
        """Seconds until the total is reached: of running at this rate, or by the clock where it rests at times.

        None while unknown.
        """
        if self.total is None:
            return None
        left = max(0, self.total - self.position)
        if not left:
            return 0.0
        if self._ends_at is not None:
            return max(0.0, (self._ends_at - self._clock.now()).total_seconds())
        rate = self.rate
        return left / rate if rate else None

    def line(self) -> str:
        """The plain form, with an ETA and what binds it when the total is known, else with the time elapsed."""
        outcome = f"Processed: {self.processed}, Failed: {self.failed}, Skipped: {self.skipped}"
        if self.total is None:
            return f"Progress: {self.position} items - {outcome} (Elapsed: {duration(self.elapsed_s)})"
        whole = f"{self.position}/{self.total} ({percent(self.position, self.total)})"
        return f"Progress: {whole} - {outcome}, ETA: {self._eta()}{self._bound()}"

    def bound(self) -> str | None:
        """`limit: calls per minute (60)`; None where nothing is known to bind what is left."""
        return f"limit: {self.limit}" if self.limit and self.position != self.total else None

    def brief(self) -> str:
        """`50/100 50.0% · ✓ 48 ✗ 2 ⊘ 0 · 3.2/s · ETA 45.2s`: for beside a bar."""
        whole = (
            f"{self.position}"
            if self.total is None
            else f"{self.position}/{self.total} {percent(self.position, self.total)}"
        )
        rate = self.rate
        parts = (
            whole,
            f"✓ {self.processed} ✗ {self.failed} ⊘ {self.skipped}",
            "" if rate is None else f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min",
            f"{duration(self.elapsed_s)}" if self.total is None else f"ETA {self._eta()}",
        )
        return " · ".join(part for part in parts if part)

    def _is_past(self, seconds: float, worked: int, now: float) -> bool:
        """Is what came after this sample enough to tell the rate? At a mail an hour, fifteen minutes are not."""
        return seconds <= now - WINDOW_S and self._worked - worked >= MIN_WORKED

    def _eta(self) -> str:
        eta_s = self.eta_s
        return "n/a" if eta_s is None else duration(eta_s)

    def _bound(self) -> str:
        return f" ({bound})" if (bound := self.bound()) else ""

    def _running_s(self) -> float:
        now = self._clock.monotonic() if self._paused_since is None else self._paused_since
        return now - self._began - self._paused_s
