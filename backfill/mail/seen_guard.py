"""Find out whether reading marked mail as read, and undo it: `\\Seen` before and after bodies are fetched.

BODY.PEEK in an EXAMINEd folder must not set `\\Seen`, yet some servers do (seen on iCloud and Purelymail). The owner
may also read a mail at the same moment; that must stay. So `\\Seen` is removed only on a server that is proved to set
it, and only from mail that changed within one batch. A dry run may not write, so it stops at such a server. Its proof
is that other mails turn read, too, when they are peeked at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from loguru import logger

from backfill.errors import MarksMailRead, StoreUnavailable
from backfill.mail.client import Client
from backfill.mail.errors import CommandFailed, FolderReadOnly
from backfill.mail.login import ImapAccount
from backfill.mail.session import Session, Watch
from backfill.mail.uidset import uid_sets
from backfill.message import HIGHEST_UID, MailboxKey

SEEN = "\\Seen"

#: UIDs before and after a batch that are searched for other unread mail.
_AROUND = 2_500
_PEEKS = ("BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "BODY.PEEK[1]<0.64>", "BODY.PEEK[]<0.64>")


class SeenGuard:
    """Compares `\\Seen`, and repairs it on a second connection, which is opened when it is needed.

    When `may_write` is false nothing is stored, and a server that marks mail as read stops the run.
    """

    def __init__(self, account: ImapAccount, may_write: Callable[[], bool], watch: Watch | None = None) -> None:
        self._session = Session(account, readonly=False, watch=watch)
        self._may_write = may_write
        self._is_proved = False
        self._behaves = False  # a mail that was peeked at has stayed unread
        self._has_turned = False  # the mail that was tried alone before this batch turned read

    def prepare(self, reading: Session, mailbox: MailboxKey, unread: Collection[int]) -> None:
        """To be called before bodies of `unread` are fetched.

        A dry run needs another unread mail for its proof. If there is none beside `unread`, it tries one of them alone.
        """
        self._has_turned = False
        if len(unread) < 2 or self._behaves or self._may_write() or _unread_beside(reading, mailbox, unread):
            return
        self._has_turned = _alone_turns_read(reading, mailbox, min(unread), unread)
        self._behaves = not self._has_turned

    def check(self, reading: Session, mailbox: MailboxKey, unread: Collection[int]) -> None:
        """To be called after bodies were fetched on `reading`: check that `unread` are still unread.

        Raises `MarksMailRead` when the server marks mail as read on BODY.PEEK and the mark cannot be removed.
        """
        changed = _seen(reading, mailbox, unread)
        if not changed:
            self._behaves = self._behaves or bool(unread)
            return
        if not self._may_write():
            if self._is_in_step(reading, mailbox, changed, unread):
                raise MarksMailRead(
                    f"The mail server marked {len(changed)} unread mails of {mailbox.folder!r} as read (UID "
                    f"{_named(changed)}), although backfill only peeked at them. It stopped before more are marked: a "
                    "dry run may not mark them unread again, a real run does."
                )
            logger.debug("Somebody else has read {} mails of {!r} meanwhile", len(changed), mailbox.folder)
            return
        if not self._is_proved:
            self._is_proved = self._marks_again(reading, mailbox, min(changed))
            if not self._is_proved:
                logger.debug("Somebody else has read {} mails of {!r} meanwhile", len(changed), mailbox.folder)
                return
            logger.warning("the mail server marks mail as read that is only peeked at; it is marked unread again")
        self._mark_unread(mailbox, changed)

    def _is_in_step(
        self, reading: Session, mailbox: MailboxKey, changed: Collection[int], unread: Collection[int]
    ) -> bool:
        """Do mails turn read because they are peeked at? Tried with two other unread mails.

        The two come from the middle, since the owner reads the newest or the oldest first. If there are no others, the
        trial before the batch decides.
        """
        others = _unread_beside(reading, mailbox, unread)
        if not others:
            return self._has_turned and set(changed) == set(unread)
        first, second = others[len(others) // 2], others[len(others) // 3]
        return _alone_turns_read(reading, mailbox, first, others) and (
            first == second or _alone_turns_read(reading, mailbox, second, set(others) - {first})
        )

    def close(self) -> None:
        """Log out; a later call would log in again."""
        self._session.close()

    def _marks_again(self, reading: Session, mailbox: MailboxKey, uid: int) -> bool:
        """The proof: mark the mail unread, peek at it again, see whether it is read again.

        If it is not, its owner has read it, and it is marked read again.
        """
        self._mark_unread(mailbox, {uid})
        reading.fetch(mailbox, [uid], _PEEKS)
        if _seen(reading, mailbox, {uid}):
            return True
        self._session.ask(lambda client: client.store(str(uid), "+FLAGS", [SEEN]), mailbox)
        return False

    def _mark_unread(self, mailbox: MailboxKey, uids: Collection[int]) -> None:
        try:
            for uid_set, _ in uid_sets(uids):
                self._session.ask(partial(_remove_seen, uid_set), mailbox)
            left = _seen(self._session, mailbox, uids)
            refusal = "it still shows them as read"
        except (CommandFailed, FolderReadOnly, StoreUnavailable) as error:
            left, refusal = set(uids), str(error)
        if left:
            raise MarksMailRead(
                f"The mail server marks mail as read that backfill only peeks at, and does not mark it unread again "
                f"({refusal}). It stopped before more are marked. In {mailbox.folder!r} UID {_named(left)} is affected."
            )


def _remove_seen(uid_set: str, client: Client) -> None:
    client.store(uid_set, "-FLAGS", [SEEN])


def _alone_turns_read(reading: Session, mailbox: MailboxKey, uid: int, unread: Collection[int]) -> bool:
    """After a peek at mail `uid`: is exactly that mail of `unread` read now?"""
    try:
        reading.fetch(mailbox, [uid], _PEEKS)
        return _seen(reading, mailbox, unread) == {uid}
    except CommandFailed:
        return False


def _unread_beside(reading: Session, mailbox: MailboxKey, uids: Collection[int]) -> list[int]:
    """Other unread mails near `uids`, in ascending order; none if the server refuses the search."""
    around = f"UID {max(1, min(uids) - _AROUND)}:{min(HIGHEST_UID, max(uids) + _AROUND)}"
    try:
        there = reading.search(mailbox, around)
        return sorted(there - reading.search(mailbox, f"{around} SEEN") - set(uids))
    except CommandFailed:
        return []


def _seen(session: Session, mailbox: MailboxKey, uids: Collection[int]) -> set[int]:
    found: set[int] = set()
    for uid_set, named in uid_sets(uids):
        found |= named & session.search(mailbox, f"UID {uid_set} SEEN")
    return found


def _named(uids: Collection[int]) -> str:
    text, _ = next(uid_sets(uids, limit=200))
    return text
