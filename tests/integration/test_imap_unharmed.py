"""Nothing in the mailbox changes by being read, whatever the server does; and Gmail's labels in place of keywords."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from backfill.errors import ConfigError, MarksMailRead
from backfill.mail.login import ImapAccount
from backfill.mail.source import ImapMarker, ImapSource
from backfill.message import MailboxKey, Message
from backfill.ports import Surveyed, UidWindow
from backfill.selection import Selection
from tests.support.scripted_imap import ScriptedImap

INBOX = MailboxKey("bob@127.0.0.1", "INBOX", 7)
MAIL = b"From: a@b\r\nSubject: hello\r\n\r\nHello\r\n"
SEEN = "\\Seen"
GMAIL = "X-GM-EXT-1"

Make = Callable[..., ImapSource]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScriptedImap], ImapAccount]:
    monkeypatch.setenv("MAILBOX_PASSWORD", "secret")
    return lambda server: ImapAccount(
        "127.0.0.1", "bob", port=server.port, security="none", password_env="MAILBOX_PASSWORD", timeout_s=5
    )


@pytest.fixture
def reading(account: Callable[[ScriptedImap], ImapAccount]) -> Iterator[Make]:
    """A source on a scripted server; closed at the end."""
    sources: list[ImapSource] = []

    def make(server: ScriptedImap, *, may_write: bool = True, **settings: object) -> ImapSource:
        sources.append(ImapSource(account(server), may_write=lambda: may_write, **settings))  # type: ignore[arg-type]
        return sources[-1]

    yield make
    for source in sources:
        source.close()


# \Seen.


def test_what_the_server_marked_read_in_spite_of_peek_is_unread_again(reading: Make) -> None:
    with ScriptedImap(dict.fromkeys(range(1, 121), MAIL), marks_read=True) as server:
        server.flags[5] = {SEEN, "\\Flagged"}
        fetched = list(reading(server).fetch(INBOX, list(range(1, 121))))

    assert len(fetched) == 120
    assert server.flags.pop(5) == {SEEN, "\\Flagged"}
    assert set(map(frozenset, server.flags.values())) == {frozenset()}
    assert not any(SEEN in each.flags for each in fetched if isinstance(each, Message) and each.ref.uid != 5)


def test_a_mail_that_its_owner_reads_in_that_moment_stays_read(reading: Make) -> None:
    with ScriptedImap(dict.fromkeys(range(1, 4), MAIL)) as server:

        def owner_reads(command: str) -> None:
            if "BODY.PEEK[1]" in command and not server.said("SELECT"):
                server.flags[2].add(SEEN)

        server.script = owner_reads
        fetched = list(reading(server).fetch(INBOX, [1, 2, 3]))

    assert len(fetched) == 3
    assert server.flags == {1: set(), 2: {SEEN}, 3: set()}


def test_nothing_is_stored_on_a_server_that_behaves(reading: Make) -> None:
    with ScriptedImap({1: MAIL, 2: MAIL}) as server:
        list(reading(server).fetch(INBOX, [1, 2]))

    assert not server.said("SELECT")
    assert not server.said("UID STORE")


def test_a_dry_run_stops_at_a_server_that_marks_mail_read_and_writes_nothing(reading: Make) -> None:
    mails = dict.fromkeys(range(1, 121), MAIL)
    with ScriptedImap(mails, marks_read=True) as server, pytest.raises(MarksMailRead, match="1:50"):
        list(reading(server, may_write=False).fetch(INBOX, list(mails)))

    assert not server.said("SELECT")
    assert not server.said("UID STORE")


@pytest.mark.parametrize("read_by_owner", [{2}, {1, 2, 3}, {2, 4, 5}, set(range(1, 121)), set(range(1, 51))])
@pytest.mark.parametrize("number", [3, 120])
def test_a_dry_run_goes_on_when_the_owner_reads_his_mail_meanwhile(
    reading: Make, number: int, read_by_owner: set[int]
) -> None:
    mails = dict.fromkeys(range(1, number + 1), MAIL)
    with ScriptedImap(mails) as server:

        def owner_reads(command: str) -> None:
            if "BODY.PEEK[1]" in command and len(server.said("UID FETCH")) > 1:
                for uid in read_by_owner & set(mails):
                    server.flags[uid].add(SEEN)

        server.script = owner_reads
        fetched = list(reading(server, may_write=False).fetch(INBOX, list(mails)))

    assert len(fetched) == number
    assert not server.said("UID STORE")


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_dry_run_goes_on_while_the_owner_reads_one_mail_after_the_other(reading: Make, newest_first: bool) -> None:
    mails = dict.fromkeys(range(1, 121), MAIL)
    with ScriptedImap(mails) as server:

        def owner_reads(command: str) -> None:
            unread = [uid for uid in mails if SEEN not in server.flags[uid]]
            if command.startswith("UID FETCH") and unread:
                server.flags[unread[-1 if newest_first else 0]].add(SEEN)

        server.script = owner_reads
        fetched = list(reading(server, may_write=False).fetch(INBOX, list(mails)))

    assert len(fetched) == 120


@pytest.mark.parametrize("number", [2, 3, 51])
def test_a_dry_run_stops_at_a_server_that_marks_a_small_folder_read(reading: Make, number: int) -> None:
    mails = dict.fromkeys(range(1, number + 1), MAIL)
    with ScriptedImap(mails, marks_read=True) as server, pytest.raises(MarksMailRead):
        list(reading(server, may_write=False).fetch(INBOX, list(mails)))


@pytest.mark.parametrize("answer", [b"{tag} NO no", b"{tag} OK done"])
def test_where_it_cannot_be_taken_back_the_run_stops(reading: Make, answer: bytes) -> None:
    refusing: Callable[[str], list[bytes] | None] = lambda said: [answer] if said.startswith("UID STORE") else None  # noqa: E731
    with ScriptedImap({1: MAIL, 2: MAIL}, refusing, marks_read=True) as server, pytest.raises(MarksMailRead):
        list(reading(server).fetch(INBOX, [1, 2]))


def test_a_batch_that_broke_off_after_its_bodies_is_still_compared_with_what_was_before(reading: Make) -> None:
    with ScriptedImap({1: MAIL, 2: MAIL}, marks_read=True) as server:

        def breaks_off(command: str) -> list[bytes] | None:
            if "BODY.PEEK[1]" in command and len(server.said("UID FETCH")) < 4:
                server._usual(command)
                return [b"* 1 FETCH (UID 1 BODY[1]<0> {400}\r\nonly this", b"\0bye"]
            return None

        server.script = breaks_off
        fetched = list(reading(server).fetch(INBOX, [1, 2]))

    assert len(fetched) == 2
    assert server.flags == {1: set(), 2: set()}


# Gmail.


def test_other_servers_are_not_asked_for_gmails_labels(reading: Make) -> None:
    with ScriptedImap({1: MAIL}) as server:
        (mail,) = reading(server).fetch(INBOX, [1])

    assert isinstance(mail, Message)
    assert "X-GM" not in " ".join(server.commands)


def test_labels_are_set_found_and_taken_away_in_place_of_keywords(
    account: Callable[[ScriptedImap], ImapAccount], reading: Make
) -> None:
    with ScriptedImap({1: MAIL, 2: MAIL}, capabilities=GMAIL, permanent_flags="()") as server:
        server.labels[1] = {"Family"}
        marker, source = ImapMarker(account(server), gmail_labels=True), reading(server, gmail_labels=True)

        assert marker.permitted(INBOX, ["AIProcessed", "Spam"]) == {"AIProcessed", "Spam"}
        assert marker.add(INBOX, "AIProcessed", [1, 2, 99]) == {1, 2}
        assert marker.remove(INBOX, "AIProcessed", [2]) == {2}

        flags = {mail.ref.uid: mail.flags for mail in source.fetch(INBOX, [1, 2]) if isinstance(mail, Message)}
        assert flags == {1: {"Family", "AIProcessed"}, 2: frozenset()}
        assert source.survey(INBOX, UidWindow(1, 9), Selection(force_reprocess=False)) == [
            Surveyed(1, "already processed"),
            Surveyed(2),
        ]
        marker.close()

    assert server.labels == {1: {"Family", "AIProcessed"}, 2: set()}
    assert server.flags == {1: set(), 2: set()}


def test_labels_on_a_server_that_is_not_gmails_are_refused(account: Callable[[ScriptedImap], ImapAccount]) -> None:
    with ScriptedImap({1: MAIL}) as server:
        marker = ImapMarker(account(server), gmail_labels=True)
        with pytest.raises(ConfigError, match="gmail_labels"):
            marker.permitted(INBOX, ["AIProcessed"])
        with pytest.raises(ConfigError, match="gmail_labels"):
            marker.add(INBOX, "AIProcessed", [1])
        marker.close()

    assert not server.said("UID STORE")
