"""The UID ranges in which a folder has mails, found by position instead of by UID.

UIDs may have gaps of any length: a folder of three mails may have UIDs around 38,000,000. Positions (message sequence
numbers, RFC 9051 §2.3.1.2) have no gaps. The UIDs at every 5,000th position cut a folder into pieces of 5,000 mails.
One command is enough for 4,000,000 mails. Positions move when mail is expunged; then a piece holds a few mails more or
fewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from loguru import logger

from backfill.mail.errors import CommandFailed
from backfill.mail.session import Session
from backfill.mail.uidset import uid_sets
from backfill.message import MailboxKey
from backfill.ports import UidWindow

#: Mails. A SEARCH reply with 5,000 UIDs has at most 55 kB; imaplib's limit is 1,000,000 bytes a line.
WINDOW: Final = 5_000


def highest_uid(session: Session, mailbox: MailboxKey) -> int:
    """The UID of the last mail of a folder that is not empty; 0 when the server does not tell.

    Asked by position: some servers tell no UIDNEXT or a wrong one, or find nothing by `UID SEARCH UID *`
    (Courier-IMAP 5.0.13).
    """
    return max(_uids_at(session, mailbox, ["*"]), default=0)


def windows(session: Session, mailbox: MailboxKey, low: int, high: int, exists: int) -> list[UidWindow]:
    """Pieces of the UIDs low..high, without gaps, each with at most about `WINDOW` mails.

    `exists`: the number of mails in the folder. If the server refuses the question by position, there is one piece.
    """
    ends = _uids_at(session, mailbox, (line for line, _ in uid_sets(range(WINDOW, exists, WINDOW))))
    counts = [*[WINDOW] * len(ends), exists - len(ends) * WINDOW]
    found: list[UidWindow] = []
    start, is_from_cut = low, low == 1
    for end, mails in zip([*sorted(ends), high], counts, strict=True):
        if start <= min(end, high):
            is_to_cut = end <= high
            found.append(UidWindow(start, min(end, high), mails if is_from_cut and is_to_cut else None))
            start, is_from_cut = min(end, high) + 1, True
    return found


def ends(session: Session, mailbox: MailboxKey) -> Iterator[int]:
    """The UIDs of the folder's newest mail and of its oldest, each asked for when needed; 0 where it is not told."""
    yield highest_uid(session, mailbox)
    yield min(_uids_at(session, mailbox, ["1"]), default=0)


def _uids_at(session: Session, mailbox: MailboxKey, positions: Iterable[str]) -> set[int]:
    """The UIDs at these sets of positions; none if the server refuses."""
    uids: set[int] = set()
    try:
        for several in positions:
            uids |= session.listed(mailbox, several, uid=False)
    except CommandFailed as refusal:
        logger.debug("{} does not tell UIDs by position: {}", mailbox.folder, refusal)
        return set()
    return uids
