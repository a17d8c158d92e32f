"""A mail account and its login: `connect` gives an imapclient that is logged in.

The secret is fetched anew at every connect, so that OAuth tokens stay fresh over days. It is not kept. Refused
credentials from a `password_command` get a second try with a newly fetched secret. There is no third try: servers lock
accounts.
"""

from __future__ import annotations

import base64
import os
import re
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Literal

from imapclient.exceptions import CapabilityError, IMAPClientAbortError, IMAPClientError
from loguru import logger

from backfill.errors import (
    ConfigError,
    CredentialsRefused,
    MachineExhausted,
    MailError,
    ServerTroubled,
    ServerUnavailable,
)
from backfill.hosts import is_loopback
from backfill.mail.client import Client
from backfill.mail.errors import FOREIGN, CommandFailed, ConnectionLost, translated, words
from backfill.mail.password_command import printed_by
from backfill.mail.refusals import is_transient, one_line, remedy, throttling
from backfill.mail.wire import Hears, Patience, ReplyTooLarge
from backfill.redaction import protect

#: User names that all servers read the same in LOGIN. Others go by AUTHENTICATE PLAIN if the server offers it.
_PLAIN = re.compile(r"[A-Za-z0-9@._+=/-]+")
_VERSION = version("backfill")


def _from_environment(name: str) -> str:
    secret = os.environ.get(name, "")
    if not secret:
        raise ConfigError(f"The environment variable {name} (imap.password_env) is not set.")
    return secret


