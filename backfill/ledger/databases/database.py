"""Connections to the ledger's database, and the one way to write to it.

`write` runs a piece of work in a transaction and returns when it is durable. One thread writes at a time, and it
commits the work of all waiting threads with its own, so they share one fsync. It does not wait for more work. No
connection leaves this folder, and no transaction outlives the call. If a PostgreSQL server is away for a while, the
write waits. If the answer to a commit is lost with the connection, the write asks whether the commit took place.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import uuid4

from loguru import logger
from sqlalchemy import Connection, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from backfill.clock import Clock, StopRequest, SystemClock, micros
from backfill.errors import LedgerUnusable
from backfill.ledger.databases.connect import (
    AFTER_STOP_S,
    BUSY_SLICE_MS,
    BUSY_TIMEOUT_MS,
    checked,
    postgresql_engine,
    sqlite_engine,
)
from backfill.ledger.databases.errors import hide_values, is_passing, translated
from backfill.ledger_url import without_secrets

T = TypeVar("T")

# The most pieces of work in one commit. A larger commit would keep the first thread waiting for long. With one piece a
# commit, 16 threads made 290 writes/s instead of 870 on SQLite, and 690 instead of 1,120 on PostgreSQL.
LARGEST_GROUP = 256
# At most 10 threads read at the same time; hundreds may want to. The others wait, with no time limit. SQLite's pool
# holds 15 connections.
READERS = 10
# A server that restarts is back within seconds. A server that recovers from a crash may need a minute.
PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 10.0, 10.0, 10.0, 15.0)
TRIES_AFTER_STOP = round(AFTER_STOP_S * 1000) // BUSY_SLICE_MS
FILE_GONE = (
    "The ledger {path} was {what} while this command was at work, so the command stopped. The verdicts recorded since "
    "then are in the old file and its -wal file: put both back before the next run, or they are paid for again."
)
# Not PostgreSQL's transaction number: after a crash the server may give the same number out again.
INTRODUCE = text("INSERT INTO commit_mark (writer, number, at) VALUES (:writer, 0, :now) ON CONFLICT DO NOTHING")
FORGET_OLD = text("DELETE FROM commit_mark WHERE at < :now - 2592000000000")  # no write for 30 days
MARK = text("UPDATE commit_mark SET number = :number, at = :now WHERE writer = :writer")
# FOR UPDATE waits for a commit that is still under way on the lost session.
MARKED = text("SELECT number FROM commit_mark WHERE writer = :writer FOR UPDATE")


class _Piece(Generic[T]):
    """A piece of work, with its result or with what it raised."""

    def __init__(self, work: Callable[[Connection], T]) -> None:
        self.work = work
        self.is_alone = False  # its first commit failed, so it gets a transaction of its own
        self.is_served = False
        self.result: T | None = None
        self.error: BaseException | None = None
        self.wakes = threading.Lock()  # released when the piece is served, or when its thread must serve the others
        self.wakes.acquire()

    def settle(self, result: T | None, error: BaseException | None = None) -> None:
        """Give the piece its result, or its error, and wake its thread."""
        self.result, self.error, self.is_served = result, error, True
        self.wakes.release()


class Database:
    """A SQLite file or a PostgreSQL database, named by its URL. Thread-safe."""

    def __init__(self, url: str, clock: Clock | None = None, stop: StopRequest | None = None) -> None:
        """Opens nothing yet. Raises `ConfigError` for a URL that is neither `sqlite:///…` nor `postgresql://…`.

        `stop`: after it, a call waits at most 5 s for a database that cannot be used.
        """
        self.url = checked(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.path = Path(self.url.database or "") if self.is_sqlite else None
        self._clock = clock or SystemClock()
        self._stop = stop or StopRequest()
        self._waiting: deque[_Piece[Any]] = deque()
        self._queueing = threading.Lock()
        self._is_serving = False
        self._turn = threading.Lock()
        self._writing: Connection | None = None
        self._file: tuple[int, int] | None = None  # SQLite's device and inode; None: not looked up yet
        self._was_reached = self.is_sqlite  # a SQLite file that another program holds is worth a wait from the start
        self._pauses = (0.0,) * (BUSY_TIMEOUT_MS // BUSY_SLICE_MS) if self.is_sqlite else PAUSES_S
        # No pause for SQLite: each try already waits for `BUSY_SLICE_MS`.
        self._pauses_after_stop = (0.0 if self.is_sqlite else BUSY_SLICE_MS / 1000,) * TRIES_AFTER_STOP
        self._reading = threading.BoundedSemaphore(READERS)
        self._writer_name, self._commits = str(uuid4()), 0
        if self.is_sqlite:
            self._writer = sqlite_engine(self.url, "BEGIN IMMEDIATE", read_only=False)
            self._reader = sqlite_engine(self.url, "BEGIN", read_only=True)
        else:
            self._writer = postgresql_engine(self.url)
            event.listen(self._writer, "handle_error", _hide_values)
            self._reader = self._writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def __str__(self) -> str:
        """Where the ledger is, for people: the absolute path, or the URL without its password."""
        return str(self.path) if self.path else without_secrets(self.url.render_as_string(hide_password=False))

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction and return its result when it is committed.

        `work` must do nothing but SQL, because it may run more than once: again after the server was away, and again
        alone after its first commit failed. What it raises is raised here, and nothing of it is written. Raises
        `LedgerUnusable` if the database cannot be written.
        """
        piece = _Piece(work)
        with self._queueing:
            self._waiting.append(piece)
            is_first, self._is_serving = not self._is_serving, True
        if not is_first:
            try:
                piece.wakes.acquire()  # each thread has its own lock: from one lock, they would wake one by one
            except BaseException:  # interrupted: if this thread has the turn, pass the turn on
                self._leave(piece, has_turn=not (piece.is_served or piece.wakes.locked()))
                raise
        if not piece.is_served:
            self._take_turn(piece)
        if piece.error is not None:
            raise piece.error
        return piece.result  # type: ignore[return-value]  # None is T's own None once it is served

    def _take_turn(self, piece: _Piece[Any]) -> None:
        """Commit the waiting work, in groups, until `piece` is served. Then pass the turn on."""
        try:
            with self._turn:
                while not piece.is_served:
                    self._serve(self._next_group())
        finally:
            self._leave(piece, has_turn=True)

    def _leave(self, piece: _Piece[Any], *, has_turn: bool) -> None:
        """Leave the queue, served or interrupted. A thread with the turn passes it on: otherwise all wait for ever."""
        with self._queueing:
            if not piece.is_served and piece in self._waiting:
                self._waiting.remove(piece)
            if has_turn and self._waiting:
                self._waiting[0].wakes.release()
            elif has_turn:
                self._is_serving = False

    def _next_group(self) -> list[_Piece[Any]]:
        group = [self._waiting.popleft()]
        while self._waiting and len(group) < LARGEST_GROUP and not (group[0].is_alone or self._waiting[0].is_alone):
            group.append(self._waiting.popleft())
        return group

    def _serve(self, group: list[_Piece[Any]]) -> None:
        try:
            with translated(str(self)):
                results = self._commit(group)
        except LedgerUnusable as error:  # the database failed, not one piece: all get the error
            for piece in group:
                piece.settle(None, error)
        except Exception as error:  # noqa: BLE001 - carried to the thread of the piece, and raised there
            if len(group) == 1:
                group[0].settle(None, error)
                return
            for piece in group:
                piece.is_alone = True
            self._waiting.extendleft(reversed(group))
        except BaseException:  # this thread is interrupted: the work goes back into the queue
            self._waiting.extendleft(reversed(group))
            raise
        else:
            for piece, result in zip(group, results, strict=True):
                piece.settle(result)

    def _commit(self, group: list[_Piece[Any]]) -> list[Any]:
        committing: list[Any] | None = None

        def once() -> list[Any]:
            nonlocal committing
            connection = self._writing_connection()
            if committing is not None and self._took_place(connection):
                return committing
            committing = None
            with connection.begin():
                results = [piece.work(connection) for piece in group]
                if not self.is_sqlite:
                    self._mark(connection)
                    committing = results
            return results

        return self._patiently(once)

    def _mark(self, connection: Connection) -> None:
        """Write the number of this commit, within the commit."""
        self._commits += 1
        connection.execute(MARK, {"writer": self._writer_name, "number": self._commits, "now": self._now()})

    def _took_place(self, connection: Connection) -> bool:
        """Did the last commit, whose answer was lost, take place?"""
        with connection.begin():
            return bool(connection.execute(MARKED, {"writer": self._writer_name}).scalar() == self._commits)

    def _writing_connection(self) -> Connection:
        if self._writing is not None and self._writing.invalidated:
            self._writing.close()
            self._writing = None
        if self._writing is None:
            self.check_file()
            self._writing = self._writer.connect()
            if not self.is_sqlite:
                self._introduce(self._writing)
        return self._writing

    def _introduce(self, connection: Connection) -> None:
        with connection.begin():
            connection.execute(FORGET_OLD, {"now": self._now()})
            connection.execute(INTRODUCE, {"writer": self._writer_name, "now": self._now()})

    def _now(self) -> int:
        return micros(self._clock.now())

    def _patiently(self, once: Callable[[], T]) -> T:
        """Try again while a server that was reached before is away, or while another program holds SQLite's file.

        After a stop it tries for 5 s more, because the write may hold a paid answer.
        """
        pauses, until = iter(self._pauses), inf
        while True:
            try:
                result = once()
            except DBAPIError as error:
                if self._stop.is_set() and until == inf:
                    pauses, until = iter(self._pauses_after_stop), self._clock.monotonic() + AFTER_STOP_S
                pause = next(pauses, None)
                is_worth_it = self._was_reached and is_passing(error) and self._clock.monotonic() < until
                if pause is None or not is_worth_it:
                    raise
                logger.debug("the ledger's database did not answer, trying again in {:g} s", pause)
                self._clock.sleep(pause, self._stop if until == inf else StopRequest())
            else:
                self._was_reached = True
                return result

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a read-only transaction. All its statements see one snapshot. Keep it short.

        `work` may run more than once. It must not return the connection or an unread result.
        """

        def once() -> T:
            self.check_file()
            with self._reading, self._reader.connect() as connection, connection.begin():
                return work(connection)

        with translated(str(self)):
            return self._patiently(once)

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """A writing connection without a transaction, for schema changes. No other thread writes meanwhile."""
        with self._turn, translated(str(self), is_upgrade=True):
            self._close_writing()
            with self._writer.connect() as connection:
                if self.is_sqlite:
                    connection.connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
                yield connection

    def session(self) -> Connection:
        """A connection in autocommit mode, for example for a session's locks in PostgreSQL. The caller closes it."""
        with translated(str(self)):
            connection = self._writer.connect()
            try:
                return connection.execution_options(isolation_level="AUTOCOMMIT")
            except BaseException:  # the server went away between the two
                connection.invalidate()
                connection.close()
                raise

    def check_file(self) -> None:
        """Check that SQLite's file is still the file that was opened first. Takes some microseconds.

        Raises `LedgerUnusable` if the file was removed, moved or replaced. Each read checks it, and so do a run's
        heartbeat and its end. A write on the open connection does not check: a moved file still keeps a paid answer.
        """
        if self.path is None:
            return
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            if self._file is None:
                return  # the file is not created yet
            raise LedgerUnusable(FILE_GONE.format(path=self.path, what="removed or moved away")) from None
        if self._file is None:
            self._file = found.st_dev, found.st_ino
        elif self._file != (found.st_dev, found.st_ino):
            raise LedgerUnusable(FILE_GONE.format(path=self.path, what="replaced by another file"))

    def insert(self, table: Any) -> Any:
        """An INSERT in this database's dialect, with `on_conflict_do_…`."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def close(self) -> None:
        """Close every connection. A later call opens new ones."""
        with self._turn:
            self._close_writing()
        self._writer.dispose()
        self._reader.dispose()

    def _close_writing(self) -> None:
        if self._writing is not None:
            self._writing.close()
            self._writing = None


def _hide_values(context: ExceptionContext) -> None:
    hide_values(context.original_exception, context.sqlalchemy_exception)
