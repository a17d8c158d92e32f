"""How far a run is, and when it will honestly end."""

from __future__ import annotations

import io
import tracemalloc
from datetime import timedelta

import pytest
from rich.console import Console

from backfill.cli.progress import LiveProgress, PlainProgress, display_for
from backfill.progress import ProgressTracker
from tests.support.clocks import TurnedClock


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


def worked(tracker: ProgressTracker, clock: TurnedClock, mails: int, *, seconds_each: float) -> None:
    for _ in range(mails):
        clock.turn(seconds_each)
        tracker.record(processed=1)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)


def test_with_a_total_the_line_has_a_percentage_and_an_eta(clock):
    tracker = ProgressTracker(100, clock=clock)
    worked(tracker, clock, 48, seconds_each=0.904)
    tracker.record(failed=2)

    tracker.record()

    assert tracker.line() == "Progress: 50/100 (50.0%) - Processed: 48, Failed: 2, Skipped: 0, ETA: 43.4s"


def test_the_eta_names_what_binds_it_after_the_words_people_know(clock):
    tracker = ProgressTracker(100, clock=clock)
    worked(tracker, clock, 50, seconds_each=1)

    tracker.limit = "calls per minute (60)"

    plain = "Progress: 50/100 (50.0%) - Processed: 50, Failed: 0, Skipped: 0, ETA: 50.0s"
    assert tracker.line() == f"{plain} (limit: calls per minute (60))"
    assert tracker.brief().endswith("ETA 50.0s")
    assert tracker.bound() == "limit: calls per minute (60)"


def test_what_binds_a_run_is_not_cut_off_on_a_narrow_terminal(clock):
    tracker, console = ProgressTracker(100, clock=clock), terminal()
    worked(tracker, clock, 50, seconds_each=1)
    tracker.limited_by("calls per minute (60); the budget will not last")

    with LiveProgress(console) as display:
        display.update(tracker)

    assert "limit: calls per minute (60); the budget will not last" in console.file.getvalue()


def test_the_eta_of_what_rests_at_times_counts_the_rests_and_runs_down_meanwhile(clock):
    tracker = ProgressTracker(100, clock=clock)
    worked(tracker, clock, 50, seconds_each=1)

    tracker.limited_by("50 calls a day", clock.now() + timedelta(hours=30))
    clock.turn(3600)

    assert tracker.line().endswith("ETA: 1d 5h 00m (limit: 50 calls a day)")


def test_nothing_binds_what_is_done(clock):
    tracker = ProgressTracker(5, clock=clock)
    tracker.limit = "calls per minute (60)"

    worked(tracker, clock, 5, seconds_each=1)

    assert tracker.line().endswith("ETA: 0.0s")
    assert tracker.bound() is None


def test_without_a_total_the_line_has_the_time_elapsed(clock):
    tracker = ProgressTracker(clock=clock)
    tracker.record(processed=48, failed=2)
    clock.turn(45.2)

    assert tracker.line() == "Progress: 50 items - Processed: 48, Failed: 2, Skipped: 0 (Elapsed: 45.2s)"


@pytest.mark.parametrize(("seconds_each", "eta"), [(1, "90.0s"), (60, "1h 30m"), (3600, "3d 18h 00m")])
def test_a_long_eta_is_said_in_hours_and_days(clock, seconds_each, eta):
    tracker = ProgressTracker(100, clock=clock)

    worked(tracker, clock, 10, seconds_each=seconds_each)

    assert tracker.line().endswith(f"ETA: {eta}")


def test_a_few_mails_say_nothing_of_the_rest(clock):
    tracker = ProgressTracker(100, clock=clock)

    worked(tracker, clock, 4, seconds_each=1)

    assert tracker.line().endswith("ETA: n/a")


def test_mail_that_took_no_work_does_not_make_the_eta_rosier(clock):
    tracker = ProgressTracker(1000, clock=clock)
    tracker.record(skipped=300)
    tracker.record(processed=500, reused=500)

    worked(tracker, clock, 10, seconds_each=2)

    assert tracker.rate == pytest.approx(0.5)
    assert tracker.eta_s == pytest.approx(190 / 0.5)


def test_only_the_last_quarter_of_an_hour_counts(clock):
    tracker = ProgressTracker(100_000, clock=clock)
    worked(tracker, clock, 7200, seconds_each=0.5)

    worked(tracker, clock, 100, seconds_each=10)

    assert tracker.rate == pytest.approx(0.1, rel=0.02)


