"""`analytics.jsonl`: one line for each outcome in the ledger, exactly once, also while the file is rotated.

A writer appends and syncs lines, and commits the file's new length to the ledger (`sink`). The next writer cuts off
what a crash has left beyond that length. So a crash at any point loses and doubles nothing. What the writer finds:

| the file | what it means | what is done |
|---|---|---|
| has the last committed line at its place | all is well | the lines that are missing are appended |
| is empty | it was rotated by copytruncate, or by rename with `create`, or emptied by hand | go on with the next line |
| begins with the first line that is not committed | it was rotated; a killed writer had begun the new one | the same |
| is missing, and a file beside it ends as committed | it was renamed by a rotation | the same |
| is missing otherwise | it was deleted | the lines since the last rotation are written again |
| ends otherwise, and the last outcome is in the ledger no more | rows were removed by hand | the same |
| holds other lines, or is shorter | it was edited, or is a stranger's | refused, with the command that rebuilds it |

The next line after a rotation is the one after the last line of the newest rotated file (`rotation`), or if no such
file can be read, the one after the last committed line. A rotation is committed before anything is written into the
new file. No file is held open between two calls of `catch_up`.
"""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

from filelock import FileLock, Timeout
from loguru import logger

from backfill import files
from backfill.analytics.lines import line, stands_for
from backfill.analytics.rotation import LONGEST_LINE, ending, last_rotated
from backfill.errors import EffectUnavailable
from backfill.ledger import Ledger
from backfill.ledger.outcomes import Sink
from backfill.ledger.rows import OutcomeRow

# The lines that are appended and synced together.
BATCH: Final = 500
# Another process holds the lock while it appends, and needs less than a second for a batch.
LOCK_TIMEOUT_S: Final = 30
# That copytruncate comes in between while a batch is written is rare.
MOST_DISTURBANCES: Final = 20


class State(StrEnum):
    """What has become of the file since the last commit."""

    AS_COMMITTED = "as_committed"
    ROTATED = "rotated"
    GONE = "gone"
    OUTLIVED = "outlived"  # its last outcome is in the ledger no more
    FOREIGN = "foreign"
    SHORTENED = "shortened"
    EDITED = "edited"


#: For people, about a file that only they can put right.
REFUSALS: Final = {
    State.FOREIGN: "{path} holds lines that this ledger did not write; move it away, or name another file with "
    "paths.analytics_file. Nothing of it was touched.",
    State.SHORTENED: "{path} is shorter than the ledger says: lines were removed from it. Nothing of it was touched. "
    "Write it anew with: {rebuild}",
    State.EDITED: "{path} was edited: its lines are not where the ledger has put them. Nothing of it was touched. "
    "Write it anew with: {rebuild}",
}
#: For the log, about a file that is put right without further ado.
WARNINGS: Final = {
    State.GONE: "{} is gone; what was in it is written anew",
    State.OUTLIVED: "{} holds mails that are no longer in the ledger; it is written anew",
}


