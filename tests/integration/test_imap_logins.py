"""Greetings and logins as servers answer them: who must wait, who must do something, and who is let in.

Each answer was seen on a server, or in a public report about one.
"""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backfill.errors import ConfigError, CredentialsRefused, MailThrottled, ServerTroubled, ServerUnavailable
from backfill.mail.login import ImapAccount, connect, hang_up
from backfill.mail.source import ImapSource
from backfill.message import MailboxKey, Message
from tests.conftest import Mailbox
from tests.support.scripted_imap import BYE, STALL, ScriptedImap

INBOX = MailboxKey("bob@127.0.0.1", "INBOX", 7)
MAIL = b"From: a@b\r\nSubject: hello\r\n\r\nHello\r\n"
SECRET = "s3cret-and-private"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ImapAccount]:
    monkeypatch.setenv("MAILBOX_PASSWORD", SECRET)

    def make(server: ScriptedImap, user: str = "bob", **settings: Any) -> ImapAccount:
        defaults: dict[str, Any] = {"security": "none", "password_env": "MAILBOX_PASSWORD", "timeout_s": 5.0}
        return ImapAccount("127.0.0.1", user, port=server.port, **{**defaults, **settings})

    return make


@pytest.fixture
def reading(account: Callable[..., ImapAccount]) -> Iterator[Callable[..., ImapSource]]:
    sources: list[ImapSource] = []

    def make(server: ScriptedImap, **settings: Any) -> ImapSource:
        sources.append(ImapSource(account(server, **settings)))
        return sources[-1]

    yield make
    for source in sources:
        source.close()


def refusing(answer: bytes, *, times: int | None = None) -> ScriptedImap:
    """A server that answers LOGIN like that, as often as told, else always."""
    server = ScriptedImap({1: MAIL})

    def script(command: str) -> list[bytes] | None:
        is_refused = command.startswith("LOGIN") and (times is None or len(server.said("LOGIN")) <= times)
        return [answer] if is_refused else None

    server.script = script
    return server


def enter(account: ImapAccount) -> None:
    hang_up(connect(account), politely=True)


# Greetings.


def test_a_server_that_knows_who_is_there_is_not_logged_in_to(reading: Callable[..., ImapSource]) -> None:
    with ScriptedImap({1: MAIL}, greeting=b"* PREAUTH welcome bob") as server:
        (mail,) = reading(server).fetch(INBOX, [1])

    assert isinstance(mail, Message)
    assert not server.said("LOGIN")


def test_a_server_that_knows_who_is_there_is_not_gone_on_with_in_clear(account: Callable[..., ImapAccount]) -> None:
    with (
        ScriptedImap({1: MAIL}, greeting=b"* PREAUTH welcome", capabilities="STARTTLS") as server,
        pytest.raises(ConfigError, match="in clear"),
    ):
        enter(account(server, security="starttls"))


@pytest.mark.parametrize(
    "words",
    [
        b"[ALERT] Too many connections from your IP",
        b"Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)",
        b"Too many concurrent sessions",
        b"[INUSE] connection limit reached",
    ],
)
def test_too_many_connections_at_the_greeting_are_given_a_minute(
    account: Callable[..., ImapAccount], words: bytes
) -> None:
    with (
        ScriptedImap(greeting=lambda _: [b"* BYE " + words, BYE]) as server,
        pytest.raises(MailThrottled) as asked,
    ):
        enter(account(server))

    assert asked.value.wait_s == 60


@pytest.mark.parametrize("words", [b"Server shutting down", b"[UNAVAILABLE] no backend", b"Autologout; go away"])
def test_a_server_that_says_good_bye_as_its_greeting_is_in_trouble(
    account: Callable[..., ImapAccount], words: bytes
) -> None:
    with ScriptedImap(greeting=lambda _: [b"* BYE " + words, BYE]) as server, pytest.raises(ServerTroubled):
        enter(account(server))


# Refusals.


