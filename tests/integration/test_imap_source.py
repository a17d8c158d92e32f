"""Reading from a real Dovecot, and from servers that misbehave."""

from __future__ import annotations

import subprocess
from datetime import date

import pytest

from backfill.errors import (
    ConfigError,
    FolderUnknown,
    MailboxChanged,
    MessageGone,
    MessageUnreadable,
    ServerUnavailable,
)
from backfill.mail.login import ImapAccount
from backfill.mail.mime import Reading, whole
from backfill.mail.source import ImapSource
from backfill.mail.uidset import uid_sets
from backfill.message import MailboxKey, Message
from backfill.ports import Surveyed, UidWindow, Unfetched
from backfill.selection import DateField, Selection
from tests.support.scripted_imap import BYE, ScriptedImap
from tests.unit.test_mime import ODD

SCRIPTED = MailboxKey("bob@127.0.0.1", "INBOX", 7)


def mail(date_header: str | None = "Mon, 1 Jan 2024 10:00:00 +0000", body: str = "Hello") -> bytes:
    dated = f"Date: {date_header}\r\n" if date_header else ""
    return f"From: bob@example.org\r\nSubject: hello\r\n{dated}\r\n{body}\r\n".encode()


@pytest.fixture
def source(mailbox):
    source = ImapSource(mailbox.account())
    yield source
    source.close()


@pytest.fixture
def scripted(monkeypatch):
    """A source that reads from a scripted server."""
    monkeypatch.setenv("MAILBOX_PASSWORD", "secret")
    sources = []

    def make(server: ScriptedImap) -> ImapSource:
        account = ImapAccount(
            "127.0.0.1", "bob", port=server.port, security="none", password_env="MAILBOX_PASSWORD", timeout_s=5
        )
        sources.append(ImapSource(account))
        return sources[-1]

    yield make
    for source in sources:
        source.close()


def uids(surveyed: list[Surveyed]) -> list[int]:
    return [each.uid for each in surveyed]


def survey(source: ImapSource, **selection) -> list[int]:
    key = source.examine("INBOX").key
    return uids(source.survey(key, UidWindow(1, 20_000), Selection(**selection)))


def outcomes(fetched) -> dict[int, str]:
    return {
        each.ref.uid: each.content.body if isinstance(each, Message) else type(each.error).__name__ for each in fetched
    }


# Unharmed.


def test_reading_leaves_every_flag_as_it_was(mailbox, source):
    mailbox.holds(*(path.read_bytes() for path in ODD), *(mail() for _ in range(60)))
    key = source.examine("INBOX").key

    found = uids(source.survey(key, UidWindow(1, 20_000), Selection(start_date=date(2020, 1, 1))))
    first = {each.ref.uid: each.flags for each in source.fetch(key, found)}
    again = {each.ref.uid: each.flags for each in source.fetch(key, found)}

    assert len(first) == len(found) > 60
    assert not any("\\Seen" in flags for flags in again.values())
    assert first == again


# Fetch.


def test_the_bytes_of_the_mail_reach_the_body(mailbox, source):
    mailbox.holds(mail(body="The very words, größer."))

    (message,) = source.fetch(source.examine("INBOX").key, [1])

    assert message.content.body == "The very words, größer."
    assert message.size == len(mail(body="The very words, größer."))
    assert message.received_at
    assert message.sent_at.isoformat() == "2024-01-01T10:00:00+00:00"


@pytest.mark.parametrize("path", ODD, ids=lambda path: path.stem)
def test_odd_mail_read_part_by_part_is_the_same_as_read_as_a_whole(mailbox, source, path):
    raw = path.read_bytes()
    mailbox.holds(raw)

    (message,) = source.fetch(source.examine("INBOX").key, [1])

    assert isinstance(message, Message)
    assert message.content == whole(raw, len(raw), Reading(mailbox.user))


