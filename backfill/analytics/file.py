"""`analytics.jsonl`: one line for each outcome in the ledger, exactly once.

A writer cuts the file to the length that the ledger has committed, appends and syncs the new lines, and commits the
new length. A crash leaves at worst lines beyond the committed length; the next writer cuts them off. A file that is
too short, or gone, is written anew: everything in it comes from the ledger.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout
from loguru import logger

from backfill import files
from backfill.analytics.lines import line, stands_for
from backfill.errors import EffectUnavailable
from backfill.ledger import Ledger
from backfill.ledger.outcomes import Sink

# The lines that are appended and synced together.
BATCH = 500
# Another process holds the lock while it appends, and needs less than a second for a batch.
LOCK_TIMEOUT_S = 30
# In bytes. Only a folder's name, a message key and a reason can make a line long.
LONGEST_LINE = 65_536

FOREIGN = (
    "{path} holds lines that this ledger did not write; move it away, or name another file with paths.analytics_file. "
    "Nothing of it was touched."
)
EDITED = (
    "{path} was edited: its lines are not where the ledger has put them. Move it away, and the next run or "
    "`backfill verify --repair` writes it anew. Nothing of it was touched."
)


@dataclass(frozen=True, slots=True)
class AnalyticsFile:
    """The analytics file of a ledger on this host. A lock file beside it admits one writer at a time."""

    ledger: Ledger
    path: Path

    def catch_up(self) -> int:
        """Append a line for every outcome that has none yet; returns how many. Writes the file and the ledger.

        Raises `EffectUnavailable` when the file cannot be written. The next call writes what is missing.
        """
        written = 0
        with self._open() as (file, sink):
            while outcomes := self.ledger.outcomes.after(sink.last_outcome_id, BATCH):
                lines = b"".join(line(outcome) for outcome in outcomes)
                file.seek(sink.committed_bytes)
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
                longer = replace(
                    sink,
                    committed_bytes=sink.committed_bytes + len(lines),
                    last_outcome_id=outcomes[-1].id,
                )
                self.ledger.outcomes.advance(sink, longer)
                sink, written = longer, written + len(outcomes)
        return written

    def difference(self) -> str | None:
        """What is wrong with the file, for people. None: it holds exactly what the ledger says. Only reads.

        Raises `EffectUnavailable` if the file cannot be read.
        """
        try:
            self._refuse_pipe()
            with open(self.path, "rb") as file:
                return self._difference(file)
        except FileNotFoundError:
            return f"{self.path} is not there; it is written anew." if self._has_outcomes(0) else None
        except OSError as error:
            raise EffectUnavailable(f"{self.path} cannot be read: {error.strerror}.") from error

    def _difference(self, file: BinaryIO) -> str | None:
        length = file.seek(0, os.SEEK_END)
        sink = self.ledger.outcomes.find_sink(socket.gethostname(), str(self.path)) or self._written_here(file, length)
        if sink is None:
            if length:
                return FOREIGN.format(path=self.path)
            return f"{self.path} is empty; it is written anew." if self._has_outcomes(0) else None
        if length < sink.committed_bytes:
            return f"{self.path} is shorter than the ledger says; it is written anew."
        if not self._has_last(sink):
            return f"{self.path} holds mails that are no longer in the ledger; it is written anew."
        if not self._ends_as_committed(file, sink):
            return EDITED.format(path=self.path)
        if self._has_outcomes(sink.last_outcome_id):
            return f"{self.path} is not up to date; the lines that are missing are added."
        if length > sink.committed_bytes:
            return f"{self.path} ends with bytes that this ledger did not record; they are cut off."
        return None

    def _refuse_pipe(self) -> None:
        """Raises `EffectUnavailable` for a pipe or a device: opening it waits for another process, or has no end."""
        if self.path.exists() and not (self.path.is_file() or self.path.is_dir()):
            raise EffectUnavailable(f"{self.path} is no regular file; name another with paths.analytics_file.")

    def _has_outcomes(self, after: int) -> bool:
        return bool(self.ledger.outcomes.after(after, 1))

    @contextmanager
    def _open(self) -> Iterator[tuple[BinaryIO, Sink]]:
        try:
            files.make_folder(self.path.parent)
            self._refuse_pipe()
            lock = Path(f"{self.path}.lock")
            # FileLock tries again where it cannot create its file, and then says that another process holds it.
            os.close(files.private(lock, os.O_RDWR | os.O_CREAT))
            with (
                FileLock(lock, timeout=LOCK_TIMEOUT_S, mode=files.FILE_MODE),
                open(files.private(self.path, os.O_RDWR | os.O_CREAT), "r+b") as file,
            ):
                sink = self._recognised(file)
                if file.seek(0, os.SEEK_END) > sink.committed_bytes:
                    file.truncate(sink.committed_bytes)
                yield file, sink
        except Timeout as error:
            raise EffectUnavailable(f"Another process holds {self.path}; wait for it to end.") from error
        except OSError as error:
            raise EffectUnavailable(
                f"{self.path} cannot be written: {error.strerror}. The next run writes what is missing."
            ) from error

    def _recognised(self, file: BinaryIO) -> Sink:
        """The ledger's record of the open file.

        Raises `EffectUnavailable` for a file that this ledger did not write, or that was edited.
        """
        host, length = socket.gethostname(), file.seek(0, os.SEEK_END)
        found = self.ledger.outcomes.find_sink(host, str(self.path))
        written = None if found is not None or not length else self._written_here(file, length)
        if length and found is None and written is None:
            raise EffectUnavailable(FOREIGN.format(path=self.path))
        sink = found or self.ledger.outcomes.open_sink(host, str(self.path))
        if written is not None:  # this ledger wrote it, when the host or the folder had another name
            sink = self._moved(sink, written.committed_bytes, written.last_outcome_id)
        if length < sink.committed_bytes:
            logger.warning("{} is shorter than the ledger says; it is written anew", self.path)
            return self._moved(sink, 0, 0)
        if not self._has_last(sink):  # rows were removed by hand, and planned again
            logger.warning("{} holds mails that are no longer in the ledger; it is written anew", self.path)
            return self._moved(sink, 0, 0)
        if not self._ends_as_committed(file, sink):
            raise EffectUnavailable(EDITED.format(path=self.path))
        return sink

    def _moved(self, sink: Sink, committed_bytes: int, last_outcome_id: int) -> Sink:
        after = replace(sink, committed_bytes=committed_bytes, last_outcome_id=last_outcome_id)
        self.ledger.outcomes.advance(sink, after)
        return after

    def _written_here(self, file: BinaryIO, length: int) -> Sink | None:
        """The record whose lines the file holds, whatever its host and folder are called now; None: there is none."""
        for sink in self.ledger.outcomes.sinks():
            if 0 < sink.committed_bytes <= length and self._ends_as_committed(file, sink):
                return sink
        return None

    def _has_last(self, sink: Sink) -> bool:
        """Is the outcome of the last line still in the ledger?"""
        outcomes = self.ledger.outcomes.after(sink.last_outcome_id - 1, 1)
        return not sink.committed_bytes or (bool(outcomes) and outcomes[0].id == sink.last_outcome_id)

    def _ends_as_committed(self, file: BinaryIO, sink: Sink) -> bool:
        """Is the last committed line, by its place in the file, the line of the last committed outcome?

        An edit that changes the file's length moves that line, and is noticed. Only the end of the file is read.
        """
        if not sink.committed_bytes:
            return True
        start = max(0, sink.committed_bytes - LONGEST_LINE)
        file.seek(start)
        lines = file.read(sink.committed_bytes - start).split(b"\n")
        outcomes = self.ledger.outcomes.after(sink.last_outcome_id - 1, 1)
        return lines[-1] == b"" and len(lines) > 1 and bool(outcomes) and stands_for(lines[-2], outcomes[0])
