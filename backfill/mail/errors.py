"""What foreign errors and a server's refusals mean: imaplib, sockets, TLS and throttling texts, translated once.

IMAP names its reasons in response codes and, where there is no code, in texts that servers have kept for years;
this is the one place that reads them. `CommandFailed` and its kin never leave `backfill.mail`.
"""

from __future__ import annotations

import re
import socket
import ssl

from imapclient.exceptions import IMAPClientAbortError, IMAPClientError

from backfill.errors import BackfillError, ConfigError, MailError, MailThrottled, ServerUnavailable

#: What imapclient lets out: its own errors, the socket's, and what its parser trips over in odd replies.
FOREIGN = (IMAPClientError, OSError, ValueError, TypeError, LookupError, AttributeError, NameError, RecursionError)

_BACKOFF = re.compile(r"Suggested Backoff Time: (\d+) milliseconds", re.IGNORECASE)  # Exchange
#: What else asks for patience without naming a time, and the seconds that it is left alone. Gmail suspends an account
#: for up to a day: one question an hour does no harm.
_THROTTLED = (
    (re.compile(r"\[OVERQUOTA\b|exceeded command or bandwidth", re.IGNORECASE), 3600.0),
    (re.compile(r"\[(?:THROTTLED|LIMIT)\b|request is throttled|rate limit", re.IGNORECASE), 300.0),
    (
        re.compile(
            r"\[INUSE\b|too many simultaneous connections|maximum number of connections|mail_max_userip_connections",
            re.IGNORECASE,
        ),
        60.0,
    ),
)
#: Bytes as imaplib shows them in its errors, alone or as a list of one.
_SHOWN = re.compile(r"""(\[)?\bb(['"])((?:(?!\2)[^\\]|\\.)*)\2(?(1)\])""", re.DOTALL)
_TRANSIENT = re.compile(r"\[(?:UNAVAILABLE|SERVERBUG)\b|server unavailable", re.IGNORECASE)


class CommandFailed(MailError):
    """The mail server refused a command, or its reply cannot be read."""

    def __init__(self, message: str, *, is_transient: bool = False) -> None:
        """`is_transient`: the server blames itself (RFC 5530 UNAVAILABLE, SERVERBUG), so it may work later."""
        super().__init__(message)
        self.is_transient = is_transient


class ConnectionLost(ServerUnavailable):
    """The connection to the mail server is gone; nothing is lost, run again later."""

    def __init__(self, message: str, *, is_silence: bool = False) -> None:
        """`is_silence`: the server said nothing for so long that it was given up."""
        super().__init__(message)
        self.is_silence = is_silence


class FolderReadOnly(MailError):
    """The mail server opens the folder for reading only."""


def throttling(text: str) -> MailThrottled | None:
    """What a server's text asks for, when it asks for patience."""
    wait_s = next((wait_s for pattern, wait_s in _THROTTLED if pattern.search(text)), None)
    if backoff := _BACKOFF.search(text):
        wait_s = int(backoff[1][:9]) / 1000
    if wait_s is None:
        return None
    return MailThrottled(f"The mail server asks for patience ({wait_s:.0f} s): {one_line(text)}", wait_s=wait_s)


def is_transient(text: str) -> bool:
    """Does the server blame itself?"""
    return _TRANSIENT.search(text) is not None


def translated(error: BaseException, server: str, port: int) -> BackfillError:
    """The error of ours that a foreign one amounts to, with its remedy on one line."""
    where, text = f"{server}:{port}", one_line(_words(error)) or type(error).__name__
    match error:
        case ssl.SSLCertVerificationError():
            return ConfigError(
                f"The certificate of {where} is not trusted ({one_line(error.verify_message)}); if it is signed by "
                "an authority of your own, name that in imap.ca_file, and name the server as its certificate does."
            )
        case ssl.SSLError():
            return ConnectionLost(f"No TLS with {where} ({text}); do imap.port and imap.security fit together?")
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
        case IMAPClientAbortError():
            return throttling(text) or ConnectionLost(f"The mail server {where} ended the connection ({text}).")
        case IMAPClientError():
            return throttling(text) or CommandFailed(
                f"The mail server refuses: {text}", is_transient=is_transient(text)
            )
        case _:
            return CommandFailed(f"The mail server's reply cannot be read ({type(error).__name__}).")


def _words(error: BaseException) -> str:
    """The server's words in an error; without imapclient's advice, which is for programmers, below an empty line."""
    return _SHOWN.sub(lambda shown: shown[3], str(error)[:2000].partition("\n\n")[0])


def one_line(text: str) -> str:
    """A server's words for a log or a terminal: printable, on one line, bounded."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:1000]).split())[:300]