def test_attachments_stay_on_the_server(mailbox, source):
    big = b"\r\n".join([b"QUJD" * 19] * 5000)
    mailbox.holds(
        b"From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\n\r\nHello\r\n--b\r\n"
        b"Content-Type: image/png; name=x.png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + big + b"\r\n--b--\r\n"
    )
    key = source.examine("INBOX").key
    read_before = _bytes_sent(mailbox)
    (message,) = source.fetch(key, [1])
    source.close()

    assert message.content.body == "Hello"
    assert [attachment.name for attachment in message.content.attachments] == ["x.png"]
    assert _bytes_sent(mailbox) - read_before < 10_000


def _bytes_sent(mailbox) -> int:
    """What Dovecot says it has sent in the sessions that are over."""
    lines = [line for line in mailbox.server.log().splitlines() if mailbox.user in line and " out=" in line]
    return sum(int(line.split(" out=")[1].split()[0]) for line in lines)


def test_expunged_mail_is_gone_and_the_rest_arrives(mailbox, source):
    mailbox.holds(mail(), mail(), mail())
    key = source.examine("INBOX").key
    _doveadm(mailbox, "expunge", "-u", mailbox.user, "mailbox", "INBOX", "uid", "2")

    assert outcomes(source.fetch(key, [1, 2, 3])) == {1: "Hello", 2: "MessageGone", 3: "Hello"}


def test_a_folder_made_anew_is_noticed(mailbox, source):
    mailbox.holds(mail(), folder="Work")
    key = source.examine("Work").key
    source.close()
    _doveadm(mailbox, "mailbox", "delete", "-u", mailbox.user, "Work")
    other = MailboxKey(key.account, "Work", key.uidvalidity + 5)

    with pytest.raises(FolderUnknown, match="Work"):
        list(source.fetch(key, [1]))
    mailbox.holds(mail(), folder="Work")
    with pytest.raises(MailboxChanged):
        source.survey(other, UidWindow(1, 10), Selection())


def _doveadm(mailbox, *args: str) -> None:
    subprocess.run(["doveadm", "-c", str(mailbox.server.base / "dovecot.conf"), *args], check=True, capture_output=True)


# Folders.


@pytest.mark.parametrize(
    "name", ["Sent Items", 'He said "hi"', "R&D", "Entwürfe", "Work/2024/Q1", "日本語", "100", "a\\b", "*%"]
)
def test_odd_folder_names_are_listed_opened_and_read(mailbox, source, name):
    mailbox.holds(mail(body="in there"), folder=name)

    assert name in [folder.name for folder in source.list_folders()]
    assert outcomes(source.fetch(source.examine(name).key, [1])) == {1: "in there"}


def test_special_folders_are_known(source):
    assert {folder.name: set(folder.special_use) for folder in source.list_folders()}["Junk"] == {"\\Junk"}


def test_an_unknown_folder_is_named(source):
    with pytest.raises(FolderUnknown, match="Nowhere"):
        source.examine("Nowhere")


# Survey.


def test_both_ends_of_a_date_range_are_included_by_the_day_the_header_writes(mailbox, source):
    mailbox.holds(
        mail("Sun, 31 Dec 2023 23:59:59 -1200"),  # 1 January in UTC
        mail("Mon, 1 Jan 2024 00:00:00 +1400"),  # 31 December in UTC
        mail("Mon, 15 Jan 2024 12:00:00 +0000"),
        mail("Wed, 31 Jan 2024 23:59:59 -1200"),
        mail("Thu, 1 Feb 2024 00:00:00 +1400"),
        received="15-Jan-2024 10:00:00 +0000",
    )

    assert survey(source, start_date=date(2024, 1, 1), end_date=date(2024, 1, 31)) == [2, 3, 4]
    assert survey(source, start_date=date(2024, 1, 31)) == [4, 5]
    assert survey(source, end_date=date(2023, 12, 31)) == [1]
    assert survey(source, start_date=date(2024, 1, 31), end_date=date(2024, 1, 31)) == [4]


@pytest.mark.parametrize("broken", [None, "yesterday", "Thu, 99 Foo 2024 88:77:66 +9999"])
def test_mail_without_a_readable_date_is_found_by_its_arrival(mailbox, source, broken):
    mailbox.holds(mail(broken), received="15-Jan-2024 10:00:00 +0000")
    mailbox.holds(mail(broken), received="15-Jan-2023 10:00:00 +0000")

    assert survey(source, start_date=date(2024, 1, 15), end_date=date(2024, 1, 15)) == [1]
    assert survey(source, start_date=date(2024, 1, 1)) == [1]
    assert survey(source, end_date=date(2023, 12, 31)) == [2]


