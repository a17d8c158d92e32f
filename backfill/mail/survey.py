"""Which mails a selection names within a window of UIDs.

Servers disagree on time zones and on mail without a Date header, so their searches by date only narrow the choice. The
search is one day wider than the selection at either end. Mails more than a day inside are taken. Mails near the ends
are decided here, by the calendar day in the Date header or else in INTERNALDATE.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

from backfill.errors import ConfigError, FolderUnusable, ServerTroubled, ServerUnavailable
from backfill.mail.errors import CommandFailed, TooMuchSaid
from backfill.mail.headers import Headers
from backfill.mail.replies import Row
from backfill.mail.session import Session
from backfill.message import MailboxKey
from backfill.ports import Surveyed, UidWindow
from backfill.selection import DateField, Selection

ALREADY_PROCESSED = "already processed"

_CHUNK = 400  # UIDs in a FETCH; each is sent with up to 11 octets
_DAY = timedelta(days=1)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # never by locale
#: Some servers take an unreadable Date header for 1970, so older mail is decided here.
_FIRST_BELIEVED = date(1980, 1, 1)


def survey(
    session: Session, mailbox: MailboxKey, piece: UidWindow, selection: Selection, processed_key: str
) -> list[Surveyed]:
    """The mails of the piece that the selection names, by UID. `processed_key`: the SEARCH key for processed mail.

    Raises `ConfigError` when the server does not understand the operator's criteria. Raises `FolderUnusable` when its
    SEARCH lists nothing in a piece that has mails, `TooMuchSaid` for a piece of too many mails.
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
    except TooMuchSaid:
        raise
    except CommandFailed as refusal:  # refused a command of ours: no mail is at fault
        if _is_empty(session, mailbox):  # some servers refuse to search an empty folder (Proton Bridge)
            return []
        kind = ServerTroubled if refusal.is_transient else ServerUnavailable
        raise kind(str(refusal)) from refusal
    return [Surveyed(uid, ALREADY_PROCESSED if uid in processed else None) for uid in sorted(uids)]


def _all(session: Session, mailbox: MailboxKey, piece: UidWindow, window: str) -> set[int]:
    """Every mail of the piece, by SEARCH. If SEARCH lists fewer than the piece has, by FETCH too."""
    uids = session.search(mailbox, window)
    if len(uids) < (piece.mails or 0):
        uids |= session.listed(mailbox, f"{piece.low}:{piece.high}", uid=True)
    return uids


def _check_search(session: Session, mailbox: MailboxKey, piece: UidWindow, window: str) -> None:
    """No mail fits the criteria: check that the server's SEARCH works at all. Raises `FolderUnusable` if not."""
    if session.search(mailbox, window):
        return
    if there := len(session.listed(mailbox, f"{piece.low}:{piece.high}", uid=True)):  # 0: they are gone by now
        raise FolderUnusable(
            f"The mail server holds {there} mails in {mailbox.folder!r} and its SEARCH lists none, so it cannot search "
            "by dates or criteria. Without --search, --start-date and --end-date the folder can be processed."
        )


def _search_as_told(session: Session, mailbox: MailboxKey, criteria: str) -> set[int]:
    try:
        return session.search(mailbox, criteria)
    except CommandFailed as refusal:
        if refusal.is_transient or not refusal.words or (refusal.is_no and _is_empty(session, mailbox)):
            raise
        raise ConfigError(f"--search: {refusal}") from refusal


def _is_empty(session: Session, mailbox: MailboxKey) -> bool:
    """Has the folder no mail? After a refusal the folder is opened again, so the number is the present one."""
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


Days = tuple[date | None, date | None]  # first and last day, both included; None: no limit


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
    """The calendar day of a mail: of its Date header, else of INTERNALDATE; None when the server tells neither."""
    header = next((value for key, value in row.items() if key.startswith(b"BODY[HEADER")), None)
    sent = Headers(header).sent_day() if isinstance(header, bytes) else None
    received = row.get(b"INTERNALDATE")
    return sent or (received.date() if isinstance(received, datetime) else None)


def _is_within(day: date | None, start: date | None, end: date | None) -> bool:
    """A mail of unknown day counts as within: one call too many is better than a lost mail."""
    return day is None or ((start is None or start <= day) and (end is None or day <= end))


def _chunks(uids: list[int]) -> list[list[int]]:
    return [uids[place : place + _CHUNK] for place in range(0, len(uids), _CHUNK)]
