"""How to connect to a database: its URL, and the settings of every connection.

SQLite runs in WAL mode and syncs every commit. With PostgreSQL, a lost connection is noticed within a minute.
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
from backfill.ledger_url import RULE, is_ledger_url

# Another process can write a planning window within this time, also on a slow disk.
BUSY_TIMEOUT_MS = 30_000
# SQLite waits at most this long at a time, because Python handles no signal during its wait.
BUSY_SLICE_MS = 500
# After a stop, wait for a database this long: the write may hold a paid answer. It is less than the 8 s for which a
# stopped run awaits calls in flight.
AFTER_STOP_S = 5.0
# A server that vanished is noticed after a minute, and not after TCP's two hours. During a request it is noticed after
# 30 s: before another run takes the waiting run for dead (60 s).
KEEPALIVE = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # in milliseconds
}


def checked(url: str) -> URL:
    """The URL with its driver and, for SQLite, an absolute path. Raises `ConfigError` if we cannot use it."""
    refused = f"paths.ledger_url should be {RULE}."
    if not is_ledger_url(url):
        raise ConfigError(refused)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:  # a port that is no number
        raise ConfigError(refused) from error
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.query:
        raise ConfigError("paths.ledger_url names a SQLite file, which takes no options; leave out all after the ?.")
    return parsed.set(drivername="sqlite+pysqlite", database=os.path.abspath(parsed.database or ""))


def postgresql_engine(url: URL) -> Engine:
    given = {name: value for name, value in KEEPALIVE.items() if name not in url.query}
    try:
        engine = create_engine(
            url,
            pool_pre_ping=True,
            max_overflow=-1,  # no limit here: `Database` limits the readers, and there are few other connections
            # Set here, since PGCLIENTENCODING may differ: names of folders and reasons are in any language.
            connect_args={"application_name": "backfill", "client_encoding": "utf8", **given},
            hide_parameters=True,  # otherwise an error would show a correspondent's address
        )
    except ModuleNotFoundError as error:
        raise ConfigError('A PostgreSQL ledger needs psycopg: pip install "backfill[postgres]".') from error

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        # Without this timeout, a vanished client's transaction would keep its locks for hours.
        connection.autocommit = True  # a statement pooler refuses transactions; `check_server` reports it later
        connection.execute("SET idle_in_transaction_session_timeout = '60s'")
        connection.autocommit = False

    return engine


def sqlite_engine(url: URL, begin: str, *, read_only: bool) -> Engine:
    # The writer keeps its one connection itself. Readers share a pool, since opening a connection takes longer than a
    # read.
    engine = create_engine(url, poolclass=QueuePool if read_only else NullPool, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # otherwise sqlite3 begins its own transactions, as DEFERRED ones
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS if read_only else BUSY_SLICE_MS}")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
            # 400 kB: each of several connections would otherwise cache 2 MB that the system caches, too.
            connection.execute("PRAGMA cache_size = -400")
            return
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_size_limit = 67108864")

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        # IMMEDIATE for writers: a transaction that begins with a read and then writes ignores the busy timeout and
        # fails at once.
        connection.exec_driver_sql(begin)

    return engine
