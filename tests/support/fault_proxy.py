"""A TCP proxy on loopback that breaks connections the way networks do: cut, reset, half-close, stall, delay.

Every fault is for the bytes that come from the server, counted for each connection by itself.
"""

from __future__ import annotations

import socket
import struct
import threading
from enum import Enum, auto
from types import TracebackType
from typing import Self


class Fault(Enum):
    """What happens to a connection after its first bytes."""

    CUT = auto()  # closed both ways, in mid-line
    RESET = auto()  # RST: what is in flight is lost
    HALF_CLOSE = auto()  # the server says nothing more, and still listens
    STALL = auto()  # nothing comes any more, and the connection stays open


class FaultProxy:
    """A context manager. Each connection carries `after` bytes, and then has its `fault`; None: it carries all bytes.

    `times`: how many connections have the fault; None: every one. `delay_s`: before each piece of at most 64 KB.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        port: int,
        *,
        after: int | None = None,
        fault: Fault = Fault.CUT,
        times: int | None = None,
        delay_s: float = 0.0,
    ) -> None:
        self.after = after
        self.fault = fault
        self.times = times
        self.delay_s = delay_s
        self.connections = 0
        self.faults = 0
        self.bytes = 0  # from the server, of all connections
        self._target = port
        self._closing = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(5)

    def hang_up(self) -> None:
        """End all connections now."""
        for line in self._sockets:
            _shut(line)

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection((self.host, self._target), 10)
            except OSError:
                return
            server.settimeout(None)
            self.connections += 1
            self._sockets += [client, server]
            self._start(self._pump_up, client, server)
            self._start(self._pump_down, client, server)

    def _pump_up(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(65_536):
                server.sendall(data)
        except OSError:
            pass
        _shut(server)

    def _pump_down(self, client: socket.socket, server: socket.socket) -> None:
        left = self.after
        with client, server:
            try:
                while data := server.recv(65_536):
                    if self.delay_s and self._closing.wait(self.delay_s):
                        return
                    is_faulty = (
                        left is not None and len(data) > left and (self.times is None or self.faults < self.times)
                    )
                    piece = data[:left] if is_faulty else data
                    self.bytes += len(piece)
                    client.sendall(piece)
                    if is_faulty:
                        self.faults += 1
                        self._break(client)
                        return
                    left = None if left is None else max(0, left - len(data))
            except OSError:
                return
            finally:
                _shut(client)
                _shut(server)

    def _break(self, client: socket.socket) -> None:
        match self.fault:
            case Fault.RESET:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.shutdown(socket.SHUT_RD)  # wakes the thread that reads: a socket in use is not closed
                client.close()
            case Fault.HALF_CLOSE:
                client.shutdown(socket.SHUT_WR)
                client.settimeout(5)
                client.recv(1)  # until the other side gives up
            case Fault.STALL:
                self._closing.wait(30)
            case Fault.CUT:
                pass


def _shut(line: socket.socket) -> None:
    try:
        line.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
