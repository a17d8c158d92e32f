"""An HTTP API under one URL: where requests go, what they carry, and what went wrong on the line.

Follows no redirect, asks the environment for proxies but never for credentials, and sends the key only over TLS or
to this machine. A time limit holds for the whole reply, however slowly that drips in. Thread-safe: the threads keep
their connections alive in common, so that one that is new need not wait for a handshake.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_ import create_urllib3_context

from backfill.classifiers.untrusted import Reply
from backfill.clock import Clock
from backfill.errors import AnswerUnusable, ConfigError, ServiceUnavailable
from backfill.hosts import is_loopback

MAX_CONNECT_S: Final = 10.0
MAX_REPLY_BYTES: Final = 1_000_000  # a verdict has 50, a reasoning model's thoughts perhaps 100,000
MOST_IDLE: Final = 600  # connections that are kept for the next call: as many as there are calls at once at the most


class Endpoint:
    """`api_key` None: the API wants none. Raises `ConfigError` for what cannot work or would give the key away."""

    def __init__(self, api_url: str, api_key: str | None, *, timeout_s: float, clock: Clock) -> None:
        self.url = api_url.strip().rstrip("/")
        self.host, self._is_local = _checked(self.url, api_key)
        self._timeout_s = timeout_s
        self._clock = clock
        self._prepared = _prepared(self.url, api_key)
        self._connections: _Connections | None = None
        self._connecting = threading.Lock()

    @property
    def is_openrouter(self) -> bool:
        return self.host == "openrouter.ai" or self.host.endswith(".openrouter.ai")

    def post(self, path: str, body: bytes) -> Reply:
        """One POST of JSON. Every way in which the line can fail is `ServiceUnavailable`."""
        request = self._prepared.copy()
        request.url = self.url + path
        request.headers["Content-Type"] = "application/json"
        request.prepare_body(body, None)
        return self._send(request, MAX_REPLY_BYTES)

    def get(self, path: str, *, max_bytes: int = MAX_REPLY_BYTES) -> Reply:
        """One GET; fails as `post` does."""
        request = self._prepared.copy()
        request.method, request.url = "GET", self.url + path
        request.headers.pop("Content-Length", None)
        return self._send(request, max_bytes)

    def close(self) -> None:
        """Close every connection; nothing may be in flight."""
        if self._connections is not None:
            self._connections.close()

    def _send(self, request: requests.PreparedRequest, max_bytes: int) -> Reply:
        limit_s, host = self._timeout_s, self.host
        deadline = self._clock.monotonic() + limit_s
        try:
            connections, timeout = self._connected(), (min(MAX_CONNECT_S, limit_s), limit_s)
            with connections.send(request, stream=True, timeout=timeout, proxies=connections.proxies) as response:
                received = bytearray()
                # read1 returns with what has come: `timeout` alone only bounds the gap between two bytes, and
                # gateways send white space while the model thinks.
                while chunk := response.raw.read1(65_536, decode_content=True):
                    received += chunk
                    if len(received) > max_bytes:
                        raise _too_large(response.status_code)
                    if self._clock.monotonic() > deadline:
                        raise ServiceUnavailable(f"{host} did not finish its answer within {limit_s:g} s.")
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status_code, headers, bytes(received))
        except requests.Timeout as error:
            raise ServiceUnavailable(f"{host} did not answer within {limit_s:g} s.") from error
        except requests.exceptions.SSLError as error:
            raise ServiceUnavailable(f"The TLS certificate or handshake of {host} is not acceptable.") from error
        except (OSError, HTTPError) as error:  # requests' own are OSErrors; reading raises urllib3's
            raise ServiceUnavailable(f"{host} cannot be reached, or hung up ({type(error).__name__}).") from error

    def _connected(self) -> _Connections:
        """The connections of all threads, made when the first one is needed.

        The environment is asked once, for proxies and CA bundle. There is no session, which would read .netrc for each
        request and replace our key by what stands there, and has redirects and cookies to look after.
        """
        with self._connecting:
            if self._connections is None:
                with requests.Session() as session:
                    environment = session.merge_environment_settings(self.url, {}, None, None, None)
                verify = environment["verify"]
                bundle = verify if isinstance(verify, str) else DEFAULT_CA_BUNDLE_PATH
                is_tls = urlsplit(self.url).scheme == "https"
                # What stays on this machine goes through no proxy.
                proxies = {} if self._is_local else dict(environment["proxies"])
                self._connections = _Connections(bundle if is_tls else None, proxies)
            return self._connections


class _Connections(HTTPAdapter):
    """The pool of connections to one host, with one TLS context.

    Left to itself, urllib3 reads the CA bundle anew for each connection. That is a megabyte of memory and a tenth of a
    second of CPU, which hundreds of calls at once have not to spare.
    """

    def __init__(self, ca_bundle: str | None, proxies: dict[str, str]) -> None:
        """`ca_bundle`: a file or folder; None for connections without TLS. Raises `OSError` when it cannot be read."""
        self.proxies = proxies
        self._pool: Any = None
        self._tls: dict[str, Any] = {}
        if ca_bundle is not None:
            context = create_urllib3_context()  # asks for a certificate, and looks at the host's name in it
            is_folder = os.path.isdir(ca_bundle)
            context.load_verify_locations(*(None, ca_bundle) if is_folder else (ca_bundle, None))
            self._tls = {"ssl_context": context}
        super().__init__(pool_maxsize=MOST_IDLE)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **more: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **more, **self._tls)

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        return super().proxy_manager_for(proxy, **more, **self._tls)

    def get_connection_with_tls_context(self, *args: Any, **more: Any) -> Any:
        """The same pool each time: to find it by its URL takes a fifth of the time that a request does."""
        if self._pool is None:
            self._pool = super().get_connection_with_tls_context(*args, **more)
        return self._pool

    def close(self) -> None:
        self._pool = None
        super().close()

    def build_connection_pool_key_attributes(self, *args: Any, **more: Any) -> Any:
        """As requests does it, but for the bundle, which the context has read."""
        host, pool = super().build_connection_pool_key_attributes(*args, **more)
        return host, {name: value for name, value in pool.items() if name not in ("ca_certs", "ca_cert_dir")}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing more than that a certificate is required: requests would have the bundle read again."""
        conn.cert_reqs = "CERT_REQUIRED"


