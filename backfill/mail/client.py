"""imapclient on a bounded connection, with the commands whose replies are read here and not by imapclient."""

from __future__ import annotations

import imaplib
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from imapclient import IMAPClient, SocketTimeout

from backfill.mail.wire import Hears, Patience, ReplyTooLarge, Wire

#: A piece of a reply from imaplib: a line, or a line that ends with {size} together with its literal.
Record = bytes | tuple[bytes, bytes] | None


class StoreRefused(imaplib.IMAP4.error):
    """The server answered a STORE with NO or BAD; the argument is the server's text."""


class Client(IMAPClient):  # type: ignore[misc]  # it has no types
    """imapclient on a `Wire`."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, patience: Patience, hears: Hears) -> None:
        self._patience = patience
        self._hears = hears
        timeout = SocketTimeout(patience.silence_s, patience.silence_s)
        super().__init__(host, port, ssl=tls is not None, ssl_context=tls, timeout=timeout)
        self.wire.debug = 0  # imapclient sets 5, and then imaplib makes a repr of every literal
        self.normalise_times = False  # times keep the server's offset; True gives naive local times

    @property
    def wire(self) -> Wire:
        """The connection that imapclient uses."""
        wire: Wire = self._imap
        return wire

    def _create_IMAP4(self) -> Wire:
        return Wire(self.host, self.port, self.ssl_context if self.ssl else None, self._patience, self._hears)

    def records(self, uids: Sequence[int], items: Sequence[str]) -> list[Record]:
        """UID FETCH; the reply unparsed."""
        named = ",".join(map(str, uids))
        tag = self.wire._command("UID", "FETCH", named, f"({' '.join(items)})")
        kind, data = self.wire._command_complete("FETCH", tag)
        self._checkok("fetch", kind, data)
        return list(self.wire._untagged_response(kind, data, "FETCH")[1])

    def store(self, uid_set: str, change: str, words: Sequence[str]) -> None:
        """UID STORE with `.SILENT`. `change`: such as `+FLAGS`. Raises `StoreRefused`."""
        try:
            kind, data = self.wire.uid("STORE", uid_set, f"{change}.SILENT", f"({' '.join(words)})")
        except (self.wire.abort, ReplyTooLarge):
            raise
        except self.wire.error as error:  # BAD
            raise StoreRefused(str(error)) from error
        if kind != "OK":
            raise StoreRefused(b" ".join(each for each in data if isinstance(each, bytes)).decode("utf-8", "replace"))

    def listed(self) -> list[Record]:
        """LIST of all folders; the reply unparsed."""
        kind, data = self.wire._simple_command("LIST", '""', '"*"')
        self._checkok("list", kind, data)
        return list(self.wire._untagged_response(kind, data, "LIST")[1])

    def opened(self, name: bytes, *, readonly: bool) -> Mapping[str, Sequence[Any]]:
        """EXAMINE or SELECT a folder by its name on the wire; returns the untagged responses by name."""
        quoted = b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
        kind, data = self.wire.select(quoted, readonly)  # type: ignore[arg-type]  # bytes are sent unchanged
        self._checkok("select", kind, data)
        return dict(self.wire.untagged_responses)
