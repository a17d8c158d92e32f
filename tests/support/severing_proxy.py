"""A proxy to PostgreSQL that can cut the connection between a COMMIT and its answer."""

from __future__ import annotations

import socket
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.engine import make_url


class SeveringProxy:
    """`sever_next_commit` decides what is lost: the next COMMIT itself, or only the answer to it."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.severed = 0
        self._sever: str | None = None
        self._clients: list[socket.socket] = []

    def go_away(self) -> None:
        """Break every connection, and accept no more."""
        self.target = "/nowhere"
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def sever_next_commit(self, *, arrives: bool) -> None:
        self._sever = "after" if arrives else "before"

    def carry(self, client: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            if server.connect_ex(self.target):
                return
            self._clients.append(client)
            answers = threading.Thread(target=self._answers, args=(server, client), daemon=True)
            answers.start()
            while data := client.recv(65536):
                if self._sever and b"COMMIT" in data:
                    how, self._sever, self.severed = self._sever, None, self.severed + 1
                    if how == "after":
                        client.shutdown(socket.SHUT_WR)  # the answer goes nowhere
                        server.sendall(data)
                        server.shutdown(socket.SHUT_WR)
                        answers.join(10)
                    break
                server.sendall(data)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while data := server.recv(65536):
                client.sendall(data)
        except OSError:  # the client is gone; the server's answer is still read to its end
            with suppress(OSError):
                while server.recv(65536):
                    pass


@contextmanager
def severing_proxy(url: str) -> Iterator[tuple[SeveringProxy, str]]:
    """The proxy, and the URL of the same database by way of it."""
    direct = make_url(url)
    proxy = SeveringProxy(f"{direct.query['host']}/.s.PGSQL.{direct.port or 5432}")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            proxy.carry(self.request)

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    with (
        tempfile.TemporaryDirectory(prefix="px-") as here,
        Server(str(Path(here) / ".s.PGSQL.5432"), Handler) as server,
    ):
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        detour = direct.set(port=5432).update_query_dict({"host": here})
        yield proxy, detour.render_as_string(hide_password=False)
        server.shutdown()
