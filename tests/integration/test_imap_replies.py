"""Odd replies to LIST, EXAMINE, SEARCH and FETCH: the mail is read all the same, or plainly said to be unreadable.

Each was seen on a server, or in a public report about one. Nothing of a mail's text is ever in an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from loguru import logger

from backfill.errors import FolderUnknown, FolderUnusable, MailError, ServerTroubled, ServerUnavailable
from backfill.mail import wire
from backfill.mail.source import ImapSource
from backfill.message import MailboxKey, Message
from backfill.ports import UidWindow, Unfetched
from backfill.selection import Selection
from tests.support.reading import Open
from tests.support.scripted_imap import DRIP, FLOOD, STALL, ScriptedImap

INBOX = MailboxKey("bob@127.0.0.1", "INBOX", 7)
MAIL = b"From: a@b\r\nSubject: hello\r\n\r\nHello\r\n"
PRIVATE = "very private words"
HEAD = b"BODY[HEADER.FIELDS (FROM SUBJECT)] {32}\r\nFrom: a@b\r\nSubject: private\r\n\r\n"


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Everything that is logged, traces included."""
    lines: list[str] = []
    number = logger.add(lines.append, level="TRACE", backtrace=True, diagnose=True)
    yield lines
    logger.remove(number)


def answering(start: str, *answer: bytes) -> Callable[[str], list[bytes] | None]:
    return lambda command: list(answer) if command.startswith(start) else None


def fetched(source: ImapSource, *uids: int) -> dict[int, str]:
    return {
        each.ref.uid: each.content.body if isinstance(each, Message) else type(each.error).__name__
        for each in source.fetch(INBOX, uids)
    }


def replacing(server: ScriptedImap, old: bytes, new: bytes) -> Callable[[str], list[bytes] | None]:
    """FETCH answers with other words in them."""
    return lambda command: (
        [line.replace(old, new) for line in server._usual(command)] if command.startswith("UID FETCH") else None
    )


# FETCH.


@pytest.mark.parametrize(
    "keyword", [b"$[foo", b"(bar", b'"x', b"a)b", b"{5}", b"x]", b"\\*", b'"two words"', b"%x", b"("]
)
def test_odd_keywords_cost_no_mail(reading: Open, keyword: bytes) -> None:
    with ScriptedImap(dict.fromkeys((1, 2, 3), MAIL)) as server:
        server.script = replacing(server, b"FLAGS ()", b"FLAGS (\\Flagged " + keyword + b" Mine)")
        mails = list(reading(server).fetch(INBOX, [1, 2, 3]))

    assert [mail.content.body for mail in mails if isinstance(mail, Message)] == ["Hello"] * 3
    assert all({"\\Flagged", "Mine"} <= mail.flags for mail in mails if isinstance(mail, Message))


@pytest.mark.parametrize(
    "news",
    [
        b"* 9 FETCH (FLAGS (\\Seen))",
        b"* 2 FETCH (UID 2 FLAGS () MODSEQ (12121231000))",
        b'* 9 FETCH (UID 99 ANNOTATION (/comment (value.priv "x (y")) THREADID (T1) EMAILID NIL)',
        b"* 9 FETCH (UID 99 PREVIEW {5}\r\nabc) )",
        b"* 9 FETCH (UID 99 ENVELOPE (NIL NIL) X-STRANGE 1.5e3 SAVEDATE NIL)",
        b"* 9 EXPUNGE",
        b"* VANISHED 41,43:116",
        b"* OK [HIGHESTMODSEQ 3] still here",
        b'* 9 FETCH (UID 99 INTERNALDATE "no date at all")',
    ],
)
def test_news_of_other_mails_cost_none(reading: Open, news: bytes) -> None:
    with ScriptedImap(dict.fromkeys((1, 2, 3), MAIL)) as server:
        server.script = lambda command: [news, *server._usual(command)] if command.startswith("UID FETCH") else None
        assert fetched(reading(server), 1, 2, 3) == {1: "Hello", 2: "Hello", 3: "Hello"}


