"""What passes between this program and a mail server: imapclient's connection, with a bound on each reply.

A server that falls silent, drips, or floods cannot hold a command for ever, nor fill the memory: every reply is bounded
in its silence, its time and its octets, and a literal that is larger than what is left is refused before it is read.
"""

from __future__ import annotations

import imaplib
import io
import selectors
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from imapclient import IMAPClient, SocketTimeout

from backfill.clock import SystemClock

LOGOUT_S = 2.0  # a server that never answers LOGOUT must not hold up a command whose work is done
SAY_S = 10.0  # a wait for the server that has lasted this long is said, and again after twice as long
#: Octets a second; a reply may take longer the more of it has come. Slower lines are given up.
SLOWEST = 8192
#: A server in clear that has not greeted within this time may be one that waits for TLS to begin.
GREETING_S = 3.0

_KB, _MB = 1024, 1024 * 1024
_LINE = 1_000_000  # octets of a line of a reply, as in imaplib

#: A piece of a reply as imaplib hands it on: a line, or a line that ends with {size}, and the literal.
Record = bytes | tuple[bytes, bytes] | None


class ReplyTooLarge(imaplib.IMAP4.error):
    """A reply is larger than anything that was asked for."""


class SpeaksTls(imaplib.IMAP4.error):
    """A port that was spoken to in clear expects TLS from its first byte."""


class StoreRefused(imaplib.IMAP4.error):
    """A STORE was answered with NO or BAD; the argument is what the server said."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is waited for: `silence_s` for most replies, `folder_s` where it works through a folder."""

    silence_s: float = 60.0
    folder_s: float = 300.0


class Hears(Protocol):
    """Is told of what comes, as it comes, and of what is waited for."""

    def read(self, size: int) -> None:
        """So many octets have come."""
        ...

    def waiting(self, sentence: str | None) -> None:
        """What is waited for when the server takes long; None when it has answered."""
        ...


@dataclass(frozen=True, slots=True)
class _Bound:
    silence_s: float
    whole_s: float  # and a second more for each `SLOWEST` octets that have come
    octets: int


#: Octets that a reply may have. FETCH: 4 MB of bodies are asked for at once, and headers and structures come whole.
_OCTETS = {
    "SEARCH": 8 * _MB,
    "LIST": 16 * _MB,
    "FETCH": 32 * _MB,
    "STORE": 8 * _MB,  # each mail's flags may come back, although they were not asked for
    "EXAMINE": 4 * _MB,
    "SELECT": 4 * _MB,
    "STATUS": 4 * _MB,
    "LOGOUT": 16 * _KB,
}
_OTHERWISE = 256 * _KB
#: These may keep a server busy for minutes where a folder is large.
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
    """imaplib's connection, in clear or in TLS. `is_slowed`: a reply ended in Gmail's [THROTTLED]."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, patience: Patience, hears: Hears) -> None:
        self.is_slowed = False
        self._hears = hears
        self._tls = tls
        self._patience = patience
        self._clock = SystemClock()
        self._buffered: tuple[socket.socket, io.BufferedReader] | None = None
        self._command_name = "greeting"
        self._may_ask_for_more = False
        self._has_told = False
        self._begin("greeting")
        super().__init__(host, port, timeout=patience.silence_s)

    # ── what imaplib calls ───────────────────────────────────────────────────────────────────────────────

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
            raise ReplyTooLarge(f"{self._command_name}: a line of more than {_LINE} octets")
        self.is_slowed = self.is_slowed or (line.endswith(b"[THROTTLED]\r\n") and b" OK " in line)
        return line

    def shutdown(self) -> None:
        if self._has_told:
            self._has_told = False
            self._hears.waiting(None)
        super().shutdown()

    def _get_response(self) -> Any:
        """None for a request to go on, which imaplib would wait for again where no more is to be said."""
        said = super()._get_response()  # type: ignore[misc]  # typeshed leaves it out
        if said is None and not self._may_ask_for_more:
            raise self.error(f"{self._command_name}: the server waits for more of the command")
        return said

    # ── LOGIN ────────────────────────────────────────────────────────────────────────────────────────────

    def log_in(self, user: str, secret: str) -> None:
        """LOGIN with any user name and password: quoted, or as literals (RFC 9051 §4.3) where that cannot be."""
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

    # ── reading within bounds ────────────────────────────────────────────────────────────────────────────

    def _begin(self, command: str) -> None:
        """From now on the reply to `command` is read."""
        self._command_name = command
        self._bound = _bound(command, self._patience)
        self._came = 0
        self._began = self._heard = self._clock.monotonic()

    def _buffer(self) -> io.BufferedReader:
        """Of the socket as it is: STARTTLS puts another one in its place, and what came before that is not believed."""
        if self._buffered is None or self._buffered[0] is not self.sock:
            self._buffered = (self.sock, io.BufferedReader(_Octets(self), 65_536))
        return self._buffered[1]

    def receive(self, buffer: Any) -> int:
        """Some octets of the reply. Raises `TimeoutError` and `ReplyTooLarge` when a bound is passed."""
        say_after = SAY_S
        while True:
            now = self._clock.monotonic()
            left = min(
                self._heard + self._bound.silence_s - now,
                self._began + self._bound.whole_s + self._came / SLOWEST - now,
            )
            # What has come is read before the time is judged: the machine may have slept.
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
        """Raises `SpeaksTls` where no greeting comes and the port turns out to want TLS."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.sock, selectors.EVENT_READ)
            if selector.select(min(GREETING_S, self._patience.silence_s / 3)):
                return
        if _wants_tls(self.host, self.port, min(GREETING_S, self._patience.silence_s / 3)):
            self.shutdown()
            raise SpeaksTls(f"port {self.port}")


