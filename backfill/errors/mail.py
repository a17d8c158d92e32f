"""Errors of the mail server, of its folders and of one mail."""

from __future__ import annotations

from backfill.errors.base import AsksToWait, BackfillError
from backfill.lifecycle import Disposition, ExitCode


class MailError(BackfillError):
    """The mail server did something that backfill cannot work with."""

    reason = "mail"


class CredentialsRefused(MailError):
    """The mail server refused the credentials; check username, password (or app password) and auth."""

    exit_code = ExitCode.REFUSED


class FolderUnusable(MailError):
    """The mail server does not open the folder so that it can be worked on; the other folders are worked on."""

    disposition = Disposition.RELEASE

    exit_code = ExitCode.USAGE
    reason = "folder_unusable"


class FolderUnknown(FolderUnusable):
    """The mail server has no such folder; `backfill folders` lists those it has."""

    reason = "folder_unknown"


class ServerUnavailable(MailError, AsksToWait):
    """The mail server cannot be reached or asks for patience; run again later."""

    disposition = Disposition.RELEASE
    exit_code = ExitCode.UNREACHABLE
    reason = "server_unavailable"


class ServerTroubled(ServerUnavailable):
    """The mail server answers that it cannot do its work at the moment; run again later."""


class FolderTroubled(ServerTroubled):
    """The mail server does not open this folder at the moment, or gives out none of its mails; run again later."""

    reason = "folder_troubled"


class MailThrottled(ServerUnavailable):
    """The mail server asks for patience; run again when that time is over."""

    exit_code = ExitCode.STOPPED_EARLY
    reason = "mail_throttled"


class MarksMailRead(MailError):
    """The mail server marks mail as read although backfill only peeks at it; stopped before more mail is marked."""

    exit_code = ExitCode.REFUSED
    reason = "marks_mail_read"


class StoreUnavailable(MailError):
    """The mail account is full, so its server stores no keywords; make room, then run again: verdicts are kept."""

    exit_code = ExitCode.STOPPED_EARLY
    reason = "store_unavailable"


class KeywordRefused(MailError):
    """The mail server does not store this keyword in this folder, or on these mails, and will not do so later."""

    reason = "keyword_refused"

    def __init__(self, message: str, *, proved: frozenset[int] = frozenset()) -> None:
        """`proved`: the UIDs on which the keyword was stored or removed all the same."""
        super().__init__(message)
        self.proved = proved


class MailboxChanged(MailError):
    """The folder's UIDVALIDITY has changed: its UIDs name other mails now. It is planned anew."""

    disposition = Disposition.REPLAN
    exit_code = ExitCode.STOPPED_EARLY
    reason = "uidvalidity_changed"


class MessageGone(MailError):
    """The mail is gone from the server."""

    disposition = Disposition.VANISH
    reason = "vanished"


class MessageUnreadable(MailError):
    """The server lists the mail but does not send it, or the mail cannot be parsed."""

    disposition = Disposition.RETRY
    reason = "unreadable"