def test_the_date_of_arrival_counts_when_it_is_asked_for(mailbox, source):
    for day in ("31-Dec-2023", "01-Jan-2024", "31-Jan-2024", "01-Feb-2024"):
        mailbox.holds(mail("Mon, 15 Jan 2024 12:00:00 +0000"), received=f"{day} 12:00:00 +0000")

    january = {"start_date": date(2024, 1, 1), "end_date": date(2024, 1, 31)}

    assert survey(source, **january, date_field=DateField.RECEIVED) == [2, 3]


def test_the_operators_criteria_narrow_down_and_bad_ones_are_named(mailbox, source):
    mailbox.holds(mail(body="x"), mail(body="needle"), mail("Mon, 1 Jan 2018 10:00:00 +0000", "needle"))

    assert survey(source, search="BODY needle") == [2, 3]
    assert survey(source, search="OR BODY needle FROM nobody", start_date=date(2020, 1, 1)) == [2]
    with pytest.raises(ConfigError, match="--search"):
        survey(source, search="NONSENSE 1")


def test_mail_that_bears_the_processed_keyword_is_skipped_only_without_force(mailbox, source):
    mailbox.holds(mail(), flags=["AIProcessed"])
    mailbox.holds(mail())
    key = source.examine("INBOX").key

    assert source.survey(key, UidWindow(1, 10), Selection()) == [Surveyed(1), Surveyed(2)]
    assert source.survey(key, UidWindow(1, 10), Selection(force_reprocess=False)) == [
        Surveyed(1, "already processed"),
        Surveyed(2),
    ]


def test_a_survey_stays_within_its_window(mailbox, source):
    mailbox.holds(*(mail() for _ in range(9)))
    key = source.examine("INBOX").key

    assert uids(source.survey(key, UidWindow(3, 5), Selection())) == [3, 4, 5]
    assert uids(source.survey(key, UidWindow(10, 99), Selection())) == []
    assert uids(source.survey(key, UidWindow(5, 4), Selection())) == []


def test_uid_sets_are_compressed_and_short():
    scattered = list(range(4_000_000_000, 4_000_010_000, 2))

    sets = list(uid_sets(scattered))

    assert [text for text, _ in uid_sets([5, 1, 2, 3, 9, 2])] == ["1:3,5,9"]
    assert max(len(text) for text, _ in sets) <= 7000
    assert set().union(*(named for _, named in sets)) == set(scattered)


# Servers that misbehave.


def test_an_idle_connection_that_died_is_renewed_without_a_word(scripted):
    with ScriptedImap({1: mail()}) as server:
        source = scripted(server)
        key = source.examine("INBOX").key
        server.hang_up()

        assert outcomes(source.fetch(key, [1])) == {1: "Hello"}


def test_a_connection_that_dies_again_is_the_servers_trouble_and_the_next_call_starts_anew(scripted):
    dies = lambda command: [b"* BYE Session expired", BYE] if command.startswith("UID FETCH") else None  # noqa: E731
    with ScriptedImap({uid: mail() for uid in range(1, 9)}, dies) as server:
        source = scripted(server)
        key = source.examine("INBOX").key
        with pytest.raises(ServerUnavailable):
            list(source.fetch(key, list(range(1, 9))))
        server.script = lambda command: None

        assert outcomes(source.fetch(key, [1])) == {1: "Hello"}


def test_half_a_literal_is_never_taken_for_a_mail(scripted):
    half = [b"* 1 FETCH (UID 1 BODY[1]<0> {400}\r\nonly this", BYE]
    with ScriptedImap({1: mail()}, lambda said: half if "PEEK[1]" in said or "PEEK[]" in said else None) as server:
        assert outcomes(scripted(server).fetch(SCRIPTED, [1])) == {1: "MessageUnreadable"}


