"""A mailbox's keywords in memory: a `MailMarker` for tests of what is done with one.

Obeys the port: answers with what a search would find, compares keywords without regard to case, and knows only
the UIDs it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backfill.errors import MailboxChanged
from backfill.message import MailboxKey


class MemoryMarker:
    """Holds mails of one mailbox. `permanent_flags`: None when the server keeps any keyword.

    `most`: of how many different keywords; from then on it says which they are.
    """

    def __init__(
        self, mailbox: MailboxKey, *, permanent_flags: Iterable[str] | None = None, most: int | None = None
    ) -> None:
        self.most = most
        self.mailbox = mailbox
        self.mails: dict[int, set[str]] = {}
        self.deaf: set[int] = set()  # UIDs whose STORE is acknowledged and forgotten
        self.commands: list[tuple[str, str, tuple[int, ...]]] = []
        self.is_closed = False
        self._permanent_flags = None if permanent_flags is None else {flag.casefold() for flag in permanent_flags}

    def holds(self, *uids: int, keywords: Iterable[str] = ()) -> None:
        for uid in uids:
            self.mails[uid] = set(keywords)

    def keywords_of(self, uid: int) -> set[str]:
        return self.mails[uid]

    def permitted(self, mailbox: MailboxKey, keywords: Iterable[str]) -> frozenset[str]:
        self._open(mailbox)
        asked = tuple(keywords)
        self.commands.append(("permitted", " ".join(asked), ()))
        kept = self._kept
        return frozenset(keyword for keyword in asked if kept is None or keyword.casefold() in kept)

    def add(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        self._open(mailbox)
        self.commands.append(("add", keyword, tuple(uids)))
        is_kept = self.most is None or self._kept is None or keyword.casefold() in self._kept
        for uid in self._listening(uids) if is_kept else ():
            if not self._bears(uid, keyword):
                self.mails[uid].add(keyword)
        return frozenset(uid for uid in uids if uid in self.mails and self._bears(uid, keyword))

    def remove(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        self._open(mailbox)
        self.commands.append(("remove", keyword, tuple(uids)))
        for uid in self._listening(uids):
            self.mails[uid] = {held for held in self.mails[uid] if held.casefold() != keyword.casefold()}
        return frozenset(uid for uid in uids if uid in self.mails and not self._bears(uid, keyword))

    def bearing(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        self._open(mailbox)
        borne = {uid: {word.casefold() for word in self.mails.get(uid, ())} for uid in uids}
        return frozenset(uid for uid in uids if keyword.casefold() in borne[uid])

    def present(self, mailbox: MailboxKey, uids: Iterable[int]) -> frozenset[int]:
        self._open(mailbox)
        self.commands.append(("present", "", tuple(uids)))
        return frozenset(uid for uid in uids if uid in self.mails)

    def close(self) -> None:
        self.is_closed = True

    @property
    def _kept(self) -> set[str] | None:
        """The keywords that are kept, case-folded; None: any."""
        borne = {word.casefold() for held in self.mails.values() for word in held}
        return borne if self.most is not None and len(borne) >= self.most else self._permanent_flags

    def _open(self, mailbox: MailboxKey) -> None:
        if mailbox != self.mailbox:
            raise MailboxChanged

    def _listening(self, uids: Sequence[int]) -> list[int]:
        return [uid for uid in uids if uid in self.mails and uid not in self.deaf]

    def _bears(self, uid: int, keyword: str) -> bool:
        return keyword.casefold() in {held.casefold() for held in self.mails[uid]}
