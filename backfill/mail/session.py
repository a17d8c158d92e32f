"""One connection to one account: opened when needed, renewed when found dead, dropped after any error in mid-command.

Whoever asks names the mailbox; the session sees to it that this very epoch is open. Leftovers of a broken reply
would corrupt the next command, so no connection outlives an error. Used by one thread: imapclient is not safe
for two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, IMAPClientReadOnlyError, ProtocolError
from loguru import logger

from backfill.errors import (
    CredentialsRefused,
    FolderUnknown,
    FolderUnusable,
    MailboxChanged,
    MailError,
    MailThrottled,
    ServerTroubled,
)
from backfill.mail import folder_names, replies
from backfill.mail.errors import FOREIGN, UNREADABLE, CommandFailed, ConnectionLost, FolderReadOnly, translated, words
from backfill.mail.folder_names import Listed
from backfill.mail.login import ImapAccount, connect, hang_up
from backfill.mail.refusals import is_transient, throttling
from backfill.mail.replies import Row
from backfill.mail.search import HIGHEST_UID, listed, search
from backfill.mail.wire import Client, Hears
from backfill.message import MailboxKey

SLOWED_S = 60.0  # how long an account is left alone that the server slows down

T = TypeVar("T")
Opened = dict[bytes, Any]  # what EXAMINE or SELECT answered
_KEPT = re.compile(rb"\[PERMANENTFLAGS \((.*)\)\]", re.I)


class Watch(Hears, Protocol):
    """Is told what a server gives and asks, so that a limit can be kept. Called by several threads."""

    def throttled(self, wait_s: float, reason: str) -> None:
        """The server asks to be left alone for so long."""
        ...


class Unwatched:
    """A watch that does not look."""

    def read(self, size: int) -> None:
        return

    def throttled(self, wait_s: float, reason: str) -> None:
        return

    def waiting(self, sentence: str | None) -> None:
        return


class Session:
    """Commands on a connection of its own. `readonly` decides between EXAMINE and SELECT for all its life."""

    def __init__(self, account: ImapAccount, *, readonly: bool, watch: Watch | None = None) -> None:
        self.account = account
        self._readonly = readonly
        self._watch: Watch = watch or Unwatched()
        self._client: Client | None = None
        self._was_let_in = False
        self._was_refused = False  # since it was let in
        self._open: tuple[MailboxKey, Opened] | None = None

    def ask(self, work: Callable[[Client], T], mailbox: MailboxKey | None = None) -> T:
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
        answer = self.ask(lambda client: self._select(client, folder))
        uidvalidity = answer.get(b"UIDVALIDITY")
        if isinstance(uidvalidity, int):
            self._open = MailboxKey(self.account.name, folder, uidvalidity), answer
        return answer

    def opened(self, mailbox: MailboxKey) -> Opened:
        """What the server said when it opened this epoch of the folder, which it does now where it has not."""

        def answer(_client: Client) -> Opened:
            assert self._open is not None
            return self._open[1]

        return self.ask(answer, mailbox)

    def search(self, mailbox: MailboxKey, criteria: str) -> set[int]:
        """The UIDs that UID SEARCH finds. The caller bounds them: replies above 1,000,000 bytes break imaplib."""
        return self.ask(lambda client: search(client, criteria), mailbox)

    def fetch(self, mailbox: MailboxKey, uids: Sequence[int], items: Sequence[str]) -> dict[int, Row]:
        """What UID FETCH gives; a mail may be missing, an item too. The caller bounds the bytes."""
        records = self.ask(lambda client: client.records(uids, items), mailbox)
        try:  # the reply has come to its end, so the connection is sound whatever was in it
            rows = replies.fetched(records)
        except ProtocolError:
            raise CommandFailed(UNREADABLE) from None  # what cannot be read may be a mail's text
        return {uid: rows[uid] for uid in uids if uid in rows}

    def list(self) -> list[Listed]:
        """All folders, in the server's order."""
        return folder_names.listed(self.ask(lambda client: client.listed()))

    def listed(self, mailbox: MailboxKey, ids: str, *, uid: bool) -> set[int]:
        """The UIDs that FETCH gives for a set of UIDs, or of positions where `uid` is False."""
        return self.ask(lambda client: listed(client, ids, uid=uid), mailbox)

    def renew(self) -> None:
        """Let the next command log in anew, so that it sees the folder as it is now."""
        self._drop(politely=True)

    def close(self) -> None:
        """Log out. The session can be used again afterwards."""
        self._drop(politely=True)

    def _attempt(self, work: Callable[[Client], T], mailbox: MailboxKey | None) -> T:
        try:
            if self._client is None:
                self._client = self._connected()
            if mailbox is not None and (self._open is None or self._open[0] != mailbox):
                self._enter(self._client, mailbox)
            answer = work(self._client)
            if self._client.wire.is_slowed:
                self._watch.throttled(SLOWED_S, "The mail server says that it slows down ([THROTTLED])")
            return answer
        except FOREIGN as error:
            self._drop(politely=False)
            ours = translated(error, self.account.server, self.account.port)
            if isinstance(ours, MailThrottled):
                self._watch.throttled(ours.wait_s or 0.0, str(ours))
            is_quoting = UNREADABLE[:-1] in str(ours)  # a parser's error shows what it could not read: a mail's text
            raise ours from (None if is_quoting else error)
        except MailError as error:
            self._drop(politely=True)
            if isinstance(error, MailThrottled):
                self._watch.throttled(error.wait_s or 0.0, str(error))
            raise
        except BaseException:  # a bug, or an end: the rest of the reply may still be on its way
            self._drop(politely=False)
            raise
        finally:
            if self._client is not None:
                self._client.wire.is_slowed = False

    def _connected(self) -> Client:
        """A new connection. A login that worked before and is refused once may be the server's trouble."""
        try:
            client = connect(self.account, self._watch)
        except CredentialsRefused as refusal:
            if not self._was_let_in or self._was_refused or self.account.password_command is not None:
                raise
            self._was_refused = True
            raise ServerTroubled(f"{refusal} It worked before, so it is tried once more.") from refusal
        self._was_let_in, self._was_refused = True, False
        return client

    def _enter(self, client: Client, mailbox: MailboxKey) -> None:
        self._open = None
        answer = self._select(client, mailbox.folder)
        if answer.get(b"UIDVALIDITY") != mailbox.uidvalidity:
            raise MailboxChanged(
                f"The folder {mailbox.folder!r} has another UIDVALIDITY ({answer.get(b'UIDVALIDITY')}, "
                f"it was {mailbox.uidvalidity}): its UIDs name other mails now. It is planned anew."
            )
        self._open = (mailbox, answer)

    def _select(self, client: Client, folder: str) -> Opened:
        try:
            answer = _opened(self._opened_by_name(client, folder))
        except IMAPClientReadOnlyError as error:
            raise FolderReadOnly from error
        except (IMAPClientAbortError, ProtocolError):
            raise
        except IMAPClientError as error:
            text = words(error)
            if patience := throttling(text):
                raise patience from error
            if re.search("unsafe login", text, re.I):  # NetEase, of programs that its user has not allowed
                raise CredentialsRefused(
                    f"{self.account.server} opens no folder ({text}); allow IMAP programs in the provider's settings, "
                    "and use the code that it gives for them as the password."
                ) from error
            if is_transient(text):
                raise ServerTroubled(f"The mail server cannot open {folder!r} now: {text}") from error
            raise FolderUnknown(
                f"The mail server does not open the folder {folder!r} ({text}); `backfill folders` lists those it has."
            ) from error
        if b"UIDVALIDITY" not in answer:
            raise FolderUnusable(
                f"The mail server gives the folder {folder!r} no UIDVALIDITY that is one (1 to {HIGHEST_UID}): "
                "without it no mail can be told apart, so this folder cannot be worked on."
            )
        return answer

    def _opened_by_name(self, client: Client, folder: str) -> Mapping[str, Sequence[Any]]:
        """By its name in modified UTF-7, or, where that is refused, as the server itself writes it in LIST."""
        try:
            return client.opened(folder_names.on_the_wire(folder), readonly=self._readonly)
        except (IMAPClientAbortError, ProtocolError):
            raise
        except IMAPClientError as refusal:
            if "&" not in folder and folder.isascii() and "\\" not in folder:
                raise
            same = [each.wire for each in folder_names.listed(client.listed()) if each.name == folder]
            if not same or same[0] == folder_names.on_the_wire(folder):
                raise
            logger.debug("{!r} is opened by another spelling: {}", folder, words(refusal))
        return client.opened(same[0], readonly=self._readonly)

    def _drop(self, *, politely: bool) -> None:
        client, self._client, self._open = self._client, None, None
        if client is not None:
            hang_up(client, politely=politely)


def _opened(untagged: Mapping[str, Sequence[Any]]) -> Opened:
    """What of the answer is used, where it can be: a number that is none counts as not said."""
    answer: Opened = {}
    for name, least, most in (("UIDVALIDITY", 1, HIGHEST_UID), ("UIDNEXT", 1, HIGHEST_UID + 1), ("EXISTS", 0, HIGHEST_UID)):
        numbers = [int(said[:20]) for said in untagged.get(name, ()) if isinstance(said, bytes) and said.isdigit()]
        if numbers and least <= numbers[-1] <= most:
            answer[name.encode()] = numbers[-1]
    for line in untagged.get("OK", ()):
        if isinstance(line, bytes) and (kept := _KEPT.search(line)):
            answer[b"PERMANENTFLAGS"] = tuple(kept[1].split())
    return answer
