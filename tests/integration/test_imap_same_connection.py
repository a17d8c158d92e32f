"""After a refusal that was read to its end, the same connection goes on: providers refuse frequent logins."""

from __future__ import annotations

import pytest

from backfill.errors import (
    FolderUnknown,
    FolderUnusable,
    MailboxChanged,
    MessageUnreadable,
    ServerTroubled,
    ServerUnavailable,
)
from backfill.message import MailboxKey, Message
from backfill.ports import UidWindow, Unfetched
from backfill.selection import Selection
from tests.support.reading import Open
from tests.support.scripted_imap import FLOOD, ScriptedImap

INBOX = MailboxKey("bob@127.0.0.1", "INBOX", 7)
MAILS = {uid: b"From: a@b\r\nSubject: mail %d\r\n\r\nText of mail %d\r\n" % (uid, uid) for uid in range(1, 9)}


@pytest.mark.parametrize(
    "refusal",
    [
        b"{tag} NO Mailbox does not exist",
        b"{tag} NO [NOPERM] permission denied",
        b"{tag} NO [NONEXISTENT] unknown folder",
        b"{tag} BAD invalid mailbox name",
    ],
)
def test_folders_that_do_not_open_take_no_login_each(reading: Open, refusal: bytes) -> None:
    with ScriptedImap(MAILS, lambda said: [refusal] if said.startswith('EXAMINE "closed') else None) as server:
        source = reading(server)
        for number in range(20):
            with pytest.raises(FolderUnknown):
                source.examine(f"closed{number}")

        assert source.examine("INBOX").key == INBOX
        assert server.connections == 1


def test_a_folder_without_uidvalidity_takes_no_login(reading: Open) -> None:
    with ScriptedImap(MAILS) as server:
        server.script = lambda said: [b"* 1 EXISTS", b"{tag} OK opened"] if said.startswith('EXAMINE "odd"') else None
        source = reading(server)
        with pytest.raises(FolderUnusable):
            source.examine("odd")

        assert source.examine("INBOX").key == INBOX
        assert server.connections == 1


def test_a_folder_that_was_made_anew_takes_no_login(reading: Open) -> None:
    with ScriptedImap(MAILS) as server:
        source = reading(server)
        with pytest.raises(MailboxChanged):
            list(source.fetch(MailboxKey(INBOX.account, "INBOX", 6), [1]))

        assert [mail.ref.uid for mail in source.fetch(INBOX, [1])] == [1]
        assert server.connections == 1


def test_a_server_that_is_in_trouble_is_left_and_logged_in_to_anew(reading: Open) -> None:
    answer = b"{tag} NO User is authenticated but not connected."
    with ScriptedImap(MAILS, lambda said: [answer] if said.startswith("EXAMINE") else None) as server:
        source = reading(server)
        for _ in range(2):
            with pytest.raises(ServerTroubled):
                source.examine("INBOX")

        assert server.connections == 2


def test_a_batch_that_is_refused_is_halved_on_the_same_connection(reading: Open) -> None:
    with ScriptedImap(MAILS) as server:
        server.script = lambda said: (
            [b"{tag} NO cannot do that"] if said.startswith("UID FETCH") and "," in said.split()[2] else None
        )
        found = list(reading(server).fetch(INBOX, sorted(MAILS)))

        assert [mail.content.subject for mail in found if isinstance(mail, Message)] == [f"mail {uid}" for uid in MAILS]
        assert server.connections == 1


def test_rows_that_came_before_a_refusal_are_not_taken_for_the_next_answer(reading: Open) -> None:
    with ScriptedImap(MAILS) as server:

        def script(said: str) -> list[bytes] | None:
            if said.startswith("UID FETCH") and "," in said.split()[2]:
                odd = server.fetched(said, 1).replace(b"mail 1", b"other!").replace(b"UID 1 ", b"UID 2 ")
                return [odd, b"{tag} NO cannot do that"]
            return None

        server.script = script
        found = list(reading(server).fetch(INBOX, [1, 2]))

    assert [mail.content.subject for mail in found if isinstance(mail, Message)] == ["mail 1", "mail 2"]


def test_a_mail_that_the_server_refuses_takes_only_the_login_that_looks_for_it(reading: Open) -> None:
    with ScriptedImap(MAILS) as server:
        server.script = lambda said: (
            [b"{tag} NO cannot give it out"]
            if said.startswith("UID FETCH") and "3" in said.split()[2].split(",")
            else None
        )
        found = list(reading(server).fetch(INBOX, sorted(MAILS)))

        assert [type(each.error) for each in found if isinstance(each, Unfetched)] == [MessageUnreadable]
        assert len(found) == len(MAILS)
        assert server.connections == 2


@pytest.mark.parametrize("literal", [b"", b" {3}\r\nabc"])
def test_a_line_that_is_too_long_takes_no_login_for_each_half(reading: Open, literal: bytes) -> None:
    with ScriptedImap(MAILS) as server:
        reply = b"* SEARCH " + b"1 " * 550_000 + literal
        server.script = lambda said: [reply, b"{tag} OK done"] if "UID SEARCH" in said else None
        source = reading(server)
        with pytest.raises(ServerUnavailable):
            source.survey(INBOX, UidWindow(1, 20_000), Selection())
        server.script = lambda said: None

        assert [each.uid for each in source.survey(INBOX, UidWindow(1, 20_000), Selection())] == sorted(MAILS)
        assert server.connections == 1


def test_a_reply_that_is_too_long_as_a_whole_is_asked_for_in_halves_on_the_same_connection(reading: Open) -> None:
    with ScriptedImap(MAILS) as server:

        def script(said: str) -> list[bytes] | None:
            if said.startswith("UID SEARCH UID 1:20000"):
                return [b"* SEARCH " + b"1 " * 550_000, b"{tag} OK done"]
            return None

        server.script = script
        found = reading(server).survey(INBOX, UidWindow(1, 20_000), Selection())

        assert [each.uid for each in found] == sorted(MAILS)
        assert server.connections == 1


def test_a_line_without_end_is_left_after_some_bytes(reading: Open) -> None:
    with ScriptedImap(MAILS) as server:
        server.script = lambda said: [b"* SEARCH 1 ", FLOOD] if "UID SEARCH" in said else None
        source = reading(server)
        with pytest.raises(ServerUnavailable):
            source.survey(INBOX, UidWindow(1, 100), Selection())
        server.script = lambda said: None

        assert source.survey(INBOX, UidWindow(1, 100), Selection())
        assert server.connections == 2
