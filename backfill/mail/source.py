"""Reading a mailbox over IMAP: `ports.MailSource`.

Changes nothing: folders are opened by EXAMINE and bodies read by BODY.PEEK, so no mail becomes read. Waits only for the
server's replies, each within the account's `timeout_s` or `folder_timeout_s`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from loguru import logger

from backfill.errors import FolderUnusable, ServerUnavailable
from backfill.mail.client import Client
from backfill.mail.errors import CommandFailed, ConnectionLost, TooMuchSaid
from backfill.mail.fetch import Fetcher
from backfill.mail.folder_names import Listed
from backfill.mail.login import ImapAccount
from backfill.mail.marker import ImapMarker, checked_keyword, search_key
from backfill.mail.mime import Reading
from backfill.mail.positions import highest_uid, windows
from backfill.mail.seen_guard import SeenGuard
from backfill.mail.session import Session, Watch
from backfill.mail.survey import survey
from backfill.message import HIGHEST_UID, MailboxKey, Message
from backfill.ports import Folder, MailboxState, Surveyed, UidWindow, Unfetched
from backfill.selection import Selection

__all__ = ["ImapMarker", "ImapSource"]

#: UIDs. If the connection is lost within a window, the window is halved, but not below this.
SMALLEST_WINDOW = 500

_SPECIAL_USES = frozenset({"\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Important", "\\Junk", "\\Sent", "\\Trash"})
_UNSELECTABLE = frozenset({"\\noselect", "\\nonexistent"})


class ImapSource:
    """One connection to one account, for reading; opened by the first call, renewed when it breaks.

    `processed_keyword` marks mail that an earlier system has processed; with `gmail_labels` it is a Gmail label.
    `owner` is the account's address; None: the user name. `may_write` tells whether a `\\Seen` may be removed that the
    server set in spite of PEEK. `keeps_all_text`: mails come with all their text, too. Raises `ConfigError` for an
    invalid keyword.
    """

    def __init__(
        self,
        account: ImapAccount,
        *,
        processed_keyword: str = "AIProcessed",
        max_body_chars: int = 4000,
        owner: str | None = None,
        gmail_labels: bool = False,
        keeps_all_text: bool = False,
        may_write: Callable[[], bool] = lambda: False,
        watch: Watch | None = None,
    ) -> None:
        self._account = account
        self._processed = search_key(checked_keyword(processed_keyword), gmail_labels=gmail_labels)
        self._session = Session(account, readonly=True, watch=watch)
        self._guard = SeenGuard(account, may_write, watch)
        reading = Reading(account.username if owner is None else owner, max_body_chars, keeps_all_text)
        self._fetcher = Fetcher(self._session, reading, self._guard, labels_as_flags=gmail_labels)
        self._knows_limit = False

    def list_folders(self) -> list[Folder]:
        """All folders, in the server's order."""
        try:
            return [_folder(each) for each in self._session.list()]
        except CommandFailed as refusal:
            raise ServerUnavailable(str(refusal)) from refusal

    def examine(self, folder: str) -> MailboxState:
        """Open a folder for reading, whatever its epoch."""
        try:
            answer = self._session.open(folder)
        except CommandFailed as refusal:
            raise FolderUnusable(f"The folder {folder!r} cannot be opened. {refusal}") from refusal
        key = MailboxKey(self._account.name, folder, answer[b"UIDVALIDITY"])
        exists = answer.get(b"EXISTS", 0)
        self._warn_of_limit()
        return MailboxState(key, exists, self._next_uid(key, exists, answer.get(b"UIDNEXT")))

    def windows(self, mailbox: MailboxKey, low: int, high: int) -> list[UidWindow]:
        """The UIDs low..high in windows of about 5,000 mails, whatever gaps there are; see `positions`."""
        if low > high:
            return []
        exists = self._session.opened(mailbox).get(b"EXISTS", 0)
        return windows(self._session, mailbox, low, high, exists)

    def survey(self, mailbox: MailboxKey, window: UidWindow, selection: Selection) -> list[Surveyed]:
        """The mails of a window that the selection names. One of `windows`, so that the reply is not too long."""
        low, high = window.low, window.high
        if low > high:
            return []
        try:
            return survey(self._session, mailbox, window, selection, self._processed)
        except (ConnectionLost, TooMuchSaid) as failure:
            if high - low < SMALLEST_WINDOW:
                raise ServerUnavailable(str(failure)) from failure
        middle = (low + high) // 2  # a shorter reply may come through
        halves = UidWindow(low, middle), UidWindow(middle + 1, high)
        return [mail for half in halves for mail in self.survey(mailbox, half, selection)]

    def fetch(self, mailbox: MailboxKey, uids: Sequence[int]) -> Iterator[Message | Unfetched]:
        """Each of `uids` once; read in batches as the iterator moves on."""
        return self._fetcher.fetch(mailbox, uids)

    def close(self) -> None:
        """Log out; a later call would log in again."""
        self._session.close()
        self._guard.close()

    def _warn_of_limit(self) -> None:
        """Yahoo and AOL show only the newest mails of a large folder to clients without UIDONLY (RFC 9586)."""
        if not self._knows_limit and (limits := self._session.ask(_message_limits)):
            logger.warning(
                "{} handles {} mails at a time (MESSAGELIMIT) and may show only that many of a folder; mails that it "
                "hides cannot be processed",
                self._account.server,
                limits[0],
            )
        self._knows_limit = True

    def _next_uid(self, mailbox: MailboxKey, exists: int, told: object) -> int:
        """One more than the highest UID of the folder, and at least the server's UIDNEXT.

        RFC 3501 §6.3.1 lets servers leave UIDNEXT out, and some tell a wrong one. So the last mail's UID is asked for.
        """
        known = told if isinstance(told, int) and 0 < told <= HIGHEST_UID + 1 else 1
        highest = highest_uid(self._session, mailbox) if exists else 0
        if exists and not highest and known == 1:
            raise FolderUnusable(
                f"The mail server says that {mailbox.folder!r} holds {exists} mails, but tells no UID of them."
            )
        return max(known, highest + 1)


def _message_limits(client: Client) -> list[str]:
    offered = (capability.decode("ascii", "replace") for capability in client.capabilities())
    return [text.partition("=")[2] for text in offered if text.upper().startswith("MESSAGELIMIT=")]


def _folder(listed: Listed) -> Folder:
    attributes = {attribute.lower() for attribute in listed.attributes}
    special = frozenset(use for use in _SPECIAL_USES if use.lower() in attributes)
    return Folder(listed.name, special, is_selectable=not _UNSELECTABLE & attributes)
