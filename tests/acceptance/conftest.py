"""What acceptance tests put together: a project for a mailbox on Dovecot and an API on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer
from tests.support.project import Project


@pytest.fixture
def project(tmp_path: Path, mailbox: Mailbox, api: ApiServer) -> Project:
    """A project that is ready to run."""
    return Project.create(tmp_path / "project", mailbox.server, mailbox.user, api.url)
