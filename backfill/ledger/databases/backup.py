"""Copies a SQLite ledger as it is at one moment, also while a run is writing to it.

The copy is made under another name, synced and renamed, so there is never half a copy. PostgreSQL has its own tools.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import cast

from sqlalchemy import Connection

from backfill import files
from backfill.errors import ConfigError, LedgerUnusable
from backfill.ledger.databases.database import Database


def backup(database: Database, target: Path) -> None:
    """Copy the ledger to `target`, mode 0600.

    Raises `ConfigError` on PostgreSQL or if `target` exists, and `LedgerUnusable` if the copy cannot be written.
    """
    if database.path is None:
        raise ConfigError("A PostgreSQL ledger is backed up with PostgreSQL's own tools, such as pg_dump.")
    if target.exists():
        raise ConfigError(f"{target} exists; name another file for the backup.")
    unfinished = target.with_name(target.name + ".unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        files.create(unfinished, b"")
        database.read(lambda connection: _copy(connection, unfinished))
        os.replace(unfinished, target)
        files.sync_folder(target.parent)
    except (sqlite3.Error, OSError) as error:
        unfinished.unlink(missing_ok=True)
        raise LedgerUnusable(f"The backup {target} cannot be written: {error}. The ledger is unharmed.") from error


def _copy(connection: Connection, target: Path) -> None:
    source = cast(sqlite3.Connection, connection.connection.dbapi_connection)
    with closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
        # The copy inherits WAL mode from the ledger. Without WAL it is one file and not three.
        copy.execute("PRAGMA journal_mode = DELETE")
