"""The terminal during a command: sentences, progress, questions, and what signals such as Ctrl-C do.

Results go to standard output, everything else to standard error. Control characters in a mail's text never reach the
terminal.
"""

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from types import FrameType
from typing import Final

from rich.console import Console

from backfill.cli.progress import display_for
from backfill.clock import StopRequest, SystemClock
from backfill.errors import Declined
from backfill.lifecycle import ExitCode
from backfill.progress import ProgressTracker
from backfill.wording import printable

HANGUP: Final[int | None] = getattr(signal, "SIGHUP", None)  # Windows has none


class Terminal:
    """Sentences, questions and the progress bar on standard error. It is the executor's observer."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._tracker = ProgressTracker()
        self._display = display_for(
            stream_is_tty=sys.stderr.isatty(), quiet=quiet, console=self._console, write=self.say, clock=SystemClock()
        )
        self._drawing = threading.Lock()
        self.has_begun = False

    def say(self, sentence: str) -> None:
        """A line for people, above the bar where there is one; nothing when quiet."""
        if not self._quiet:
            self._console.print(printable(sentence), soft_wrap=True)

    def warn(self, line: str) -> None:
        """Show a line of the log that the operator may have to act on."""
        self._console.print(printable(line.rstrip("\n")), soft_wrap=True)

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Draw progress from the first mail on until the run ends."""
        try:
            yield
        finally:
            if self.has_begun:
                self._display.update(self._tracker)
                self._display.__exit__(None, None, None)

    def begins(self, total: int) -> None:
        """A run begins to work on `total` mails."""
        with self._drawing:
            self._tracker = ProgressTracker(total)
            self._display.update(self._tracker)
            if not self.has_begun:
                self.has_begun = True
                self._display.__enter__()

    def record(
        self, *, processed: int = 0, failed: int = 0, skipped: int = 0, vanished: int = 0, reused: int = 0
    ) -> None:
        with self._drawing:
            self._tracker.record(processed=processed, failed=failed, skipped=skipped, vanished=vanished, reused=reused)
            self._display.update(self._tracker)

    def waiting(self, reason: str | None) -> None:
        with self._drawing:
            if reason:
                self._tracker.pause()
            else:
                self._tracker.resume()
            self._display.status(reason)

    def limited_by(self, limit: str | None, ends_at: datetime | None = None) -> None:
        with self._drawing:
            self._tracker.limited_by(limit, ends_at)
            self._display.update(self._tracker)

    def confirm(self, question: str) -> bool:
        """Ask on the terminal. Raises `Declined` where standard input is not a terminal, so that nobody can answer."""
        if not sys.stdin.isatty():
            raise Declined(f"{question} There is no terminal to answer on; say --yes to go ahead.")
        self._console.print(printable(question), soft_wrap=True)
        # The handler of a run returns, and Python would then go on reading the answer after Ctrl-C (PEP 475).
        listening = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            answer = self._console.input("Go ahead? [y/N] ", markup=False)
        except (EOFError, KeyboardInterrupt):  # Ctrl-D, Ctrl-C
            return False
        finally:
            signal.signal(signal.SIGINT, listening)
        return answer.strip().lower() in ("y", "yes")


@contextmanager
def stop_on_signals(stop: StopRequest) -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGHUP asks for a stop. A second SIGINT or SIGTERM ends the process at once.

    A lost terminal sends SIGHUP twice, or together with SIGTERM, so SIGHUP counts neither as the second signal nor as
    the first of two. Under nohup SIGHUP is ignored and stays ignored. A thread of its own sets the stop: the thread
    that a signal interrupts may hold the lock that setting needs.
    """
    hearing, telling = os.pipe()
    asked: list[int] = []
    insisted: list[int] = []

    def pass_on() -> None:
        if number := os.read(hearing, 1):
            stop.set(signal.Signals(number[0]).name)

    def handle(number: int, _: FrameType | None) -> None:
        if number != HANGUP:
            if insisted:
                shown = b"\x1b[?25h" if sys.stderr.isatty() else b""  # shows the cursor, which the bar has hidden
                _shout(shown + b"\nStopped at once. What was recorded is kept.\n")
                os._exit(ExitCode.KILLED_INT if number == signal.SIGINT else ExitCode.KILLED_TERM)
            insisted.append(number)
        if not asked:
            asked.append(number)
            os.write(telling, bytes([number]))
            _shout(b"\nStopping: answers under way are awaited; once more to stop at once.\n")

    messenger = threading.Thread(target=pass_on, name="signals", daemon=True)
    messenger.start()
    before = {number: signal.signal(number, handle) for number in _heeded()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(telling)  # ends the messenger's read
        messenger.join()
        os.close(hearing)


def _heeded() -> list[int]:
    if HANGUP is None or signal.getsignal(HANGUP) is signal.SIG_IGN:
        return [signal.SIGINT, signal.SIGTERM]
    return [signal.SIGINT, signal.SIGTERM, HANGUP]


def _shout(line: bytes) -> None:
    """Write to standard error without any lock, as a signal handler must; drop the line where the write would wait."""
    with suppress(OSError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, line)
