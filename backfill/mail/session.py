"""One connection to one account: opened when needed, renewed when found dead, dropped after any error in mid-command.

Whoever asks names the mailbox; the session sees to it that this very epoch is open. Leftovers of a broken reply
would corrupt the next command, so no connection outlives an error. Used by one thread: imapclient is not safe
for two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, IMAPClientReadOnlyError
from loguru import logger

from backfill.errors import FolderUnknown, MailboxChanged, MailError, MailThrottled, ServerUnavailable
from backfill.mail.errors import (
    FOREIGN,
    ConnectionLost,
    FolderReadOnly,
    is_transient,
    one_line,
    throttling,
    translated,
)
from backfill.mail.login import ImapAccount, connect, hang_up
from backfill.message import MailboxKey

SLOWED_S = 60.0  # how long an account is left alone that the server slows down

T = TypeVar("T")
Opened = dict[bytes, Any]  # what EXAMINE or SELECT answered
Row = dict[bytes, Any]  # what FETCH answered for one mail


class Watch(Protocol):
    """Is told what a server gives and asks, so that a limit can be kept. Called by several threads."""

    def read(self, size: int) -> None:
        """So many bytes have come from the server."""
        ...

    def throttled(self, wait_s: float, reason: str) -> None:
        """The server asks to be left alone for so long."""
        ...


class Unwatched:
    """A watch that does not look."""

    def read(self, size: int) -> None:
        return

    def throttled(self, wait_s: float, reason: str) -> None:
        return


class Session:
    """Commands on a connection of its own. `readonly` decides between EXAMINE and SELECT for all its life."""

    def __init__(self, account: ImapAccount, *, readonly: bool, watch: Watch | None = None) -> None:
        self.account = account
        self._readonly = readonly
        self._watch: Watch = watch or Unwatched()
        self._uncounted = 0
        self._is_slowed = False
        self._client: IMAPClient | None = None
        self._open: tuple[MailboxKey, Opened] | None = None

    def ask(self, work: Callable[[IMAPClient], T], mailbox: MailboxKey | None = None) -> T:
        """What `work` answers, with `mailbox` open. `work` must bear being run twice.

        A connection that turns out dead is renewed once, silently: sessions end after an hour or a day, and idle
        ones sooner. Raises `CommandFailed`, `ServerUnavailable`, `MailboxChanged`, `FolderUnknown`,
        `FolderReadOnly`, and what `connect` raises.
        """
        is_new = self._client is None
        try:
            return self._attempt(work, mailbox)
        except ConnectionLost as lost:
            if is_new or lost.is_silence:
                raise
            logger.debug("Reconnecting: {}", lost)
        return self._attempt(work, mailbox)

    def has(self, capability: str) -> bool:
        """Does the server offer that, as it says after the login?"""
        return self.ask(lambda client: bool(client.has_capability(capability)))

    def open(self, folder: str) -> Opened:
        """EXAMINE or SELECT a folder, whatever its epoch."""
        self._open = None
        return self.ask(lambda client: self._select(client, folder))

    def opened(self, mailbox: MailboxKey) -> Opened:
        """What the server said when it opened this epoch of the folder, which it does now where it has not."""

        def answer(_client: IMAPClient) -> Opened:
            assert self._open is not None
            return self._open[1]

        return self.ask(answer, mailbox)

    def search(self, mailbox: MailboxKey, criteria: str) -> set[int]:
        """The UIDs that UID SEARCH finds. The caller bounds them: replies above 1,000,000 bytes break imaplib."""
        return self.ask(lambda client: set(client.search(criteria)), mailbox)

    def fetch(self, mailbox: MailboxKey, uids: Sequence[int], items: Sequence[str]) -> dict[int, Row]:
        """What UID FETCH gives; a mail may be missing, an item too. The caller bounds the bytes."""
        return self.ask(lambda client: client.fetch(uids, items), mailbox)

    def renew(self) -> None:
        """Let the next command log in anew, so that it sees the folder as it is now."""
        self._drop(politely=True)

    def close(self) -> None:
        """Log out. The session can be used again afterwards."""
        self._drop(politely=True)

    def _attempt(self, work: Callable[[IMAPClient], T], mailbox: MailboxKey | None) -> T:
        try:
            if self._client is None:
                self._client = self._counted(connect(self.account))
            if mailbox is not None and (self._open is None or self._open[0] != mailbox):
                self._enter(self._client, mailbox)
            answer = work(self._client)
            if self._is_slowed:
                self._watch.throttled(SLOWED_S, "The mail server says that it slows down ([THROTTLED])")
            return answer
        except FOREIGN as error:
            self._drop(politely=False)
            ours = translated(error, self.account.server, self.account.port)
            if isinstance(ours, MailThrottled):
                self._watch.throttled(ours.wait_s or 0.0, str(ours))
            raise ours from error
        except MailError as error:
            self._drop(politely=True)
            if isinstance(error, MailThrottled):
                self._watch.throttled(error.wait_s or 0.0, str(error))
            raise
        finally:
            self._watch.read(self._uncounted)
            self._uncounted, self._is_slowed = 0, False

    def _counted(self, client: IMAPClient) -> IMAPClient:
        """Everything that imaplib reads passes these two methods; imapclient drops the text of an OK."""
        read, readline = client._imap.read, client._imap.readline

        def counted(data: bytes) -> bytes:
            self._uncounted += len(data)
            return data

        def heard(line: bytes) -> bytes:
            self._is_slowed = self._is_slowed or (line.endswith(b"[THROTTLED]\r\n") and b" OK " in line)  # Gmail
            return line

        client._imap.read = lambda size: counted(read(size))
        client._imap.readline = lambda: heard(counted(readline()))
        return client

    def _enter(self, client: IMAPClient, mailbox: MailboxKey) -> None:
        self._open = None
        answer = self._select(client, mailbox.folder)
        if answer.get(b"UIDVALIDITY") != mailbox.uidvalidity:
            raise MailboxChanged(
                f"The folder {mailbox.folder!r} has another UIDVALIDITY ({answer.get(b'UIDVALIDITY')}, "
                f"it was {mailbox.uidvalidity}): its UIDs name other mails now. It is planned anew."
            )
        self._open = (mailbox, answer)

    def _select(self, client: IMAPClient, folder: str) -> Opened:
        try:
            answer: Opened = client.select_folder(folder, readonly=self._readonly)
        except IMAPClientReadOnlyError as error:
            raise FolderReadOnly from error
        except IMAPClientAbortError:
            raise
        except IMAPClientError as error:
            text = one_line(str(error))
            if patience := throttling(text):
                raise patience from error
            if is_transient(text):
                raise ServerUnavailable(f"The mail server cannot open {folder!r} now: {text}") from error
            raise FolderUnknown(
                f"The mail server does not open the folder {folder!r} ({text}); `backfill folders` lists those it has."
            ) from error
        return answer

    def _drop(self, *, politely: bool) -> None:
        client, self._client, self._open = self._client, None, None
        if client is not None:
            hang_up(client, politely=politely)