@dataclass(frozen=True, slots=True)
class Found:
    """The state of the file, and from where to go on; `sink` None: from the start. `recorded`: the ledger's record.

    `stamp`: inode and length of the file that was looked at; None: there was none.
    """

    state: State
    sink: Sink | None
    recorded: Sink | None
    stamp: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class AnalyticsFile:
    """The analytics file of a ledger on this host. A lock file beside it admits one writer at a time."""

    ledger: Ledger
    path: Path

    @property
    def rebuild_command(self) -> str:
        """What the operator types to have the file written anew."""
        return f"backfill export --all-jobs --format jsonl --output {shlex.quote(str(self.path))} --force"

    def catch_up(self) -> int:
        """Append a line for every outcome that has none yet; returns how many. Writes the file and the ledger.

        Raises `EffectUnavailable` when the file cannot be written, or is not as this ledger has left it.
        """
        written = disturbed = 0
        with self._translated(), self._locked():
            while True:
                appended = self._append()
                if appended is None:
                    disturbed += 1
                    if disturbed > MOST_DISTURBANCES:
                        raise EffectUnavailable(f"Another program writes into {self.path}; name another file.")
                    continue
                written += appended
                if appended < BATCH:
                    return written

    def rebuild(self) -> int:
        """Replace the file: a line for every outcome since its last rotation. Returns their number. Writes.

        Runs may go on meanwhile, since the lock is only held for the newest lines. Raises `EffectUnavailable`; then
        nothing is changed.
        """
        length = lines = 0
        with self._translated(), files.unfinished(self.path) as new:
            self._refuse_pipe()
            begun, found = self._sink(), self._look()
            last = rotated = (found.sink or begun).rotated_outcome_id

            def add(outcomes: list[OutcomeRow]) -> None:
                nonlocal length, lines, last
                length += new.file.write(b"".join(map(line, outcomes)))
                lines, last = lines + len(outcomes), outcomes[-1].id

            while len(outcomes := self.ledger.outcomes.after(last, BATCH)) == BATCH:
                add(outcomes)
            with self._locked():
                sink = self._sink()
                if sink.rotated_outcome_id not in (begun.rotated_outcome_id, rotated):
                    raise EffectUnavailable(f"{self.path} was rotated meanwhile; try again.")
                while outcomes := self.ledger.outcomes.after(last, BATCH):
                    add(outcomes)
                new.finish(replace=True)
                self.ledger.outcomes.advance(sink, Sink(sink.id, length, last, rotated))
        return lines

    def difference(self) -> str | None:
        """What is wrong with the file, for people. None: it holds exactly what the ledger says. Only reads.

        Raises `EffectUnavailable` if the file cannot be read.
        """
        with self._translated("cannot be read"):
            self._refuse_pipe()
            found = self._look()
            length = self.path.stat().st_size if self.path.exists() else None
        if found.state in REFUSALS:
            return self._refusal(found.state)
        sink = found.sink or Sink(0, 0, 0)
        is_behind = self._has_outcomes(sink.last_outcome_id)
        if length is None and found.state is not State.ROTATED:
            return f"{self.path} is not there; it is written anew." if is_behind else None
        if found.state is State.OUTLIVED:
            return f"{self.path} holds mails that are no longer in the ledger; it is written anew."
        if is_behind:
            return f"{self.path} is not up to date; the lines that are missing are added."
        if (length or 0) > sink.committed_bytes:
            return f"{self.path} ends with bytes that this ledger did not record; they are cut off."
        return None

    def _append(self) -> int | None:
        """Append up to `BATCH` lines; returns how many. None: another program has changed the file meanwhile."""
        sink, stamp = self._ready()
        number = files.private(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        with open(number, "r+b") as file:
            # If it was rotated since the look, lines that nobody has committed may have gone with it.
            if _stamp(number) != stamp and (stamp is not None or os.fstat(number).st_size):
                return None
            if os.fstat(number).st_size > sink.committed_bytes:
                os.ftruncate(number, sink.committed_bytes)
            outcomes = self.ledger.outcomes.after(sink.last_outcome_id, BATCH)
            if not outcomes:
                return 0
            # O_APPEND: after copytruncate, a write at the old place would leave a hole of zeros before it.
            lines = b"".join(map(line, outcomes))
            file.write(lines)
            file.flush()
            os.fsync(number)
            length = os.fstat(number).st_size
        if length != sink.committed_bytes + len(lines):
            return None  # the next look finds out how
        longer = replace(sink, committed_bytes=length, last_outcome_id=outcomes[-1].id)
        self.ledger.outcomes.advance(sink, longer)
        return len(outcomes)

    def _ready(self) -> tuple[Sink, tuple[int, int] | None]:
        """The ledger's record of the file as it is found now, and the file's stamp. Writes what has changed.

        Raises `EffectUnavailable` for a file that this ledger did not write, or that was edited.
        """
        self._refuse_pipe()
        found = self._look()
        if found.state in REFUSALS:
            raise EffectUnavailable(self._refusal(found.state))
        if found.state in WARNINGS:
            logger.warning(WARNINGS[found.state], self.path)
        if found.sink is not None and found.sink == found.recorded:
            return found.sink, found.stamp
        sink = self._sink()
        ready = replace(found.sink or Sink(0, 0, 0), id=sink.id)
        self.ledger.outcomes.advance(sink, ready)
        return ready, found.stamp

    def _look(self) -> Found:
        """What has become of the file. Only reads."""
        recorded = self.ledger.outcomes.find_sink(socket.gethostname(), str(self.path))
        stamp = None
        try:
            with open(self.path, "rb") as file:
                stamp = _stamp(file.fileno())
                if stamp[1]:
                    state, sink = self._unknown(file) if recorded is None else self._known(file, recorded)
                    return Found(state, sink, recorded, stamp)
        except FileNotFoundError:
            pass
        is_empty = stamp is not None
        state, sink = self._moved_away() if recorded is None else self._moved(recorded, is_empty=is_empty)
        return Found(state, sink, recorded, stamp)

    def _known(self, file: BinaryIO, sink: Sink) -> tuple[State, Sink]:
        """The state of a file that is not empty."""
        length = file.seek(0, os.SEEK_END)
        if sink.committed_bytes and length >= sink.committed_bytes and self._ends_as_committed(file, sink):
            return State.AS_COMMITTED, sink
        if self._begins_after(file, sink):
            return self._moved(sink, is_empty=True) if sink.committed_bytes else (State.AS_COMMITTED, sink)
        if sink.committed_bytes and self._outcome(sink.last_outcome_id) is None:
            return State.OUTLIVED, _begun_after(sink, sink.rotated_outcome_id)
        return State.SHORTENED if length < sink.committed_bytes else State.EDITED, sink

    def _unknown(self, file: BinaryIO) -> tuple[State, Sink | None]:
        """The state of a file that has no record: perhaps its host or its folder had another name."""
        length = file.seek(0, os.SEEK_END)
        for sink in self.ledger.outcomes.sinks():
            if 0 < sink.committed_bytes <= length and self._ends_as_committed(file, sink):
                return State.AS_COMMITTED, sink
        return State.FOREIGN, None

    def _moved(self, sink: Sink, *, is_empty: bool) -> tuple[State, Sink]:
        """The state of a file whose lines are elsewhere: it is empty, or else missing."""
        rotated = self._last_rotated(sink)  # also if nothing is committed: a killed writer's lines may be rotated
        if rotated is None and not sink.committed_bytes:
            return State.AS_COMMITTED, sink
        if rotated is None and not is_empty:
            return State.GONE, _begun_after(sink, sink.rotated_outcome_id)
        return State.ROTATED, _begun_after(sink, sink.last_outcome_id if rotated is None else rotated)

    def _moved_away(self) -> tuple[State, Sink | None]:
        """The state of an empty or missing file that has no record. It may have been rotated, too."""
        for sink in self.ledger.outcomes.sinks():
            if sink.committed_bytes and (rotated := self._last_rotated(sink)) is not None:
                return State.ROTATED, _begun_after(sink, rotated)
        return State.AS_COMMITTED, None

    def _last_rotated(self, sink: Sink) -> int | None:
        """The last outcome in the file that was rotated since the last commit; None: no such file can be read."""
        return last_rotated(self.path, sink, self.ledger.outcomes.find)

    def _ends_as_committed(self, file: BinaryIO, sink: Sink) -> bool:
        """Is the last committed line, by its place in the file, the line of the last committed outcome?

        An edit that changes the file's length moves that line, and is noticed. Only the end of the file is read.
        """
        written, outcome = ending(file, sink.committed_bytes), self._outcome(sink.last_outcome_id)
        return written is not None and outcome is not None and stands_for(written, outcome)

    def _begins_after(self, file: BinaryIO, sink: Sink) -> bool:
        """Is the file's first line the first one that is not committed? A killed writer may have torn it."""
        following = self.ledger.outcomes.after(sink.last_outcome_id, 1)
        file.seek(0)
        written = file.readline(LONGEST_LINE)
        if not following:
            return False
        return stands_for(written, following[0]) or line(following[0]).startswith(written)

    def _outcome(self, number: int) -> OutcomeRow | None:
        """The outcome of this number; None: it is in the ledger no more."""
        found = self.ledger.outcomes.after(number - 1, 1)
        return found[0] if found and found[0].id == number else None

    def _has_outcomes(self, after: int) -> bool:
        return bool(self.ledger.outcomes.after(after, 1))

    def _sink(self) -> Sink:
        return self.ledger.outcomes.open_sink(socket.gethostname(), str(self.path))

    def _refusal(self, state: State) -> str:
        return REFUSALS[state].format(path=self.path, rebuild=self.rebuild_command)

    def _refuse_pipe(self) -> None:
        """Raises `EffectUnavailable` for a pipe or a device: opening it waits for another process, or has no end."""
        if self.path.exists() and not (self.path.is_file() or self.path.is_dir()):
            raise EffectUnavailable(f"{self.path} is no regular file; name another with paths.analytics_file.")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Be the only writer of the file on this host."""
        files.make_folder(self.path.parent)
        lock = Path(f"{self.path}.lock")
        # FileLock tries again where it cannot create its file, and then says that another process holds it.
        os.close(files.private(lock, os.O_RDWR | os.O_CREAT))
        try:
            with FileLock(lock, timeout=LOCK_TIMEOUT_S, mode=files.FILE_MODE):
                yield
        except Timeout as error:
            raise EffectUnavailable(f"Another process holds {self.path}; wait for it to end.") from error

    @contextmanager
    def _translated(self, fails: str = "cannot be written") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EffectUnavailable(
                f"{self.path} {fails}: {error.strerror}. The next run writes what is missing."
            ) from error


def _begun_after(sink: Sink, rotated: int) -> Sink:
    """The record of a new file, when the outcomes up to `rotated` are in the files before it."""
    return replace(sink, committed_bytes=0, last_outcome_id=rotated, rotated_outcome_id=rotated)


def _stamp(number: int) -> tuple[int, int]:
    """The inode and the length of an open file."""
    facts = os.fstat(number)
    return facts.st_ino, facts.st_size
