"""Where mails lie among a folder's UIDs, asked by position instead of by UID.

UIDs may have gaps of any length: three mails may lie around UID 38,000,000. Positions (message sequence numbers,
RFC 9051 §2.3.1.2) have none, so the UIDs at every 5,000th position cut a folder into pieces of 5,000 mails with one
command for 4,000,000 mails. Positions move when mail is expunged; then a piece holds a few mails more or fewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from loguru import logger

from backfill.mail.errors import CommandFailed
from backfill.mail.session import Session
from backfill.mail.uidset import LIMIT
from backfill.message import MailboxKey
from backfill.ports import UidWindow

#: Mails. 5,000 UIDs answer to a SEARCH with at most 55 kB, well below imaplib's limit of a million bytes a line.
WINDOW: Final = 5_000


def highest_uid(session: Session, mailbox: MailboxKey) -> int:
    """The UID of the folder's last mail; 0 where the server does not say. For a folder that is not empty.

    Asked by position, since some servers tell no UIDNEXT, a wrong one, or answer nothing to `UID SEARCH UID *`
    (Courier-IMAP 5.0.13).
    """
    return max(_uids_at(session, mailbox, ["*"]), default=0)


def windows(session: Session, mailbox: MailboxKey, low: int, high: int, exists: int) -> list[UidWindow]:
    """Pieces of the UIDs low..high, without a gap, each with about `WINDOW` mails at the most.

    `exists`: how many mails the folder holds. A server that refuses to be asked by position gets one piece.
    """
    ends = _uids_at(session, mailbox, [str(position) for position in range(WINDOW, exists, WINDOW)])
    counts = [*[WINDOW] * len(ends), exists - len(ends) * WINDOW]
    found: list[UidWindow] = []
    start, is_from_cut = low, low == 1
    for end, mails in zip([*sorted(ends), high], counts, strict=True):
        if start <= min(end, high):
            is_to_cut = end <= high
            found.append(UidWindow(start, min(end, high), mails if is_from_cut and is_to_cut else None))
            start, is_from_cut = min(end, high) + 1, True
    return found


def _uids_at(session: Session, mailbox: MailboxKey, positions: Sequence[str]) -> set[int]:
    """The UIDs at these positions, as far as the server tells them."""
    uids: set[int] = set()
    try:
        for line in _lines(positions):
            uids |= session.listed(mailbox, line, uid=False)
    except CommandFailed as refusal:
        logger.debug("{} does not tell UIDs by position: {}", mailbox.folder, refusal)
        return set()
    return uids


def _lines(positions: Iterable[str]) -> Iterator[str]:
    line = ""
    for position in positions:
        if line and len(line) + 1 + len(position) > LIMIT:
            yield line
            line = ""
        line = f"{line},{position}" if line else position
    if line:
        yield line
