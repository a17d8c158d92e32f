"""A socket whose timeout bounds a whole reply, and not only the wait for each of its bytes.

A server that sends one byte a second, or `100 Continue` for ever, never lets an ordinary timeout pass. Here, setting
the timeout starts a deadline, and everything that is read until it is set again must come before that: status line,
headers, chunk sizes, body and trailers. The number of bytes is bounded as well, for what comes fast and does not end.

First what has come is read, then the deadline is judged: a process that stood still (a closed laptop, a stopped
container) finds the answers of its calls in the sockets' buffers, and they are paid for.
"""

from __future__ import annotations

import io
import socket
import ssl
from typing import Any, Final

from backfill.clock import Clock

#: For one reply, packed or not. The largest one that is wanted, a list of models, has a few million.
MOST_BYTES: Final = 25_000_000
#: Of these, what is read after the deadline, where it lies there already.
MOST_LATE_BYTES: Final = 1_000_000
#: A wait that took so much longer than its timeout, in seconds, shows that the machine slept meanwhile.
SLEPT_S: Final = 1.0


class DeadlineSocket:
    """Wraps a connected socket, plain or TLS; everything that is not about reading is the socket's own."""

    def __init__(self, wrapped: Any, clock: Clock) -> None:
        self._wrapped = wrapped
        self._clock = clock
        self.settimeout(wrapped.gettimeout())

    def settimeout(self, seconds: float | None) -> None:
        """Start a deadline, in seconds from now; None: there is none, which nobody here asks for."""
        self._limit_s = float("inf") if seconds is None else seconds
        self._deadline = self._clock.monotonic() + self._limit_s
        self._bytes_left = MOST_BYTES
        self._wrapped.settimeout(seconds)

    def recv_into(self, buffer: Any) -> int:
        """As `socket.recv_into`. Raises `TimeoutError` when nothing lies there and the deadline has passed."""
        began = self._clock.monotonic()
        left_s = self._deadline - began
        if left_s <= 0:  # what lies there is read, and nothing waited for
            left_s, self._bytes_left = 0.0, min(self._bytes_left, MOST_LATE_BYTES)
        self._wrapped.settimeout(None if left_s == float("inf") else left_s)
        try:
            size = self._read(buffer)
        except (BlockingIOError, ssl.SSLWantReadError) as error:
            raise TimeoutError("the deadline of the reply has passed") from error
        ended = self._clock.monotonic()
        if ended - began > left_s + SLEPT_S:
            self._deadline = ended + self._limit_s  # the rest of the answer may be on its way only now
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise OSError("the reply does not end")
        return size

    def _read(self, buffer: Any) -> int:
        try:
            size: int = self._wrapped.recv_into(buffer)
        except TimeoutError:  # also when the process stood still, without a look at what came meanwhile
            self._wrapped.settimeout(0.0)
            size = self._wrapped.recv_into(buffer)
        return size

    def recv(self, size: int) -> bytes:
        """As `socket.recv`; what TLS within TLS reads with."""
        buffer = bytearray(size)
        return bytes(buffer[: self.recv_into(buffer)])

    def makefile(self, mode: str = "rb", *_: object, **__: object) -> io.BufferedReader:
        """What `http.client` reads a reply from."""
        return io.BufferedReader(_Reader(self, self._wrapped.makefile(mode, buffering=0)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


class _Reader(io.RawIOBase):
    """Reads through the deadline. `handle` counts as a user of the socket, which is closed after its last one."""

    def __init__(self, timed: DeadlineSocket, handle: socket.SocketIO) -> None:
        super().__init__()
        self._timed = timed
        self._handle = handle

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._timed.recv_into(buffer)

    def close(self) -> None:
        self._handle.close()
        super().close()


def with_deadline(connection_class: type, clock: Clock) -> type:
    """`connection_class`, one of urllib3's, with such sockets; also while a proxy or a TLS handshake is under way."""

    class _Connection(connection_class):  # type: ignore[misc]
        sock: Any

        def _new_conn(self) -> Any:
            return DeadlineSocket(super()._new_conn(), clock)

        def connect(self) -> None:
            super().connect()
            if not isinstance(self.sock, DeadlineSocket):
                self.sock = DeadlineSocket(self.sock, clock)

    return _Connection
