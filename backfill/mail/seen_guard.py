"""Whether reading marked mail as read, and taking that back: `\\Seen`, before and after bodies are fetched.

BODY.PEEK in an EXAMINEd folder must not touch it, yet some servers set it (iCloud and Purelymail were seen to).
Only what changed within one batch is taken back, and only on a server that is proved to do so: a mail may also have
been read by its owner in that very moment, and that stays. A dry run, which may take nothing back, stops at such a
server; there the proof is a second mail that turns read when it is peeked at, so that the owner is not taken for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from loguru import logger

from backfill.errors import MarksMailRead, StoreUnavailable
from backfill.mail.errors import CommandFailed, FolderReadOnly
from backfill.mail.login import ImapAccount
from backfill.mail.search import HIGHEST_UID
from backfill.mail.session import Session, Watch
from backfill.mail.uidset import uid_sets
from backfill.mail.wire import Client
from backfill.message import MailboxKey

SEEN = "\\Seen"

#: UIDs before and after a batch among which other unread mail is looked for.
_AROUND = 2_500
_PEEKS = ("BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "BODY.PEEK[1]<0.64>", "BODY.PEEK[]<0.64>")


class SeenGuard:
    """Compares `\\Seen`; repairs on a connection of its own, which is opened when there is something to repair.

    Without `may_write` nothing is ever stored: then a server that marks mail read is stopped at.
    """

    def __init__(self, account: ImapAccount, may_write: Callable[[], bool], watch: Watch | None = None) -> None:
        self._session = Session(account, readonly=False, watch=watch)
        self._may_write = may_write
        self._is_proved = False
        self._behaves = False  # a mail that was peeked at stayed unread
        self._has_turned = False  # the mail that was tried before this batch was read afterwards

    def prepare(self, reading: Session, mailbox: MailboxKey, unread: Collection[int]) -> None:
        """Before bodies of `unread` are fetched. A dry run tries one alone where no other unread mail would be left."""
        self._has_turned = False
        if len(unread) < 2 or self._behaves or self._may_write() or _unread_beside(reading, mailbox, unread):
            return
        self._has_turned = _alone_turns_read(reading, mailbox, min(unread), unread)
        self._behaves = not self._has_turned

    def check(self, reading: Session, mailbox: MailboxKey, unread: Collection[int]) -> None:
        """After bodies were fetched on `reading`: see that those of `unread`, which were unread before, still are.

        Raises `MarksMailRead` when the server marks mail that is only peeked at and it cannot be taken back.
        """
        changed = _seen(reading, mailbox, unread)
        if not changed:
            self._behaves = self._behaves or bool(unread)
            return
        if not self._may_write():
            if self._is_in_step(reading, mailbox, changed, unread):
                raise MarksMailRead(
                    f"The mail server marked {len(changed)} unread mails of {mailbox.folder!r} as read (UID "
                    f"{_named(changed)}), although they were only peeked at. Stopped before it marks more: a dry run "
                    "may not take it back, a real run would."
                )
            logger.debug("{} mails of {!r} were read by somebody else meanwhile", len(changed), mailbox.folder)
            return
        if not self._is_proved:
            self._is_proved = self._marks_again(reading, mailbox, min(changed))
            if not self._is_proved:
                logger.debug("{} mails of {!r} were read by somebody else meanwhile", len(changed), mailbox.folder)
                return
            logger.warning("the mail server marks mail as read that is only peeked at; it is taken back each time")
        self._mark_unread(mailbox, changed)

    def _is_in_step(
        self, reading: Session, mailbox: MailboxKey, changed: Collection[int], unread: Collection[int]
    ) -> bool:
        """Do mails turn read because they are peeked at? Tried with two that nobody has peeked at, from the middle.

        The owner reads the newest first, or the oldest. Where no other is left, one was tried before the batch.
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
        """The proof: made unread and peeked at again, it is read again. Else its owner read it, and it stays read."""
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
            refusal = "it shows them as read all the same"
        except (CommandFailed, FolderReadOnly, StoreUnavailable) as error:
            left, refusal = set(uids), str(error)
        if left:
            raise MarksMailRead(
                f"The mail server marks mail as read that is only peeked at, and does not let it be taken back "
                f"({refusal}). Stopped before it marks more; in {mailbox.folder!r} it marked UID {_named(left)}."
            )


def _remove_seen(uid_set: str, client: Client) -> None:
    client.store(uid_set, "-FLAGS", [SEEN])


def _alone_turns_read(reading: Session, mailbox: MailboxKey, uid: int, unread: Collection[int]) -> bool:
    """Of `unread`, does the mail that is peeked at turn read, and no other?"""
    try:
        reading.fetch(mailbox, [uid], _PEEKS)
        return _seen(reading, mailbox, unread) == {uid}
    except CommandFailed:
        return False


def _unread_beside(reading: Session, mailbox: MailboxKey, uids: Collection[int]) -> list[int]:
    """The unread mails around `uids` that are not among them, by UID; none where the server does not say."""
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