def _checked(api_url: str, api_key: str | None) -> tuple[str, bool]:
    """Host, and whether it is this machine. The messages name neither URL nor key: both may hold secrets."""
    try:
        parts = urlsplit(api_url)
        host, _ = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise ConfigError("llm.api_url is not a URL.") from error
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.query or parts.fragment:
        raise ConfigError("llm.api_url must look like https://host/v1, without user name, query or fragment.")
    is_local = is_loopback(host)
    if api_key is not None:
        if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise ConfigError("The API key is empty, or has blanks or odd characters in it; copy it again.")
        if parts.scheme == "http" and not is_local:
            raise ConfigError("The API key would travel unencrypted; use https:// in llm.api_url, or no key.")
    return host, is_local


def _prepared(api_url: str, api_key: str | None) -> requests.PreparedRequest:
    """A request but for path and body; made once, since making it costs more than sending it."""
    headers = {"User-Agent": "backfill", "Accept": "application/json", "Accept-Encoding": "gzip"}
    if api_key is not None:
        headers["Authorization"] = f"Bearer {api_key}"
    try:
        return requests.Request("POST", api_url, headers=headers).prepare()
    except requests.RequestException as error:
        raise ConfigError("llm.api_url is not a URL.") from error


def _too_large(status: int) -> AnswerUnusable:
    error = AnswerUnusable("The API's reply is larger than any verdict.", reason="answer_too_large")
    error.http_status = status
    return error
