"""The real parts that acceptance tests put together: an API on loopback, and a project for a mailbox on Dovecot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer
from tests.support.project import Project


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """An API that judges every mail at once, until it is told otherwise."""
    with ApiServer() as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, mailbox: Mailbox, api: ApiServer) -> Project:
    """A project that is ready to run."""
    return Project.create(tmp_path / "project", mailbox.server, mailbox.user, api.url)
