"""The connection to a mail server: imaplib's, with bounds on each reply.

Each reply is bounded in three ways: the longest silence, the whole time, and the octets. A literal larger than the
octets that are left is refused before it is read. So no server can hold a command for ever, nor fill the memory.
"""

from __future__ import annotations

import imaplib
import io
import re
import selectors
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from backfill.clock import SystemClock

LOGOUT_S = 2.0  # at the end of a command; a server that never answers LOGOUT must not hold it up
SAY_S = 10.0  # a wait for the server is reported after this time, then each time that it has doubled
#: Octets a second. Each 8,192 octets that come give the reply one second more.
SLOWEST = 8192
#: A server that sends no greeting in clear within this time may be waiting for TLS.
GREETING_S = 3.0

_KB, _MB = 1024, 1024 * 1024
_LINE = 1_000_000  # octets of one line of a reply; imaplib's own limit
_SHOWN = 100  # octets that are kept of the beginning of a longer line
_LITERAL = re.compile(rb" ?\{\d+\}\r\n\Z")

#: The beginning of a line of a reply: `* SEARCH`, `* 3 EXISTS`, `ABCD1 OK` (RFC 9051 §9, in any case: §2.2.2).
_STATUS = re.compile(rb"\A(\* (?:\d+ )?|[A-Z]{4}\d+ )([A-Za-z][A-Za-z-]*)([ \r\n])")


class ReplyTooLarge(imaplib.IMAP4.error):
    """A reply is larger than its bound."""


class SpeaksTls(imaplib.IMAP4.error):
    """The connection is unencrypted, and the port expects TLS from the first byte."""


@dataclass(frozen=True, slots=True)
class Patience:
    """The longest waits for a reply: `silence_s` for most, `folder_s` when the server works through a folder."""

    silence_s: float = 60.0
    folder_s: float = 300.0


class Hears(Protocol):
    """A listener for octets when they come, and for long waits for the server."""

    def read(self, size: int) -> None:
        """`size` octets have come."""
        ...

    def waiting(self, sentence: str | None) -> None:
        """The server takes long; `sentence` says with what. None: it has answered."""
        ...


@dataclass(frozen=True, slots=True)
class _Bound:
    silence_s: float
    whole_s: float  # plus one second for each `SLOWEST` octets that have come
    octets: int


#: Octets that a reply may have. A FETCH asks for up to 4 MB of bodies; headers and structures come whole.
_OCTETS = {
    "SEARCH": 8 * _MB,
    "LIST": 16 * _MB,
    "FETCH": 32 * _MB,
    "STORE": 8 * _MB,  # a server may send each mail's flags unasked
    "EXAMINE": 4 * _MB,
    "SELECT": 4 * _MB,
    "STATUS": 4 * _MB,
    "LOGOUT": 16 * _KB,
}
_OTHERWISE = 256 * _KB
#: In a large folder a server may need minutes for these.
_SLOW = frozenset({"SEARCH", "LIST", "STORE", "EXAMINE", "SELECT", "STATUS"})


def _bound(command: str, patience: Patience) -> _Bound:
    octets = _OCTETS.get(command, _OTHERWISE)
    if command == "LOGOUT":
        return _Bound(LOGOUT_S, LOGOUT_S, octets)
    longer = max(patience.silence_s, patience.folder_s)
    if command in _SLOW:
        return _Bound(longer, longer, octets)
    return _Bound(patience.silence_s, longer if command == "FETCH" else patience.silence_s, octets)


