"""Which mails a selection names within a window of UIDs.

The server's searches only narrow down. Servers disagree on time zones and on mail without a Date header, so dates
are asked a day wider, what is surely inside is taken as it is, and the rest is decided here, by the calendar day
as the Date header, or INTERNALDATE, writes it.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

from backfill.errors import ConfigError, FolderUnusable, ServerTroubled, ServerUnavailable
from backfill.mail.errors import CommandFailed
from backfill.mail.headers import Headers
from backfill.mail.replies import Row
from backfill.mail.session import Session
from backfill.message import MailboxKey
from backfill.ports import Surveyed, UidWindow
from backfill.selection import DateField, Selection

ALREADY_PROCESSED = "already processed"

_CHUNK = 400  # UIDs in a FETCH; imapclient sends each for itself, at most 11 octets
_DAY = timedelta(days=1)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # never by locale
#: Mail that seems older than this has a Date header the server could not read: some take it for 1970.
_FIRST_BELIEVED = date(1980, 1, 1)


def survey(
    session: Session, mailbox: MailboxKey, piece: UidWindow, selection: Selection, processed_key: str
) -> list[Surveyed]:
    """The mails of the piece that the selection names, by UID. `processed_key` finds those processed before.

    Raises `ConfigError` when the server does not understand the operator's criteria, `FolderUnusable` when its
    SEARCH lists nothing of a piece in which it counts mails.
    """
    window = f"UID {piece.low}:{piece.high}"
    has_dates = selection.start_date is not None or selection.end_date is not None
    try:
        if selection.search:
            uids = _search_as_told(session, mailbox, f"{window} {selection.search}")
        elif not has_dates:
            uids = _all(session, mailbox, piece, window)
        if has_dates:
            dated = _within_dates(session, mailbox, window, selection)
            uids = uids & dated if selection.search else dated
        uids = {uid for uid in uids if piece.low <= uid <= piece.high}
        if not uids and piece.mails and (selection.search or has_dates):
            _check_search(session, mailbox, piece, window)
        processed: set[int] = set()
        if uids and not selection.force_reprocess:
            processed = session.search(mailbox, f"{window} {processed_key}")
    except CommandFailed as refusal:  # of a command of ours: the server's trouble, no mail's
        if _is_empty(session, mailbox):  # some servers refuse to search where there is nothing (Proton Bridge)
            return []
        kind = ServerTroubled if refusal.is_transient else ServerUnavailable
        raise kind(str(refusal)) from refusal
    return [Surveyed(uid, ALREADY_PROCESSED if uid in processed else None) for uid in sorted(uids)]


def _all(session: Session, mailbox: MailboxKey, piece: UidWindow, window: str) -> set[int]:
    """Every mail of the piece: what SEARCH lists, and where it lists fewer than are counted, what FETCH lists too."""
    uids = session.search(mailbox, window)
    if len(uids) < (piece.mails or 0):
        uids |= session.listed(mailbox, f"{piece.low}:{piece.high}", uid=True)
    return uids


def _check_search(session: Session, mailbox: MailboxKey, piece: UidWindow, window: str) -> None:
    """Nothing answers to the criteria: is that so, or does the server's SEARCH list nothing whatever is asked?

    Raises `FolderUnusable`.
    """
    if session.search(mailbox, window):
        return
    if there := len(session.listed(mailbox, f"{piece.low}:{piece.high}", uid=True)):  # else they are gone by now
        raise FolderUnusable(
            f"The mail server holds {there} mails in {mailbox.folder!r} and its SEARCH lists none, so dates and "
            "criteria cannot be asked for. Without --search, --start-date and --end-date the folder can be processed."
        )


def _search_as_told(session: Session, mailbox: MailboxKey, criteria: str) -> set[int]:
    try:
        return session.search(mailbox, criteria)
    except CommandFailed as refusal:
        if refusal.is_transient or not refusal.words or (refusal.is_no and _is_empty(session, mailbox)):
            raise
        raise ConfigError(f"--search: {refusal}") from refusal


def _is_empty(session: Session, mailbox: MailboxKey) -> bool:
    """Does the folder hold no mail? Asked anew, since the refusal ended the connection."""
    return session.opened(mailbox).get(b"EXISTS") == 0


def _within_dates(session: Session, mailbox: MailboxKey, window: str, selection: Selection) -> set[int]:
    start, end = selection.start_date, selection.end_date
    if selection.date_field is DateField.SENT:
        inside = _search_days(session, mailbox, window, "SENT", _inner(start, end))
        asked = _search_days(session, mailbox, window, "SENT", _wider(start, end))
        asked |= _search_days(session, mailbox, window, "", _wider(start, end))  # mail without a readable Date
        items = ["INTERNALDATE", "BODY.PEEK[HEADER.FIELDS (DATE)]"]
    else:
        inside = _search_days(session, mailbox, window, "", _inner(start, end))
        asked = _search_days(session, mailbox, window, "", _wider(start, end))
        items = ["INTERNALDATE"]
    for chunk in _chunks(sorted(asked - inside)):
        rows = session.fetch(mailbox, chunk, items)
        inside.update(uid for uid in chunk if _is_within(_day(rows.get(uid, {})), start, end))
    return inside


Days = tuple[date | None, date | None]  # both included; None is open


def _wider(start: date | None, end: date | None) -> Days:
    return (
        start - _DAY if start and start > date.min else None,
        end + _DAY if end and end < date.max else None,
    )


def _inner(start: date | None, end: date | None) -> Days:
    return (start + _DAY if start and start < date.max else _FIRST_BELIEVED, end - _DAY if end else None)


def _search_days(session: Session, mailbox: MailboxKey, window: str, field: str, days: Days) -> set[int]:
    first, last = days
    if first and last and first > last:
        return set()
    criteria = window
    if first:
        criteria += f" {field}SINCE {_imap_date(first)}"
    if last and last < date.max:
        criteria += f" {field}BEFORE {_imap_date(last + _DAY)}"  # BEFORE excludes its day
    return session.search(mailbox, criteria)


def _imap_date(day: date) -> str:
    return f"{day.day}-{_MONTHS[day.month - 1]}-{day.year:04}"


def _day(row: Row) -> date | None:
    """The calendar day by which a mail is selected; None when the server tells none."""
    header = next((value for key, value in row.items() if key.startswith(b"BODY[HEADER")), None)
    sent = Headers(header).sent_day() if isinstance(header, bytes) else None
    received = row.get(b"INTERNALDATE")
    return sent or (received.date() if isinstance(received, datetime) else None)


def _is_within(day: date | None, start: date | None, end: date | None) -> bool:
    """A mail of no known day is taken: better asked about in vain than lost."""
    return day is None or ((start is None or start <= day) and (end is None or day <= end))


def _chunks(uids: list[int]) -> list[list[int]]:
    return [uids[place : place + _CHUNK] for place in range(0, len(uids), _CHUNK)]
