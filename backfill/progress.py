"""How far a run is, and when it will end. It counts and reads a clock; it writes nowhere."""

from __future__ import annotations

import threading
from collections import deque
from datetime import datetime

from backfill.clock import Clock, SystemClock
from backfill.wording import duration, percent

WINDOW_S = 900.0  # long enough to level out a slow quarter of an hour, short enough to forget yesterday's rate
MIN_WORKED = 5  # finished mails; fewer do not tell how fast the next ones will be


class ProgressTracker:
    """Counts mails by outcome. With a `total` it has a percentage and an ETA, without one the time elapsed.

    The rate counts done and failed mails over the last 15 minutes of running time, or over a longer time where fewer
    than `MIN_WORKED` were finished in 15 minutes. It leaves out skipped mails, mails with a known verdict, and the time
    between `pause` and `resume`. `total` may be set anew while the plan grows. Thread-safe.
    """

    def __init__(self, total: int | None = None, *, clock: Clock | None = None) -> None:
        self.total = total
        self.processed = 0
        self.failed = 0
        self.skipped = 0
        self.limit: str | None = None  # what limits the rate, in a few words; None: not known
        self._ends_at: datetime | None = None  # None: the rate alone tells the end
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
        """Add finished mails. `reused`: how many of them took no call, since their verdict was known."""
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
        """Set what limits the rate. `ends_at`: the end of a run that rests at some hours; None: the rate tells it."""
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
        """Finished mails, with any outcome."""
        return self.processed + self.failed + self.skipped + self._vanished

    @property
    def elapsed_s(self) -> float:
        """Seconds since the tracker was made, waits included."""
        return self._clock.monotonic() - self._began

    @property
    def rate(self) -> float | None:
        """Mails a second; None while fewer than `MIN_WORKED` mails were worked on."""
        with self._lock:
            began, worked_before = self._samples[0]
            worked, seconds = self._worked - worked_before, self._running_s() - began
        return worked / seconds if worked >= MIN_WORKED and seconds > 0 else None

    @property
    def eta_s(self) -> float | None:
        """Seconds until the total is reached, at this rate, or until the end that `limited_by` has set.

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
        """One line: with a total the ETA and what limits the rate, without one the time elapsed."""
        outcome = f"Processed: {self.processed}, Failed: {self.failed}, Skipped: {self.skipped}"
        if self.total is None:
            return f"Progress: {self.position} items - {outcome} (Elapsed: {duration(self.elapsed_s)})"
        whole = f"{self.position}/{self.total} ({percent(self.position, self.total)})"
        return f"Progress: {whole} - {outcome}, ETA: {self._eta()}{self._bound()}"

    def bound(self) -> str | None:
        """`limit: calls per minute (60)`; None where no limit is known, or nothing is left."""
        return f"limit: {self.limit}" if self.limit and self.position != self.total else None

    def brief(self) -> str:
        """`50/100 50.0% · ✓ 48 ✗ 2 ⊘ 0 · 3.2/s · ETA 45.2s`, to be shown beside a bar."""
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
        """Is the sample older than the window, and do the later ones suffice? At a mail an hour, 15 minutes do not."""
        return seconds <= now - WINDOW_S and self._worked - worked >= MIN_WORKED

    def _eta(self) -> str:
        eta_s = self.eta_s
        return "n/a" if eta_s is None else duration(eta_s)

    def _bound(self) -> str:
        return f" ({bound})" if (bound := self.bound()) else ""

    def _running_s(self) -> float:
        now = self._clock.monotonic() if self._paused_since is None else self._paused_since
        return now - self._began - self._paused_s
