"""An HTTP API under one URL: the requests' target and headers, and the errors of the connection.

Follows no redirect. Takes proxies from the environment, but never credentials. Sends the key only over TLS or to this
machine. Thread-safe: all threads share the kept connections, so a new thread need not wait for a handshake.

`timeout_s` bounds a whole call: connecting (at most 10 s for each address), sending, and reading (see `deadline`). Only
the system's name resolution has a limit of its own, about 10 s on most systems.
"""

from __future__ import annotations

import threading
from typing import Final
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from backfill.classifiers.addresses import advice, base_of, is_other_call
from backfill.classifiers.connections import Connections, proxy_refusal
from backfill.classifiers.untrusted import Reply
from backfill.clock import Clock
from backfill.errors import AnswerUnusable, BackfillError, ConfigError, MachineExhausted, ServiceUnavailable
from backfill.hosts import is_loopback
from backfill.shortages import shortage

MAX_CONNECT_S: Final = 10.0
MAX_REPLY_BYTES: Final = 1_000_000  # a verdict has about 50, a reasoning model's thoughts perhaps 100,000


class Endpoint:
    """`api_key` None: the API wants none. Raises `ConfigError` if the settings cannot work or would reveal the key."""

    def __init__(self, api_url: str, api_key: str | None, *, timeout_s: float, clock: Clock) -> None:
        self.url = base_of(api_url)
        self.host, self._is_local = _checked(self.url, api_key)
        self._timeout = urllib3.Timeout(connect=min(MAX_CONNECT_S, timeout_s), read=timeout_s, total=timeout_s)
        self._timeout_s = timeout_s
        self._clock = clock
        self._headers = {"User-Agent": "backfill", "Accept": "application/json", "Accept-Encoding": "gzip"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._connections: Connections | None = None
        self._connecting = threading.Lock()

    @property
    def is_openrouter(self) -> bool:
        return self.host == "openrouter.ai" or self.host.endswith(".openrouter.ai")

    def post(self, path: str, body: bytes) -> Reply:
        """One POST of JSON.

        Raises `ServiceUnavailable` when the connection fails, `ConnectionMisconfigured` for a proxy or CA bundle that
        cannot be used, `AnswerUnusable` for a reply that is too large.
        """
        return self._send("POST", path, body, MAX_REPLY_BYTES)

    def get(self, path: str, *, max_bytes: int = MAX_REPLY_BYTES) -> Reply:
        """One GET; fails as `post` does."""
        return self._send("GET", path, None, max_bytes)

    def close(self) -> None:
        """Close all connections; no call may be in flight."""
        if self._connections is not None:
            self._connections.close()

    def _send(self, method: str, path: str, body: bytes | None, max_bytes: int) -> Reply:
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        try:
            with self._connected().open(method, path, body, headers, self._timeout) as response:
                received = bytearray()
                while chunk := response.read1(65_536, decode_content=True):
                    received += chunk
                    if len(received) > max_bytes:
                        raise _too_large(response.status)
                names = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, names, bytes(received))
        except (OSError, HTTPError) as error:
            raise self._translated(error) from error

    def _translated(self, error: OSError | HTTPError) -> BackfillError:
        if (scarce := shortage(error)) is not None:
            return MachineExhausted.of(scarce)
        match error:
            case urllib3.exceptions.ProxyError():
                return proxy_refusal(error)
            case urllib3.exceptions.NewConnectionError():  # a TimeoutError of urllib3's, so it is matched before
                return self._out_of_reach(error)
            case TimeoutError() | urllib3.exceptions.TimeoutError():
                return ServiceUnavailable(f"{self.host} did not answer within {self._timeout_s:g} s.")
            case urllib3.exceptions.SSLError():
                return ServiceUnavailable(f"The TLS certificate or handshake of {self.host} is not acceptable.")
            case _:
                return self._out_of_reach(error)

    def _out_of_reach(self, error: OSError | HTTPError) -> ServiceUnavailable:
        return ServiceUnavailable(f"{self.host} cannot be reached, or ended the connection ({type(error).__name__}).")

    def _connected(self) -> Connections:
        """The connections that all threads share, made for the first call."""
        with self._connecting:
            if self._connections is None:
                # Calls to this machine never use a proxy.
                self._connections = Connections(self.url, self._clock, may_use_proxy=not self._is_local)
            return self._connections


def _checked(api_url: str, api_key: str | None) -> tuple[str, bool]:
    """The host, and whether it is this machine. Messages name neither URL nor key: both may hold secrets."""
    try:
        parts = urlsplit(api_url)
        host, _ = (parts.hostname or "").rstrip("."), parts.port
        urllib3.util.parse_url(api_url)
    except (ValueError, HTTPError) as error:
        raise ConfigError("llm.api_url is not a URL.") from error
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.query or parts.fragment:
        raise ConfigError("llm.api_url must look like https://host/v1, without user name, query or fragment.")
    if is_other_call(api_url):
        raise ConfigError(f"llm.api_url names another call than chat completions; {advice(api_url)}.")
    is_local = is_loopback(host)
    if api_key is not None:
        if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise ConfigError("The API key is empty, or has a blank or an odd character in it; copy it again.")
        if parts.scheme == "http" and not is_local:
            raise ConfigError("The API key would be sent unencrypted; use https:// in llm.api_url, or no key.")
    return host, is_local


def _too_large(status: int) -> AnswerUnusable:
    error = AnswerUnusable("The API's reply is larger than any verdict.", reason="answer_too_large")
    error.http_status = status
    return error
