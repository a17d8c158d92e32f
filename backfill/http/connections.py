"""The kept connections to one host: through a proxy if the environment names one, with one TLS context.

The pool is urllib3's; the environment is read by functions of requests. A requests session is not used: it reads .netrc
for each request, replaces our key by the password there, and follows redirects and keeps cookies. The requests adapter
is not used: it reads the CA bundle anew for each connection, which takes 1 MB of memory and 0.1 s of CPU time.
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

from backfill.clock import Clock
from backfill.errors import EnvironmentUnusable, HostUnavailable, HttpError
from backfill.http.deadline import with_deadline

MOST_IDLE: Final = 600  # connections kept for the next call; more than a run's calls at once (`limits`)
#: The first variable that is set counts, as with requests.
CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class Connections:
    """Reads the environment once. Raises `EnvironmentUnusable` when its proxy or its CA bundle cannot be used."""

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
        # A proxy for plain HTTP gets the whole URL in the request line (RFC 9112 §3.2.2).
        is_forwarded = proxy is not None and parts.scheme == "http" and not proxy.startswith("socks")
        self._base = parts.url if is_forwarded else (parts.path or "")

    def open(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout: urllib3.Timeout
    ) -> urllib3.BaseHTTPResponse:
        """Send one request. The caller closes the response. Its connection is kept if it was read to its end."""
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
        raise EnvironmentUnusable(
            f"{_proxy_variable()} names a SOCKS proxy, which needs the package PySocks; "
            "install it (pip install PySocks), or name an http:// proxy.",
            reason="proxy",
        )
    try:
        user, password = get_auth_from_url(proxy)
        if is_socks:
            from urllib3.contrib.socks import SOCKSProxyManager  # start-up: the import warns if PySocks is missing

            return SOCKSProxyManager(proxy, username=user or None, password=password or None, **settings)
        proxied = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}") if user else None
        return urllib3.ProxyManager(proxy, proxy_headers=proxied, **settings)
    except (ValueError, urllib3.exceptions.HTTPError) as error:
        raise EnvironmentUnusable(
            f"The proxy that {_proxy_variable()} names cannot be used; it must look like http://host:port.",
            reason="proxy",
        ) from error


def _trusting() -> ssl.SSLContext:
    """A TLS context that requires a trusted certificate with the host's name."""
    variable = next((name for name in CA_VARIABLES if os.environ.get(name)), None)
    bundle = DEFAULT_CA_BUNDLE_PATH if variable is None else os.environ[variable]
    context = create_urllib3_context()
    try:
        is_folder = os.path.isdir(bundle)
        context.load_verify_locations(*(None, bundle) if is_folder else (bundle, None))
    except OSError as error:  # ssl.SSLError is an OSError
        raise EnvironmentUnusable(
            f"The file of trusted certificates that {variable or 'the package certifi'} names cannot be read or holds "
            "no certificate; correct or unset it.",
            reason="ca_bundle",
        ) from error
    return context


def proxy_refusal(error: urllib3.exceptions.ProxyError) -> HttpError:
    """The error for a call that the proxy did not let through."""
    if "407" in str(error.original_error).split():  # http.client's OSError has the status only in its text
        return EnvironmentUnusable(
            f"The proxy that {_proxy_variable()} names wants a user name and a password (HTTP 407); "
            "write them into its address: http://user:password@host:port.",
            reason="proxy",
        )
    return HostUnavailable(f"The proxy that {_proxy_variable()} names cannot be reached, or refuses the call.")


def _proxy_variable() -> str:
    """The names of the environment's proxy variables. Their values may hold passwords and are not shown."""
    names = [name for name in os.environ if name.lower() in ("https_proxy", "http_proxy", "all_proxy")]
    return " or ".join(sorted(names)) or "The system's settings"
