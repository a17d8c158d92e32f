"""The kept connections to one host: through a proxy where the environment names one, with one TLS context.

urllib3's pools, by requests' reading of the environment. There is no requests session: it would read .netrc for each
request and replace our key by what stands there, and has redirects and cookies to look after. Nor is there requests'
adapter: it has urllib3 read the CA bundle anew for each connection, which is a megabyte of memory and a tenth of a
second of CPU.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Final

import urllib3
from requests.utils import (
    DEFAULT_CA_BUNDLE_PATH,
    get_auth_from_url,
    get_environ_proxies,
    select_proxy,
)
from urllib3.util.ssl_ import create_urllib3_context

from backfill.classifiers.deadline import with_deadline
from backfill.clock import Clock
from backfill.errors import ClassifierError, ConnectionMisconfigured, ServiceUnavailable

MOST_IDLE: Final = 600  # connections that are kept for the next call: as many as there are calls at once at the most
#: As requests asks for them, the first one that is set wins.
CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class Connections:
    """The environment is asked once, here. Raises `ConnectionMisconfigured` for what it says and cannot work."""

    def __init__(self, url: str, clock: Clock, *, may_use_proxy: bool) -> None:
        parts = urllib3.util.parse_url(url)
        settings: dict[str, Any] = {"maxsize": MOST_IDLE}
        if parts.scheme == "https":
            settings |= {"ssl_context": _trusting(), "cert_reqs": "CERT_REQUIRED"}
        proxy = select_proxy(url, get_environ_proxies(url)) if may_use_proxy else None
        if proxy is not None and "://" not in proxy:
            proxy = f"http://{proxy}"
        self._pool = _manager(proxy, settings).connection_from_url(url)
        self._pool.ConnectionCls = with_deadline(self._pool.ConnectionCls, clock)
        # A proxy for plain HTTP is told the whole address (RFC 9112 §3.2.2).
        is_forwarded = proxy is not None and parts.scheme == "http" and not proxy.startswith("socks")
        self._base = parts.url if is_forwarded else (parts.path or "")

    def open(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout: urllib3.Timeout
    ) -> urllib3.BaseHTTPResponse:
        """Send one request. The response is to be closed; its connection is kept when it was read to its end."""
        return self._pool.urlopen(
            method,
            self._base + path,
            body,
            headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=timeout,
            preload_content=False,
        )

    def close(self) -> None:
        self._pool.close()


def _manager(proxy: str | None, settings: dict[str, Any]) -> urllib3.PoolManager:
    if proxy is None:
        return urllib3.PoolManager(**settings)
    is_socks = proxy.lower().startswith("socks")
    if is_socks and find_spec("socks") is None:
        raise ConnectionMisconfigured(
            f"{_proxy_variable()} names a SOCKS proxy, and the package PySocks for it is not installed; "
            "install it (pip install PySocks), or name an http:// proxy.",
            reason="proxy",
        )
    try:
        user, password = get_auth_from_url(proxy)
        if is_socks:
            from urllib3.contrib.socks import SOCKSProxyManager  # start-up: warns where its library is missing

            return SOCKSProxyManager(proxy, username=user or None, password=password or None, **settings)
        proxied = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}") if user else None
        return urllib3.ProxyManager(proxy, proxy_headers=proxied, **settings)
    except (ValueError, urllib3.exceptions.HTTPError) as error:
        raise ConnectionMisconfigured(
            f"{_proxy_variable()} names no proxy that can be used; it must look like http://host:port.", reason="proxy"
        ) from error


def _trusting() -> ssl.SSLContext:
    """A context that asks for a certificate and looks at the host's name in it."""
    variable = next((name for name in CA_VARIABLES if os.environ.get(name)), None)
    bundle = DEFAULT_CA_BUNDLE_PATH if variable is None else os.environ[variable]
    context = create_urllib3_context()
    try:
        is_folder = os.path.isdir(bundle)
        context.load_verify_locations(*(None, bundle) if is_folder else (bundle, None))
    except OSError as error:  # ssl.SSLError is one
        raise ConnectionMisconfigured(
            f"The file of trusted certificates that {variable or 'the package certifi'} names cannot be read or holds "
            "none; correct or unset it.",
            reason="ca_bundle",
        ) from error
    return context


def proxy_refusal(error: urllib3.exceptions.ProxyError) -> ClassifierError:
    """What it means that the proxy did not let a call through."""
    if "407" in str(error.original_error).split():  # http.client raises a plain OSError with the status in its text
        return ConnectionMisconfigured(
            f"The proxy that {_proxy_variable()} names wants a user name and a password (HTTP 407); "
            "write them into it: http://user:password@host:port.",
            reason="proxy",
        )
    return ServiceUnavailable(f"The proxy that {_proxy_variable()} names cannot be reached, or lets no call through.")


def _proxy_variable() -> str:
    """The environment's variables that name a proxy. Their values may hold passwords, so none is shown."""
    names = [name for name in os.environ if name.lower() in ("https_proxy", "http_proxy", "all_proxy")]
    return " or ".join(sorted(names)) or "The system's settings"
