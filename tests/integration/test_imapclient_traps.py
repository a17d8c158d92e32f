"""What imapclient, in the version that is installed, does wrong or unasked; and that backfill does not fall for it.

When one of the first kind fails after an upgrade, the trap is gone: see whether what closes it is still needed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import IMAPClientError

from backfill.errors import ConfigError, ServerUnavailable
from backfill.mail.login import ImapAccount, connect, hang_up
from backfill.mail.source import ImapMarker, ImapSource
from backfill.message import MailboxKey, Message
from backfill.ports import UidWindow
from backfill.selection import Selection
from tests.support.scripted_imap import STALL, ScriptedImap

INBOX = MailboxKey("bob@127.0.0.1", "INBOX", 7)
SECRET = "s3cret-and-private"
MAIL = b"From: a@b\r\nSubject: hello\r\n\r\nvery private words\r\n"
INJECTION = "A\r\nX1 NOOP"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ImapAccount]:
    monkeypatch.setenv("MAILBOX_PASSWORD", SECRET)

    def make(server: ScriptedImap, **settings: object) -> ImapAccount:
        return ImapAccount(
            "127.0.0.1",
            "bob",
            port=server.port,
            **{"security": "none", "password_env": "MAILBOX_PASSWORD", "timeout_s": 5.0, **settings},  # type: ignore[arg-type]
        )

    return make


def bare(server: ScriptedImap) -> IMAPClient:
    client = IMAPClient("127.0.0.1", server.port, ssl=False, timeout=SocketTimeout(5, 5))
    client.login("bob", "secret")
    client.select_folder("INBOX")
    return client


# What it does.


def test_trap_it_makes_imaplib_write_everything_down() -> None:
    with ScriptedImap() as server:
        client = IMAPClient("127.0.0.1", server.port, ssl=False)
        assert client._imap.debug == 5
        client.shutdown()


def test_trap_a_search_reply_of_more_than_a_million_bytes_breaks_it() -> None:
    with ScriptedImap() as server:
        client = bare(server)
        reply = b"* SEARCH " + b" ".join(b"%d" % uid for uid in range(1_000_000, 1_137_500))
        server.script = lambda said: [reply, b"{tag} OK done"] if "SEARCH" in said else None
        assert len(reply) > 1_000_000
        with pytest.raises(IMAPClientError, match="1000000 bytes"):
            client.search("ALL")
        client.shutdown()


def test_trap_uids_go_out_one_by_one() -> None:
    with ScriptedImap(dict.fromkeys(range(1, 100), MAIL)) as server:
        client = bare(server)
        client.fetch(list(range(1, 100)), ["FLAGS"])
        client.shutdown()

    assert server.said("UID FETCH")[0].startswith("UID FETCH 1,2,3,4,5,")


def test_trap_news_of_the_same_mail_are_mixed_into_its_answer() -> None:
    news = [b"* 1 FETCH (UID 1 FLAGS (\\Flagged))", b"* 9 FETCH (FLAGS ())", b"{tag} OK done"]
    with ScriptedImap({1: MAIL}, lambda said: news if "FETCH" in said else None) as server:
        client = bare(server)
        answer = client.fetch([1], ["BODY.PEEK[]"])
        client.shutdown()

    assert set(answer) == {1}
    assert b"BODY[]" not in answer[1]


# What backfill does about it.


@pytest.mark.parametrize("security", ["tls", "none"])
def test_a_silent_listener_is_given_up_in_time(account: Callable[..., ImapAccount], security: str) -> None:
    with ScriptedImap(greeting=STALL) as server, pytest.raises(ServerUnavailable, match="in time"):
        connect(account(server, security=security, timeout_s=0.3))


def test_nothing_is_written_down(account: Callable[..., ImapAccount], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)  # what a program around us may have set; at DEBUG imaplib's own lines are its choice
    with ScriptedImap({1: MAIL}) as server:
        client = connect(account(server))
        client.select_folder("INBOX", readonly=True)
        client.fetch([1], ["BODY.PEEK[]"])
        assert client._imap.debug == 0
        hang_up(client, politely=True)

    assert SECRET not in caplog.text
    assert "private words" not in caplog.text


def test_a_window_of_a_survey_never_gets_near_the_limit(account: Callable[..., ImapAccount]) -> None:
    with ScriptedImap() as server:
        reply = b"* SEARCH " + b" ".join(b"%d" % uid for uid in range(4_294_900_000, 4_294_920_000))
        server.script = lambda said: [reply, b"{tag} OK done"] if "UID SEARCH" in said else None
        source = ImapSource(account(server))
        found = source.survey(INBOX, UidWindow(4_294_900_000, 4_294_919_999), Selection())
        source.close()

    assert len(found) == 20_000
    assert len(reply) < 250_000


def test_a_reply_beyond_the_limit_costs_neither_the_connection_nor_the_next_command(
    account: Callable[..., ImapAccount],
) -> None:
    with ScriptedImap({1: MAIL}) as server:
        reply = b"* SEARCH " + b"1 " * 550_000
        server.script = lambda said: [reply, b"{tag} OK done"] if "UID SEARCH" in said else None
        source = ImapSource(account(server))
        with pytest.raises(ServerUnavailable):
            source.survey(INBOX, UidWindow(1, 20_000), Selection())
        server.script = lambda said: None
        found = source.survey(INBOX, UidWindow(1, 20_000), Selection())
        source.close()

        assert [each.uid for each in found] == [1]
        assert server.connections == 1


def test_uids_outside_of_what_was_asked_are_dropped(account: Callable[..., ImapAccount]) -> None:
    with ScriptedImap({7: MAIL}) as server:
        server.script = lambda said: [b"* SEARCH 7 99", b"{tag} OK done"] if "UID SEARCH" in said else None
        source = ImapSource(account(server))
        assert source.survey(INBOX, UidWindow(10, 20), Selection()) == []
        source.close()


def test_no_line_break_ever_enters_a_command(account: Callable[..., ImapAccount]) -> None:
    with pytest.raises(ConfigError):
        Selection(search=f"SUBJECT {INJECTION}")
    with ScriptedImap({1: MAIL}) as server:
        with pytest.raises(ConfigError):
            ImapSource(account(server), processed_keyword=INJECTION)
        for gmail_labels in (False, True):
            marker = ImapMarker(account(server), gmail_labels=gmail_labels)
            for act in (marker.add, marker.remove):
                with pytest.raises(ConfigError):
                    act(INBOX, INJECTION, [1])
            marker.close()

        assert server.commands == []


@pytest.mark.parametrize("name", ["a\r\nX1 NOOP", "a\nb", "a\0b"])
def test_no_line_break_of_a_folders_name_enters_a_command(account: Callable[..., ImapAccount], name: str) -> None:
    with ScriptedImap({1: MAIL}) as server:
        source = ImapSource(account(server))
        source.examine(name)
        source.close()

    assert [said.split()[0] for said in server.commands] == [
        *("CAPABILITY", "LOGIN", "CAPABILITY"),
        *("EXAMINE", "FETCH", "LOGOUT"),
    ]


def test_news_in_between_are_not_taken_for_the_mail(account: Callable[..., ImapAccount]) -> None:
    with ScriptedImap({1: MAIL}) as server:
        news = [b"* 1 FETCH (UID 1 FLAGS (\\Flagged))", b"* 9 FETCH (FLAGS ())"]
        server.script = lambda said: (
            [*news, *server._usual(said)[:-1], *news, b"{tag} OK done"] if "UID FETCH" in said else None
        )
        source = ImapSource(account(server))
        (mail,) = source.fetch(INBOX, [1])
        source.close()

    assert isinstance(mail, Message)
    assert mail.content.body == "very private words"
