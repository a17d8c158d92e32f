"""Which runs are alive: a run holds a lock as long as it lives, and the system frees it when the process ends.

With SQLite it is a lock on a file beside the ledger, so only one writing command works on a ledger at a time. With
PostgreSQL each run holds its own advisory lock, so several runs can share a job. There a lost connection frees the
lock of a living run; the run must take it again before its next claim.
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

# `_is_file_locked` holds the lock for some microseconds. Try for longer than that before the lock counts as held.
GLANCE_S = 0.2
TRY_LOCK = text("SELECT pg_try_advisory_lock(:number)")
UNLOCK = text("SELECT pg_advisory_unlock(:number)")
TRY_LOCK_FOR_NOW = text("SELECT pg_try_advisory_xact_lock(:number)")

# pg_locks shows a 64-bit number as two halves: https://www.postgresql.org/docs/current/view-pg-locks.html
ADVISORY_LOCKS = text(
    """SELECT (CAST(classid AS BIGINT) << 32) | CAST(objid AS BIGINT) AS number FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND mode = 'ExclusiveLock'
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
)


class RunLock(Protocol):
    """The lock that a run holds as long as it lives."""

    @property
    def uuid(self) -> str:
        """The identity of this start of the process. Not host and pid: another process may get the same pid later."""
        ...

    def take(self) -> None:
        """Take the lock. Raises `LedgerHeld` when another process has it."""
        ...

    def prove(self) -> bool:
        """Is it held? If it was lost and is free, takes it again. False: it cannot be taken at the moment.

        Raises `LedgerHeld` if another process has taken the file lock.
        """
        ...

    def drop(self) -> None: ...


def run_lock(database: Database) -> RunLock:
    """The lock of a new run on this ledger. It is not taken yet."""
    return _FileRunLock(database.path) if database.path is not None else _AdvisoryRunLock(database)


class _FileRunLock:
    """A lock on the file `ledger.db.lock`. Network file systems are refused before: their locks are not reliable."""

    def __init__(self, ledger: Path) -> None:
        self.uuid = str(uuid4())
        self._path = lock_path(ledger)
        # Not thread-local: the heartbeat thread proves the lock, too.
        self._lock = FileLock(self._path, timeout=0, mode=files.FILE_MODE, thread_local=False)

    def take(self) -> None:
        try:
            self._lock.acquire(timeout=GLANCE_S, poll_interval=GLANCE_S / 10)
        except Timeout as error:
            raise LedgerHeld from error
        except OSError as error:
            raise LedgerUnusable(f"The lock file {self._path} cannot be used: {error.strerror}.") from error

    def prove(self) -> bool:
        if not self._lock.is_locked:  # a living process never loses a file lock, so this says enough
            self.take()
        return True

    def drop(self) -> None:
        self._lock.release()


class _AdvisoryRunLock:
    """An advisory lock, on a connection that serves only this lock."""

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
                # A session that answers still has its lock: the server frees locks only when the session ends.
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
            with suppress(DBAPIError):  # the session has ended, and its lock is free
                # Free it here: after the end of the session, the server would take a moment to free it.
                self._session.execute(UNLOCK, {"number": advisory_number(self.uuid)})
        self._end_session()

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.invalidate()
            self._session.close()
            self._session = None


def held_locks(database: Database, connection: Connection, uuids: Sequence[str]) -> frozenset[str]:
    """Those of `uuids` (newest run first) whose lock is held at this moment. Changes no lock.

    SQLite has one lock for the ledger; if it is held, the first of `uuids` holds it.
    """
    if database.path is not None:
        return frozenset(uuids[:1] if _is_file_locked(lock_path(database.path)) else ())
    numbers = {advisory_number(uuid): uuid for uuid in uuids}
    return frozenset(numbers[row.number] for row in connection.execute(ADVISORY_LOCKS) if row.number in numbers)


def lock_path(ledger: Path) -> Path:
    """The lock file of a SQLite ledger. Symlinks are resolved, so two names of one ledger have one lock."""
    real = ledger.resolve()
    return real.with_name(real.name + ".lock")


def _is_file_locked(path: Path) -> bool:
    """Is the lock held? Takes a shared lock for an instant, so two processes can ask at the same moment."""
    import fcntl  # start-up: Windows has no fcntl; there only this function fails

    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)  # frees the shared lock
    return False


def is_free(connection: Connection, uuid: str) -> bool:
    """Is this run's advisory lock free? If so, holds it until the transaction ends. PostgreSQL only."""
    return bool(connection.execute(TRY_LOCK_FOR_NOW, {"number": advisory_number(uuid)}).scalar())


def advisory_number(uuid: str) -> int:
    """63 bits of the UUID: the number of a PostgreSQL advisory lock is a signed bigint."""
    return UUID(uuid).int >> 65
