"""Connections to the ledger's database, and the one way to write to it.

`write` runs a piece of work in a transaction and returns when it is durable. Whoever waits for the turn is served
by the one who has it, all in one commit: writers from many threads share an fsync, and nobody waits for more to
come. No connection leaves this folder and no transaction outlives the call. A PostgreSQL server that goes away for
a while is waited for; a commit whose answer was lost with the connection is asked after, never guessed.
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

# A turn serves at most so many, so that the first of them is not kept from its answer for long.
LARGEST_GROUP = 256
# Hundreds of threads may read at the same time; the others queue for as long as it takes. SQLite's pool holds 15.
READERS = 10
# A server that restarts is back within seconds; one that recovers from a crash may need a minute.
PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 10.0, 10.0, 10.0, 15.0)
TRIES_AFTER_STOP = round(AFTER_STOP_S * 1000) // BUSY_SLICE_MS
FILE_GONE = (
    "The ledger {path} was {what} while this command was at work, so it stopped. Verdicts that were recorded since "
    "are in the file that was there and in its -wal file: put it back before the next run, or they are paid for again."
)
# A transaction's own number would not do: after a crash of the server it may be given out again.
INTRODUCE = text("INSERT INTO commit_mark (writer, number, at) VALUES (:writer, 0, :now) ON CONFLICT DO NOTHING")
FORGET_OLD = text("DELETE FROM commit_mark WHERE at < :now - 2592000000000")  # a month, in which nobody wrote
MARK = text("UPDATE commit_mark SET number = :number, at = :now WHERE writer = :writer")
# The lock waits for a commit that is still under way on a session that was lost.
MARKED = text("SELECT number FROM commit_mark WHERE writer = :writer FOR UPDATE")


class _Piece(Generic[T]):
    """A piece of work with its result, or with what it raised."""

    def __init__(self, work: Callable[[Connection], T]) -> None:
        self.work = work
        self.is_alone = False  # another piece of its commit failed, so that it gets a transaction of its own
        self.is_served = False
        self.result: T | None = None
        self.error: BaseException | None = None
        self.wakes = threading.Lock()  # free when the piece is served, or when it is its thread's turn to serve
        self.wakes.acquire()

    def settle(self, result: T | None, error: BaseException | None = None) -> None:
        """It is served; its thread goes on."""
        self.result, self.error, self.is_served = result, error, True
        self.wakes.release()


class Database:
    """A SQLite file or a PostgreSQL database by URL. Thread-safe."""

    def __init__(self, url: str, clock: Clock | None = None, stop: StopRequest | None = None) -> None:
        """Opens nothing yet. Raises `ConfigError` for a URL that is neither `sqlite:///…` nor `postgresql://…`.

        `stop`: after it, a database that cannot be used is waited for 5 s at the most.
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
        self._file: tuple[int, int] | None = None  # SQLite's: device and inode; None: it was not looked at yet
        self._was_reached = self.is_sqlite  # a file in somebody else's hands is waited for from the first
        self._pauses = (0.0,) * (BUSY_TIMEOUT_MS // BUSY_SLICE_MS) if self.is_sqlite else PAUSES_S
        # SQLite itself waits for so long within each try.
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

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction and return its result when it is committed.

        `work` may run more than once (again alone, when another piece of the same commit fails; again when the
        server was away), so it must do nothing but SQL. What it raises is raised here, with nothing of it written.
        Raises `LedgerUnusable` when the database cannot be written.
        """
        piece = _Piece(work)
        with self._queueing:
            self._waiting.append(piece)
            is_first, self._is_serving = not self._is_serving, True
        if not is_first:
            try:
                piece.wakes.acquire()  # on a lock of its own: one for all would wake the served one after the other
            except BaseException:  # interrupted: the turn, if it has come, is handed on
                self._leave(piece, has_turn=not (piece.is_served or piece.wakes.locked()))
                raise
        if not piece.is_served:
            self._take_turn(piece)
        if piece.error is not None:
            raise piece.error
        return piece.result  # type: ignore[return-value]  # None is T's own None once it is served

    def _take_turn(self, piece: _Piece[Any]) -> None:
        """Serve who is waiting until `piece` is served; then it is the next one's turn."""
        try:
            with self._turn:
                while not piece.is_served:
                    self._serve(self._next_group())
        finally:
            self._leave(piece, has_turn=True)

    def _leave(self, piece: _Piece[Any], *, has_turn: bool) -> None:
        """This thread goes, served or interrupted; who had the turn hands it on, or nobody would ever have it again."""
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
        except LedgerUnusable as error:  # no single piece's fault
            for piece in group:
                piece.settle(None, error)
        except Exception as error:  # noqa: BLE001 - carried to the thread that brought the piece, and raised there
            if len(group) == 1:
                group[0].settle(None, error)
                return
            for piece in group:
                piece.is_alone = True
            self._waiting.extendleft(reversed(group))
        except BaseException:  # this thread is being ended; the others bring theirs again
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
        """Number this commit, in itself."""
        self._commits += 1
        connection.execute(MARK, {"writer": self._writer_name, "number": self._commits, "now": self._now()})

    def _took_place(self, connection: Connection) -> bool:
        """Was the latest commit made, whose answer did not come?"""
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
        """Try again while a server that was reached before is away, or another program holds SQLite's file.

        After a stop only for 5 s more: what is to be kept may be an answer that was paid for.
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

    # ── reading, and what needs a connection of its own ──────────────────────────────────────────────────

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a read-only transaction: one snapshot, however many statements. Keep it short.

        It may run more than once, and must not hand out the connection or an unread result.
        """

        def once() -> T:
            self.check_file()
            with self._reading, self._reader.connect() as connection, connection.begin():
                return work(connection)

        with translated(str(self)):
            return self._patiently(once)

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """A writing connection with no transaction, for schema changes. No other thread is writing meanwhile."""
        with self._turn, translated(str(self), is_upgrade=True):
            self._close_writing()
            with self._writer.connect() as connection:
                if self.is_sqlite:
                    connection.connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
                yield connection

    def session(self) -> Connection:
        """A connection in autocommit mode, to be kept for a session's own matters, such as PostgreSQL's locks."""
        with translated(str(self)):
            return self._writer.connect().execution_options(isolation_level="AUTOCOMMIT")

    def check_file(self) -> None:
        """Is SQLite's file still the one that was opened first? Takes some microseconds.

        Raises `LedgerUnusable` when it was removed, moved or replaced. Each read asks, and so do a run's heartbeat and
        its end. A write on the open connection does not: an answer that was paid for is better kept in a file that was
        moved than nowhere.
        """
        if self.path is None:
            return
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            if self._file is None:
                return  # it is about to be created
            raise LedgerUnusable(FILE_GONE.format(path=self.path, what="removed or moved away")) from None
        if self._file is None:
            self._file = found.st_dev, found.st_ino
        elif self._file != (found.st_dev, found.st_ino):
            raise LedgerUnusable(FILE_GONE.format(path=self.path, what="replaced by another file"))

    def insert(self, table: Any) -> Any:
        """An INSERT that knows ON CONFLICT, in this database's dialect."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def close(self) -> None:
        """Close every connection. The database may be opened again by a later call."""
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
