"""Connections that break and servers that hang up: every mail is read all the same, or said to be unreadable."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backfill.errors import CredentialsRefused, MailThrottled, ServerUnavailable
from backfill.message import MailboxKey, Message
from backfill.ports import UidWindow, Unfetched
from backfill.selection import Selection
from tests.conftest import Mailbox
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.reading import Open
from tests.support.scripted_imap import BYE, STALL, ScriptedImap

INBOX = MailboxKey("bob@127.0.0.1", "INBOX", 7)
MAIL = b"From: a@b\r\nSubject: hello\r\n\r\nHello\r\n"


def outcomes(fetched: Iterator[Message | Unfetched]) -> dict[int, str]:
    return {
        each.ref.uid: each.content.body if isinstance(each, Message) else type(each.error).__name__ for each in fetched
    }


def letter(number: int, size: int = 6000) -> bytes:
    return f"From: a@b\r\nSubject: {number}\r\n\r\nLetter {number}.\r\n{'text ' * (size // 5)}\r\n".encode()


# A line that breaks.


@pytest.mark.parametrize(
    ("fault", "after"), [(Fault.CUT, 100_000), (Fault.RESET, 100_000), (Fault.HALF_CLOSE, 100_000), (Fault.CUT, 20_000)]
)
def test_a_line_that_breaks_again_and_again_loses_no_mail(
    mailbox: Mailbox, reading: Open, fault: Fault, after: int
) -> None:
    mailbox.holds(*map(letter, range(1, 81)))
    with FaultProxy(mailbox.server.port, after=after, fault=fault) as proxy:
        source = reading(proxy, mailbox.user)
        read = outcomes(source.fetch(source.examine("INBOX").key, list(range(1, 81))))

        assert {uid: body.partition(".")[0] for uid, body in read.items()} == {
            uid: f"Letter {uid}" for uid in range(1, 81)
        }
        assert proxy.faults > 3


def test_a_line_that_stalls_is_given_up_and_the_mails_come_over_another(mailbox: Mailbox, reading: Open) -> None:
    mailbox.holds(*map(letter, range(1, 51)))
    with FaultProxy(mailbox.server.port, after=100_000, fault=Fault.STALL, times=1) as proxy:
        source = reading(proxy, mailbox.user, timeout_s=1)
        read = outcomes(source.fetch(source.examine("INBOX").key, list(range(1, 51))))

    assert len(read) == 50
    assert all(body.startswith("Letter") for body in read.values())


def test_a_slow_line_is_only_slow(mailbox: Mailbox, reading: Open) -> None:
    mailbox.holds(*map(letter, range(1, 51)))
    with FaultProxy(mailbox.server.port, delay_s=0.02) as proxy:
        source = reading(proxy, mailbox.user, timeout_s=5)
        read = outcomes(source.fetch(source.examine("INBOX").key, list(range(1, 51))))

        assert len(read) == 50
        assert proxy.connections == 1


# A mail that ends the connection.


@pytest.mark.parametrize(
    "ending", [[BYE], [b"* BYE Internal error", BYE], [b"* 1 FETCH (UID 13 BODY[1]<0> {9}\r\nx", BYE]]
)
def test_a_mail_that_ends_the_connection_each_time_is_found_and_the_others_go_on(
    reading: Open, ending: list[bytes]
) -> None:
    with ScriptedImap(dict.fromkeys(range(1, 61), MAIL)) as server:
        server.script = lambda said: ending if said.startswith("UID FETCH") and "13" in uids_of(said) else None
        read = outcomes(reading(server).fetch(INBOX, list(range(1, 61))))

    assert read.pop(13) == "MessageUnreadable"
    assert set(read.values()) == {"Hello"}
    assert len(read) == 59


def test_a_mail_at_which_the_server_falls_silent_is_found_as_well(reading: Open) -> None:
    with ScriptedImap(dict.fromkeys(range(1, 9), MAIL)) as server:
        server.script = lambda said: [STALL] if said.startswith("UID FETCH") and "3" in uids_of(said) else None
        read = outcomes(reading(server, timeout_s=0.2).fetch(INBOX, list(range(1, 9))))

    assert read == {uid: "MessageUnreadable" if uid == 3 else "Hello" for uid in range(1, 9)}


def test_a_server_that_hangs_up_at_every_mail_is_at_fault_itself(reading: Open) -> None:
    with ScriptedImap(dict.fromkeys(range(1, 61), MAIL)) as server:
        server.script = lambda said: [BYE] if said.startswith("UID FETCH") else None
        with pytest.raises(ServerUnavailable):
            list(reading(server).fetch(INBOX, list(range(1, 61))))

    assert server.connections < 40


def test_what_was_read_before_the_trouble_is_not_lost(reading: Open) -> None:
    with ScriptedImap(dict.fromkeys(range(1, 121), MAIL)) as server:
        server.script = lambda said: [BYE] if said.startswith("UID FETCH") and server.said("UID FETCH 51") else None
        read = {}
        with pytest.raises(ServerUnavailable):
            for each in reading(server).fetch(INBOX, list(range(1, 121))):
                read[each.ref.uid] = each

    assert {uid for uid, each in read.items() if isinstance(each, Message)} == set(range(1, 51))


def test_many_bad_mails_in_a_row_are_not_taken_for_a_server_that_is_down(reading: Open) -> None:
    with ScriptedImap(dict.fromkeys(range(1, 31), MAIL)) as server:
        server.script = lambda said: (
            [b"{tag} NO [UNAVAILABLE] Server error while fetching messages"]
            if said.startswith("UID FETCH") and any(10 < int(uid) <= 20 for uid in uids_of(said))
            else None
        )
        read = outcomes(reading(server).fetch(INBOX, list(range(1, 31))))

    assert read == {uid: "MessageUnreadable" if 10 < uid <= 20 else "Hello" for uid in range(1, 31)}


def uids_of(command: str) -> list[str]:
    return command.split()[2].split(",")


# Sessions end.


@pytest.mark.parametrize("farewell", [b"* BYE Session expired, please login again.", b"* BYE Connection closed. 14"])
def test_a_session_that_ends_after_hours_is_normal(reading: Open, farewell: bytes) -> None:
    with ScriptedImap(dict.fromkeys(range(1, 121), MAIL)) as server:
        ended: list[str] = []

        def ends_once_in_a_while(command: str) -> list[bytes] | None:
            if "BODYSTRUCTURE" in command and len(ended) < len(server.said("UID FETCH")) // 4:
                ended.append(command)
                return [farewell, BYE]
            return None

        server.script = ends_once_in_a_while
        read = outcomes(reading(server).fetch(INBOX, list(range(1, 121))))

    assert ended
    assert len(read) == 120
    assert set(read.values()) == {"Hello"}


@pytest.mark.parametrize("auth", ["xoauth2", "oauthbearer"])
def test_a_token_that_expires_while_the_run_goes_on_is_replaced_at_the_next_login(
    mailbox: Mailbox, reading: Open, tmp_path: Path, auth: str
) -> None:
    mailbox.holds(*map(letter, range(1, 101)))
    tokens, current = mailbox.server.tokens, tmp_path / "token"
    current.write_text(f"{mailbox.user}-1")
    tokens[f"{mailbox.user}-1"] = mailbox.user
    command = (sys.executable, "-c", f"print(open({str(current)!r}).read())")
    with FaultProxy(mailbox.server.port) as proxy:
        source = reading(proxy, mailbox.user, auth=auth, password_command=command, password_env=None)
        mails = source.fetch(source.examine("INBOX").key, list(range(1, 101)))
        read = [next(mails) for _ in range(50)]

        del tokens[f"{mailbox.user}-1"]
        tokens[f"{mailbox.user}-2"] = mailbox.user
        current.write_text(f"{mailbox.user}-2")
        proxy.hang_up()
        read += list(mails)

        assert proxy.connections == 2
    assert {each.ref.uid for each in read if isinstance(each, Message)} == set(range(1, 101))


def test_a_token_that_is_not_renewed_stops_the_run_after_one_more_try(mailbox: Mailbox, reading: Open) -> None:
    mailbox.holds(MAIL)
    tokens = mailbox.server.tokens
    tokens[f"{mailbox.user}-only"] = mailbox.user
    command = (sys.executable, "-c", f"print('{mailbox.user}-only')")
    with FaultProxy(mailbox.server.port) as proxy:
        source = reading(proxy, mailbox.user, auth="xoauth2", password_command=command, password_env=None)
        key = source.examine("INBOX").key
        del tokens[f"{mailbox.user}-only"]
        proxy.hang_up()
        with pytest.raises(CredentialsRefused):
            list(source.fetch(key, [1]))

        assert proxy.connections == 3


# Patience.


class Noted:
    """A watch that takes notes."""

    def __init__(self) -> None:
        self.size = 0
        self.waits: list[float] = []

    def read(self, size: int) -> None:
        self.size += size

    def throttled(self, wait_s: float, reason: str) -> None:
        self.waits.append(wait_s)

    def waiting(self, sentence: str | None) -> None:
        return


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        ([b"{tag} NO [OVERQUOTA] Account exceeded command or bandwidth limits."], 3600.0),
        ([b"{tag} NO Request is throttled. Suggested Backoff Time: 299910 milliseconds"], 299.91),
        ([b"* BYE Request is throttled. Suggested Backoff Time: 299910 milliseconds", BYE], 299.91),
        ([b"{tag} NO [THROTTLED] slow down"], 300.0),
        ([b"{tag} NO [LIMIT] UID FETCH Rate limit hit."], 300.0),
        ([b"{tag} NO [INUSE] mailbox in use"], 60.0),
    ],
)
def test_what_a_server_asks_for_is_told_once_and_not_taken_for_a_bad_mail(
    reading: Open, answer: list[bytes], wait_s: float
) -> None:
    noted = Noted()
    with ScriptedImap({1: MAIL, 2: MAIL}) as server:
        server.script = lambda said: answer if said.startswith("UID FETCH") else None
        with pytest.raises(MailThrottled) as asked:
            list(reading(server, watch=noted).fetch(INBOX, [1, 2]))

    assert asked.value.wait_s == wait_s
    assert noted.waits == [wait_s]


def test_every_byte_from_the_server_is_counted(mailbox: Mailbox, reading: Open) -> None:
    mailbox.holds(*map(letter, range(1, 51)))
    noted = Noted()
    with FaultProxy(mailbox.server.port) as proxy:
        source = reading(proxy, mailbox.user, watch=noted)
        list(source.fetch(source.examine("INBOX").key, list(range(1, 51))))

        assert proxy.bytes - 2000 < noted.size <= proxy.bytes  # the login is not counted


def test_a_server_that_only_slows_down_is_given_time(reading: Open) -> None:
    noted = Noted()
    with ScriptedImap({1: MAIL}) as server:
        server.script = lambda said: (
            [*server._usual(said)[:-1], b"{tag} OK Success [THROTTLED]"] if "BODY.PEEK[1]" in said else None
        )
        read = outcomes(reading(server, watch=noted).fetch(INBOX, [1]))

    assert read == {1: "Hello"}
    assert noted.waits == [60.0]


def test_a_survey_whose_reply_the_line_does_not_carry_is_made_in_pieces(reading: Open) -> None:
    uids = range(1_000_000, 1_015_000)
    with ScriptedImap(dict.fromkeys(uids, MAIL)) as server, FaultProxy(server.port, after=50_000) as proxy:
        found = reading(proxy).survey(INBOX, UidWindow(1_000_000, 1_019_999), Selection())

        assert [each.uid for each in found] == list(uids)
        assert proxy.faults


# Facts that are none.


@pytest.mark.parametrize(
    "fact",
    [
        b'INTERNALDATE "01-Jan-2024 10:00:00 +9959"',
        b'INTERNALDATE "01-Jan-0001 00:00:00 +1400"',
        b'INTERNALDATE "31-Dec-9999 23:59:59 -1200"',
        b'INTERNALDATE "01-Jan-99999999999999999999 10:00:00 +0000"',
        b'INTERNALDATE "01-Jan-2024 10:00:00 +99999999999999999999"',
        b'INTERNALDATE "99-Foo-2024 99:99:99 +0000"',
        b'INTERNALDATE ""',
        b"INTERNALDATE NIL",
        b"INTERNALDATE 5",
        b"INTERNALDATE (1 2)",
        b"RFC822.SIZE 99999999999999999999",
        b"RFC822.SIZE -5",
        b"RFC822.SIZE NIL",
        b"RFC822.SIZE " + b"9" * 5000,
    ],
    ids=lambda fact: fact[:70].decode(),
)
def test_a_mail_whose_date_or_size_is_none_is_read_all_the_same(reading: Open, fact: bytes) -> None:
    class OddFact(ScriptedImap):
        def fetched(self, command: str, uid: int) -> bytes:
            name, line = fact.partition(b" ")[0], super().fetched(command, uid)
            return re.sub(name + rb' (?:"[^"]*"|\d+)', fact, line) if uid == 5 else line

    with OddFact(dict.fromkeys(range(1, 11), MAIL)) as server:
        fetched = {each.ref.uid: each for each in reading(server).fetch(INBOX, range(1, 11))}

    assert all(isinstance(each, Message) for each in fetched.values())
    mail = fetched[5]
    assert isinstance(mail, Message)
    assert mail.content.body == "Hello"
    assert 0 <= mail.size < 2**63
    assert mail.received_at is None or mail.received_at.utcoffset() is not None