@pytest.mark.parametrize(
    "answer",
    [
        b"{tag} NO Temporary System Error (Failure)",
        b"{tag} NO [AUTHENTICATIONFAILED] Authentication failed: temporary failure, try again later",
        b"{tag} NO [UNAVAILABLE] Temporary authentication failure. [host:2026-11-28]",
        b"{tag} NO [SERVERBUG] Internal error occurred. Refer to server log for more information.",
        b"{tag} NO Authentication service is currently unavailable",
        b"{tag} NO LOGIN failed: backend timed out",
        b"{tag} BAD User is authenticated but not connected.",
        b"{tag} NO System error, please retry later",
    ],
)
def test_a_temporary_refusal_is_no_wrong_password(account: Callable[..., ImapAccount], answer: bytes) -> None:
    with refusing(answer) as server, pytest.raises(ServerTroubled):
        enter(account(server))


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        (b"{tag} NO [ALERT] Account is temporarily locked, try again in 15 minutes", 900),
        (b"{tag} NO Too many failed attempts. Please wait 30 seconds", 30),
        (b"{tag} NO [AUTHENTICATIONFAILED] Account locked for 2 hours", 7200),
        (b"{tag} NO Login rate exceeded, retry after 5 min", 300),
        (b"{tag} NO Blocked; please try again in an hour.", 3600),
        (b"{tag} NO Try again in a few minutes", 300),
        (b"{tag} NO [ALERT] Your account is temporarily locked", 900),
        (b"{tag} NO Too many login failures", 900),
        (b"* BYE Too many invalid IMAP login attempts", 900),
        (b"{tag} NO [UNAVAILABLE] Server unavailable, try again in 3 days", 259_200),
    ],
)
def test_a_time_that_the_refusal_names_is_the_time_to_wait(
    account: Callable[..., ImapAccount], answer: bytes, wait_s: float
) -> None:
    with refusing(answer) as server, pytest.raises(MailThrottled) as asked:
        enter(account(server))

    assert asked.value.wait_s == wait_s


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (b"{tag} NO [EXPIRED] Your password is no longer valid", "has expired"),
        (b"{tag} NO Password has expired", "has expired"),
        (b"{tag} NO [CONTACTADMIN] This account is not allowed to use IMAP", "administrator"),
        (b"{tag} NO [PRIVACYREQUIRED] Connect with TLS first", "imap.security"),
        (b"{tag} NO [ALERT] Please log in via your web browser: https://support.example.com/78754", "web browser"),
        (b"{tag} NO [WEBALERT https://accounts.example.com/x] Web login required.", "web browser"),
        (
            b"{tag} NO [ALERT] Application-specific password required: https://support.example.com/185833",
            "app password",
        ),
        (b"{tag} NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)", "check username, password"),
        (b"{tag} NO [AUTHORIZATIONFAILED] bob may not act for that user", "check username, password"),
        (b"{tag} NO Login failed. Check your password and try again.", "check username, password"),
        (b"{tag} NO LOGIN failed: account disabled after 90 days without use", "check username, password"),
        (b"{tag} NO IMAP access is disabled for your account", "switch IMAP on"),
        (b"{tag} NO Basic authentication is disabled", "xoauth2"),
    ],
)
def test_a_refusal_is_told_in_the_servers_words_with_the_remedy_that_fits(
    account: Callable[..., ImapAccount], answer: bytes, remedy: str
) -> None:
    with refusing(answer) as server, pytest.raises(CredentialsRefused, match=remedy) as refused:
        enter(account(server))

    assert answer.partition(b"NO ")[2].decode() in str(refused.value)
    assert "b'" not in str(refused.value)


@pytest.mark.parametrize("kind", [b"{tag} NO", b"{tag} BAD", b"* BYE", b"{tag} NO [UNAVAILABLE]", b"{tag} NO [LIMIT]"])
def test_a_server_that_quotes_the_command_does_not_give_the_password_away(
    account: Callable[..., ImapAccount], kind: bytes
) -> None:
    answer = kind + b' unknown: LOGIN "bob" "' + SECRET.encode() + b'"'
    with refusing(answer) as server, pytest.raises((CredentialsRefused, ServerUnavailable)) as refused:
        enter(account(server))

    assert SECRET not in str(refused.value)


def test_a_login_that_worked_before_and_is_refused_once_is_tried_again(reading: Callable[..., ImapSource]) -> None:
    with refusing(b"{tag} NO [AUTHENTICATIONFAILED] Invalid credentials", times=0) as server:
        source = reading(server)
        source.examine("INBOX")
        server.script = lambda command: (
            [b"{tag} NO [AUTHENTICATIONFAILED] Invalid credentials"]
            if command.startswith("LOGIN") and len(server.said("LOGIN")) == 2
            else None
        )
        server.hang_up()
        with pytest.raises(ServerTroubled):
            list(source.fetch(INBOX, [1]))

        assert len(list(source.fetch(INBOX, [1]))) == 1


def test_a_second_refusal_of_a_login_that_worked_before_stands(reading: Callable[..., ImapSource]) -> None:
    with ScriptedImap({1: MAIL}) as server:
        source = reading(server)
        source.examine("INBOX")
        server.script = lambda command: [b"{tag} NO no such password"] if command.startswith("LOGIN") else None
        server.hang_up()
        with pytest.raises(ServerTroubled):
            source.examine("INBOX")
        with pytest.raises(CredentialsRefused):
            source.examine("INBOX")


# User names.


