"""Setting and removing keywords over IMAP: `ports.MailMarker`.

Touches nothing but the keyword it is told, never \\Seen, and only in the very epoch of the folder that was meant:
UIDVALIDITY is compared in the session that stores. What a STORE answers proves nothing; a SEARCH afterwards does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import partial

from imapclient import IMAPClient

from backfill.errors import ConfigError, ServerUnavailable
from backfill.keywords import RULE, is_keyword
from backfill.mail.errors import CommandFailed, FolderReadOnly
from backfill.mail.login import ImapAccount
from backfill.mail.session import Session, Watch
from backfill.mail.uidset import uid_sets
from backfill.message import MailboxKey

Store = Callable[[str, IMAPClient], object]


def checked_keyword(keyword: str) -> str:
    """`keyword`, when it is one that every server takes and no command can be smuggled in with."""
    if not is_keyword(keyword):
        raise ConfigError(f"{keyword!r:.80} cannot be a keyword; use {RULE}")
    return keyword


def search_key(keyword: str, *, gmail_labels: bool) -> str:
    """The SEARCH key that finds mail which bears the keyword, or, on Gmail, the label of that name."""
    return f"X-GM-LABELS {keyword}" if gmail_labels else f"KEYWORD {keyword}"


def unbearing_key(keyword: str, *, gmail_labels: bool) -> str:
    """The SEARCH key that finds mail without it."""
    return f"NOT X-GM-LABELS {keyword}" if gmail_labels else f"UNKEYWORD {keyword}"


class ImapMarker:
    """One connection to one account, for keywords; opened by the first call, renewed when it breaks.

    With `gmail_labels` they are set as labels, which is what Gmail shows to people; it keeps any. Every method raises
    `ConfigError` then when the server is not Gmail's.
    """

    def __init__(self, account: ImapAccount, *, gmail_labels: bool = False, watch: Watch | None = None) -> None:
        self._session = Session(account, readonly=False, watch=watch)
        self._gmail_labels = gmail_labels

    def permitted(self, mailbox: MailboxKey, keywords: Iterable[str]) -> frozenset[str]:
        """Those of `keywords` that the folder keeps. Asked by SELECT: EXAMINE hides it on some servers."""
        asked = frozenset(checked_keyword(keyword) for keyword in keywords)
        try:
            flags = self._session.opened(mailbox).get(b"PERMANENTFLAGS")
        except FolderReadOnly:
            return frozenset()
        if self._gmail_labels:
            self._check_labels()
            return asked
        if flags is None:  # then all can be kept (RFC 3501 §7.1)
            return asked
        kept = {flag.decode("ascii", "replace").lower() for flag in flags}
        return asked if "\\*" in kept else frozenset(keyword for keyword in asked if keyword.lower() in kept)

    def add(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        """Set a keyword; the UIDs that bear it now."""
        checked_keyword(keyword)

        def store(uid_set: str, client: IMAPClient) -> object:
            set_them = client.add_gmail_labels if self._gmail_labels else client.add_flags
            return set_them(uid_set, [keyword], silent=True)

        return self._store(mailbox, uids, store, proof=search_key(keyword, gmail_labels=self._gmail_labels))

    def remove(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        """Take a keyword away; the UIDs that do not bear it now. Writes nothing where none of them does."""
        checked_keyword(keyword)

        def store(uid_set: str, client: IMAPClient) -> object:
            take_them = client.remove_gmail_labels if self._gmail_labels else client.remove_flags
            return take_them(uid_set, [keyword], silent=True)

        if self._gmail_labels:
            self._check_labels()
        proof = unbearing_key(keyword, gmail_labels=self._gmail_labels)
        without: frozenset[int] = frozenset()  # nearly always all of them, and a search is a fraction of a store's work
        for uid_set, named in uid_sets(uids):
            without |= self._proved(mailbox, uid_set, named, proof)
        rest = [uid for uid in uids if uid not in without]
        return without | self._store(mailbox, rest, store, proof=proof)

    def present(self, mailbox: MailboxKey, uids: Iterable[int]) -> frozenset[int]:
        """Those of `uids` that are there, by a search in a fresh session."""
        self._session.renew()
        there: set[int] = set()
        try:
            for uid_set, named in uid_sets(uids):
                there |= named & self._session.search(mailbox, f"UID {uid_set}")
        except CommandFailed as refusal:
            raise ServerUnavailable(str(refusal)) from refusal
        return frozenset(there)

    def close(self) -> None:
        """Log out; a later call would log in again."""
        self._session.close()

    def _store(self, mailbox: MailboxKey, uids: Sequence[int], store: Store, *, proof: str) -> frozenset[int]:
        if self._gmail_labels:
            self._check_labels()
        proved: set[int] = set()
        for uid_set, named in uid_sets(uids):
            with suppress(CommandFailed, FolderReadOnly):  # refused for one, it may have been done for others
                self._session.ask(partial(store, uid_set), mailbox)
            proved |= self._proved(mailbox, uid_set, named, proof)
        return frozenset(proved)

    def _proved(self, mailbox: MailboxKey, uid_set: str, named: Collection[int], proof: str) -> frozenset[int]:
        """Those of `named` that the search finds; none in a folder that opens for reading only."""
        try:
            return frozenset(self._session.search(mailbox, f"UID {uid_set} {proof}").intersection(named))
        except FolderReadOnly:
            return frozenset()
        except CommandFailed as refusal:
            raise ServerUnavailable(str(refusal)) from refusal

    def _check_labels(self) -> None:
        if not self._session.has("X-GM-EXT-1"):
            raise ConfigError(f"imap.gmail_labels is for Gmail; {self._session.account.server} has no such labels.")
