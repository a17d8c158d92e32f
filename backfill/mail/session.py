"""One connection to one account: opened when needed, renewed when it is dead, dropped when its state is not known.

The caller names the mailbox, and the session opens this epoch of it. The rest of a broken reply would corrupt the next
command, so a connection is used after an error only if the reply was read to its end: providers refuse frequent logins.
For one thread only: imapclient is not thread-safe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, IMAPClientReadOnlyError, ProtocolError
from loguru import logger

from backfill.errors import (
    BackfillError,
    CredentialsRefused,
    FolderTroubled,
    FolderUnknown,
    FolderUnusable,
    MailboxChanged,
    MailError,
    MailThrottled,
    ServerTroubled,
    ServerUnavailable,
)
from backfill.mail import folder_names, replies
from backfill.mail.client import Client
from backfill.mail.errors import (
    FOREIGN,
    UNREADABLE,
    CommandFailed,
    ConnectionLost,
    FolderReadOnly,
    TooMuchSaid,
    translated,
    words,
)
from backfill.mail.folder_names import Listed
from backfill.mail.login import ImapAccount, connect, hang_up
from backfill.mail.refusals import ALLOW_PROGRAMS, is_about_the_folder, is_transient, is_unsafe_login, throttling
from backfill.mail.replies import Row
from backfill.mail.search import listed, search
from backfill.mail.uidset import uid_sets
from backfill.mail.wire import Hears
from backfill.message import HIGHEST_UID, MailboxKey

SLOWED_S = 60.0  # wait after the server says that it slows the account down

T = TypeVar("T")
Opened = dict[bytes, Any]  # what EXAMINE or SELECT answered
_KEPT = re.compile(rb"\[PERMANENTFLAGS \((.*)\)\]", re.I)


class Watch(Hears, Protocol):
    """A listener for the octets that a server sends and the waits that it asks for. Called by several threads."""

    def throttled(self, wait_s: float, reason: str) -> None:
        """The server asks for no commands during the next `wait_s` seconds."""
        ...


class Unwatched:
    """The watch of a session that has none: does nothing."""

    def read(self, size: int) -> None:
        return

    def throttled(self, wait_s: float, reason: str) -> None:
        return

    def waiting(self, sentence: str | None) -> None:
        return


class Session:
    """Commands on one connection. `readonly`: open folders by EXAMINE, never by SELECT."""

    def __init__(self, account: ImapAccount, *, readonly: bool, watch: Watch | None = None) -> None:
        self.account = account
        self._readonly = readonly
        self._watch: Watch = watch or Unwatched()
        self._client: Client | None = None
        self._was_let_in = False  # a login of this session has worked
        self._was_refused = False  # a login was refused since
        self._open: tuple[MailboxKey, Opened] | None = None

    def ask(self, work: Callable[[Client], T], mailbox: MailboxKey | None = None) -> T:
        """The result of `work`, called with `mailbox` open. `work` may be called twice.

        A dead connection is renewed once without a message: servers end sessions after an hour or a day, idle ones
        sooner. Raises `CommandFailed`, `ServerUnavailable`, `MailboxChanged`, `FolderUnknown`, `FolderUnusable`,
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
        """Does the server offer the capability after login?"""
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
        """What the server said when it opened this epoch of the folder. Opens it if it is not open."""

        def answer(_client: Client) -> Opened:
            assert self._open is not None
            return self._open[1]

        return self.ask(answer, mailbox)

    def search(self, mailbox: MailboxKey, criteria: str) -> set[int]:
        """The UIDs that UID SEARCH finds. The caller bounds the range: a line of more than 1,000,000 bytes fails."""
        return self.ask(lambda client: search(client, criteria), mailbox)

    def fetch(self, mailbox: MailboxKey, uids: Sequence[int], items: Sequence[str]) -> dict[int, Row]:
        """The rows of a UID FETCH, by UID. Mails and items may be missing. The caller bounds the bytes."""
        records = self.ask(lambda client: client.records(uids, items), mailbox)
        try:  # outside of `ask`: the reply is complete, so the connection is sound even if the reply cannot be read
            rows = replies.fetched(records)
        except ProtocolError:
            raise CommandFailed(UNREADABLE) from None  # the cause may quote a mail's text
        return {uid: rows[uid] for uid in uids if uid in rows}

    def list(self) -> list[Listed]:
        """All folders, in the server's order."""
        return folder_names.listed(self.ask(lambda client: client.listed()))

    def listed(self, mailbox: MailboxKey, ids: str, *, uid: bool) -> set[int]:
        """The UIDs that FETCH lists for `ids`: a set of UIDs, or of positions if `uid` is False."""
        return self.ask(lambda client: listed(client, ids, uid=uid), mailbox)

    def present(self, mailbox: MailboxKey, uids: Iterable[int]) -> frozenset[int]:
        """Those of `uids` that the folder still has. Searched in a fresh session, which sees the folder as it is.

        Raises `ServerUnavailable` also when the server refuses the search, so that no mail counts as gone.
        """
        self.renew()
        there: set[int] = set()
        try:
            for uid_set, named in uid_sets(uids):
                there |= named & self.search(mailbox, f"UID {uid_set}")
        except CommandFailed as refusal:
            raise ServerUnavailable(str(refusal)) from refusal
        return frozenset(there)

    def renew(self) -> None:
        """Log out. The next command logs in anew and sees the folder as it is then."""
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
                self._watch.throttled(SLOWED_S, "The mail server slows this account down ([THROTTLED])")
            return answer
        except FOREIGN as error:
            ours = translated(error, self.account.server, self.account.port)
            if not self._goes_on_after(ours):
                self._drop(politely=False)
            if isinstance(ours, MailThrottled):
                self._watch.throttled(ours.wait_s or 0.0, str(ours))
            is_quoting = UNREADABLE[:-1] in str(ours)  # a parser's error may quote a mail's text
            raise ours from (None if is_quoting else error)
        except MailError as error:
            if not self._goes_on_after(error):
                self._drop(politely=True)
            if isinstance(error, MailThrottled):
                self._watch.throttled(error.wait_s or 0.0, str(error))
            raise
        except BaseException:  # a bug, or the end of the process: the rest of the reply may still arrive
            self._drop(politely=False)
            raise
        finally:
            if self._client is not None:
                self._client.wire.is_slowed = False

    def _goes_on_after(self, error: BackfillError) -> bool:
        """Can the connection be used after this error? If so, forgets the reply; the folder is opened anew.

        Not if a folder cannot be opened now, or the server asks for patience: a new connection may reach another part
        of the server.
        """
        if self._client is None or not self._client.wire.is_idle:
            return False
        match error:
            case TooMuchSaid() | FolderUnknown() | FolderUnusable() | FolderReadOnly() | MailboxChanged():
                is_sound = True
            case CommandFailed():
                is_sound = bool(error.words)
            case _:
                is_sound = False
        if is_sound:
            self._client.wire.forget()
            self._open = None
        return is_sound

    def _connected(self) -> Client:
        """A new connection. One refusal after a login that worked counts as the server's trouble."""
        try:
            client = connect(self.account, self._watch)
        except CredentialsRefused as refusal:
            if not self._was_let_in or self._was_refused or self.account.password_command is not None:
                raise
            self._was_refused = True
            raise ServerTroubled(f"{refusal} The same login worked before, so it is tried once more.") from refusal
        self._was_let_in, self._was_refused = True, False
        return client

    def _enter(self, client: Client, mailbox: MailboxKey) -> None:
        self._open = None
        answer = self._select(client, mailbox.folder)
        if answer.get(b"UIDVALIDITY") != mailbox.uidvalidity:
            raise MailboxChanged(
                f"The UIDVALIDITY of the folder {mailbox.folder!r} changed from {mailbox.uidvalidity} to "
                f"{answer.get(b'UIDVALIDITY')}: its UIDs name other mails now. The folder is planned anew."
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
            if is_about_the_folder(text):
                raise FolderTroubled(f"The mail server does not open {folder!r} now: {text}") from error
            if patience := throttling(text):
                raise patience from error
            if is_unsafe_login(text):
                raise CredentialsRefused(
                    f"{self.account.server} opens no folder ({text}); {ALLOW_PROGRAMS}."
                ) from error
            if is_transient(text):
                raise FolderTroubled(f"The mail server cannot open {folder!r} now: {text}") from error
            raise FolderUnknown(
                f"The mail server does not open the folder {folder!r} ({text}); `backfill folders` lists its folders."
            ) from error
        if b"UIDVALIDITY" not in answer:
            raise FolderUnusable(
                f"The mail server gives the folder {folder!r} no valid UIDVALIDITY (1 to {HIGHEST_UID}). Without it a "
                "UID does not identify a mail, so this folder cannot be processed."
            )
        return answer

    def _opened_by_name(self, client: Client, folder: str) -> Mapping[str, Sequence[Any]]:
        """Open the folder by its name in modified UTF-7. If that is refused, by the octets that LIST shows for it."""
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
    """The parts of the answer that are used. An invalid number is left out."""
    answer: Opened = {}
    for name, least, most in (
        ("UIDVALIDITY", 1, HIGHEST_UID),
        ("UIDNEXT", 1, HIGHEST_UID + 1),
        ("EXISTS", 0, HIGHEST_UID),
    ):
        numbers = [int(said[:20]) for said in untagged.get(name, ()) if isinstance(said, bytes) and said.isdigit()]
        if numbers and least <= numbers[-1] <= most:
            answer[name.encode()] = numbers[-1]
    for line in untagged.get("OK", ()):
        if isinstance(line, bytes) and (kept := _KEPT.search(line)):
            answer[b"PERMANENTFLAGS"] = tuple(kept[1].split())
    return answer