@pytest.mark.parametrize(
    ("user", "sent"),
    [
        ("bob%example.org", '"bob%example.org"'),
        ("DOMAIN\\bob", '"DOMAIN\\\\bob"'),
        ('b"ob', '"b\\"ob"'),
        ("some one", '"some one"'),
        ("bob(*){5}", '"bob(*){5}"'),
        ("jürgen@example.org", "{19}jürgen@example.org"),
    ],
)
def test_a_user_name_of_any_characters_logs_in_where_only_login_is_offered(
    account: Callable[..., ImapAccount], user: str, sent: str
) -> None:
    with ScriptedImap() as server:
        server.script = lambda command: (
            [b"* CAPABILITY IMAP4rev1", b"{tag} OK done"] if command == "CAPABILITY" else None
        )
        enter(account(server, user))

    assert server.said("LOGIN") == [f'LOGIN {sent} "{SECRET}"']


def test_a_server_that_forbids_login_is_spoken_to_by_authenticate(account: Callable[..., ImapAccount]) -> None:
    with ScriptedImap(capabilities="LOGINDISABLED") as server:
        enter(account(server))

    assert not server.said("LOGIN")
    assert base64.b64decode(server.commands[2]).decode() == f"\0bob\0{SECRET}"


# Who is calling.


def test_the_program_says_who_it_is_where_that_is_asked_for(reading: Callable[..., ImapSource]) -> None:
    """NetEase opens no folder otherwise."""
    with ScriptedImap({1: MAIL}, capabilities="ID") as server:
        server.script = lambda command: (
            [b"{tag} NO EXAMINE Unsafe Login. Please contact kefu@188.com for help"]
            if command.startswith("EXAMINE") and not server.said("ID (")
            else [b'* ID ("name" "NetEase")', b"{tag} OK done"]
            if command.startswith("ID ")
            else None
        )
        assert reading(server).examine("INBOX").exists == 1

    assert '"name" "backfill"' in server.said("ID (")[0]


@pytest.mark.parametrize("answer", [b"{tag} NO no", b"{tag} BAD unknown command", b"{tag} OK done"])
def test_a_server_that_offers_id_and_does_not_know_it_is_gone_on_with(
    reading: Callable[..., ImapSource], answer: bytes
) -> None:
    with ScriptedImap({1: MAIL}, capabilities="ID") as server:
        server.script = lambda command: [answer] if command.startswith("ID ") else None
        assert reading(server).examine("INBOX").exists == 1


def test_an_unsafe_login_is_no_missing_folder(reading: Callable[..., ImapSource]) -> None:
    with ScriptedImap({1: MAIL}) as server:
        server.script = lambda command: (
            [b"{tag} NO EXAMINE Unsafe Login. Please contact kefu@188.com"] if command.startswith("EXAMINE") else None
        )
        with pytest.raises(CredentialsRefused, match="Unsafe Login"):
            reading(server).examine("INBOX")


# TLS.


def old_tls_server(ca: str, version: ssl.TLSVersion) -> tuple[int, threading.Thread, socket.socket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(ca)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        line, _ = listener.accept()
        with line:
            try:
                context.wrap_socket(line, server_side=True).close()
            except (ssl.SSLError, OSError):
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return listener.getsockname()[1], thread, listener


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_a_server_of_an_old_tls_is_named_as_one(mailbox: Mailbox, tmp_path: Any) -> None:
    pem = tmp_path / "both.pem"
    pem.write_text("".join((mailbox.server.base / name).read_text() for name in ("tls.crt", "tls.key")))
    port, thread, listener = old_tls_server(str(pem), ssl.TLSVersion.TLSv1_1)

    with pytest.raises(ServerUnavailable, match=r"TLS 1\.1"):
        connect(ImapAccount("127.0.0.1", "bob", port=port, password_env="MAILBOX_PASSWORD", timeout_s=5))

    thread.join(5)
    listener.close()


def test_starttls_on_a_port_of_tls_is_said_within_seconds(mailbox: Mailbox) -> None:
    began = time.monotonic()

    with pytest.raises(ServerUnavailable, match=r"imap\.security: tls"):
        connect(mailbox.account(security="starttls", port=mailbox.server.tls_port))

    assert time.monotonic() - began < 15


def test_tls_on_a_port_in_clear_is_named(mailbox: Mailbox) -> None:
    with pytest.raises(ServerUnavailable, match="starttls"):
        connect(mailbox.account(security="tls"))


def test_a_server_that_only_takes_its_time_to_greet_is_waited_for(account: Callable[..., ImapAccount]) -> None:
    def greeting(number: int) -> list[bytes]:
        if number > 1:  # the look for TLS
            return [STALL]
        slow.wait(1.0)
        return [b"* OK ready"]

    slow = threading.Event()
    with ScriptedImap(greeting=greeting) as server:
        enter(account(server, timeout_s=2.0))