def test_a_mail_whose_parts_break_off_is_read_as_it_comes(scripted):
    half = [b"* 1 FETCH (UID 1 BODY[1]<0> {400}\r\nonly this", BYE]
    with ScriptedImap({1: mail()}, lambda said: half if "PEEK[1]" in said else None) as server:
        assert outcomes(scripted(server).fetch(SCRIPTED, [1])) == {1: "Hello"}


def test_an_ok_without_the_body_is_not_a_mail(scripted):
    bare = lambda command: [b"* 1 FETCH (UID 1)", b"{tag} OK done"] if "BODY.PEEK[1]" in command else None  # noqa: E731
    with ScriptedImap({1: mail()}, bare) as server:
        (unfetched,) = scripted(server).fetch(SCRIPTED, [1])

    assert isinstance(unfetched, Unfetched)
    assert isinstance(unfetched.error, MessageUnreadable)


def test_a_missing_mail_is_gone_only_when_a_fresh_session_says_so(scripted):
    silent = lambda command: [b"{tag} OK done"] if command.startswith("UID FETCH") else None  # noqa: E731
    with ScriptedImap({1: mail()}, silent) as server:
        source = scripted(server)
        source.examine("INBOX")
        there, gone = source.fetch(SCRIPTED, [1, 2])

        assert isinstance(there, Unfetched)
        assert isinstance(gone, Unfetched)
        assert isinstance(there.error, MessageUnreadable)
        assert isinstance(gone.error, MessageGone)
        assert server.connections == 2


def test_news_of_other_mails_in_between_do_no_harm(scripted):
    with ScriptedImap({1: mail(), 5: mail(body="five")}) as server:
        noise = [b"* 9 EXISTS", b"* 2 FETCH (FLAGS (\\Flagged))", b"* 1 FETCH (UID 77 FLAGS ())"]
        server.script = lambda command: (
            [*noise, *server._usual(command)[:-1], *noise, b"{tag} OK done"] if "FETCH" in command else None
        )

        assert outcomes(scripted(server).fetch(SCRIPTED, [1, 5])) == {1: "Hello", 5: "five"}


def test_a_mail_that_the_server_refuses_does_not_hold_up_its_batch(scripted):
    poison = b"{tag} NO [UNAVAILABLE] UID FETCH Server error while fetching messages"
    with ScriptedImap({uid: mail() for uid in range(1, 31)}) as server:
        server.script = lambda command: (
            [poison] if command.startswith("UID FETCH") and "13" in command.split()[2].split(",") else None
        )
        fetched = outcomes(scripted(server).fetch(SCRIPTED, list(range(1, 31))))

    assert fetched.pop(13) == "MessageUnreadable"
    assert set(fetched.values()) == {"Hello"}
    assert len(fetched) == 29


def test_a_server_that_refuses_all_mails_is_at_fault_itself(scripted):
    down = lambda command: [b"{tag} NO [UNAVAILABLE] try later"] if command.startswith("UID FETCH") else None  # noqa: E731
    with ScriptedImap({uid: mail() for uid in range(1, 31)}, down) as server, pytest.raises(ServerUnavailable):
        list(scripted(server).fetch(SCRIPTED, list(range(1, 31))))


STRUCTURES = [b"NIL", b"()", b'("TEXT")', b"((((", b"(NIL NIL)", b'"x"', b"(" * 3000 + b")" * 3000]


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_structure_that_makes_no_sense_is_read_as_it_comes(scripted, structure):
    with ScriptedImap({1: mail()}) as server:
        facts = b"UID 1 RFC822.SIZE 99 BODYSTRUCTURE %s BODY[HEADER.FIELDS (FROM)] {2}\r\n\r\n" % structure
        overview = b"* 1 FETCH (%s)" % facts
        server.script = lambda said: [overview, b"{tag} OK done"] if "BODYSTRUCTURE" in said else None

        assert outcomes(scripted(server).fetch(SCRIPTED, [1])) == {1: "Hello"}


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        (b"NO [OVERQUOTA] Account exceeded command or bandwidth limits.", 3600.0),
        (b"NO [LIMIT] UID FETCH Rate limit hit.", 300.0),
        (b"BAD Request is throttled. Suggested Backoff Time: 5000 milliseconds", 5.0),
        (b"NO [THROTTLED] slow down", 300.0),
    ],
)
@pytest.mark.parametrize("command", ["UID FETCH", "UID SEARCH", "EXAMINE"])
def test_throttling_is_heard_wherever_it_is_said(scripted, text, wait_s, command):
    with ScriptedImap({1: mail()}, lambda said: [b"{tag} " + text] if said.startswith(command) else None) as server:
        source = scripted(server)
        with pytest.raises(ServerUnavailable) as asked:
            source.examine("INBOX")
            source.survey(SCRIPTED, UidWindow(1, 10), Selection())
            list(source.fetch(SCRIPTED, [1]))

    assert asked.value.wait_s == wait_s


