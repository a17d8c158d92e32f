"""The servers that tests share: one Dovecot for each worker, a new user and a new API for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from backfill import redaction
from backfill.mail.login import ImapAccount
from tests.support.api_server import ApiServer
from tests.support.dovecot import PASSWORD, DovecotServer

# A busy machine is no counterexample.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

_numbers = count(1)


@pytest.fixture(autouse=True)
def _secrets_of_this_test_only() -> Iterator[None]:
    """What one test's password is, another's sentence may hold."""
    before = redaction._secrets.copy(), redaction._known
    yield
    redaction._secrets.clear()
    redaction._secrets.update(before[0])
    redaction._known = before[1]


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """An API that judges every mail at once, until it is told otherwise."""
    with ApiServer() as server:
        yield server


@pytest.fixture(scope="session")
def dovecot() -> Iterator[DovecotServer]:
    """A running Dovecot; skips where it is not installed, but fails in CI."""
    if not DovecotServer.is_installed():
        if os.environ.get("CI"):
            pytest.fail("dovecot is not installed (Debian: dovecot-imapd)")
        pytest.skip("dovecot is not installed (Debian: dovecot-imapd)")
    with DovecotServer() as server:
        yield server


@dataclass(frozen=True)
class Mailbox:
    """A user of the test's own on a Dovecot."""

    server: DovecotServer
    user: str

    def account(self, **settings: Any) -> ImapAccount:
        """The way in: in clear unless told otherwise, with the password in `MAILBOX_PASSWORD`."""
        defaults: dict[str, Any] = {"port": self.server.port, "security": "none", "password_env": "MAILBOX_PASSWORD"}
        return ImapAccount(server=self.server.host, username=self.user, **{**defaults, **settings})

    def holds(self, *messages: bytes, folder: str = "INBOX", **attributes: Any) -> None:
        """Put mails in; they get the next UIDs."""
        self.server.append_many(self.user, folder, messages, **attributes)


@pytest.fixture
def mailbox(dovecot: DovecotServer, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    """An empty mailbox; its user name is an address, so that mail can be addressed to its owner."""
    monkeypatch.setenv("MAILBOX_PASSWORD", PASSWORD)
    return Mailbox(dovecot, f"user{next(_numbers)}@example.org")
