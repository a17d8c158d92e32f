"""An IMAP server that says what a test tells it to: throttling, half a literal, a missing body, a changed folder.

It answers the commonest commands by itself, for an INBOX of the given mails, and asks the script first: a function
from the command line (without its tag) to the lines to be said, or None for the usual answer. `{tag}` in a line
stands for the command's tag. `BYE` hangs up, `STALL` says nothing more; `DRIP` says an octet now and then, `FLOOD` the
line before it without end. Literals in commands are asked for. Flags and Gmail's labels are kept.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from types import TracebackType
from typing import IO, Self

BYE, STALL, DRIP, FLOOD = b"\0bye", b"\0stall", b"\0drip", b"\0flood"

Script = Callable[[str], list[bytes] | None]

_USUAL = (
    ("LOGIN ", [b"{tag} OK logged in"]),
    ("AUTHENTICATE ", [b"{tag} OK logged in"]),
    ("LOGOUT", [b"* BYE", b"{tag} OK done", BYE]),
    ("NOOP", [b"{tag} OK done"]),
)


class ScriptedImap:
    """A context manager. `commands` holds every line received, of all connections, in order."""

    host = "127.0.0.1"

    def __init__(
        self,
        mails: Mapping[int, bytes] | None = None,
        script: Script = lambda command: None,
        *,
        uidvalidity: int = 7,
        permanent_flags: str | None = r"(\Seen \*)",
        greeting: bytes | Callable[[int], list[bytes]] = b"* OK ready",
        capabilities: str = "",
        marks_read: bool = False,
    ) -> None:
        """`marks_read`: bodies that are peeked at set \\Seen, as iCloud was seen to do.

        `greeting`: a line, or a function from the number of the connection (the first is 1) to lines.
        """
        self.mails = dict(mails or {})
        self.script = script
        self.uidvalidity = uidvalidity
        self.permanent_flags = permanent_flags
        self.greeting = greeting
        self.capabilities = capabilities
        self.marks_read = marks_read
        self.flags: dict[int, set[str]] = {uid: set() for uid in self.mails}
        self.labels: dict[int, set[str]] = {uid: set() for uid in self.mails}
        self.commands: list[str] = []
        self.connections = 0
        self._lines: list[socket.socket] = []
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(5)

    def hang_up(self) -> None:
        """End all connections, as servers do with idle ones."""
        for line in self._lines:
            try:
                line.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def said(self, start: str) -> list[str]:
        """The commands received that begin like that."""
        return [command for command in self.commands if command.startswith(start)]

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._lines.append(line)
            thread = threading.Thread(target=self._serve, args=(line,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, line: socket.socket) -> None:
        with suppress(OSError), line, line.makefile("rwb") as wire:  # the client was quicker, or a test hung up
            greeting = self.greeting(self.connections) if callable(self.greeting) else [self.greeting]
            if not self._say(wire, greeting, "*"):
                return
            while command := wire.readline():
                while literal := re.search(rb"\{(\d+)\}\r\n$", command):
                    self._say(wire, [b"+ go on"], "*")
                    command = command[:-2] + wire.read(int(literal[1])) + wire.readline()
                tag, _, rest = command.decode("utf-8", "replace").strip().partition(" ")
                self.commands.append(rest)
                if rest.startswith("AUTHENTICATE"):
                    self._say(wire, [b"+ "], tag)
                    self.commands.append(wire.readline().decode("ascii").strip())
                if not self._say(wire, self.script(rest) or self._usual(rest), tag):
                    return

    def _say(self, wire: IO[bytes], lines: list[bytes], tag: str) -> bool:
        for said in lines:
            if said == BYE:
                return False
            if said == STALL:
                wire.flush()
                wire.read()
                return False
            while said in (DRIP, FLOOD):  # until the client has had enough of it
                wire.write(b"x" if said == DRIP else lines[-2] * 100)
                wire.flush()
                if said == DRIP and self._is_over.wait(0.05):
                    return False
            wire.write(said.replace(b"{tag}", tag.encode()) + b"\r\n")
        wire.flush()
        return True

    def _usual(self, command: str) -> list[bytes]:
        for start, answer in _USUAL:
            if command.startswith(start):
                return answer
        if command == "CAPABILITY":
            offered = f"* CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 {self.capabilities}".rstrip()
            return [offered.encode(), b"{tag} OK done"]
        if command.startswith(("EXAMINE", "SELECT")):
            return self._opened()
        if command.startswith("UID SEARCH"):
            found = " ".join(str(uid) for uid in self.mails if _names(command, uid) and self._bears(command, uid))
            return [f"* SEARCH {found}".rstrip().encode(), b"{tag} OK done"]
        if command.startswith("UID STORE"):
            return self._stored(command)
        if command.startswith("FETCH "):
            return [*self._at_positions(command), b"{tag} OK done"]
        if command.startswith("UID FETCH"):
            answers = [self.fetched(command, uid) for uid in self.mails if _names(command, uid)]
            return [*answers, b"{tag} OK done"]
        return [b"{tag} BAD unknown command"]

    def _at_positions(self, command: str) -> list[bytes]:
        uids = sorted(self.mails)
        wanted = [len(uids) if piece == "*" else int(piece) for piece in command.split()[1].split(",")]
        return [b"* %d FETCH (UID %d)" % (at, uids[at - 1]) for at in wanted if 0 < at <= len(uids)]

    def _bears(self, command: str, uid: int) -> bool:
        """Does the mail answer to the flag or label of a SEARCH? Other search keys are taken for true."""
        if command.endswith(" SEEN"):
            return "\\Seen" in self.flags[uid]
        if found := re.search(r"(UN|NOT )?(?:KEYWORD|X-GM-LABELS) (\S+)$", command):
            borne = self.labels if "X-GM-LABELS" in command else self.flags
            return (found[2] in borne[uid]) is not bool(found[1])
        return True

    def _stored(self, command: str) -> list[bytes]:
        found = re.search(r"([+-])(FLAGS|X-GM-LABELS)\.SILENT \((.*)\)", command)
        assert found, command
        borne = self.flags if found[2] == "FLAGS" else self.labels
        words = set(found[3].replace('"', "").split())
        for uid in self.mails:
            if _names(command, uid):
                borne[uid] = borne[uid] | words if found[1] == "+" else borne[uid] - words
        return [b"{tag} OK done"]

    def _opened(self) -> list[bytes]:
        kept = [f"* OK [PERMANENTFLAGS {self.permanent_flags}] kept".encode()] if self.permanent_flags else []
        return [
            b"* FLAGS (\\Seen)",
            *kept,
            f"* {len(self.mails)} EXISTS".encode(),
            b"* 0 RECENT",
            f"* OK [UIDVALIDITY {self.uidvalidity}] valid".encode(),
            f"* OK [UIDNEXT {max(self.mails, default=0) + 1}] next".encode(),
            b"{tag} OK done",
        ]

    def fetched(self, command: str, uid: int) -> bytes:
        """The usual FETCH answer: every mail is one text part."""
        raw = self.mails[uid]
        block, _, body = raw.partition(b"\r\n\r\n")
        sequence = sorted(self.mails).index(uid) + 1
        items = [b"UID %d" % uid]
        if "RFC822.SIZE" in command:
            items.append(b"RFC822.SIZE %d" % len(raw))
        if "INTERNALDATE" in command:
            items.append(b'INTERNALDATE "02-Jan-2024 10:00:00 +0000"')
        if "FLAGS" in command:
            items.append(f"FLAGS ({' '.join(sorted(self.flags[uid]))})".encode())
        if "X-GM-LABELS" in command:
            items.append(f"X-GM-LABELS ({' '.join(sorted(self.labels[uid]))})".encode())
        if "BODYSTRUCTURE" in command:
            items.append(
                b'BODYSTRUCTURE ("TEXT" "PLAIN" ("CHARSET" "utf-8") NIL NIL "8BIT" %d %d NIL NIL NIL NIL)'
                % (len(body), body.count(b"\n"))
            )
        if fields := re.search(r"BODY\.PEEK\[HEADER\.FIELDS \(.*?\)\]", command):
            name = fields[0].replace(".PEEK", "").encode()
            items.append(b"%s {%d}\r\n%s" % (name, len(block) + 4, block + b"\r\n\r\n"))
        if "BODY.PEEK[1]" in command:
            items.append(b"BODY[1]<0> {%d}\r\n%s" % (len(body), body))
        if "BODY.PEEK[]" in command:
            items.append(b"BODY[]<0> {%d}\r\n%s" % (len(raw), raw))
        if self.marks_read and re.search(r"BODY\.PEEK\[\d*\]", command):
            self.flags[uid].add("\\Seen")
        return b"* %d FETCH (%s)" % (sequence, b" ".join(items))


def _names(command: str, uid: int) -> bool:
    """Is the mail in the UID set of the command? Other search keys are taken for true."""
    named = _uid_set(command)
    return named is None or uid in named[0] or any(first <= uid <= last for first, last in named[1])


@lru_cache(16)
def _uid_set(command: str) -> tuple[frozenset[int], tuple[tuple[int, int], ...]] | None:
    found = re.search(r"UID (?:FETCH|STORE|SEARCH UID|SEARCH) ?([\d:,*]+)", command)
    if not found:
        return None
    pieces = [piece.partition(":") for piece in found[1].split(",") if piece != "*"]
    singles = frozenset(int(first) for first, colon, _ in pieces if not colon)
    return singles, tuple((int(first), int(last)) for first, colon, last in pieces if colon)
