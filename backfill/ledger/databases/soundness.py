"""Checks that the database can hold a ledger, and that the ledger is complete. Done once, when it is opened."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from backfill.errors import ConfigError, LedgerUnusable
from backfill.ledger.databases.database import Database
from backfill.ledger.databases.errors import translated
from backfill.ledger.schema import metadata

OLDEST_POSTGRESQL: Final = 140000
COLUMNS_SQLITE = text(
    """SELECT t.name AS table_name, c.name AS column_name FROM sqlite_schema t JOIN pragma_table_info(t.name) c
        WHERE t.type = 'table'"""
)
COLUMNS_POSTGRESQL = text(
    """SELECT c.relname AS table_name, a.attname AS column_name FROM pg_class c
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid)"""
)
# A statement with ON CONFLICT fails if its unique index is missing.
INDEXES_SQLITE = text("SELECT name FROM sqlite_schema WHERE type = 'index'")
INDEXES_POSTGRESQL = text("SELECT relname FROM pg_class WHERE relkind = 'i' AND pg_table_is_visible(oid)")
BACKEND = text("SELECT pg_backend_pid()")


def check_tables(database: Database) -> None:
    """Raises `LedgerUnusable` if a table, a column or an index of the ledger is missing."""
    missing = database.read(lambda connection: _missing(connection, is_sqlite=database.is_sqlite))
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise LedgerUnusable(
            f"The ledger {database} is incomplete: {', '.join(missing)} {verb} missing. "
            "Somebody has changed its tables; restore a backup."
        )


def check_server(database: Database) -> None:
    """Raises `ConfigError` for a PostgreSQL database that cannot hold a ledger. Does nothing on SQLite."""
    if database.is_sqlite:
        return
    with translated(str(database)):
        is_pooled = _is_pooled(database)
    if is_pooled:
        raise ConfigError(
            f"A pooler between backfill and {database} shares connections by transaction or statement, but the "
            "ledger's locks need a connection of their own. Name the server itself in paths.ledger_url, or pool by "
            "session (pgbouncer: pool_mode = session)."
        )
    version, encoding = database.read(_described)
    if version < OLDEST_POSTGRESQL:
        raise ConfigError(f"The server of {database} is older than PostgreSQL 14; use a later one.")
    if encoding != "UTF8":
        raise ConfigError(
            f"The database {database} has the encoding {encoding}, which cannot hold every sender's characters; create "
            "one with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


def _missing(connection: Connection, *, is_sqlite: bool) -> list[str]:
    columns: dict[str, set[str]] = {}
    for table, column in connection.execute(COLUMNS_SQLITE if is_sqlite else COLUMNS_POSTGRESQL):
        columns.setdefault(table, set()).add(column)
    indexes = set(connection.execute(INDEXES_SQLITE if is_sqlite else INDEXES_POSTGRESQL).scalars())
    missing = []
    for name, table in sorted(metadata.tables.items()):
        if name not in columns:
            missing.append(f"the table {name}")
            continue
        missing += [f"the column {name}.{each.name}" for each in table.columns if each.name not in columns[name]]
        missing += [f"the index {each.name}" for each in table.indexes if str(each.name) not in indexes]
    return missing


def _described(connection: Connection) -> tuple[int, str]:
    version = connection.exec_driver_sql("SHOW server_version_num").scalar_one()
    return int(version), str(connection.exec_driver_sql("SHOW server_encoding").scalar_one())


def _is_pooled(database: Database) -> bool:
    """Does a pooler give the statements of one connection to several server processes, or two connections to one?

    A transaction pooler lends an idle server process of the first connection to the second. A statement pooler refuses
    transactions (as a protocol violation, class 08). Only the second connection opens a transaction: with two, a pool
    of one server process would never answer.
    """
    with database.session() as first, database.session() as second:
        seen = {first.execute(BACKEND).scalar_one() for _ in range(3)}
        try:
            second.exec_driver_sql("BEGIN")
            held = second.execute(BACKEND).scalar_one()
            second.exec_driver_sql("ROLLBACK")
        except DBAPIError as error:
            second.invalidate()
            if str(getattr(error.orig, "sqlstate", "")).startswith("08"):
                return True
            raise
    return len(seen) > 1 or held in seen
