"""How a database is connected: its URL, and what every connection is set to before it is used.

SQLite runs in WAL mode with every commit synced; PostgreSQL notices within a minute that a peer has gone.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool, QueuePool

from backfill.errors import ConfigError

# Long enough for another process's planning window to be written on a slow disk.
BUSY_TIMEOUT_MS = 30_000
# SQLite waits in such slices, for within its own wait no signal is heard.
BUSY_SLICE_MS = 500
# So long a database is still waited for after a stop: what is to be kept may be an answer that was paid for, and a run
# that is stopped awaits those in flight for 8 s.
AFTER_STOP_S = 5.0
# A server that has gone without a word is noticed after a minute, not after TCP's two hours; when it is waited for,
# after half of that: before the run that waits can be taken for dead.
KEEPALIVE = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # in milliseconds
}


def checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigError("paths.ledger_url is no database URL; try sqlite:///var/ledger.db") from error
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        if parsed.query:
            raise ConfigError(
                "paths.ledger_url names a SQLite file, which takes no options; leave out all after the ?."
            )
        return parsed.set(drivername="sqlite+pysqlite", database=os.path.abspath(parsed.database or ""))
    raise ConfigError("paths.ledger_url must name a SQLite file (sqlite:///…) or PostgreSQL (postgresql://…).")


def postgresql_engine(url: URL) -> Engine:
    given = {name: value for name, value in KEEPALIVE.items() if name not in url.query}
    try:
        engine = create_engine(
            url,
            pool_pre_ping=True,
            max_overflow=-1,  # `Database` lets so many readers in; who else needs a connection has one of its own
            # Whatever PGCLIENTENCODING says: names of folders and reasons are of any language.
            connect_args={"application_name": "backfill", "client_encoding": "utf8", **given},
            hide_parameters=True,  # or a correspondent's address would stand in an error
        )
    except ModuleNotFoundError as error:
        raise ConfigError('A PostgreSQL ledger needs psycopg: pip install "backfill[postgres]".') from error

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        # Or the locks of a transaction whose client has gone without a word would be held for hours.
        connection.autocommit = True  # a pooler by statement refuses transactions, and is to be recognised later
        connection.execute("SET idle_in_transaction_session_timeout = '60s'")
        connection.autocommit = False

    return engine


def sqlite_engine(url: URL, begin: str, *, read_only: bool) -> Engine:
    # The writer keeps its one connection itself; readers share a few, since opening one takes longer than reading.
    engine = create_engine(url, poolclass=QueuePool if read_only else NullPool, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # or sqlite3 would begin transactions of its own, deferred
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS if read_only else BUSY_SLICE_MS}")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
            # There are several of them, and each would come to keep 2 MB of what the system has in its cache anyway.
            connection.execute("PRAGMA cache_size = -400")
            return
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_size_limit = 67108864")

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        # IMMEDIATE for writers: a read that turns into a write fails at once, whatever the busy timeout says.
        connection.exec_driver_sql(begin)

    return engine
