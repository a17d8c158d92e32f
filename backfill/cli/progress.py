"""The two ways to show how far a run is: a bar on a terminal, lines elsewhere.

Call `update` at every change: a display decides itself when to show it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from backfill.clock import Clock, SystemClock
from backfill.progress import ProgressTracker
from backfill.wording import printable

# A line with nothing new in it is written at this interval, as a sign of life.
STILL_S = 3600.0


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

    While no mail is finished and the limit stays the same, one line an hour is written.
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
        """Write `text` once when it changes: while the run waits, no other line is written."""
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
