"""What the database's own errors mean: which pass by themselves, and what the operator is told of the others.

Decided by SQLite's error name or PostgreSQL's SQLSTATE, never by the words of a message. What is in neither table,
such as a violated constraint, is a bug and stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, OperationalError

from backfill.errors import LedgerUnusable
from backfill.ledger.databases.connect import AFTER_STOP_S, BUSY_TIMEOUT_MS

WAITED = f"{BUSY_TIMEOUT_MS // 1000} s, after a stop {AFTER_STOP_S:g} s"
#: By the beginning of SQLite's error name (https://sqlite.org/rescode.html).
SQLITE = {
    "SQLITE_FULL": "The disk is full; make room and run again.",
    "SQLITE_BUSY": f"Another program has not let go of it, though it was waited for ({WAITED}); end it and run again.",
    "SQLITE_LOCKED": "Another program holds it; end it and run again.",
    "SQLITE_READONLY": "It is not writable; check its owner and permissions.",
    "SQLITE_PERM": "It is not accessible; check its owner and permissions.",
    "SQLITE_CANTOPEN": "It cannot be opened; check the folder and its permissions.",
    "SQLITE_CORRUPT": "It is damaged; restore the newest backup beside it.",
    "SQLITE_NOTADB": "This file is no SQLite database; check paths.ledger_url.",
    "SQLITE_IOERR": "The disk reports errors; check it and its free space, then run again.",
}
#: By the beginning of PostgreSQL's SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html).
POSTGRESQL = {
    "08": "The line to the server broke; run again when it is up.",
    "25006": "The server is a read-only standby; connect to the primary.",
    "28": "The server refuses the user or the password; check paths.ledger_url.",
    "3D": "The server has no such database; create it, or check paths.ledger_url.",
    "40": "Other programs hold what is to be written; end them and run again.",
    "42501": "The user may not write there; grant the rights, or check paths.ledger_url.",
    "53100": "The server's disk is full; make room and run again.",
    "53": "The server is short of resources or connections; run again later.",
    "57P": "The server was shut down or is starting; run again when it is up.",
    "58": "The server reports a system error; look into its log.",
    "XX": "The server reports damage; look into its log.",
}
#: A server that restarts or was lost (08, 57P), a deadlock or a conflict between two writers (40): the same
#: transaction is good a moment later.
PASSING = ("08", "40001", "40P01", "57P01", "57P02", "57P03")


def is_passing(error: DBAPIError) -> bool:
    """Is it worth trying the transaction again?"""
    code = _code(error)
    if code.startswith("SQLITE"):
        return code.startswith("SQLITE_BUSY")
    return (
        error.connection_invalidated or code.startswith(PASSING) or (not code and isinstance(error, OperationalError))
    )


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raises `LedgerUnusable` for what the operator can do something about; the rest are bugs, and crash as such."""
    try:
        yield
    except DBAPIError as error:
        code = _code(error)
        remedy = _remedy(code)
        if remedy is None and not code and isinstance(error, OperationalError):
            remedy = "The server cannot be reached; check paths.ledger_url and the network."
        if remedy is None:
            raise
        raise LedgerUnusable(f"The ledger {where} cannot be used. {remedy} Nothing was lost.") from error
    except OSError as error:
        raise LedgerUnusable(f"The ledger {where} cannot be used: {error.strerror}. Nothing was lost.") from error


def _code(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlite_errorname", None) or getattr(error.orig, "sqlstate", None) or ""


def _remedy(code: str) -> str | None:
    table = SQLITE if code.startswith("SQLITE") else POSTGRESQL
    return next((remedy for prefix, remedy in table.items() if code.startswith(prefix)), None)
