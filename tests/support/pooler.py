"""A pooler between a client and PostgreSQL that shares one server connection by transaction, as pgbouncer does."""

from __future__ import annotations

import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.engine import make_url

READY = b"Z"


class Pooler:
    """Lends its one connection to the server to a client during each of the client's transactions."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._turn = threading.Lock()
        self._server: socket.socket | None = None
        self._greeting = b""

    def carry(self, client: socket.socket) -> None:
        """Serve one client until it goes. Its password is not asked for."""
        startup = _startup(client)
        with self._turn:
            if self._server is None:
                self._server = socket.socket(socket.AF_UNIX)
                self._server.connect(self._target)
                self._server.sendall(startup)
                self._greeting, _ = _until_ready(self._server)
        client.sendall(self._greeting)
        holds = False
        while (kind := client.recv(1)) and kind != b"X":
            message = kind + _rest(client)
            if not holds:
                holds = self._turn.acquire()
            self._server.sendall(message)
            if kind in (b"Q", b"S"):
                answer, state = _until_ready(self._server)
                client.sendall(answer)
                if state == b"I":
                    self._turn.release()
                    holds = False


def _startup(client: socket.socket) -> bytes:
    while True:
        length = _exactly(client, 4)
        body = _exactly(client, struct.unpack("!i", length)[0] - 4)
        if body[:4] in (struct.pack("!i", 80877103), struct.pack("!i", 80877104)):  # no TLS, no GSS
            client.sendall(b"N")
            continue
        return length + body


def _until_ready(server: socket.socket) -> tuple[bytes, bytes]:
    """The server's messages up to its being ready, and the state of the transaction."""
    found = b""
    while True:
        kind = _exactly(server, 1)
        rest = _rest(server)
        found += kind + rest
        if kind == READY:
            return found, rest[-1:]


def _rest(peer: socket.socket) -> bytes:
    length = _exactly(peer, 4)
    return length + _exactly(peer, struct.unpack("!i", length)[0] - 4)


def _exactly(peer: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        if not (data := peer.recv(size - len(found))):
            raise ConnectionResetError
        found += data
    return found


@contextmanager
def pooled(url: str) -> Iterator[str]:
    """The URL of the same database through a pooler, for servers that are reached by a socket file."""
    parsed = make_url(url)
    folder = Path(tempfile.mkdtemp(prefix="pool-"))
    pooler = Pooler(f"{parsed.query['host']}/.s.PGSQL.{parsed.port or 5432}")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / ".s.PGSQL.5432"))
    listening.listen()

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            pooler.carry(client)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield parsed.update_query_dict({"host": str(folder)}).set(port=None).render_as_string(hide_password=False)
    finally:
        listening.close()