@dataclass(frozen=True, slots=True)
class ImapAccount:
    """Where a mailbox is and how to log in. Holds no secret, only where to get it.

    `password_command` (argv, no shell; the first line of its output) goes before `password_env`, the name
    of an environment variable. With `security="none"` the server must be on this machine.
    Raises `ConfigError` for settings that cannot work.
    """

    server: str
    username: str
    port: int = 993
    security: Literal["tls", "starttls", "none"] = "tls"
    ca_file: str | None = None  # PEM; replaces the system's authorities
    auth: Literal["password", "xoauth2", "oauthbearer"] = "password"
    password_env: str | None = "IMAP_PASSWORD"  # noqa: S105  a name, not a secret
    password_command: tuple[str, ...] | None = None
    withheld: tuple[str, ...] = ()  # environment variables that `password_command` does not get: other secrets
    timeout_s: float = 60.0  # for connecting, for the TLS handshake, and for each wait for the server
    folder_timeout_s: float = 300.0  # for a command that works through a folder: EXAMINE, SEARCH, STORE, LIST
    #: Looks up a variable's value; raises `ConfigError` when the variable is not set.
    secret: Callable[[str], str] = field(default=_from_environment, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.security == "none" and not is_loopback(self.server):
            raise ConfigError(
                f"imap.security: none would send the password in clear to {self.server}; use tls or starttls."
            )
        if not self.password_env and not self.password_command:
            raise ConfigError("No password is configured; set imap.password_env or imap.password_command.")

    @property
    def name(self) -> str:
        """The account's name in the ledger. It does not change with the port or the kind of login."""
        return f"{self.username}@{self.server.lower()}"


def connect(account: ImapAccount, hears: Hears | None = None) -> Client:
    """An imapclient, connected and logged in, with the capabilities that the server has after login.

    `hears` is told of every octet that comes and of long waits for the server, for as long as the connection lasts.
    Raises `ConfigError` (no secret, untrusted certificate, no STARTTLS), `CredentialsRefused`, `ServerUnavailable`.
    """
    try:
        return _connect_with(_secret(account), account, hears or _Nobody())
    except CredentialsRefused:
        if account.password_command is None:
            raise
    return _connect_with(_secret(account), account, hears or _Nobody())


def hang_up(client: Client, *, politely: bool) -> None:
    """End the connection. `politely`: send LOGOUT first, on a sound connection; a server that fails it is ignored."""
    with suppress(*FOREIGN):
        if politely:
            client.logout()
    with suppress(*FOREIGN):
        client.shutdown()


def _connect_with(secret: str, account: ImapAccount, hears: Hears) -> Client:
    protect(secret, base64.b64encode(f"\0{account.username}\0{secret}".encode()).decode())
    tls = _tls(account) if account.security != "none" else None
    client: Client | None = None
    try:
        at_once = tls if account.security == "tls" else None
        patience = Patience(account.timeout_s, account.folder_timeout_s)
        client = Client(account.server, account.port, at_once, patience, hears)
        # imapclient sends a SEARCH in two pieces; Nagle's algorithm would delay the second by 40 ms
        client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if account.security == "starttls":
            _start_tls(client, account, tls)
        if client.wire.state != "AUTH":  # AUTH after PREAUTH: the user is known already (RFC 9051 §7.1.4)
            _authenticate(client, account, secret)
        client._cached_capabilities = client._do_capabilites()  # proxies send other ones before login (iCloud)
        _introduce(client)
    except (*FOREIGN, MailError, ConfigError) as error:
        if client is not None:
            hang_up(client, politely=False)
        if isinstance(error, MailError | ConfigError):
            raise
        raise _unavailable(error, account) from None  # a foreign error may quote the secret that was sent
    logger.debug("Logged in to {}", account.server)
    return client


class _Nobody:
    """The `Hears` of a connection that nobody watches."""

    def read(self, size: int) -> None:
        return

    def waiting(self, sentence: str | None) -> None:
        return


def _start_tls(client: Client, account: ImapAccount, tls: ssl.SSLContext | None) -> None:
    try:
        if client.wire.state == "AUTH":  # forbids STARTTLS, so an attacker on the way may have sent it
            raise CapabilityError("PREAUTH")
        client.starttls(tls)
    except CapabilityError as error:
        raise ConfigError(
            f"{account.server} offers no STARTTLS on port {account.port}, and backfill sends no password in clear; "
            "try imap.security: tls with imap.port 993."
        ) from error


def _introduce(client: Client) -> None:
    """Send ID (RFC 2971): NetEase opens no folder for a program that does not send its name."""
    if not client.has_capability("ID"):
        return
    try:
        client.id_({"name": "backfill", "version": _VERSION, "vendor": "backfill"})
    except IMAPClientAbortError:
        raise
    except IMAPClientError as error:
        logger.debug("The server offers ID and refused it: {}", one_line(str(error)))


def _authenticate(client: Client, account: ImapAccount, secret: str) -> None:
    """Log in. Raises `CredentialsRefused`, or the foreign error when the server or the connection is at fault."""
    user = account.username
    try:
        if account.auth == "xoauth2":
            _authenticate_by_token(client, "XOAUTH2", f"user={user}\1auth=Bearer {secret}\1\1", farewell="")
        elif account.auth == "oauthbearer":
            identity = user.replace("=", "=3D").replace(",", "=2C")  # RFC 5801 §4
            _authenticate_by_token(client, "OAUTHBEARER", f"n,a={identity},\1auth=Bearer {secret}\1\1", farewell="\1")
        elif _takes_plain(client) and not (_PLAIN.fullmatch(user) and secret.isascii()):
            client.plain_login(user, secret)  # UTF-8 (RFC 4616)
        elif client.has_capability("LOGINDISABLED"):
            if not _takes_plain(client):
                raise CredentialsRefused(_refusal(account, "LOGINDISABLED"))
            client.plain_login(user, secret)
        else:
            client.wire.log_in(user, secret)
    except IMAPClientError as error:
        # imapclient raises LoginError for everything, also for a lost connection
        if isinstance(error, IMAPClientAbortError) or isinstance(error.__context__, IMAPClientAbortError):
            raise IMAPClientAbortError(str(error)) from error
        if isinstance(error, ReplyTooLarge) or isinstance(error.__context__, ReplyTooLarge):
            raise
        answer = words(error)
        if throttling(answer) or is_transient(answer):
            raise
        raise CredentialsRefused(_refusal(account, answer)) from None  # the original may quote the secret


def _takes_plain(client: Client) -> bool:
    return bool(client.has_capability("AUTH=PLAIN"))


def _refusal(account: ImapAccount, answer: str) -> str:
    otherwise = f"check username, password (or app password) and imap.auth, which is {account.auth}"
    return f"{account.server} refused to log in {account.username} ({answer}); {remedy(answer) or otherwise}."


def _authenticate_by_token(client: Client, mechanism: str, credentials: str, *, farewell: str) -> None:
    """A refusal comes as a challenge. `farewell` answers it, and only then the NO arrives (RFC 7628 §3.2.3)."""
    protect(base64.b64encode(credentials.encode()).decode())
    replies = iter((credentials,))
    client.sasl_login(mechanism, lambda _challenge: next(replies, farewell))


def _unavailable(error: BaseException, account: ImapAccount) -> ConfigError | MachineExhausted | ServerUnavailable:
    ours = translated(error, account.server, account.port)
    if isinstance(ours, CommandFailed | ConnectionLost):  # before login no mail is at fault
        said = words(error)
        is_troubled = isinstance(error, IMAPClientError) and (said.startswith("* BYE") or is_transient(said))
        return ServerTroubled(str(ours)) if is_troubled else ServerUnavailable(str(ours))
    assert isinstance(ours, ConfigError | MachineExhausted | ServerUnavailable)
    return ours


def _tls(account: ImapAccount) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=account.ca_file)
    except OSError as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"imap.ca_file {account.ca_file} holds no readable PEM certificates ({error}).") from error


def _secret(account: ImapAccount) -> str:
    if account.password_command:
        return printed_by(account.password_command, account.withheld)
    assert account.password_env is not None
    return account.secret(account.password_env).strip("\r\n")
