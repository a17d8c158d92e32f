"""Keywords on a real server, and on servers that keep none."""

from __future__ import annotations

import pytest
from imapclient import IMAPClient

from backfill.effects.flags import FlagsEffect
from backfill.errors import ConfigError, MailboxChanged, MessageGone
from backfill.mail.login import ImapAccount
from backfill.mail.source import ImapMarker, ImapSource
from backfill.message import MailboxKey
from backfill.ports import MailboxState, Receipt, Unapplied
from backfill.rubric import Rubric
from tests.support.dovecot import PASSWORD
from tests.support.judged import judged
from tests.support.scripted_imap import ScriptedImap

SCRIPTED = MailboxKey("bob@127.0.0.1", "INBOX", 7)
MAIL = b"From: bob@example.org\r\n\r\nHello\r\n"


@pytest.fixture
def marker(mailbox):
    marker = ImapMarker(mailbox.account())
    yield marker
    marker.close()


def opened(mailbox) -> MailboxState:
    source = ImapSource(mailbox.account())
    try:
        return source.examine("INBOX")
    finally:
        source.close()


def flags(mailbox, uids) -> dict[int, frozenset[str]]:
    source = ImapSource(mailbox.account())
    try:
        return {message.ref.uid: message.flags for message in source.fetch(source.examine("INBOX").key, uids)}
    finally:
        source.close()


def scripted(server: ScriptedImap, monkeypatch) -> ImapMarker:
    monkeypatch.setenv("MAILBOX_PASSWORD", "secret")
    return ImapMarker(
        ImapAccount("127.0.0.1", "bob", port=server.port, security="none", password_env="MAILBOX_PASSWORD", timeout_s=5)
    )


def test_a_keyword_is_set_and_taken_away_and_nothing_else_is_touched(mailbox, marker):
    mailbox.holds(MAIL, MAIL, flags=["\\Flagged"])
    inbox = opened(mailbox).key

    added = marker.add(inbox, "AIProcessed", [1, 2])
    removed = marker.remove(inbox, "AIProcessed", [2])

    assert (added, removed) == ({1, 2}, {2})
    seen = flags(mailbox, [1, 2])
    assert seen[1] - {"\\Recent"} == {"\\Flagged", "AIProcessed"}
    assert seen[2] - {"\\Recent"} == {"\\Flagged"}


def test_a_keyword_that_no_mail_bears_is_taken_away_without_a_store(monkeypatch):
    with ScriptedImap({1: MAIL, 2: MAIL}) as server:
        marker = scripted(server, monkeypatch)
        removed = marker.remove(SCRIPTED, "Spam", [1, 2])
        marker.close()

    assert removed == {1, 2}
    assert server.said("UID STORE") == []


def test_a_mail_that_is_not_there_is_not_said_to_be_marked(mailbox, marker):
    mailbox.holds(MAIL)

    assert marker.add(opened(mailbox).key, "AIProcessed", [1, 99]) == {1}


def test_a_mail_expunged_between_verdict_and_keyword_is_gone_and_not_refused(mailbox, marker):
    mailbox.holds(MAIL, MAIL, MAIL)
    inbox = opened(mailbox).key
    effect = FlagsEffect(marker, processed_tag="AIProcessed", keywords=Rubric.default().keywords)
    list(effect.apply([judged(1, mailbox=inbox)]))  # its session has seen all three
    with IMAPClient(mailbox.server.host, mailbox.server.port, ssl=False) as client:
        client.login(mailbox.user, PASSWORD)
        client.select_folder("INBOX")
        client.delete_messages([2])
        client.expunge()

    second, third = effect.apply([judged(2, mailbox=inbox), judged(3, mailbox=inbox)])

    assert isinstance(second, Unapplied)
    assert isinstance(second.error, MessageGone)
    assert isinstance(third, Receipt)


def test_many_scattered_mails_are_marked_in_lines_below_8_kb(monkeypatch):
    uids = list(range(4_000_000_000, 4_000_004_000, 2))
    with ScriptedImap(dict.fromkeys(uids, MAIL)) as server:
        marker = scripted(server, monkeypatch)
        added = marker.add(SCRIPTED, "AIProcessed", uids)
        marker.close()

    assert added == set(uids)
    assert len(server.said("UID STORE")) > 2
    assert max(map(len, server.commands)) < 8000


def test_a_folder_of_another_epoch_gets_no_store(mailbox, marker):
    mailbox.holds(MAIL)
    inbox = opened(mailbox).key
    former = MailboxKey(inbox.account, inbox.folder, inbox.uidvalidity - 1)

    with pytest.raises(MailboxChanged):
        marker.add(former, "AIProcessed", [1])

    assert "AIProcessed" not in flags(mailbox, [1])[1]


def test_a_uidvalidity_that_changes_while_the_connection_was_lost_is_noticed(monkeypatch):
    with ScriptedImap({1: MAIL}) as server:
        marker = scripted(server, monkeypatch)
        marker.add(SCRIPTED, "AIProcessed", [1])
        stored = len(server.said("UID STORE"))
        server.uidvalidity = 8
        server.hang_up()
        with pytest.raises(MailboxChanged):
            marker.add(SCRIPTED, "AIProcessed", [1])
        marker.close()

    assert len(server.said("UID STORE")) == stored


@pytest.mark.parametrize(
    ("permanent_flags", "permitted"),
    [
        (r"(\Seen \*)", {"AIProcessed", "Spam"}),
        (r"(\Seen spam)", {"Spam"}),
        (r"(\Seen $Junk)", set()),
        ("()", set()),
        (None, {"AIProcessed", "Spam"}),
    ],
)
def test_only_keywords_that_the_folder_keeps_are_permitted(monkeypatch, permanent_flags, permitted):
    with ScriptedImap({1: MAIL}, permanent_flags=permanent_flags) as server:
        marker = scripted(server, monkeypatch)
        assert marker.permitted(SCRIPTED, ["AIProcessed", "Spam"]) == permitted
        marker.close()


def test_a_store_that_is_refused_marks_nothing(monkeypatch):
    def exchange(command: str) -> list[bytes] | None:
        if command.startswith("UID STORE"):
            return [b"{tag} BAD Command Argument Error. 11"]
        return [b"* SEARCH", b"{tag} OK done"] if "KEYWORD" in command else None

    with ScriptedImap({1: MAIL}, exchange) as server:
        marker = scripted(server, monkeypatch)
        assert marker.add(SCRIPTED, "AIProcessed", [1]) == frozenset()
        marker.close()


@pytest.mark.parametrize("keyword", ["", "a b", "\\Seen", "x\r\nA1 NOOP", "ü", "a" * 51, "(x)", "a*"])
def test_a_word_that_cannot_be_a_keyword_never_reaches_the_server(monkeypatch, keyword):
    with ScriptedImap({1: MAIL}) as server:
        marker = scripted(server, monkeypatch)
        for act in (marker.add, marker.remove):
            with pytest.raises(ConfigError):
                act(SCRIPTED, keyword, [1])
        with pytest.raises(ConfigError):
            marker.permitted(SCRIPTED, [keyword])

    assert server.commands == []