@pytest.mark.parametrize("trailer", [b" ", b" X-MORE (1 2)", b" X-NULL NIL", b') UNASKED "x"', b" MODSEQ (1)"])
def test_what_a_server_adds_to_its_answer_costs_no_mail(reading: Open, trailer: bytes) -> None:
    with ScriptedImap({1: MAIL}) as server:
        server.script = lambda command: (
            [server.fetched(command, 1)[:-1] + trailer + b")", b"{tag} OK done"]
            if command.startswith("UID FETCH")
            else None
        )
        assert fetched(reading(server), 1) == {1: "Hello"}


@pytest.mark.parametrize(
    "refusal", [b"BAD partial fetch not supported", b"NO Partial fetch is not supported", b"BAD syntax"]
)
def test_a_server_that_gives_no_pieces_is_asked_for_whole_parts(reading: Open, refusal: bytes) -> None:
    with ScriptedImap(dict.fromkeys(range(1, 61), MAIL)) as server:
        server.script = lambda command: [b"{tag} " + refusal] if "<0." in command else None
        assert set(fetched(reading(server), *range(1, 61)).values()) == {"Hello"}

        assert len([command for command in server.commands if "<0." in command]) == 1


def test_a_part_that_is_too_large_is_not_fetched_whole(reading: Open) -> None:
    with ScriptedImap({1: MAIL, 2: MAIL}) as server:
        no_pieces = replacing(server, b'"8BIT" 7 1', b'"8BIT" 900000000 1')
        server.script = lambda command: (
            [b"{tag} BAD partial fetch not supported"]
            if "<0." in command
            else no_pieces(command)
            if "FETCH 1 " in command or "FETCH 1,2 " in command
            else None
        )
        read = fetched(reading(server), 1, 2)

    assert set(read) == {1, 2}
    assert not [command for command in server.commands if command.startswith("UID FETCH") and "PEEK[1])" in command]


def test_a_body_that_comes_as_nil_is_asked_for_once_more_as_a_whole(reading: Open) -> None:
    with ScriptedImap({1: MAIL, 2: MAIL}) as server:
        server.script = lambda command: (
            [b"* 1 FETCH (UID 1 BODY[1]<0> NIL)", b"* 2 FETCH (UID 2 BODY[1]<0> NIL)", b"{tag} OK done"]
            if "BODY.PEEK[1]<0." in command
            else None
        )
        assert fetched(reading(server), 1, 2) == {1: "Hello", 2: "Hello"}


def test_what_is_nil_twice_is_empty(reading: Open) -> None:
    with ScriptedImap({1: MAIL}) as server:
        server.script = lambda command: (
            [b"* 1 FETCH (UID 1 BODY[1] NIL)", b"{tag} OK done"] if "BODY.PEEK[1]" in command else None
        )
        (mail,) = reading(server).fetch(INBOX, [1])

    assert isinstance(mail, Message)
    assert (mail.content.subject, mail.content.body) == ("hello", "")


@pytest.mark.parametrize("answered", [b"BODY[HEADER] NIL", b"BODY[HEADER.FIELDS (FROM)] NIL"])
def test_a_header_that_comes_as_nil_is_asked_for_as_a_whole(reading: Open, answered: bytes) -> None:
    def script(command: str) -> list[bytes] | None:
        if "HEADER.FIELDS" in command:
            line = server.fetched(command, 1)
            return [line[: line.index(b"BODY[HEADER")] + answered + b")", b"{tag} OK done"]
        if "BODY.PEEK[HEADER]" in command:
            return [b"* 1 FETCH (UID 1 BODY[HEADER] {15}\r\nSubject: whole\n)", b"{tag} OK done"]
        return None

    with ScriptedImap({1: MAIL}, script) as server:
        (mail,) = reading(server).fetch(INBOX, [1])

    assert isinstance(mail, Message)
    assert (mail.content.subject, mail.content.body) == ("whole", "Hello")


def test_the_whole_header_in_answer_to_its_fields_will_do(reading: Open) -> None:
    with ScriptedImap({1: MAIL}) as server:
        server.script = lambda command: (
            [
                server.fetched(command, 1).replace(
                    server.fetched(command, 1).partition(b"BODY[")[2].partition(b"]")[0], b"HEADER"
                ),
                b"{tag} OK done",
            ]
            if "HEADER.FIELDS" in command
            else None
        )
        assert fetched(reading(server), 1) == {1: "Hello"}


