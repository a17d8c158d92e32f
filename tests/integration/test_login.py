"""The way into an account: what works, and what each refusal says."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import pytest

from backfill.errors import ConfigError, CredentialsRefused, ServerUnavailable
from backfill.mail.login import ImapAccount, connect, hang_up
from tests.support.dovecot import PASSWORD
from tests.support.scripted_imap import STALL, ScriptedImap


def logs_in(account: ImapAccount) -> bool:
    client = connect(account)
    try:
        return bool(client.capabilities()) and client._imap.debug == 0
    finally:
        hang_up(client, politely=True)


def scripted_account(server: ScriptedImap, **settings: Any) -> ImapAccount:
    defaults: dict[str, Any] = {"security": "none", "password_env": "MAILBOX_PASSWORD", "timeout_s": 5}
    return ImapAccount(server.host, **{"username": "bob", "port": server.port, **defaults, **settings})


@pytest.fixture
def counting_command(tmp_path: Path):
    """A password command that counts its calls and prints the next of the given secrets each time."""

    def make(*secrets: str) -> tuple[tuple[str, ...], Path]:
        calls = tmp_path / "calls"
        calls.write_text("")
        program = (
            "import pathlib, sys; calls = pathlib.Path(sys.argv[1]); n = len(calls.read_text()); "
            "calls.write_text('x' * (n + 1)); print(sys.argv[2:][min(n, len(sys.argv) - 3)]); print('more')"
        )
        return (sys.executable, "-c", program, str(calls), *secrets), calls

    return make


def test_a_password_over_tls_with_a_ca_file(mailbox):
    server = mailbox.server

    assert logs_in(mailbox.account(security="tls", port=server.tls_port, ca_file=server.ca_file))


def test_a_password_over_starttls_with_a_ca_file(mailbox):
    assert logs_in(mailbox.account(security="starttls", ca_file=mailbox.server.ca_file))


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_certificate_nobody_vouches_for_is_refused_and_the_remedy_named(mailbox, security):
    port = mailbox.server.tls_port if security == "tls" else mailbox.server.port

    with pytest.raises(ConfigError, match=r"imap\.ca_file"):
        connect(mailbox.account(security=security, port=port))


def test_a_ca_file_without_certificates_is_named(mailbox, tmp_path):
    with pytest.raises(ConfigError, match=r"imap\.ca_file"):
        connect(mailbox.account(security="starttls", ca_file=str(tmp_path / "none.pem")))


def test_a_wrong_password_is_refused_once_and_not_shown(mailbox, monkeypatch):
    monkeypatch.setenv("MAILBOX_PASSWORD", "wr0ng-and-private")

    with pytest.raises(CredentialsRefused, match="app password") as refused:
        connect(mailbox.account())

    assert "wr0ng" not in str(refused.value)


@pytest.mark.parametrize("auth", ["xoauth2", "oauthbearer"])
def test_a_token_logs_in(mailbox, monkeypatch, auth):
    mailbox.server.tokens[f"token-{auth}"] = mailbox.user
    monkeypatch.setenv("MAILBOX_PASSWORD", f"token-{auth}")

    assert logs_in(mailbox.account(auth=auth))


@pytest.mark.parametrize("auth", ["xoauth2", "oauthbearer"])
def test_an_expired_token_is_replaced_by_a_fresh_one(mailbox, counting_command, auth):
    mailbox.server.tokens["fresh"] = mailbox.user
    command, calls = counting_command("expired", "fresh")

    assert logs_in(mailbox.account(auth=auth, password_command=command))
    assert calls.read_text() == "xx"


def test_a_token_refused_twice_is_not_tried_again(mailbox, counting_command):
    command, calls = counting_command("expired")

    with pytest.raises(CredentialsRefused):
        connect(mailbox.account(auth="xoauth2", password_command=command))

    assert calls.read_text() == "xx"


def test_passwords_and_user_names_of_any_characters_arrive_as_they_are(monkeypatch):
    monkeypatch.setenv("MAILBOX_PASSWORD", 'pä"ss\\word')
    with ScriptedImap() as server:
        assert logs_in(scripted_account(server, username="some one"))

    assert base64.b64decode(server.commands[2]).decode() == '\0some one\0pä"ss\\word'


def test_a_missing_secret_is_named(mailbox, monkeypatch):
    monkeypatch.delenv("MAILBOX_PASSWORD")

    with pytest.raises(ConfigError, match="MAILBOX_PASSWORD"):
        connect(mailbox.account())


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (("/no/such/program",), ConfigError),
        ((sys.executable, "-c", "import sys; sys.exit(3)"), ServerUnavailable),
        ((sys.executable, "-c", "print()"), ConfigError),
    ],
)
def test_a_password_command_that_gives_nothing_is_named(mailbox, command, error):
    with pytest.raises(error, match="password_command"):
        connect(mailbox.account(password_command=command))


def test_no_password_goes_in_clear_to_another_machine():
    with pytest.raises(ConfigError, match="in clear"):
        ImapAccount("imap.example.org", "bob", security="none")


def test_an_account_holds_no_secret(mailbox):
    assert PASSWORD not in repr(mailbox.account())


def test_a_server_without_starttls_is_not_spoken_to_in_clear(monkeypatch):
    monkeypatch.setenv("MAILBOX_PASSWORD", PASSWORD)
    with ScriptedImap() as server, pytest.raises(ConfigError, match="STARTTLS"):
        connect(scripted_account(server, security="starttls"))

    assert not server.said("LOGIN")


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [("127.0.0.1", 1, "imap.port"), ("no-such-host.invalid", 993, "imap.server")],
)
def test_an_unreachable_server_is_named_with_the_remedy(mailbox, host, port, words):
    account = ImapAccount(host, "bob", port=port, password_env="MAILBOX_PASSWORD", timeout_s=5)

    with pytest.raises(ServerUnavailable, match=words):
        connect(account)


@pytest.mark.parametrize("security", ["tls", "none"])
def test_a_silent_server_is_not_waited_for(mailbox, security):
    with ScriptedImap(greeting=STALL) as server, pytest.raises(ServerUnavailable):
        connect(scripted_account(server, security=security, timeout_s=0.3))


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        (b"{tag} NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded", 60.0),
        (b"{tag} NO [ALERT] Too many simultaneous connections. (Failure)", 60.0),
        (b"{tag} NO Request is throttled. Suggested Backoff Time: 299910 milliseconds", 299.91),
        (b"* BYE Session expired, please login again.", None),
    ],
)
def test_a_server_that_asks_for_patience_has_not_refused_the_credentials(mailbox, answer, wait_s):
    script = lambda command: [answer] if command.startswith("LOGIN") else None  # noqa: E731
    with ScriptedImap(script=script) as server, pytest.raises(ServerUnavailable) as asked:
        connect(
            ImapAccount(
                "127.0.0.1", "bob", port=server.port, security="none", password_env="MAILBOX_PASSWORD", timeout_s=2
            )
        )

    assert asked.value.wait_s == wait_s
