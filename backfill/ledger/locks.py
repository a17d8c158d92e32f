"""Who is alive is a held lock: it is free the moment its holder is gone, however it went, and no clock is asked.

Beside SQLite it is a lock on a file, and only one writing command works on a ledger at a time. On PostgreSQL each
run holds an advisory lock of its own session, so that several share a job; a lost connection frees the lock of a
living run, which has to take it again before its next claim.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from uuid import UUID, uuid4

from filelock import FileLock, Timeout
from loguru import logger
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from backfill import files
from backfill.errors import LedgerHeld, LedgerUnusable
from backfill.ledger.databases.database import Database

# Who asks whether the lock is held shares it for some microseconds; nobody shall take that for a run at work.
GLANCE_S = 0.2
TRY_LOCK = text("SELECT pg_try_advisory_lock(:number)")
UNLOCK = text("SELECT pg_advisory_unlock(:number)")
TRY_LOCK_FOR_NOW = text("SELECT pg_try_advisory_xact_lock(:number)")

# A number of 64 bits is shown as its halves; https://www.postgresql.org/docs/current/view-pg-locks.html
ADVISORY_LOCKS = text(
    """SELECT (CAST(classid AS BIGINT) << 32) | CAST(objid AS BIGINT) AS number FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND mode = 'ExclusiveLock'
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
)


class RunLock(Protocol):
    """What a living run holds."""

    @property
    def uuid(self) -> str:
        """The identity of this start of the process; never host or pid, which come again."""
        ...

    def take(self) -> None:
        """Take the lock. Raises `LedgerHeld` when another process has it."""
        ...

    def prove(self) -> bool:
        """Is it still held? Takes it again where it was lost and is free; False where that cannot be done now.

        Raises `LedgerHeld` when another process has it for good.
        """
        ...

    def drop(self) -> None: ...


def run_lock(database: Database) -> RunLock:
    """A lock for a new run on this ledger, not taken yet."""
    return _FileRunLock(database.path) if database.path is not None else _AdvisoryRunLock(database)


class _FileRunLock:
    """`ledger.db.lock`. Not for network file systems, on which nobody can be sure of a lock."""

    def __init__(self, ledger: Path) -> None:
        self.uuid = str(uuid4())
        self._path = lock_path(ledger)
        # The run's, not one thread's: its heartbeat asks from a thread of its own.
        self._lock = FileLock(self._path, timeout=0, mode=files.FILE_MODE, thread_local=False)

    def take(self) -> None:
        try:
            self._lock.acquire(timeout=GLANCE_S, poll_interval=GLANCE_S / 10)
        except Timeout as error:
            raise LedgerHeld from error
        except OSError as error:
            raise LedgerUnusable(f"The lock file {self._path} cannot be used: {error.strerror}.") from error

    def prove(self) -> bool:
        if not self._lock.is_locked:  # the system never takes a file lock from a living process
            self.take()
        return True

    def drop(self) -> None:
        self._lock.release()


class _AdvisoryRunLock:
    """An advisory lock on a connection that is kept open for nothing else."""

    def __init__(self, database: Database) -> None:
        self.uuid = str(uuid4())
        self._database = database
        self._session: Connection | None = None

    def take(self) -> None:
        if not self._try_lock():
            raise LedgerHeld

    def prove(self) -> bool:
        try:
            if self._session is not None:
                # A session that answers still has what it had: the server frees locks when it ends.
                self._session.execute(text("SELECT 1"))
                return True
        except DBAPIError:
            self._end_session()
        try:
            return self._try_lock()
        except (DBAPIError, LedgerUnusable):
            logger.debug("the run's lock cannot be taken again yet")
            return False

    def _try_lock(self) -> bool:
        session = self._database.session()
        if session.execute(TRY_LOCK, {"number": advisory_number(self.uuid)}).scalar():
            self._session = session
            return True
        session.close()
        return False

    def drop(self) -> None:
        if self._session is not None:
            with suppress(DBAPIError):  # then it is gone already
                # The server would free it by itself, but only a moment after the session has ended.
                self._session.execute(UNLOCK, {"number": advisory_number(self.uuid)})
        self._end_session()

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.invalidate()
            self._session.close()
            self._session = None


def held_locks(database: Database, connection: Connection, uuids: Sequence[str]) -> frozenset[str]:
    """The runs of these, newest first, whose lock is held at this moment. Takes it from nobody and keeps nothing.

    Beside SQLite there is one lock; if it is held, its holder is the first of them.
    """
    if database.path is not None:
        return frozenset(uuids[:1] if _is_file_locked(lock_path(database.path)) else ())
    numbers = {advisory_number(uuid): uuid for uuid in uuids}
    return frozenset(numbers[row.number] for row in connection.execute(ADVISORY_LOCKS) if row.number in numbers)


def lock_path(ledger: Path) -> Path:
    """Where a SQLite ledger's lock is; a ledger that is reached by two names has one."""
    real = ledger.resolve()
    return real.with_name(real.name + ".lock")


def _is_file_locked(path: Path) -> bool:
    """Shares the lock for an instant, so that who asks at the same moment is not in the way."""
    import fcntl  # start-up: where there is none, only this question cannot be asked

    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)  # which frees it
    return False


def is_free(connection: Connection, uuid: str) -> bool:
    """Does nobody hold this run's advisory lock? Holds it until the transaction ends. PostgreSQL only."""
    return bool(connection.execute(TRY_LOCK_FOR_NOW, {"number": advisory_number(uuid)}).scalar())


def advisory_number(uuid: str) -> int:
    """63 bits of the UUID, as PostgreSQL's advisory locks are numbered by a bigint."""
    return UUID(uuid).int >> 65