def test_a_changed_uidvalidity_is_noticed_at_every_select(scripted):
    with ScriptedImap({1: mail()}, uidvalidity=8) as server:
        with pytest.raises(MailboxChanged, match="planned anew"):
            list(scripted(server).fetch(SCRIPTED, [1]))
        with pytest.raises(MailboxChanged):
            scripted(server).survey(SCRIPTED, UidWindow(1, 10), Selection())


def test_command_lines_stay_below_8_kb(scripted):
    many = list(range(4_000_000_000, 4_000_001_500, 3))
    with ScriptedImap(dict.fromkeys(many, mail())) as server:
        source = scripted(server)
        fetched = list(source.fetch(SCRIPTED, many))
        source.survey(
            SCRIPTED, UidWindow(many[0], many[-1]), Selection(start_date=date(2024, 1, 1), end_date=date(2024, 1, 1))
        )

    assert len(fetched) == len(many)
    assert max(map(len, server.commands)) < 8000


# The whole text.


@pytest.fixture
def keeping(mailbox):
    source = ImapSource(mailbox.account(), keeps_all_text=True)
    yield source
    source.close()


LONG = "\r\n".join(f"This is line {number} of a long letter, which goes on." for number in range(3000))
QUOTED = "I agree.\r\n\r\nOn Mon, 1 Jan 2024, Ann wrote:\r\n" + "\r\n".join(f"> line {number}" for number in range(30))
LONG_HTML = (
    b"From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n<style>"
    + b".a{color:red}" * 20_000
    + b"</style><p>"
    + b"</p><p>".join(b"Paragraph %d." % number for number in range(9000))
    + b"</p>"
)


def test_the_whole_text_comes_as_well_where_it_is_to_be_kept(mailbox, keeping):
    mailbox.holds(mail(body=LONG), mail(body=QUOTED), LONG_HTML, mail(body="Short."))

    texts = {each.ref.uid: each.all_text for each in keeping.fetch(keeping.examine("INBOX").key, [1, 2, 3, 4])}

    assert texts[1].text.splitlines()[-1] == "This is line 2999 of a long letter, which goes on."
    assert texts[2].text.splitlines()[-1] == "> line 29"
    assert "Paragraph 8999." in texts[3].text
    assert (texts[4].text, {text.truncated for text in texts.values()}) == ("Short.", {False})


def test_a_text_without_end_is_kept_up_to_a_limit_and_says_so(mailbox, keeping):
    mailbox.holds(mail(body="\r\n".join(["All work and no play makes Jack a dull boy."] * 60_000)))

    (message,) = keeping.fetch(keeping.examine("INBOX").key, [1])

    assert (len(message.all_text.text) <= 200_000, message.all_text.truncated) == (True, True)


def test_keeping_the_whole_text_asks_no_other_question(mailbox, source, keeping):
    mailbox.holds(mail(body=LONG), mail(body=QUOTED), LONG_HTML, *(path.read_bytes() for path in ODD))
    key = source.examine("INBOX").key
    uids = range(1, len(ODD) + 4)

    shown = {each.ref.uid: each.content for each in source.fetch(key, uids)}
    kept = {each.ref.uid: each.content for each in keeping.fetch(key, uids)}

    assert kept == shown


def test_without_that_nothing_more_is_kept(mailbox, source):
    mailbox.holds(mail(body=LONG))

    (message,) = source.fetch(source.examine("INBOX").key, [1])

    assert message.all_text is None
