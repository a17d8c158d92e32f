"""The connections to the API: whom they trust, and that the threads have them in common."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backfill.classifiers.endpoint import Endpoint
from backfill.clock import SystemClock
from backfill.errors import ConnectionMisconfigured, ServiceUnavailable
from tests.support.api_server import ApiServer

Certify = Callable[[str], Path]


@pytest.fixture
def certify(tmp_path: Path) -> Certify:
    """Make a certificate for a name; the file has its key as well."""

    def make(name: str) -> Path:
        key, path = tmp_path / "key.pem", tmp_path / "certificate.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        names = ["-subj", "/CN=api", "-addext", f"subjectAltName={name}", "-days", "2"]
        subprocess.run([*command, *names, "-keyout", key, "-out", path], check=True, capture_output=True)
        path.write_bytes(path.read_bytes() + key.read_bytes())
        return path

    return make


@pytest.fixture
def serve() -> Iterator[Callable[[Path], ApiServer]]:
    """Start an API that shows a certificate."""
    servers = []

    def start(certificate: Path) -> ApiServer:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        servers.append(ApiServer(tls=context))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def endpoint(server: ApiServer) -> Endpoint:
    return Endpoint(server.url, "sk-key", timeout_s=10, clock=SystemClock())


def test_the_api_is_believed_by_a_bundle_that_the_environment_names(certify, serve, monkeypatch):
    certificate = certify("IP:127.0.0.1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    api = endpoint(serve(certificate))

    replies = [api.post("/chat/completions", b"{}") for _ in range(2)]
    api.close()

    assert [reply.status for reply in replies] == [200, 200]


def test_a_certificate_that_nobody_vouches_for_is_not_acceptable(certify, serve):
    server = serve(certify("IP:127.0.0.1"))
    api = endpoint(server)

    with pytest.raises(ServiceUnavailable, match="certificate"):
        api.post("/chat/completions", b"{}")
    api.close()

    assert server.call_count == 0


def test_a_certificate_of_another_host_is_not_acceptable(certify, serve, monkeypatch):
    certificate = certify("DNS:api.example.org")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    server = serve(certificate)
    api = endpoint(server)

    with pytest.raises(ServiceUnavailable, match="certificate"):
        api.post("/chat/completions", b"{}")
    api.close()

    assert server.call_count == 0


def test_a_bundle_that_cannot_be_read_lets_nothing_out(certify, serve, monkeypatch, tmp_path):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nowhere.pem"))
    server = serve(certify("IP:127.0.0.1"))
    api = endpoint(server)

    with pytest.raises(ConnectionMisconfigured, match="REQUESTS_CA_BUNDLE"):
        api.post("/chat/completions", b"{}")
    api.close()

    assert server.call_count == 0


def test_a_thread_that_is_new_goes_on_with_the_connection_of_one_that_is_gone():
    with ApiServer() as server:
        api = endpoint(server)

        for _ in range(3):
            with ThreadPoolExecutor(1) as pool:
                pool.submit(api.post, "/chat/completions", b"{}").result()
        api.close()

        assert (server.call_count, server.connection_count) == (3, 1)
