"""Whether reading marked mail as read, and taking that back: `\\Seen`, before and after bodies are fetched.

BODY.PEEK in an EXAMINEd folder must not touch it, yet some servers set it (iCloud and Purelymail were seen to).
Only what changed within one batch is taken back, and only on a server that is proved to do so: a mail may also have
been read by its owner in that very moment, and that stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from imapclient import SEEN, IMAPClient
from loguru import logger

from backfill.errors import MarksMailRead
from backfill.mail.errors import CommandFailed, FolderReadOnly
from backfill.mail.login import ImapAccount
from backfill.mail.session import Session, Watch
from backfill.mail.uidset import uid_sets
from backfill.message import MailboxKey

_PEEKS = ("BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "BODY.PEEK[1]<0.64>", "BODY.PEEK[]<0.64>")


class SeenGuard:
    """Compares `\\Seen`; repairs on a connection of its own, which is opened when there is something to repair.

    Without `may_write` nothing is ever stored: then a server that marks mail read is stopped at.
    """

    def __init__(self, account: ImapAccount, may_write: Callable[[], bool], watch: Watch | None = None) -> None:
        self._session = Session(account, readonly=False, watch=watch)
        self._may_write = may_write
        self._is_proved = False

    def check(self, reading: Session, mailbox: MailboxKey, unread: Collection[int]) -> None:
        """After bodies were fetched on `reading`: see that those of `unread`, which were unread before, still are.

        Raises `MarksMailRead` when the server marks mail that is only peeked at and it cannot be taken back.
        """
        changed = _seen(reading, mailbox, unread)
        if not changed:
            return
        if not self._may_write():
            if len(changed) > 1 or len(unread) == 1:
                raise MarksMailRead(
                    f"The mail server marked {len(changed)} unread mails of {mailbox.folder!r} as read (UID "
                    f"{_named(changed)}), although they were only peeked at. Stopped before it marks more: a dry run "
                    "may not take it back, a real run would."
                )
            return  # one of many: its owner
        if not self._is_proved:
            self._is_proved = self._marks_again(reading, mailbox, min(changed))
            if not self._is_proved:
                logger.debug("{} mails of {!r} were read by somebody else meanwhile", len(changed), mailbox.folder)
                return
            logger.warning("the mail server marks mail as read that is only peeked at; it is taken back each time")
        self._mark_unread(mailbox, changed)

    def close(self) -> None:
        """Log out; a later call would log in again."""
        self._session.close()

    def _marks_again(self, reading: Session, mailbox: MailboxKey, uid: int) -> bool:
        """The proof: made unread and peeked at again, it is read again. Else its owner read it, and it stays read."""
        self._mark_unread(mailbox, {uid})
        reading.fetch(mailbox, [uid], _PEEKS)
        if _seen(reading, mailbox, {uid}):
            return True
        self._session.ask(lambda client: client.add_flags([uid], [SEEN], silent=True), mailbox)
        return False

    def _mark_unread(self, mailbox: MailboxKey, uids: Collection[int]) -> None:
        try:
            for uid_set, _ in uid_sets(uids):
                self._session.ask(partial(_remove_seen, uid_set), mailbox)
            left = _seen(self._session, mailbox, uids)
            refusal = "it shows them as read all the same"
        except (CommandFailed, FolderReadOnly) as error:
            left, refusal = set(uids), str(error)
        if left:
            raise MarksMailRead(
                f"The mail server marks mail as read that is only peeked at, and does not let it be taken back "
                f"({refusal}). Stopped before it marks more; in {mailbox.folder!r} it marked UID {_named(left)}."
            )


def _remove_seen(uid_set: str, client: IMAPClient) -> None:
    client.remove_flags(uid_set, [SEEN], silent=True)


def _seen(session: Session, mailbox: MailboxKey, uids: Collection[int]) -> set[int]:
    found: set[int] = set()
    for uid_set, named in uid_sets(uids):
        found |= named & session.search(mailbox, f"UID {uid_set} SEEN")
    return found


def _named(uids: Collection[int]) -> str:
    text, _ = next(uid_sets(uids, limit=200))
    return text
