"""A real Courier-IMAP, unpacked from the system's packages and not installed: it conflicts with Dovecot.

Courier tells no UIDNEXT and answers nothing to `UID SEARCH UID *`. Its login daemon wants an installed system, so the
login is answered here, and the connection is handed to Courier's `imapd`, as that daemon does.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from imapclient import IMAPClient

#: Where `make neighbours` unpacks the packages.
UNPACKED = Path(__file__).parents[2] / ".courier"
NOBODY = 65_534  # imapd does nothing for root


class CourierServer:
    """A context manager with `host`, `port` and `user`. Accepts every password; keeps mail in its own Maildir."""

    host = "127.0.0.1"
    user = "courier@example.org"

    @staticmethod
    def is_available() -> bool:
        return (UNPACKED / "usr/bin/imapd").exists()

    def __enter__(self) -> Self:
        self._base = Path(tempfile.mkdtemp(prefix="courier-", dir="/tmp"))
        self._base.chmod(0o755)
        shutil.copytree(UNPACKED, self._base / "root", symlinks=True)
        for name in ("cur", "new", "tmp"):
            (self._base / "Maildir" / name).mkdir(parents=True)
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._sessions: list[subprocess.Popen[bytes]] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for session in self._sessions:
            session.kill()
            session.wait()
        shutil.rmtree(self._base, ignore_errors=True)

    def holds(self, mails: Iterable[bytes]) -> None:
        """Put mails into the INBOX, before the first login."""
        for number, mail in enumerate(mails, 1):
            (self._base / f"Maildir/cur/17000000{number:05}.M1P1.localhost:2,").write_bytes(
                mail.replace(b"\r\n", b"\n")  # a Maildir is kept with bare line feeds
            )
        if os.geteuid() == 0:
            for path in (self._base, self._base / "Maildir", *(self._base / "Maildir").rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        with IMAPClient(self.host, self.port, ssl=False) as owner:  # EXAMINE alone gives a new UIDVALIDITY each time
            owner.login(self.user, "any")
            owner.select_folder("INBOX")

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with suppress(OSError), line:
            line.sendall(b"* OK ready\r\n")
            while said := _line(line):
                tag, _, command = said.decode("ascii", "replace").partition(" ")
                if command.upper().startswith("CAPABILITY"):
                    line.sendall(f"* CAPABILITY IMAP4rev1 UIDPLUS\r\n{tag} OK done\r\n".encode())
                elif command.upper().startswith("LOGIN"):
                    session = self._session(line, tag)
                    self._sessions.append(session)
                    session.wait()
                    return
                else:
                    line.sendall(f"{tag} BAD log in first\r\n".encode())

    def _session(self, line: socket.socket, tag: str) -> subprocess.Popen[bytes]:
        root = self._base / "root"
        libraries = sorted({str(path.parent) for path in root.rglob("*.so*")})
        environment = {
            "LD_LIBRARY_PATH": ":".join(libraries),
            "IMAPLOGINTAG": tag,
            "AUTHENTICATED": self.user,
            "IMAP_CAPABILITY": "IMAP4rev1 UIDPLUS",
            "PROTOCOL": "IMAP",
            "TCPREMOTEIP": self.host,
            "TCPREMOTEPORT": "1",
        }
        return subprocess.Popen(
            [str(root / "usr/bin/imapd"), "Maildir"],
            cwd=self._base,
            env=environment,
            stdin=line,
            stdout=line,
            stderr=subprocess.DEVNULL,
            user=NOBODY if os.geteuid() == 0 else None,
            group=NOBODY if os.geteuid() == 0 else None,
        )


def _line(line: socket.socket) -> bytes:
    """Read one line and not an octet more: the rest is for imapd."""
    said = b""
    while not said.endswith(b"\n"):
        octet = line.recv(1)
        if not octet:
            return b""
        said += octet
    return said.strip()