def test_a_night_of_waiting_does_not_count_as_work(clock):
    tracker = ProgressTracker(100, clock=clock)
    worked(tracker, clock, 10, seconds_each=1)
    tracker.pause()
    clock.turn(8 * 3600)
    eta_while_waiting = tracker.eta_s

    tracker.resume()
    worked(tracker, clock, 10, seconds_each=1)

    assert eta_while_waiting == pytest.approx(90)
    assert tracker.eta_s == pytest.approx(80)
    assert tracker.elapsed_s == pytest.approx(8 * 3600 + 20)


def test_a_stall_makes_the_eta_longer_not_shorter(clock):
    tracker = ProgressTracker(100, clock=clock)
    worked(tracker, clock, 10, seconds_each=1)
    before = tracker.eta_s

    clock.turn(60)

    assert tracker.eta_s == pytest.approx(before * 7)


def test_days_of_work_take_no_more_memory_than_a_quarter_of_an_hour(clock):
    tracker = ProgressTracker(clock=clock)
    tracemalloc.start()

    worked(tracker, clock, 10_000, seconds_each=5)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 100_000  # bytes


@pytest.mark.parametrize(("total", "line"), [(0, "0/0 (100.0%)"), (20_000, "19999/20000 (99.9%)")])
def test_only_all_of_it_is_a_hundred_percent(clock, total, line):
    tracker = ProgressTracker(total, clock=clock)

    tracker.record(processed=max(0, total - 1))

    assert line in tracker.line()


def test_vanished_mail_counts_towards_the_end(clock):
    tracker = ProgressTracker(2, clock=clock)

    tracker.record(processed=1, vanished=1)

    assert tracker.line() == "Progress: 2/2 (100.0%) - Processed: 1, Failed: 0, Skipped: 0, ETA: 0.0s"


def test_plain_progress_writes_at_intervals_and_at_the_end(clock):
    lines: list[str] = []
    tracker = ProgressTracker(200, clock=clock)

    with PlainProgress(lines.append, 60, clock) as display:
        for _ in range(150):
            worked(tracker, clock, 1, seconds_each=1)
            display.update(tracker)

    assert [line.split(" - ")[0] for line in lines] == [
        "Progress: 60/200 (30.0%)",
        "Progress: 120/200 (60.0%)",
        "Progress: 150/200 (75.0%)",
    ]


def test_plain_progress_that_has_nothing_new_to_say_says_so_once_an_hour(clock):
    lines: list[str] = []
    tracker = ProgressTracker(200, clock=clock)
    worked(tracker, clock, 10, seconds_each=1)

    with PlainProgress(lines.append, 60, clock) as display:
        display.status("paused; `backfill resume` goes on")
        tracker.pause()
        for _ in range(15 * 360):
            clock.turn(10)
            display.update(tracker)

    progress = [line for line in lines if line.startswith("Progress: 10/200")]
    assert len(progress) == 15
    assert len(lines) == 16


def test_plain_progress_says_once_what_it_waits_for(clock):
    lines: list[str] = []

    with PlainProgress(lines.append, 60, clock) as display:
        for _ in range(3):
            display.status("waiting until 14:05: rate limited\x1b[2J")
        display.status(None)

    assert lines == ["waiting until 14:05: rate limited\\x1b[2J"]


def test_nothing_begun_writes_nothing(clock):
    lines: list[str] = []

    with PlainProgress(lines.append, 60, clock):
        pass

    assert lines == []


@pytest.mark.parametrize("total", [100, 0, None])
def test_a_terminal_shows_a_bar_with_the_figures(clock, total):
    console = terminal()
    tracker = ProgressTracker(total, clock=clock)

    with LiveProgress(console) as display:
        display.update(tracker)
        worked(tracker, clock, 20, seconds_each=1)
        display.status("waiting until 14:05: rate limited")

    shown = console.file.getvalue()
    assert "✓ 20 ✗ 0 ⊘ 0" in shown
    assert "1.0/s" in shown
    assert "waiting until 14:05: rate limited" in shown
    assert ("ETA 80.0s" in shown) is (total == 100)


def test_a_bar_before_the_first_figure_says_what_goes_on():
    console = terminal()

    with LiveProgress(console) as display:
        display.status("looking through INBOX[red]\x1b[2J")

    assert "looking through INBOX[red]\\x1b[2J" in console.file.getvalue()


@pytest.mark.parametrize(
    ("stream_is_tty", "quiet", "kind", "lines"),
    [(True, False, LiveProgress, 0), (False, False, PlainProgress, 1), (False, True, PlainProgress, 0)],
)
def test_the_display_fits_the_place(clock, stream_is_tty, quiet, kind, lines):
    written: list[str] = []
    display = display_for(
        stream_is_tty=stream_is_tty, quiet=quiet, console=terminal(), write=written.append, clock=clock
    )

    with display:
        display.update(ProgressTracker(1, clock=clock))

    assert type(display) is kind
    assert len(written) == lines
