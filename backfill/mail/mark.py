"""Setting and removing keywords over IMAP: `ports.MailMarker`.

Touches nothing but the keyword it is told, never \\Seen, and only in the very epoch of the folder that was meant:
UIDVALIDITY is compared in the session that stores. What a STORE answers proves nothing; a SEARCH afterwards does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

from imapclient import IMAPClient

from backfill.errors import ConfigError, ServerUnavailable
from backfill.mail.login import ImapAccount
from backfill.mail.session import Session
from backfill.mail.trouble import CommandFailed, FolderReadOnly
from backfill.mail.uidset import uid_sets
from backfill.message import MailboxKey

_KEYWORD = re.compile(r"[A-Za-z0-9_.$-]{1,50}")

Store = Callable[[str, IMAPClient], object]


def checked_keyword(keyword: str) -> str:
    """`keyword`, when it is one that every server takes and no command can be smuggled in with."""
    if not _KEYWORD.fullmatch(keyword):
        raise ConfigError(f"{keyword!r:.80} cannot be a keyword; use 1 to 50 of the characters A-Z a-z 0-9 _ . $ -")
    return keyword


class ImapMarker:
    """One connection to one account, for keywords; opened by the first call, renewed when it breaks."""

    def __init__(self, account: ImapAccount) -> None:
        self._session = Session(account, readonly=False)

    def permitted(self, mailbox: MailboxKey, keywords: Iterable[str]) -> frozenset[str]:
        """Those of `keywords` that the folder keeps. Asked by SELECT: EXAMINE hides it on some servers."""
        asked = frozenset(checked_keyword(keyword) for keyword in keywords)
        try:
            flags = self._session.opened(mailbox).get(b"PERMANENTFLAGS")
        except FolderReadOnly:
            return frozenset()
        if flags is None:  # then all can be kept (RFC 3501 §7.1)
            return asked
        kept = {flag.decode("ascii", "replace").lower() for flag in flags}
        return asked if "\\*" in kept else frozenset(keyword for keyword in asked if keyword.lower() in kept)

    def add(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        """Set a keyword; the UIDs that bear it now."""
        checked_keyword(keyword)
        return self._store(
            mailbox,
            uids,
            lambda uid_set, client: client.add_flags(uid_set, [keyword], silent=True),
            proof=f"KEYWORD {keyword}",
        )

    def remove(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        """Take a keyword away; the UIDs that do not bear it now."""
        checked_keyword(keyword)
        return self._store(
            mailbox,
            uids,
            lambda uid_set, client: client.remove_flags(uid_set, [keyword], silent=True),
            proof=f"UNKEYWORD {keyword}",
        )

    def close(self) -> None:
        """Log out; a later call would log in again."""
        self._session.close()

    def _store(self, mailbox: MailboxKey, uids: Sequence[int], store: Store, *, proof: str) -> frozenset[int]:
        proved: set[int] = set()
        for uid_set, named in uid_sets(uids):
            with suppress(CommandFailed, FolderReadOnly):  # refused for one, it may have been done for others
                self._session.ask(partial(store, uid_set), mailbox)
            try:
                proved |= named & self._session.search(mailbox, f"UID {uid_set} {proof}")
            except FolderReadOnly:
                break
            except CommandFailed as refusal:
                raise ServerUnavailable(str(refusal)) from refusal
        return frozenset(proved)
