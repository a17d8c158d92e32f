"""An HTTP API under one URL, and the errors of its connection as a classifier's.

Sends the key only over TLS or to this machine. What bounds a call is in `http.client`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from backfill.classifiers.addresses import advice, base_of, is_other_call
from backfill.clock import Clock
from backfill.errors import (
    AnswerUnusable,
    ConfigError,
    ConnectionMisconfigured,
    EnvironmentUnusable,
    HostUnavailable,
    ReplyTooLarge,
    ServiceUnavailable,
)
from backfill.hosts import is_loopback
from backfill.http.client import Client, Reply, is_header_value, is_url

MAX_REPLY_BYTES: Final = 1_000_000  # a verdict has about 50, a reasoning model's thoughts perhaps 100,000


class Endpoint:
    """`api_key` None: the API wants none. Raises `ConfigError` if the settings cannot work or would reveal the key."""

    def __init__(self, api_url: str, api_key: str | None, *, timeout_s: float, clock: Clock) -> None:
        self.url = base_of(api_url)
        self.host = _checked(self.url, api_key)
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._client = Client(self.url, headers, timeout_s=timeout_s, clock=clock)

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
        self._client.close()

    def _send(self, method: str, path: str, body: bytes | None, max_bytes: int) -> Reply:
        try:
            return self._client.send(method, path, body, max_bytes)
        except HostUnavailable as error:
            raise ServiceUnavailable(str(error)) from error
        except EnvironmentUnusable as error:
            raise ConnectionMisconfigured(str(error), reason=error.reason) from error
        except ReplyTooLarge as error:
            raise _too_large(error.http_status) from error


def _checked(api_url: str, api_key: str | None) -> str:
    """The host. Messages name neither URL nor key: both may hold secrets."""
    if not is_url(api_url):
        raise ConfigError("llm.api_url is not a URL.")
    parts = urlsplit(api_url)
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.query or parts.fragment:
        raise ConfigError("llm.api_url must look like https://host/v1, without user name, query or fragment.")
    if is_other_call(api_url):
        raise ConfigError(f"llm.api_url names another call than chat completions; {advice(api_url)}.")
    if api_key is not None:
        if not is_header_value(api_key) or " " in api_key:
            raise ConfigError("The API key is empty, or has a blank or an odd character in it; copy it again.")
        if parts.scheme == "http" and not is_loopback(host):
            raise ConfigError("The API key would be sent unencrypted; use https:// in llm.api_url, or no key.")
    return host


def _too_large(status: int) -> AnswerUnusable:
    error = AnswerUnusable("The API's reply is larger than any verdict.", reason="answer_too_large")
    error.http_status = status
    return error