class Wire(imaplib.IMAP4):
    """imaplib's connection, with or without TLS. `is_slowed`: a reply ended in Gmail's [THROTTLED]."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, patience: Patience, hears: Hears) -> None:
        self.is_slowed = False
        self._hears = hears
        self._tls = tls
        self._patience = patience
        self._clock = SystemClock()
        self._buffered: tuple[socket.socket, io.BufferedReader] | None = None
        self._command_name = "greeting"
        self._may_ask_for_more = False
        self._is_cut = False  # a line of the reply was too long; its rest was dropped
        self._has_told = False
        self._begin("greeting")
        super().__init__(host, port, timeout=patience.silence_s)

    def open(self, host: str = "", port: int = 143, timeout: float | None = None) -> None:
        super().open(host, port, timeout)
        if self._tls is None:
            self._look_for_tls()
        self._begin("greeting")

    def _create_socket(self, timeout: float | None = None) -> socket.socket:
        line = socket.create_connection((self.host, self.port), timeout)
        if self._tls is None:
            return line
        try:
            return self._tls.wrap_socket(line, server_hostname=self.host)
        except BaseException:
            line.close()
            raise

    def send(self, data: Any) -> None:
        if data.startswith(self.tagpre):
            self._begin(_name(data))
        self._may_ask_for_more = data.endswith(b"}\r\n") or self._command_name == "AUTHENTICATE"
        self.sock.settimeout(self._bound.silence_s)
        super().send(data)

    def read(self, size: int) -> bytes:
        if size > self._bound.octets - self._came:
            raise ReplyTooLarge(f"{self._command_name}: a literal of {size} octets")
        return self._buffer().read(size) or b""

    def readline(self) -> bytes:
        line = self._buffer().readline(_LINE + 1)
        if len(line) > _LINE:
            line = self._cut(line)
        line = _STATUS.sub(_as_imaplib_reads_it, line, count=1)
        self.is_slowed = self.is_slowed or (line.endswith(b"[THROTTLED]\r\n") and b" OK " in line)
        return line

    def _cut(self, line: bytes) -> bytes:
        """The beginning of a line that is too long. The rest is read and dropped, but not the size of a literal."""
        self._is_cut = True
        start, end = line[:_SHOWN], line[-_SHOWN:]
        while not end.endswith(b"\n"):
            if not (more := self._buffer().readline(_LINE)):
                return b""  # the server hung up
            end = (end + more)[-_SHOWN:]
        literal = _LITERAL.search(end)
        return start + (literal[0] if literal else b"\r\n")

    def _command_complete(self, name: str, tag: bytes) -> Any:
        """Raises `ReplyTooLarge` after the whole reply if a line of it was cut. Then `is_idle` is True."""
        said = super()._command_complete(name, tag)  # type: ignore[misc]  # missing in typeshed
        if self._is_cut:
            raise ReplyTooLarge(f"{self._command_name}: a line of more than {_LINE} octets")
        return said

    @property
    def is_idle(self) -> bool:
        """Was the reply to each command read to its end? If not, its rest would be taken for the next reply."""
        return not self.tagged_commands

    def forget(self) -> None:
        """Drop what came of the last reply."""
        self.untagged_responses = {}

    def shutdown(self) -> None:
        if self._has_told:
            self._has_told = False
            self._hears.waiting(None)
        super().shutdown()

    def _get_response(self) -> Any:
        """None for `+`, the server's request for more. Raises if no more is to be sent: imaplib would wait for ever."""
        said = super()._get_response()  # type: ignore[misc]  # missing in typeshed
        if said is None and not self._may_ask_for_more:
            raise self.error(f"{self._command_name}: the server waits for more of the command")
        return said

    def log_in(self, user: str, secret: str) -> None:
        """LOGIN with any user name and password: as quoted strings, or as literals if needed (RFC 9051 §4.3)."""
        tag = self._new_tag()
        line = tag + b" LOGIN"
        for word in (user.encode(), secret.encode()):
            if word.isascii() and not any(octet < 32 for octet in word):
                line += b' "' + word.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
                continue
            self.send(line + b" {%d}\r\n" % len(word))
            while self._get_response():
                if self.tagged_commands[tag]:
                    self._finish_login(tag)
                    return
            line = word
        self.send(line + b"\r\n")
        self._finish_login(tag)

    def _finish_login(self, tag: bytes) -> None:
        kind, data = self._command_complete("LOGIN", tag)
        if kind != "OK":
            raise self.error(data[-1].decode("utf-8", "replace"))
        self.state = "AUTH"

    def _begin(self, command: str) -> None:
        """Set the bounds for the reply to `command`."""
        self._command_name = command
        self._bound = _bound(command, self._patience)
        self._came = 0
        self._is_cut = False
        self._began = self._heard = self._clock.monotonic()

    def _buffer(self) -> io.BufferedReader:
        """The buffer of the present socket. STARTTLS replaces the socket; octets buffered before it are dropped."""
        if self._buffered is None or self._buffered[0] is not self.sock:
            self._buffered = (self.sock, io.BufferedReader(_Octets(self), 65_536))
        return self._buffered[1]

    def receive(self, buffer: Any) -> int:
        """Read octets of the reply into `buffer`; returns how many. Raises `TimeoutError` or `ReplyTooLarge`."""
        say_after = SAY_S
        while True:
            now = self._clock.monotonic()
            left = min(
                self._heard + self._bound.silence_s - now,
                self._began + self._bound.whole_s + self._came / SLOWEST - now,
            )
            # Octets that have come are read even after the time is over: the machine may have slept.
            until_said = max(0.0, self._heard + say_after - now)
            self.sock.settimeout(max(0.001, min(left, until_said)))
            try:
                size = self.sock.recv_into(buffer)
                break
            except TimeoutError:
                if left <= until_said:
                    raise
                waited = self._clock.monotonic() - self._began
                self._has_told = True
                self._hears.waiting(
                    f"Waiting for the mail server: no answer to {self._command_name} for {waited:.0f} s."
                )
                say_after *= 2
        if self._has_told:
            self._has_told = False
            self._hears.waiting(None)
        self._heard = self._clock.monotonic()
        self._came += size
        self._hears.read(size)
        if self._came > self._bound.octets:
            raise ReplyTooLarge(f"{self._command_name}: more than {self._bound.octets} octets")
        return size

    def _look_for_tls(self) -> None:
        """Raises `SpeaksTls` when no greeting comes and the port accepts a TLS handshake."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.sock, selectors.EVENT_READ)
            if selector.select(min(GREETING_S, self._patience.silence_s / 3)):
                return
        if _wants_tls(self.host, self.port, min(GREETING_S, self._patience.silence_s / 3)):
            self.shutdown()
            raise SpeaksTls(f"port {self.port}")


class _Octets(io.RawIOBase):
    """The octets of a `Wire` as a file."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.receive(buffer)


def _as_imaplib_reads_it(status: re.Match[bytes]) -> bytes:
    """imaplib knows words in capitals only, and wants text behind OK, NO and BAD. Servers leave both out."""
    text = b" " if status[3] in b"\r\n" and not status[1].startswith(b"*") else b""
    return status[1] + status[2].upper() + text + status[3]


def _name(line: bytes) -> str:
    """The command in a line that begins with a tag. For UID FETCH it is FETCH."""
    words = line[:200].split()[1:3]
    if not words:
        return ""
    word = words[1] if len(words) > 1 and words[0].upper() == b"UID" else words[0]
    return word.decode("ascii", "replace").upper()


def _wants_tls(host: str, port: int, seconds: float) -> bool:
    """Does the port accept a TLS handshake? A certificate that is not trusted counts, too: no data is sent."""
    context = ssl.create_default_context()
    with suppress(OSError, ValueError):
        try:
            with (
                socket.create_connection((host, port), seconds) as line,
                context.wrap_socket(line, server_hostname=host),
            ):
                return True
        except ssl.SSLCertVerificationError:
            return True
    return False
