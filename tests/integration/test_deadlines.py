"""A call ends within its time limit whatever the server sends, and an answer that has come is read whenever it came."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat

import pytest

from backfill.classifiers.endpoint import Endpoint
from backfill.clock import SystemClock
from backfill.errors import AnswerUnusable, ClassifierError, ConnectionMisconfigured, ServiceUnavailable
from tests.support.api_server import verdict

LIMIT_S = 0.4
PAUSE_S = 0.05  # less than the limit: no single wait ever reaches it
PATIENCE_S = 4.0  # for a busy machine; each of these replies would go on for ever

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
PAYLOAD = verdict(7, 2).payload
WHOLE = OK + b"Content-Length: %d\r\n\r\n" % len(PAYLOAD) + PAYLOAD


@contextmanager
def server(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """A server on loopback that talks to each connection as it likes; its port. The event is set at the end."""
    is_over = threading.Event()
    threads = []

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the client has hung up
            talk(connection, is_over)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads.append(threading.Thread(target=accept, daemon=True))
        threads[0].start()
        yield listener.getsockname()[1]
        is_over.set()
        listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(5)


def drip(start: bytes, more: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Say `start` at once and then one byte of `more` after the other, over and over."""

    def talk(connection: socket.socket, is_over: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(start)
        for byte in chain.from_iterable(repeat(more)):
            if is_over.wait(PAUSE_S):
                return
            connection.sendall(bytes([byte]))

    return talk


def flood(start: bytes, more: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Say `start` and then `more`, over and over, as fast as it is taken."""

    def talk(connection: socket.socket, is_over: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(start)
        block = more * (65_536 // len(more) + 1)
        while not is_over.is_set():
            connection.sendall(block)

    return talk


def endpoint(url: str, clock: SystemClock | None = None) -> Endpoint:
    return Endpoint(url, None, timeout_s=LIMIT_S, clock=clock or SystemClock())


@pytest.mark.parametrize(
    "talk",
    [
        drip(b"", b"HTTP/1.1 200 " + b"O" * 60_000),
        drip(OK, b"X-Pad: " + b"x" * 60_000),
        drip(OK, b"X: y\r\n"),
        drip(CHUNKED, b"0" * 60_000),
        drip(CHUNKED, b"1\r\n \r\n"),
        drip(OK + b"Content-Length: 100000\r\n\r\n", b" "),
        drip(OK + b"Connection: close\r\n\r\n", b" "),
        drip(CHUNKED + b"0\r\n", b"X: y\r\n"),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        flood(b"", b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n"),
        flood(CHUNKED + b"0\r\n", b"X: y\r\n"),
        flood(OK, b"X: y\r\n"),
        flood(b"", b"x"),
    ],
    ids=[
        "status line", "header", "headers", "chunk size", "chunks", "body", "body without length", "trailers",
        "100 continue", "flood of 100 continue", "flood of 100 continue with headers", "flood of trailers",
        "flood of headers", "flood without a line's end",
    ],
)  # fmt: skip
def test_a_reply_that_never_ends_is_given_up_within_the_time_limit(talk):
    with server(talk) as port:
        api = endpoint(f"http://127.0.0.1:{port}/v1")
        began = time.monotonic()

        with pytest.raises(ServiceUnavailable):
            api.post("/chat/completions", b"{}")

        assert time.monotonic() - began < PATIENCE_S
        api.close()


def test_a_flood_of_body_is_given_up_at_once():
    with server(flood(CHUNKED, b"1000\r\n" + b" " * 4096 + b"\r\n")) as port:
        api = endpoint(f"http://127.0.0.1:{port}/v1")

        with pytest.raises(AnswerUnusable):
            api.post("/chat/completions", b"{}")

        api.close()


@pytest.mark.parametrize("talk", [drip(b"\x16\x03\x03\x40\x00", b"\x00"), drip(b"", b"\x16")], ids=["record", "bytes"])
def test_a_handshake_that_never_ends_is_given_up_within_the_time_limit(talk):
    with server(talk) as port:
        api = endpoint(f"https://127.0.0.1:{port}/v1")
        began = time.monotonic()

        with pytest.raises(ServiceUnavailable):
            api.post("/chat/completions", b"{}")

        assert time.monotonic() - began < PATIENCE_S
        api.close()


@pytest.mark.parametrize("talk", [drip(OK, b"X: y\r\n"), drip(b"", b"HTTP/1.1 200 OOOOO")], ids=["headers", "status"])
def test_a_proxy_that_never_says_yes_is_given_up_within_the_time_limit(talk, monkeypatch):
    with server(talk) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        api = endpoint("https://api.example.com/v1")
        began = time.monotonic()

        with pytest.raises(ServiceUnavailable):
            api.post("/chat/completions", b"{}")

        assert time.monotonic() - began < PATIENCE_S
        api.close()


# A machine that slept.


class SleepyClock(SystemClock):
    """Real time, and the hours that the machine slept."""

    slept_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.slept_s


@pytest.mark.parametrize("at", [0, 5, 20, len(WHOLE) - 10, len(WHOLE)])
def test_an_answer_that_came_while_the_machine_slept_is_read_and_not_paid_for_again(at):
    clock = SleepyClock()

    def talk(connection: socket.socket, is_over: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(WHOLE[:at])
        is_over.wait(PAUSE_S)
        clock.slept_s += 8 * 3600
        connection.sendall(WHOLE[at:])
        is_over.wait(PATIENCE_S)

    with server(talk) as port:
        api = endpoint(f"http://127.0.0.1:{port}/v1", clock)

        reply = api.post("/chat/completions", b"{}")

        assert (reply.status, reply.body) == (200, PAYLOAD)
        api.close()


def test_an_answer_that_is_still_on_its_way_after_the_sleep_has_its_time_anew():
    clock = SleepyClock()

    def talk(connection: socket.socket, is_over: threading.Event) -> None:
        connection.recv(65_536)
        is_over.wait(PAUSE_S)
        clock.slept_s += 8 * 3600
        for byte in (WHOLE[position : position + 50] for position in range(0, len(WHOLE), 50)):
            connection.sendall(byte)
            is_over.wait(0.01)
        is_over.wait(PATIENCE_S)

    with server(talk) as port:
        api = endpoint(f"http://127.0.0.1:{port}/v1", clock)

        assert api.post("/chat/completions", b"{}").body == PAYLOAD
        api.close()


def test_a_server_that_says_nothing_is_not_waited_for_longer_since_the_machine_slept():
    clock = SleepyClock()

    def talk(connection: socket.socket, is_over: threading.Event) -> None:
        connection.recv(65_536)
        clock.slept_s += 8 * 3600
        is_over.wait(60)

    with server(talk) as port:
        api = endpoint(f"http://127.0.0.1:{port}/v1", clock)
        began = time.monotonic()

        with pytest.raises(ServiceUnavailable):
            api.post("/chat/completions", b"{}")

        assert time.monotonic() - began < PATIENCE_S
        api.close()


# What the environment says.


def refusal_by(api: Endpoint) -> ClassifierError:
    with pytest.raises(ClassifierError) as caught:
        api.post("/chat/completions", b"{}")
    api.close()
    return caught.value


@pytest.mark.parametrize(
    "proxy",
    ["socks5://me:hidden@127.0.0.1:1", "socks5h://127.0.0.1:1", "gopher://127.0.0.1", "http://[::1", "http://a:b:c"],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_used_is_a_mistake_of_the_settings_and_named(monkeypatch, proxy, variable):
    monkeypatch.setenv(variable, proxy)

    found = refusal_by(endpoint("https://api.example.com/v1"))

    assert type(found) is ConnectionMisconfigured
    assert found.exit_code == 2
    assert variable in str(found)
    assert "hidden" not in str(found)


def test_a_proxy_that_wants_a_password_says_so(monkeypatch):
    def talk(connection: socket.socket, is_over: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    with server(talk) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        found = refusal_by(endpoint("https://api.example.com/v1"))

    assert type(found) is ConnectionMisconfigured
    assert "HTTPS_PROXY" in str(found)
    assert "user name and a password" in str(found)


def test_a_proxy_that_nobody_answers_for_is_an_outage_and_named(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{taken.getsockname()[1]}")
        found = refusal_by(endpoint("https://api.example.com/v1"))

    assert type(found) is ServiceUnavailable
    assert "HTTPS_PROXY" in str(found)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("content", [None, b"", b"no certificate"], ids=["missing", "empty", "no certificate"])
def test_a_ca_bundle_that_cannot_be_read_is_a_mistake_of_the_settings_and_named(
    monkeypatch, tmp_path, variable, content
):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    monkeypatch.setenv(variable, str(bundle))

    found = refusal_by(endpoint("https://api.example.com/v1"))

    assert type(found) is ConnectionMisconfigured
    assert found.exit_code == 2
    assert variable in str(found)


def test_a_proxy_gets_the_calls_of_others_and_its_own_password(monkeypatch):
    heard = []

    def talk(connection: socket.socket, is_over: threading.Event) -> None:
        heard.append(connection.recv(65_536))
        connection.sendall(WHOLE)

    with server(talk) as port:
        monkeypatch.setenv("http_proxy", f"http://me:pass@127.0.0.1:{port}")
        api = endpoint("http://api.example.com/v1")
        reply = api.post("/chat/completions", b"{}")
        api.close()

    assert reply.body == PAYLOAD
    assert heard[0].startswith(b"POST http://api.example.com/v1/chat/completions HTTP/1.1\r\n")
    assert b"proxy-authorization: basic bwu6cgfzcw==" in heard[0].lower()
