"""What a database's error means: whether to try again, and what to tell the operator.

SQLite's error name or PostgreSQL's SQLSTATE decides, never the words of a message. A refusal at connect has no code
(libpq gives none), so the operator sees the server's own sentence. An error in neither table, such as a violated
constraint, is a bug and is raised as it is; but its message holds no value of a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError, OperationalError

from backfill.errors import ConfigError, LedgerUnusable
from backfill.ledger.databases.connect import AFTER_STOP_S, BUSY_TIMEOUT_MS
from backfill.redaction import redacted
from backfill.wording import printable

WAITED = f"{BUSY_TIMEOUT_MS // 1000} s ({AFTER_STOP_S:g} s after a stop)"
#: By the beginning of SQLite's error name (https://sqlite.org/rescode.html).
SQLITE = {
    "SQLITE_ERROR": "It lacks a table or a column; restore the newest backup beside it.",  # never a bad value
    "SQLITE_FULL": "The disk is full; make room and run again.",
    "SQLITE_BUSY": f"Another program has not let go of it within {WAITED}; end that program and run again.",
    "SQLITE_LOCKED": "Another program holds it; end it and run again.",
    "SQLITE_READONLY": "It is not writable; check its owner and permissions.",
    "SQLITE_PERM": "It is not accessible; check its owner and permissions.",
    "SQLITE_CANTOPEN": "It cannot be opened; check its folder, permissions and the limit of open files (ulimit -n).",
    "SQLITE_CORRUPT": "It is damaged; restore the newest backup beside it.",
    "SQLITE_NOTADB": "This file is no SQLite database; check paths.ledger_url.",
    "SQLITE_IOERR": "The disk reports errors; check it and its free space, then run again.",
    "SQLITE_NOMEM": "The system has no memory left for it; end other programs and run again.",
}
#: By the beginning of PostgreSQL's SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html).
POSTGRESQL = {
    "08": "The connection to the server broke; run again when the server is up.",
    "22021": "The database cannot hold every character; use one with ENCODING 'UTF8'.",
    "22P05": "The database cannot hold every character; use one with ENCODING 'UTF8'.",
    "25006": "The server is a read-only standby; connect to the primary.",
    "25P03": "The server ended a transaction that was idle for longer than its time limit; run again.",
    "25P04": "The server ended a transaction that took longer than its transaction_timeout; raise it for this user.",
    "26": "A pooler stands between backfill and the server; connect to the server itself, or pool by session.",
    "28": "The server refuses the user or the password; check paths.ledger_url.",
    "3D": "The server has no such database; create it, or check paths.ledger_url.",
    "3F": "The schema that the ledger is to lie in does not exist; create it, or check paths.ledger_url (search_path).",
    "40": "Other programs hold rows that must be written; end them and run again.",
    "42501": "The user may not write there; grant the rights, or check paths.ledger_url.",
    "42703": "A column of the ledger is missing; restore a backup.",
    "42704": "The server does not know a setting of paths.ledger_url; check its options.",
    "42883": "The server lacks a function that the ledger needs; it must be PostgreSQL 14 or later.",
    "42P01": "A table of the ledger is missing; restore a backup.",
    "53100": "The server's disk is full; make room and run again.",
    "53300": "The server has no connection left; end other programs' connections, or raise max_connections.",
    "53": "The server is short of resources; run again later.",
    "54": "The server's limits are too low for the ledger; ask who runs it.",
    "55P03": "Another program holds a lock for longer than lock_timeout; end it, or raise lock_timeout for this user.",
    "55": "The server does not take this database's connections or statements now; ask who runs it.",
    "57014": "The server cancelled a statement; raise statement_timeout for this user, or ask who cancels it.",
    "57P04": "The database was dropped; check paths.ledger_url, or restore a backup.",
    "57P": "The server was shut down or is starting; run again when it is up.",
    "58": "The server reports a system error; look into its log.",
    "XX": "The server reports damage; look into its log.",
}
#: Errors after which the same transaction may succeed a moment later: the server restarts or the connection is lost
#: (08, 57P), two writers conflict or deadlock (40), a time limit of the server's ended it (25P03, 25P04, 55P03, 57014),
#: the server has too many connections at this moment (53300).
PASSING = ("08", "25P03", "25P04", "40001", "40P01", "53300", "55P03", "57014", "57P01", "57P02", "57P03", "57P05")
UNDEFINED = ("SQLITE_ERROR", "42P01", "42703", "42704", "42883")
REFUSED = "The server refuses the connection: {sentence}. Check paths.ledger_url, or ask who runs the server."
UNREACHABLE = "The server cannot be reached; check paths.ledger_url and the network."


def is_passing(error: DBAPIError) -> bool:
    """May the same transaction succeed a moment later?"""
    code = _code(error)
    if code.startswith("SQLITE"):
        return code.startswith("SQLITE_BUSY")
    return (
        error.connection_invalidated or code.startswith(PASSING) or (not code and isinstance(error, OperationalError))
    )


@contextmanager
def translated(where: str, *, is_upgrade: bool = False) -> Iterator[None]:
    """Raises `LedgerUnusable` for an error that the operator can mend. Other errors are bugs and pass through.

    Raises `ConfigError` if the driver refuses the URL's options. `is_upgrade`: a missing table or column is a bug of
    the upgrade, since the upgrade makes them.
    """
    try:
        yield
    except DBAPIError as error:
        code = _code(error)
        remedy = None if is_upgrade and code in UNDEFINED else _remedy(code)
        if remedy is None and not code and error.statement is None:  # while it connected
            if not isinstance(error, OperationalError):
                raise ConfigError(f"The ledger {where} cannot be used. paths.ledger_url: {_said(error)}.") from error
            remedy = UNREACHABLE if (sentence := _refusal(error)) is None else REFUSED.format(sentence=sentence)
        if remedy is None and not code and isinstance(error, OperationalError):
            remedy = UNREACHABLE
        if remedy is None:
            raise
        raise LedgerUnusable(f"The ledger {where} cannot be used. {remedy}") from error
    except OSError as error:
        raise LedgerUnusable(f"The ledger {where} cannot be used: {error.strerror}.") from error


def hide_values(found: BaseException, wrapped: BaseException | None) -> None:
    """Remove a row's values from the message of a PostgreSQL error that is a bug.

    PostgreSQL's message, detail and context quote the row, e.g. a correspondent's address. The sentences for the
    operator quote no value.
    """
    code = getattr(found, "sqlstate", None)
    if not isinstance(code, str) or code.startswith("42"):  # class 42 quotes names, and no values
        return
    diagnosis: Any = getattr(found, "diag", None)
    names = (getattr(diagnosis, name, None) for name in ("table_name", "column_name", "constraint_name"))
    said = f"({type(found).__name__}) {' '.join([f'SQLSTATE {code}', *filter(None, names)])}"
    for error in (found, wrapped):
        if error is not None:
            error.args = (said,)


def _refusal(error: DBAPIError) -> str | None:
    """The server's own words for refusing a connection; None: it gave none."""
    said = re.findall(r"FATAL: +(.+)", str(error.orig))
    return _plain(said[-1]) if said else None


def _said(error: DBAPIError) -> str:
    return _plain(str(error.orig))


def _plain(text: str) -> str:
    return " ".join(printable(redacted(text)).split()).rstrip(".")


def _code(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlite_errorname", None) or getattr(error.orig, "sqlstate", None) or ""


def _remedy(code: str) -> str | None:
    table = SQLITE if code.startswith("SQLITE") else POSTGRESQL
    return next((remedy for prefix, remedy in table.items() if code.startswith(prefix)), None)