@pytest.mark.parametrize(
    "line",
    [
        b"* 1 FETCH (UID 1 FLAGS ($[foo BODY[1] {18}\r\nvery private words",
        b"* 1 FETCH (UID 1 BODY[1] {3}\r\nvery private words)",
        b"* 1 FETCH (UID 1 BODY[1] {3}\r\nvery private words\r\nvery private words)",
        b"* 1 FETCH (UID 1 BODY[1 {18}\r\nvery private words)",
        b"* 1 FETCH (UID 1 BODY[1] {18}\r\nvery private words",
        b'* 1 FETCH (UID 1 BODYSTRUCTURE ("very private words)',
        b'* 1 FETCH UID 1 BODY[1] "very private words")',
        b'* 1 FETCH (UID 1 BODY[1] "very private words" very private words)',
        b"very private words",
        b"* very private words",
        b"* 1 FETCH (UID very private words)",
    ],
)
def test_a_reply_that_cannot_be_read_is_never_quoted(reading: Open, log: list[str], line: bytes) -> None:
    with ScriptedImap({1: MAIL, 2: MAIL}) as server:
        server.script = lambda command: (
            [line, b"{tag} OK done"] if command.startswith("UID FETCH 1 ") or "FETCH 1," in command else None
        )
        read: dict[int, Message | Unfetched] = {}
        try:
            read = {each.ref.uid: each for each in reading(server).fetch(INBOX, [1, 2])}
        except MailError as error:
            read = {1: Unfetched(None, error)}  # type: ignore[arg-type]

    assert isinstance(read[1], Unfetched)
    said = str(read[1].error)
    assert PRIVATE not in said
    assert PRIVATE not in "".join(log)
    assert read[1].error.__cause__ is None or PRIVATE not in str(read[1].error.__cause__)


def test_a_mail_whose_flags_are_beyond_reading_is_read_without_them(reading: Open) -> None:
    with ScriptedImap({1: MAIL, 2: MAIL}) as server:
        server.script = lambda command: (
            [line.replace(b"FLAGS ()", b"FLAGS (a") for line in server._usual(command)]
            if command.startswith("UID FETCH") and "FLAGS" in command
            else None
        )
        assert fetched(reading(server), 1, 2) == {1: "Hello", 2: "Hello"}


@pytest.mark.parametrize("number", [b"12", b"1"])
def test_the_notice_that_exchange_gives_in_place_of_a_mail_is_no_mail(reading: Open, number: bytes) -> None:
    notice = (
        b"From: Microsoft Exchange Server\r\nSubject: Retrieval using the IMAP4 protocol failed for the following "
        b"message: " + number + b"\r\n\r\nThe server couldn't retrieve the following message.\r\n"
    )
    with ScriptedImap({1: MAIL, 2: notice}) as server:
        assert fetched(reading(server), 1, 2) == {1: "Hello", 2: "MessageUnreadable"}


@pytest.mark.parametrize(
    "answer", [b'INTERNALDATE "01-Jan-2024 10:00:00 +9959"', b"INTERNALDATE NIL", b'INTERNALDATE ""']
)
def test_an_impossible_time_of_arrival_is_no_time(reading: Open, answer: bytes) -> None:
    with ScriptedImap({1: MAIL}) as server:
        server.script = replacing(server, b'INTERNALDATE "02-Jan-2024 10:00:00 +0000"', answer)
        (mail,) = reading(server).fetch(INBOX, [1])

    assert isinstance(mail, Message)
    assert mail.received_at is None


# LIST.


LISTED = [
    (b'* LIST () "/" {8}\r\nA folder', "A folder"),
    (b'* LIST () "/" R&D', "R&D"),
    (b'* LIST () "/" "R&D sales"', "R&D sales"),
    (b'* LIST () "/" "&!!!-"', "&!!!-"),
    ('* LIST () "/" "Entwürfe"'.encode(), "Entwürfe"),
    ('* LIST () "/" "Entwürfe"'.encode("latin-1"), "Entw\\xfcrfe"),
    (b'* LIST () "/" "Entw&APw-rfe"', "Entwürfe"),
    (b'* LIST () "/" "R&-D"', "R&D"),
    (b'* LIST (\\HasNoChildren) NIL "a \\"b\\" \\\\c"', 'a "b" \\c'),
    (b'* LIST () "/" 2024', "2024"),
    (b'* LIST () "/" "x" ("CHILDINFO" ("SUBSCRIBED"))', "x"),
    (b'* LIST () "/" "&2AA-"', "&2AA-"),
    (b'* LIST () "/" NIL', "NIL"),
    (b'* LIST () "/" a(b', "a(b"),
]


