"""What foreign errors mean: those of imaplib, imapclient, sockets and TLS, translated once.

A parser's error quotes what it could not read, which may be a mail's text: such words are never passed on, only the
server's own, from its NO, BAD and BYE. `CommandFailed` and its kin never leave `backfill.mail`.
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
from backfill.mail.refusals import MAX_READ, is_about_the_pace, is_for_good, is_full, is_transient, one_line, throttling
from backfill.mail.wire import ReplyTooLarge, SpeaksTls, StoreRefused
from backfill.redaction import redacted
from backfill.shortages import shortage

UNREADABLE = "The mail server's reply cannot be read."

#: What imapclient lets out: its own errors, the socket's, and what its parser trips over in odd replies.
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

#: Bytes as imaplib shows them in its errors, alone or as a list of one.
_SHOWN = re.compile(r"""(\[)?\bb(['"])((?:(?!\2)[^\\]|\\.)*)\2(?(1)\])""", re.DOTALL)
#: What imaplib says, together with the line itself, of a line that it cannot read. That line may be a mail's.
_UNREAD_LINE = re.compile(r"unexpected (?:tagged )?response|unterminated line|unexpected IDLE")


class CommandFailed(MailError):
    """The mail server refused a command, or its reply cannot be read."""

    def __init__(self, message: str, *, is_transient: bool = False, is_for_good: bool = False, words: str = "") -> None:
        """`is_transient`: the server blames itself (RFC 5530 UNAVAILABLE, SERVERBUG), so it may work later.

        `is_for_good`: it says that it will not work later. `words`: what the server said; empty when its reply cannot
        be read.
        """
        super().__init__(message)
        self.is_transient = is_transient
        self.is_for_good = is_for_good
        self.words = words

    @property
    def is_no(self) -> bool:
        """Did the server understand the command, and refuse it?"""
        return bool(self.words) and "command error: BAD" not in self.words


class ConnectionLost(ServerUnavailable):
    """The connection to the mail server is gone; nothing is lost, run again later."""

    def __init__(self, message: str, *, is_silence: bool = False) -> None:
        """`is_silence`: the server said nothing for so long that it was given up."""
        super().__init__(message)
        self.is_silence = is_silence


class FolderReadOnly(MailError):
    """The mail server opens the folder for reading only."""


def translated(error: BaseException, server: str, port: int) -> BackfillError:
    """The error of ours that a foreign one amounts to, with its remedy on one line."""
    where, text = f"{server}:{port}", words(error) or type(error).__name__
    if (scarce := shortage(error)) is not None:
        return MachineExhausted.of(scarce)
    match error:
        case ssl.SSLCertVerificationError():
            return ConfigError(
                f"The certificate of {where} is not trusted ({one_line(error.verify_message)}); if it is signed by "
                "an authority of your own, name that in imap.ca_file, and name the server as its certificate does."
            )
        case ssl.SSLError():
            return ConnectionLost(_about_tls(error, where, text))
        case SpeaksTls():
            return ConnectionLost(
                f"{where} expects TLS from the first byte, so imap.security: tls belongs to it (with 993, as a rule)."
            )
        case ReplyTooLarge():
            return CommandFailed(
                f"The mail server {where} sends more than was asked for, and was not listened to any longer ({text})."
            )
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
            return throttling(text) or CommandFailed(
                f"The mail server refuses: {text}", is_transient=is_transient(text), words=text
            )
        case _:
            return CommandFailed(f"{UNREADABLE[:-1]} ({type(error).__name__}).")


def _about_store(text: str) -> BackfillError:
    """What a refused STORE means: too fast, no room, never, or something else."""
    if not is_about_the_pace(text):
        if is_full(text):
            return StoreUnavailable(
                f"The mail server stores no keywords, since there is no room ({text}); make room in the account, then "
                "run again: verdicts are kept, and no mail is asked about twice."
            )
        if is_for_good(text):
            return CommandFailed(f"The mail server refuses: {text}", is_for_good=True, words=text)
    return throttling(text) or CommandFailed(
        f"The mail server refuses: {text}", is_transient=is_transient(text), words=text
    )


def _ended(where: str, text: str) -> ServerUnavailable:
    return ConnectionLost(f"The mail server {where} ended the connection ({text}).")


def _about_tls(error: ssl.SSLError, where: str, text: str) -> str:
    reason = (error.reason or "").upper()
    if ("VERSION" in reason and "WRONG_VERSION_NUMBER" not in reason) or "UNSUPPORTED_PROTOCOL" in reason:
        return (
            f"No TLS with {where}: it speaks only versions older than TLS 1.2, such as TLS 1.1 or 1.0, which are not "
            f"safe and not used here ({text}); ask for TLS 1.2 at the server."
        )
    if "WRONG_VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason or "RECORD_LAYER_FAILURE" in reason:
        return (
            f"No TLS with {where}: it answers in clear ({text}). Does imap.security: starttls belong to this port "
            "(with 143, as a rule), or is it another service's?"
        )
    return f"No TLS with {where} ({text}); do imap.port and imap.security fit together?"


def words(error: BaseException) -> str:
    """The server's words in an error, on one line; without imapclient's advice to programmers below an empty line."""
    return one_line(_SHOWN.sub(lambda shown: shown[3], redacted(str(error)[:MAX_READ])[:2000].partition("\n\n")[0]))
