"""One call to one host, and its reply, whole.

Follows no redirect, so no header is ever sent to another host. Takes proxies from the environment, but never
credentials. Thread-safe: all threads share the kept connections, so a new thread need not wait for a handshake.

`timeout_s` bounds a whole call: connecting (at most 10 s for each address), sending, and reading (see `deadline`). Only
the system's name resolution has a limit of its own, about 10 s on most systems.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from backfill.clock import Clock
from backfill.errors import BackfillError, HostUnavailable, MachineExhausted, ReplyTooLarge
from backfill.hosts import is_loopback
from backfill.http.connections import Connections, proxy_refusal
from backfill.shortages import shortage

MAX_CONNECT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP response, whole. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def is_url(url: str) -> bool:
    """Is `url` well-formed? Decides nothing about its scheme and its host."""
    try:
        _ = urlsplit(url).port
        urllib3.util.parse_url(url)
    except (ValueError, HTTPError):
        return False
    return True


def is_header_value(text: str) -> bool:
    """Can `text` be a secret in a header: printable ASCII, which ends no line, and not empty?"""
    return bool(text) and text.isascii() and text.isprintable()


class Client:
    """Calls URLs that begin with `url`, which `is_url` has found good. `headers` go with every call."""

    def __init__(self, url: str, headers: Mapping[str, str], *, timeout_s: float, clock: Clock) -> None:
        self._url = url
        self.host = (urlsplit(url).hostname or "").rstrip(".")
        self.is_local = is_loopback(self.host)
        self._headers = {"User-Agent": "backfill", "Accept": "application/json", "Accept-Encoding": "gzip", **headers}
        self._timeout = urllib3.Timeout(connect=min(MAX_CONNECT_S, timeout_s), read=timeout_s, total=timeout_s)
        self._timeout_s = timeout_s
        self._clock = clock
        self._connections: Connections | None = None
        self._connecting = threading.Lock()

    def send(
        self, method: str, path: str, body: bytes | None, max_bytes: int, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request; `path` is added to the URL. A body is JSON.

        Raises `HostUnavailable` when the connection fails, `EnvironmentUnusable` for a proxy or a CA bundle that cannot
        be used, `ReplyTooLarge` for a body of more than `max_bytes`. Messages name the host, never the URL.
        """
        sent = self._headers | ({} if body is None else {"Content-Type": "application/json"}) | dict(headers or {})
        try:
            with self._connected().open(method, path, body, sent, self._timeout) as response:
                received = bytearray()
                while chunk := response.read1(65_536, decode_content=True):
                    received += chunk
                    if len(received) > max_bytes:
                        raise ReplyTooLarge(http_status=response.status)
                names = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, names, bytes(received))
        except (OSError, HTTPError) as error:
            raise self._translated(error) from error

    def close(self) -> None:
        """Close all connections; no call may be in flight. A later call opens new ones."""
        if self._connections is not None:
            self._connections.close()
            self._connections = None

    def _translated(self, error: OSError | HTTPError) -> BackfillError:
        if (scarce := shortage(error)) is not None:
            return MachineExhausted.of(scarce)
        match error:
            case urllib3.exceptions.ProxyError():
                return proxy_refusal(error)
            case urllib3.exceptions.NewConnectionError():  # a TimeoutError of urllib3's, so it is matched before
                return self._out_of_reach(error)
            case TimeoutError() | urllib3.exceptions.TimeoutError():
                return HostUnavailable(f"{self.host} did not answer within {self._timeout_s:g} s.")
            case urllib3.exceptions.SSLError():
                return HostUnavailable(f"The TLS certificate or handshake of {self.host} is not acceptable.")
            case _:
                return self._out_of_reach(error)

    def _out_of_reach(self, error: OSError | HTTPError) -> HostUnavailable:
        return HostUnavailable(f"{self.host} cannot be reached, or ended the connection ({type(error).__name__}).")

    def _connected(self) -> Connections:
        """The connections that all threads share, made for the first call."""
        with self._connecting:
            if self._connections is None:
                # Calls to this machine never use a proxy.
                self._connections = Connections(self._url, self._clock, may_use_proxy=not self.is_local)
            return self._connections