class _Octets(io.RawIOBase):
    """A wire as a file."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.receive(buffer)


class Client(IMAPClient):  # type: ignore[misc]  # it has no types
    """imapclient on a `Wire`."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, patience: Patience, hears: Hears) -> None:
        self._patience = patience
        self._hears = hears
        timeout = SocketTimeout(patience.silence_s, patience.silence_s)
        super().__init__(host, port, ssl=tls is not None, ssl_context=tls, timeout=timeout)
        self.wire.debug = 0  # imapclient sets 5, for which imaplib makes a repr of every literal
        self.normalise_times = False  # aware, as the server writes them, not this machine's local time

    @property
    def wire(self) -> Wire:
        """The connection below."""
        wire: Wire = self._imap
        return wire

    def _create_IMAP4(self) -> Wire:
        return Wire(self.host, self.port, self.ssl_context if self.ssl else None, self._patience, self._hears)

    def records(self, uids: Sequence[int], items: Sequence[str]) -> list[Record]:
        """UID FETCH; its reply as it came."""
        named = ",".join(map(str, uids))
        tag = self.wire._command("UID", "FETCH", named, f"({' '.join(items)})")
        kind, data = self.wire._command_complete("FETCH", tag)
        self._checkok("fetch", kind, data)
        return list(self.wire._untagged_response(kind, data, "FETCH")[1])

    def store(self, uid_set: str, change: str, words: Sequence[str]) -> None:
        """UID STORE, e.g. of `+FLAGS`, without an answer for each mail. Raises `StoreRefused`."""
        try:
            kind, data = self.wire.uid("STORE", uid_set, f"{change}.SILENT", f"({' '.join(words)})")
        except (self.wire.abort, ReplyTooLarge):
            raise
        except self.wire.error as error:  # BAD
            raise StoreRefused(str(error)) from error
        if kind != "OK":
            raise StoreRefused(b" ".join(each for each in data if isinstance(each, bytes)).decode("utf-8", "replace"))

    def listed(self) -> list[Record]:
        """LIST of everything; its reply as it came."""
        kind, data = self.wire._simple_command("LIST", '""', '"*"')
        self._checkok("list", kind, data)
        return list(self.wire._untagged_response(kind, data, "LIST")[1])

    def opened(self, name: bytes, *, readonly: bool) -> Mapping[str, Sequence[Any]]:
        """EXAMINE or SELECT of a folder by its name on the wire; the untagged responses by their name."""
        quoted = b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
        kind, data = self.wire.select(quoted, readonly)  # type: ignore[arg-type]  # bytes go out as they are
        self._checkok("select", kind, data)
        return dict(self.wire.untagged_responses)


def _name(line: bytes) -> str:
    """The command of a line that begins with a tag: FETCH, also of UID FETCH."""
    words = line[:200].split()[1:3]
    if not words:
        return ""
    word = words[1] if len(words) > 1 and words[0].upper() == b"UID" else words[0]
    return word.decode("ascii", "replace").upper()


def _wants_tls(host: str, port: int, seconds: float) -> bool:
    """Does a second connection get a TLS handshake? Nothing is sent over it, so nobody need vouch for the server."""
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