@pytest.mark.parametrize(("line", "name"), LISTED)
def test_a_folder_of_any_name_is_listed_and_opens(reading: Open, line: bytes, name: str) -> None:
    wire_name = line.partition(b"\r\n")[2] or line.partition(b'"/" ')[2] or line.partition(b" NIL ")[2]
    wire_name = wire_name.partition(b" (")[0]

    def script(command: str) -> list[bytes] | None:
        if command.startswith("LIST"):
            return [b'* LIST () "/" INBOX', line, b"{tag} OK done"]
        if command.startswith("EXAMINE"):
            asked = command.encode("utf-8", "replace").removeprefix(b"EXAMINE ")
            plain = wire_name.decode("utf-8", "replace").encode()
            return None if asked.strip(b'"') == plain.strip(b'"') else [b"{tag} NO no such folder"]
        return None

    with ScriptedImap({1: MAIL}, script) as server:
        source = reading(server)
        listed = [folder.name for folder in source.list_folders()]

        assert listed == ["INBOX", name]
        assert source.examine(name).exists == 1


def test_two_folders_that_look_alike_are_two(reading: Open) -> None:
    with ScriptedImap({1: MAIL}) as server:
        server.script = answering("LIST", b'* LIST () "/" "R&-D"', b'* LIST () "/" "R&D"', b"{tag} OK done")
        assert [folder.name for folder in reading(server).list_folders()] == ["R&D", "R\\x26D"]


def test_lines_of_a_list_that_say_nothing_are_left_out(reading: Open) -> None:
    with ScriptedImap({1: MAIL}) as server:
        server.script = answering(
            "LIST", b"* LIST", b"* LIST (", b'* LIST () "/" ""', b'* LIST () "/" a', b"{tag} OK done"
        )
        assert [folder.name for folder in reading(server).list_folders()] == ["a"]


# EXAMINE.


@pytest.mark.parametrize("said", [b"0", b"9223372036854775808", b"-1", b"x", b"4294967296", b""])
def test_a_uidvalidity_that_is_none_is_said_in_one_sentence(reading: Open, said: bytes) -> None:
    with ScriptedImap({1: MAIL}) as server:
        server.script = answering("EXAMINE", b"* 1 EXISTS", b"* OK [UIDVALIDITY " + said + b"] x", b"{tag} OK done")
        with pytest.raises(FolderUnusable, match="UIDVALIDITY") as unusable:
            reading(server).examine("INBOX")

    assert not isinstance(unusable.value, FolderUnknown)


@pytest.mark.parametrize(
    "answer",
    [
        b"{tag} BAD User is authenticated but not connected.",
        b"{tag} NO System Error (Failure)",
        b"{tag} NO Mailbox is temporarily unavailable, please try again later",
        b"{tag} NO [UNAVAILABLE] backend is down",
        b"{tag} NO [SERVERBUG] Internal error",
        b"{tag} NO Server is busy",
        b"{tag} NO Operation timed out",
    ],
)
def test_a_folder_that_does_not_open_at_the_moment_is_the_servers_trouble(reading: Open, answer: bytes) -> None:
    with ScriptedImap({1: MAIL}) as server:
        server.script = answering("EXAMINE", answer)
        with pytest.raises(ServerTroubled):
            reading(server).examine("INBOX")


@pytest.mark.parametrize(
    "answer", [b"NO Mailbox doesn't exist: X", b"NO [NONEXISTENT] Unknown Mailbox", b"NO [NOPERM] no"]
)
def test_a_folder_that_is_not_there_is_no_trouble(reading: Open, answer: bytes) -> None:
    with ScriptedImap({1: MAIL}) as server:
        server.script = answering("EXAMINE", b"{tag} " + answer)
        with pytest.raises(FolderUnknown):
            reading(server).examine("X")


