"""Creates a ledger's schema, or upgrades it to this version: in one transaction, one process at a time.

Alembic is imported only for an upgrade, so `backfill status` on an up-to-date ledger starts quickly. A ledger of a
newer version is refused. An older SQLite ledger is copied before the upgrade, while no run writes to it.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loguru import logger
from sqlalchemy import Connection, inspect

from backfill import resources
from backfill.clock import Clock, SystemClock
from backfill.errors import LedgerUnusable, SchemaOutdated
from backfill.ledger.databases.backup import backup
from backfill.ledger.databases.database import Database
from backfill.ledger.databases.filesystem import prepare_file
from backfill.ledger.databases.soundness import check_server, check_tables
from backfill.ledger.locks import run_lock
from backfill.ledger.schema import metadata
from backfill.wording import printable

#: The newest revision in `migrations/versions`; a test checks that they are equal.
HEAD: Final = "0008"
NUMBERED: Final = re.compile(r"\d{4}")
#: The number of PostgreSQL's advisory lock for schema changes. Any number, but the same in every process.
ADVISORY_LOCK: Final = 0x6261636B


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema that a version of backfill works with. Revisions are strings of four digits, so they sort."""

    head: str = HEAD
    scripts: Path = field(default_factory=lambda: resources.folder("migrations"))


def prepare(database: Database, clock: Clock | None = None, schema: Schema | None = None) -> None:
    """Create or upgrade the schema if it is not this version's. Writes only then.

    Raises `SchemaOutdated` for a ledger of a newer version, `LedgerHeld` if an upgrade is needed while a run writes,
    `ConfigError` if the ledger may not lie there, `LedgerUnusable` if it cannot be read or written.
    """
    schema = schema or Schema()
    if database.path is not None:
        prepare_file(database.path)
    check_server(database)
    found = revision(database, schema)
    if found == schema.head:
        check_tables(database)
        return
    with ExitStack() as stack:
        if found is not None and database.is_sqlite:
            lock = run_lock(database)
            lock.take()
            stack.callback(lock.drop)
            if revision(database, schema) == schema.head:
                return  # the last holder of the lock has upgraded it
            _copy(database, found, clock or SystemClock())
        _upgrade(database, schema)


def revision(database: Database, schema: Schema) -> str | None:
    """The ledger's revision; None: the ledger is empty. Raises `SchemaOutdated` for a newer revision."""
    return database.read(lambda connection: _current(connection, schema, str(database)))


def _current(connection: Connection, schema: Schema, where: str) -> str | None:
    tables = set(inspect(connection).get_table_names())
    found = []
    if "alembic_version" in tables:
        found = list(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars())
    if not found and not tables & metadata.tables.keys():
        return None
    if len(found) != 1:
        raise LedgerUnusable(
            f"The ledger {where} does not say which version of backfill wrote it (alembic_version should hold "
            "one row); restore a backup."
        )
    [revision] = found
    known = {script.name[: len(schema.head)] for script in (schema.scripts / "versions").glob("[0-9]*.py")}
    if revision in known:
        return str(revision)
    if NUMBERED.fullmatch(revision) and revision > schema.head:
        raise SchemaOutdated(
            f"The ledger {where} was written by a newer version of backfill (revision {revision}); upgrade backfill."
        )
    raise LedgerUnusable(
        f"The ledger {where} has the revision {printable(revision)!r}, which no version of backfill has written; check "
        "paths.ledger_url, or restore a backup."
    )


def _copy(database: Database, found: str, clock: Clock) -> None:
    assert database.path is not None
    target = database.path.with_name(f"{database.path.name}.backup-{found}-{clock.now():%Y%m%dT%H%M%SZ}")
    backup(database, target)
    logger.info("the ledger is upgraded; a copy of the old ledger is kept as {}", target)


def _upgrade(database: Database, schema: Schema) -> None:
    with database.alone() as connection:
        if database.is_sqlite:
            # With foreign keys on, rebuilding a table would delete the rows that point to it.
            connection.connection.dbapi_connection.execute("PRAGMA foreign_keys = OFF")  # type: ignore[union-attr]
        with connection.begin():
            if not database.is_sqlite:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (ADVISORY_LOCK,))
            if _current(connection, schema, str(database)) == schema.head:
                return  # another process has upgraded it meanwhile
            _run_scripts(connection, schema)
            if database.is_sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                raise LedgerUnusable(f"The upgrade of {database} would leave rows that point nowhere; it was undone.")


def _run_scripts(connection: Connection, schema: Schema) -> None:
    from alembic import command  # start-up: the import takes 0.2 s, and only an upgrade needs it
    from alembic.config import Config  # start-up: as above

    config = Config()
    config.set_main_option("script_location", str(schema.scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, schema.head)
