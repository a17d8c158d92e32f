"""Errors of imaplib, imapclient, sockets and TLS, translated once into ours.

A parser's error quotes what it could not read, which may be a mail's text. So only the server's own words from its NO,
BAD and BYE reach a message. `CommandFailed` and `FolderReadOnly` never leave `backfill.mail`.
"""

from __future__ import annotations

import re
import socket
import ssl

from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, ProtocolError

from backfill.errors import (
    BackfillError,
    ConfigError,
    MachineExhausted,
    MailError,
    ServerUnavailable,
    StoreUnavailable,
)
from backfill.mail.client import StoreRefused
from backfill.mail.refusals import MAX_READ, is_about_the_pace, is_for_good, is_full, is_transient, one_line, throttling
from backfill.mail.wire import ReplyTooLarge, SpeaksTls
from backfill.redaction import redacted
from backfill.shortages import shortage

UNREADABLE = "The mail server's reply cannot be read."

#: What imapclient raises: its own errors, the socket's, and those of its parser on odd replies.
FOREIGN = (
    IMAPClientError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NameError,
    ArithmeticError,
    RecursionError,
)

#: `b'…'` or `[b'…']`, as imaplib's errors show bytes.
_SHOWN = re.compile(r"""(\[)?\bb(['"])((?:(?!\2)[^\\]|\\.)*)\2(?(1)\])""", re.DOTALL)
#: How imaplib's error begins for a line that it cannot read. It quotes the line, which may be a mail's text.
_UNREAD_LINE = re.compile(r"unexpected (?:tagged )?response|unterminated line|unexpected IDLE")


class CommandFailed(MailError):
    """The mail server refused a command, or its reply cannot be read."""

    def __init__(self, message: str, *, is_transient: bool = False, is_for_good: bool = False, words: str = "") -> None:
        """`is_transient`: the server names a trouble of its own (RFC 5530 UNAVAILABLE, SERVERBUG); try later.

        `is_for_good`: the server will refuse the same command again. `words`: what the server said; empty when its
        reply cannot be read.
        """
        super().__init__(message)
        self.is_transient = is_transient
        self.is_for_good = is_for_good
        self.words = words

    @property
    def is_no(self) -> bool:
        """Did the server understand the command and refuse it (NO, not BAD)?"""
        return bool(self.words) and "command error: BAD" not in self.words


class TooMuchSaid(CommandFailed):
    """The reply is larger than any that was wanted; about fewer mails it may be smaller."""


class ConnectionLost(ServerUnavailable):
    """The connection to the mail server is gone; run again later."""

    def __init__(self, message: str, *, is_silence: bool = False) -> None:
        """`is_silence`: the server sent nothing within the time limit."""
        super().__init__(message)
        self.is_silence = is_silence


class FolderReadOnly(MailError):
    """The mail server opens the folder for reading only."""


def translated(error: BaseException, server: str, port: int) -> BackfillError:
    """Our error for a foreign one. Its message is one line and says what to do."""
    if isinstance(error.__context__, ReplyTooLarge):  # imaplib makes a plain error of it
        error = error.__context__
    where, text = f"{server}:{port}", words(error) or type(error).__name__
    if (scarce := shortage(error)) is not None:
        return MachineExhausted.of(scarce)
    match error:
        case ssl.SSLCertVerificationError():
            return ConfigError(
                f"The certificate of {where} is not trusted ({one_line(error.verify_message)}). If your own authority "
                "signed it, set imap.ca_file to that authority's file. imap.server must be a name in the certificate."
            )
        case ssl.SSLError():
            return ConnectionLost(_about_tls(error, where, text))
        case SpeaksTls():
            return ConnectionLost(
                f"{where} expects TLS from the first byte; set imap.security: tls (usually with imap.port 993)."
            )
        case ReplyTooLarge():
            return TooMuchSaid(f"The mail server {where} sent more than was asked for; its reply was dropped ({text}).")
        case StoreRefused():
            return _about_store(text)
        case socket.gaierror():
            return ConnectionLost(f"The mail server {server!r} is not found; check imap.server and the network.")
        case ConnectionRefusedError():
            return ConnectionLost(f"Nothing answers at {where}; check imap.server and imap.port.")
        case TimeoutError():
            return ConnectionLost(
                f"The mail server {where} does not answer in time; check the network, run again.", is_silence=True
            )
        case OSError():
            return ConnectionLost(f"The connection to {where} broke ({text}); run again.")
        case ProtocolError():
            return CommandFailed(UNREADABLE)
        case IMAPClientAbortError():
            if _UNREAD_LINE.search(str(error)[:200]):
                return ConnectionLost(UNREADABLE)
            return throttling(text) or _ended(where, text)
        case IMAPClientError():
            return _refused(text)
        case _:
            return CommandFailed(f"{UNREADABLE[:-1]} ({type(error).__name__}).")


def _about_store(text: str) -> BackfillError:
    """What a refused STORE means: too fast, no room, refused for good, or something else."""
    if not is_about_the_pace(text):
        if is_full(text):
            return StoreUnavailable(
                f"The mail server stores no keywords because there is no room ({text}). Make room in the account, then "
                "run again. Verdicts are kept, and no mail is asked about twice."
            )
        if is_for_good(text):
            return CommandFailed(f"The mail server refuses: {text}", is_for_good=True, words=text)
    return _refused(text)


def _refused(text: str) -> BackfillError:
    return throttling(text) or CommandFailed(
        f"The mail server refuses: {text}", is_transient=is_transient(text), words=text
    )


def _ended(where: str, text: str) -> ServerUnavailable:
    return ConnectionLost(f"The mail server {where} ended the connection ({text}).")


def _about_tls(error: ssl.SSLError, where: str, text: str) -> str:
    reason = (error.reason or "").upper()
    if ("VERSION" in reason and "WRONG_VERSION_NUMBER" not in reason) or "UNSUPPORTED_PROTOCOL" in reason:
        return (
            f"No TLS with {where}: the server offers only TLS 1.1 or older, which is not safe ({text}). "
            "Have TLS 1.2 enabled on the server."
        )
    if "WRONG_VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason or "RECORD_LAYER_FAILURE" in reason:
        return (
            f"No TLS with {where}: the server answers without encryption ({text}). Set imap.security to starttls "
            "(usually with imap.port 143), or correct imap.port if this is another service."
        )
    return f"No TLS with {where} ({text}); check that imap.port and imap.security fit together."


def words(error: BaseException) -> str:
    """The server's words in an error, on one line. imapclient's advice below an empty line is left out."""
    return one_line(_SHOWN.sub(lambda shown: shown[3], redacted(str(error)[:MAX_READ])[:2000].partition("\n\n")[0]))