def test_a_folder_that_was_opened_slowly_is_waited_for_and_said_to_be(
    reading: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SAY_S", 0.1)
    told: list[str | None] = []

    class Watch:
        def read(self, size: int) -> None: ...

        def throttled(self, wait_s: float, reason: str) -> None: ...

        def waiting(self, sentence: str | None) -> None:
            told.append(sentence)

    def script(command: str) -> None:
        if command.startswith(("EXAMINE", "UID SEARCH")):
            time.sleep(0.5)  # the server's, longer than it may be silent otherwise

    with ScriptedImap({1: MAIL}, script) as server:
        source = reading(server, watch=Watch(), timeout_s=0.3)
        found = source.survey(source.examine("INBOX").key, UidWindow(1, 9), Selection())

    assert len(found) == 1
    assert any(sentence and "EXAMINE" in sentence for sentence in told)
    assert any(sentence and "SEARCH" in sentence for sentence in told)
    assert told[-1] is None


# SEARCH.


def test_an_empty_folder_that_refuses_to_be_searched_holds_no_mail(reading: Open) -> None:
    with ScriptedImap() as server:
        server.script = answering("UID SEARCH", b"{tag} NO no such message")
        source = reading(server)
        assert source.survey(source.examine("INBOX").key, UidWindow(1, 9), Selection(search="UNSEEN")) == []
        assert source.survey(source.examine("INBOX").key, UidWindow(1, 9), Selection()) == []


def test_a_folder_with_mail_that_refuses_to_be_searched_is_an_error(reading: Open) -> None:
    with ScriptedImap({1: MAIL}) as server:
        server.script = answering("UID SEARCH", b"{tag} NO no such message")
        with pytest.raises(ServerUnavailable):
            reading(server).survey(INBOX, UidWindow(1, 9), Selection())


# Servers that never end.


HOSTILE = {
    "drip": (b"* OK", DRIP),
    "flood of lines": (b"* OK still here\r\n", FLOOD),
    "flood without an end of line": (b"* OK " + b"x" * 1000, FLOOD),
    "huge literal": (b"* 1 FETCH (UID 1 BODY[1] {2000000000}", b"x", FLOOD),
    "silence": (STALL,),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("place", ["greeting", "CAPABILITY", "LOGIN", "LIST", "EXAMINE", "UID SEARCH", "UID FETCH"])
def test_a_server_that_never_ends_is_left_in_time(
    reading: Open, monkeypatch: pytest.MonkeyPatch, kind: str, place: str
) -> None:
    monkeypatch.setattr(wire, "_OCTETS", dict.fromkeys(wire._OCTETS, 300_000))
    monkeypatch.setattr(wire, "SLOWEST", 1_000_000)
    answer = [each if each in (DRIP, FLOOD, STALL) else each + b"\r\n" * (kind == "drip") for each in HOSTILE[kind]]
    settings = {"timeout_s": 0.3, "folder_timeout_s": 0.6}
    with ScriptedImap({1: MAIL}, answering(place, *answer)) as server:
        if place == "greeting":
            server.greeting = lambda _: answer
        source = reading(server, **settings)
        began = time.monotonic()
        with pytest.raises(MailError):
            source.list_folders()
            list(source.fetch(source.examine("INBOX").key, [1]))
            source.survey(INBOX, UidWindow(1, 9), Selection())

        assert time.monotonic() - began < 20


def test_a_literal_that_nobody_asked_for_is_not_read(reading: Open) -> None:
    with ScriptedImap({1: MAIL, 2: MAIL}) as server:
        server.script = lambda command: (
            [b"* 1 FETCH (UID 1 BODY[] {2000000000}", b"x" * 10_000, FLOOD]
            if command.startswith("UID FETCH") and "1" in command.split()[2].split(",")
            else None
        )
        assert fetched(reading(server), 1, 2) == {1: "MessageUnreadable", 2: "Hello"}


def test_a_logout_that_is_never_answered_holds_nothing_up(reading: Open) -> None:
    with ScriptedImap({1: MAIL}, answering("LOGOUT", STALL)) as server:
        source = reading(server, timeout_s=60.0)
        source.examine("INBOX")
        began = time.monotonic()
        source.close()

        assert time.monotonic() - began < 5


def test_a_server_that_asks_for_more_of_a_command_gets_none(reading: Open) -> None:
    """`--search 'SUBJECT {5}'` ends like a literal, which the server waits for."""
    with ScriptedImap({1: MAIL}, answering("UID SEARCH", b"+ go on", STALL)) as server:
        began = time.monotonic()
        with pytest.raises(MailError):
            reading(server).survey(INBOX, UidWindow(1, 9), Selection())

        assert time.monotonic() - began < 4
