"""Mail sources for the servers on loopback that speak in clear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from backfill.mail.login import ImapAccount
from backfill.mail.source import ImapSource

#: Makes a source for a server, as `reading` of `Sources` does.
Open = Callable[..., ImapSource]


class Server(Protocol):
    """A server, or a proxy before one."""

    port: int


class Sources:
    """Opens sources, and closes them all. The password is in MAILBOX_PASSWORD."""

    def __init__(self) -> None:
        self._opened: list[ImapSource] = []

    def reading(self, server: Server, user: str = "bob", watch: Any = None, **settings: Any) -> ImapSource:
        defaults: dict[str, Any] = {"security": "none", "password_env": "MAILBOX_PASSWORD", "timeout_s": 5.0}
        account = ImapAccount("127.0.0.1", user, port=server.port, **{**defaults, **settings})
        self._opened.append(ImapSource(account, watch=watch))
        return self._opened[-1]

    def close(self) -> None:
        for source in self._opened:
            source.close()
