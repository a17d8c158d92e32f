"""A socket whose timeout bounds a whole reply, not only the wait for each byte.

An ordinary timeout never passes when a server sends one byte a second, or `100 Continue` for ever. Here, setting the
timeout starts a deadline. Everything that is read must come before it: status line, headers, chunk sizes, body and
trailers. The number of bytes is bounded too, against a fast reply without end.

Bytes that have come already are read even after the deadline. A process that stood still (a closed laptop, a stopped
container) finds the answers to its calls in the sockets' buffers, and these calls are paid for.
"""

from __future__ import annotations

import io
import socket
import ssl
from typing import Any, Final

from backfill.clock import Clock

#: Bytes of one reply as received. The largest useful reply, a list of models, has a few million.
MOST_BYTES: Final = 25_000_000
#: Bytes that are read after the deadline at most.
MOST_LATE_BYTES: Final = 1_000_000
#: A wait that took this much longer than its timeout, in seconds, shows that the machine slept.
SLEPT_S: Final = 1.0


class DeadlineSocket:
    """Wraps a connected socket, plain or TLS. All but timeout and reading is passed on to it."""

    def __init__(self, wrapped: Any, clock: Clock) -> None:
        self._wrapped = wrapped
        self._clock = clock
        self.settimeout(wrapped.gettimeout())

    def settimeout(self, seconds: float | None) -> None:
        """Start a deadline, in seconds from now. None: no deadline; not used here."""
        self._limit_s = float("inf") if seconds is None else seconds
        self._deadline = self._clock.monotonic() + self._limit_s
        self._bytes_left = MOST_BYTES
        self._wrapped.settimeout(seconds)

    def recv_into(self, buffer: Any) -> int:
        """As `socket.recv_into`. Raises `TimeoutError` when the deadline has passed and no bytes are there."""
        began = self._clock.monotonic()
        left_s = self._deadline - began
        if left_s <= 0:  # read only bytes that have come, do not wait
            left_s, self._bytes_left = 0.0, min(self._bytes_left, MOST_LATE_BYTES)
        self._wrapped.settimeout(None if left_s == float("inf") else left_s)
        try:
            size = self._read(buffer)
        except (BlockingIOError, ssl.SSLWantReadError) as error:
            raise TimeoutError("the deadline of the reply has passed") from error
        ended = self._clock.monotonic()
        if ended - began > left_s + SLEPT_S:
            self._deadline = ended + self._limit_s  # the machine slept: the rest may still be on its way
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise OSError("the reply does not end")
        return size

    def _read(self, buffer: Any) -> int:
        try:
            size: int = self._wrapped.recv_into(buffer)
        except TimeoutError:  # also raised after the process stood still, even if bytes came meanwhile
            self._wrapped.settimeout(0.0)
            size = self._wrapped.recv_into(buffer)
        return size

    def recv(self, size: int) -> bytes:
        """As `socket.recv`. TLS within TLS reads with it."""
        buffer = bytearray(size)
        return bytes(buffer[: self.recv_into(buffer)])

    def makefile(self, mode: str = "rb", *_: object, **__: object) -> io.BufferedReader:
        """What `http.client` reads a reply from."""
        return io.BufferedReader(_Reader(self, self._wrapped.makefile(mode, buffering=0)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


class _Reader(io.RawIOBase):
    """Reads within the deadline. `handle` keeps the socket open until this reader is closed."""

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
    """A subclass of urllib3's `connection_class` with such sockets, also during a proxy's or TLS handshake."""

    class _Connection(connection_class):  # type: ignore[misc]
        sock: Any

        def _new_conn(self) -> Any:
            return DeadlineSocket(super()._new_conn(), clock)

        def connect(self) -> None:
            super().connect()
            if not isinstance(self.sock, DeadlineSocket):
                self.sock = DeadlineSocket(self.sock, clock)

    return _Connection
