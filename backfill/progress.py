"""How far a run is, when it will end, and the two ways to show it.

`ProgressTracker` only counts; it reads a clock and writes nowhere. A display may be told of any change as often
as it happens: it decides itself when to show it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from backfill.clock import Clock, SystemClock
from backfill.report.wording import duration, percent, printable

# A line that says nothing new is written this often, as a sign of life.
STILL_S = 3600.0
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


class LiveProgress:
    """A bar on a terminal, drawn anew each second. What is printed meanwhile appears above it."""

    def __init__(self, console: Console) -> None:
        self._tracker: ProgressTracker | None = None
        self._status: str | None = None
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=1)

    def update(self, tracker: ProgressTracker) -> None:
        self._tracker = tracker

    def status(self, text: str | None) -> None:
        """What the run waits for, e.g. "waiting until 14:05: rate limited"; None when it works."""
        if text != self._status:
            self._status = text
            self._live.refresh()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        tracker = self._tracker
        if tracker is None:
            return Text(printable(self._status or "…"))
        bar = ProgressBar(
            total=tracker.total if tracker.total is None else max(tracker.total, 1),
            completed=tracker.position if tracker.total != 0 else 1,
            pulse=tracker.total is None,
            animation_time=tracker.elapsed_s,
        )
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(ratio=1, min_width=8)
        grid.add_column(no_wrap=True)
        grid.add_row(bar, Text(tracker.brief()))
        if self._status:
            return Group(grid, Text(printable(self._status), style="yellow"))
        bound = tracker.bound()
        return Group(grid, Text(printable(bound), style="dim")) if bound else grid


class PlainProgress:
    """The line of `ProgressTracker.line` at intervals and at the end, for files, pipes and logs.

    As long as no mail comes to its end and nothing else binds the rate, once an hour is enough.
    """

    def __init__(self, write: Callable[[str], object], interval_s: float = 60.0, clock: Clock | None = None) -> None:
        self._write = write
        self._interval_s = interval_s
        self._clock = clock or SystemClock()
        self._written_at = self._clock.monotonic()
        self._tracker: ProgressTracker | None = None
        self._written: tuple[object, ...] | None = None  # what the last line told
        self._status: str | None = None

    def update(self, tracker: ProgressTracker) -> None:
        self._tracker = tracker
        since_s = self._clock.monotonic() - self._written_at
        if since_s >= (self._interval_s if self._news() != self._written else max(STILL_S, self._interval_s)):
            self._write_line()

    def status(self, text: str | None) -> None:
        """Written once when it changes, since nothing else is while the run waits."""
        if text and text != self._status:
            self._write(printable(text))
        self._status = text

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._news() != self._written:
            self._write_line()

    def _news(self) -> tuple[object, ...] | None:
        tracker = self._tracker
        return None if tracker is None else (tracker.position, tracker.total, tracker.limit)

    def _write_line(self) -> None:
        self._written_at = self._clock.monotonic()
        self._written = self._news()
        if self._tracker is not None:
            self._write(self._tracker.line())


def display_for(
    *,
    stream_is_tty: bool,
    quiet: bool,
    console: Console,
    write: Callable[[str], object],
    clock: Clock | None = None,
    interval_s: float = 60.0,
) -> LiveProgress | PlainProgress:
    """The bar on a terminal, lines elsewhere, nothing when quiet."""
    if quiet:
        return PlainProgress(lambda _: None, interval_s, clock)
    return LiveProgress(console) if stream_is_tty else PlainProgress(write, interval_s, clock)
