"""Setting and removing keywords over IMAP: `ports.MailMarker`.

Changes only the keyword that it is given, never \\Seen, and only in the epoch of the folder that was meant: the session
that stores compares UIDVALIDITY. The answer to a STORE proves nothing; a SEARCH afterwards does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from functools import partial

from backfill.errors import ConfigError, KeywordRefused, ServerUnavailable, StoreUnavailable
from backfill.keywords import RULE, is_keyword
from backfill.mail.client import Client
from backfill.mail.errors import CommandFailed, FolderReadOnly
from backfill.mail.login import ImapAccount
from backfill.mail.session import Session, Watch
from backfill.mail.uidset import uid_sets
from backfill.message import MailboxKey

#: The first STORE to a folder is checked in a fresh session, then every 50th.
_FRESH_EVERY = 50


def checked_keyword(keyword: str) -> str:
    """`keyword`, if every server accepts it and it cannot hold another command. Raises `ConfigError` otherwise."""
    if not is_keyword(keyword):
        raise ConfigError(f"{keyword!r:.80} cannot be a keyword; use {RULE}")
    return keyword


def search_key(keyword: str, *, gmail_labels: bool) -> str:
    """The SEARCH key for mail with the keyword; with `gmail_labels` for mail with the label of that name."""
    return f"X-GM-LABELS {keyword}" if gmail_labels else f"KEYWORD {keyword}"


def unbearing_key(keyword: str, *, gmail_labels: bool) -> str:
    """The SEARCH key for mail without the keyword, or without the label."""
    return f"NOT X-GM-LABELS {keyword}" if gmail_labels else f"UNKEYWORD {keyword}"


class ImapMarker:
    """One connection to one account, for keywords; opened by the first call, renewed when it breaks.

    With `gmail_labels` keywords are set as labels, which Gmail shows to people. Then `permitted`, `add` and `remove`
    raise `ConfigError` when the server is not Gmail's.
    """

    def __init__(self, account: ImapAccount, *, gmail_labels: bool = False, watch: Watch | None = None) -> None:
        self._session = Session(account, readonly=False, watch=watch)
        self._watch = watch
        self._gmail_labels = gmail_labels
        self._stores: Counter[MailboxKey] = Counter()

    def permitted(self, mailbox: MailboxKey, keywords: Iterable[str]) -> frozenset[str]:
        """Those of `keywords` that the folder keeps, by SELECT: some servers hide them from EXAMINE."""
        asked = frozenset(checked_keyword(keyword) for keyword in keywords)
        try:
            flags = self._session.opened(mailbox).get(b"PERMANENTFLAGS")
        except FolderReadOnly:
            return frozenset()
        if self._gmail_labels:
            self._check_labels()
            return asked
        if flags is None:  # RFC 3501 §7.1: the folder keeps any
            return asked
        kept = {flag.decode("ascii", "replace").lower() for flag in flags}
        return asked if "\\*" in kept else frozenset(keyword for keyword in asked if keyword.lower() in kept)

    def add(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        """Set a keyword; the UIDs that bear it now. Some STOREs are proved in a fresh session, see `_FRESH_EVERY`."""
        proof = search_key(checked_keyword(keyword), gmail_labels=self._gmail_labels)
        return self._store(mailbox, uids, "+", keyword, proof)

    def remove(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        """Take a keyword away; the UIDs that do not bear it now. Writes nothing if no mail bears it."""
        proof = unbearing_key(checked_keyword(keyword), gmail_labels=self._gmail_labels)
        if self._gmail_labels:
            self._check_labels()
        without: frozenset[int] = frozenset()  # most often all of `uids`; a SEARCH costs the server less than a STORE
        for uid_set, named in uid_sets(uids):
            without |= self._proved(mailbox, uid_set, named, proof)
        rest = [uid for uid in uids if uid not in without]
        return without | self._store(mailbox, rest, "-", keyword, proof)

    def bearing(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        """Those of `uids` that bear the keyword. Searched in a fresh session."""
        key = search_key(checked_keyword(keyword), gmail_labels=self._gmail_labels)
        self._session.renew()
        try:
            return _found(self._session, mailbox, uids, key)
        except FolderReadOnly:
            with closing(self._looking()) as session:
                return _found(session, mailbox, uids, key)

    def present(self, mailbox: MailboxKey, uids: Iterable[int]) -> frozenset[int]:
        """Those of `uids` that the folder still has. Searched in a fresh session."""
        wanted = tuple(uids)
        try:
            return self._session.present(mailbox, wanted)
        except FolderReadOnly:
            with closing(self._looking()) as session:
                return session.present(mailbox, wanted)

    def close(self) -> None:
        """Log out; a later call would log in again."""
        self._session.close()

    def _looking(self) -> Session:
        """A session that opens folders for reading, also those that do not open for writing."""
        return Session(self._session.account, readonly=True, watch=self._watch)

    def _store(self, mailbox: MailboxKey, uids: Sequence[int], sign: str, keyword: str, proof: str) -> frozenset[int]:
        if self._gmail_labels:
            self._check_labels()
        change, word = f"{sign}X-GM-LABELS" if self._gmail_labels else f"{sign}FLAGS", self._word(keyword)
        proved: set[int] = set()
        refusal: CommandFailed | None = None
        for uid_set, named in uid_sets(uids):
            try:
                self._session.ask(partial(_store, uid_set=uid_set, change=change, word=word), mailbox)
            except FolderReadOnly:
                pass
            except CommandFailed as error:  # some of the mails may have been stored all the same
                refusal = error if error.is_for_good else refusal
            shown = self._proved(mailbox, uid_set, named, proof)
            proved |= self._afresh(mailbox, uid_set, shown, proof) if shown else shown
        if refusal is not None and not proved.issuperset(uids):
            raise KeywordRefused(refusal.words, proved=frozenset(proved))
        return frozenset(proved)

    def _word(self, keyword: str) -> str:
        return f'"{keyword}"' if self._gmail_labels else keyword

    def _afresh(self, mailbox: MailboxKey, uid_set: str, shown: frozenset[int], proof: str) -> frozenset[int]:
        """Those of `shown` that a fresh session shows too. With a full disk, the old session shows unsaved keywords.

        Checked at the first STORE in a folder and then at every `_FRESH_EVERY`th, since a login costs the server work.
        """
        self._stores[mailbox] += 1
        if self._stores[mailbox] % _FRESH_EVERY != 1:
            return shown
        self._session.renew()
        kept = self._proved(mailbox, uid_set, shown, proof)
        if not kept and self.present(mailbox, shown):
            raise StoreUnavailable(
                f"The mail server accepted keywords in {mailbox.folder!r} but did not keep them: a new session shows "
                "none. Its disk may be full. Make room in the account, then run again. Verdicts are kept."
            )
        return kept

    def _proved(self, mailbox: MailboxKey, uid_set: str, named: Collection[int], proof: str) -> frozenset[int]:
        """Those of `named` that the search finds; none in a folder that opens only for reading."""
        try:
            return frozenset(self._session.search(mailbox, f"UID {uid_set} {proof}").intersection(named))
        except FolderReadOnly:
            return frozenset()
        except CommandFailed as refusal:
            raise ServerUnavailable(str(refusal)) from refusal

    def _check_labels(self) -> None:
        if not self._session.has("X-GM-EXT-1"):
            raise ConfigError(f"imap.gmail_labels is for Gmail; {self._session.account.server} has no such labels.")


def _found(session: Session, mailbox: MailboxKey, uids: Sequence[int], key: str) -> frozenset[int]:
    """Those of `uids` that the search finds. Raises `FolderReadOnly` if the folder does not open for writing."""
    found: set[int] = set()
    try:
        for uid_set, named in uid_sets(uids):
            found |= session.search(mailbox, f"UID {uid_set} {key}").intersection(named)
    except CommandFailed as refusal:
        raise ServerUnavailable(str(refusal)) from refusal
    return frozenset(found)


def _store(client: Client, *, uid_set: str, change: str, word: str) -> None:
    client.store(uid_set, change, [word])
