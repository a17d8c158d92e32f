"""What every mail source and every marker promises: one suite, on Dovecot, on the demo's server, and on the ones in
memory that stand in for a server in tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from backfill.demo.server import DemoServer
from backfill.errors import FolderUnknown, MailboxChanged, MessageGone
from backfill.mail.login import ImapAccount
from backfill.mail.mime import Reading, whole
from backfill.mail.source import ImapMarker, ImapSource
from backfill.message import Message
from backfill.ports import MailMarker, MailSource, Surveyed, UidWindow, Unfetched
from backfill.selection import DateField, Selection
from tests.support.bench import INBOX as KEY
from tests.support.bench import BenchMailbox
from tests.support.memory_marker import MemoryMarker
from tests.support.world import Diary, World, WorldMailbox, WorldMarker
from tests.unit.test_mime import ODD

OWNER = "user@example.org"
Opened = tuple[MailSource, MailMarker]


def mail(number: int, date_header: str = "Mon, 1 Jan 2024 10:00:00 +0000") -> bytes:
    head = f"From: bob@example.org\r\nDate: {date_header}\r\nSubject: mail {number}\r\n"
    return f"{head}\r\nmail number {number}\r\n".encode()


INBOX = [mail(number) for number in range(1, 121)]
FOLDERS = {"INBOX": INBOX, "Entwürfe & more": [mail(7)], "odd": [path.read_bytes() for path in ODD]}


@pytest.fixture(params=["dovecot", "demo"])
def served(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """A source and a marker on a server that holds `FOLDERS`."""
    yield from _served(request, monkeypatch)


@pytest.fixture(params=["dovecot", "demo", "bench", "world"])
def opened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Opened]:
    """A source and a marker on a mailbox that holds `INBOX`."""
    match request.param:
        case "bench":
            mailbox, marker = BenchMailbox(), MemoryMarker(KEY)
            mailbox.holds(*range(1, 121))
            marker.mails = mailbox.keywords
            yield mailbox, marker
        case "world":
            world = World(mails=120)
            mailbox = WorldMailbox.of(world, None, Diary(tmp_path / "oddities"), is_first=False)
            marker = WorldMarker(world, Diary(tmp_path / "stores"))
            marker.mails = mailbox.keywords
            yield mailbox, marker
        case _:
            yield from _served(request, monkeypatch)


def _served(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    if request.param == "dovecot":
        mailbox = request.getfixturevalue("mailbox")
        for folder, mails in FOLDERS.items():
            mailbox.holds(*mails, folder=folder)
        yield from _on(mailbox.account())
        return
    monkeypatch.setenv("MAILBOX_PASSWORD", "demo")
    with DemoServer(FOLDERS, user="demo", password="demo") as server:
        yield from _on(
            ImapAccount(server.host, "demo", port=server.port, security="none", password_env="MAILBOX_PASSWORD")
        )


def _on(account: ImapAccount) -> Iterator[Opened]:
    source, marker = ImapSource(account, owner=OWNER), ImapMarker(account)
    try:
        yield source, marker
    finally:
        source.close()
        marker.close()


def test_each_folder_that_can_be_selected_can_be_examined(opened: Opened) -> None:
    source, _ = opened

    names = [folder.name for folder in source.list_folders() if folder.is_selectable]

    assert "INBOX" in names
    assert [source.examine(name).key.folder for name in names] == names


def test_folders_are_listed_by_their_own_names(served: Opened) -> None:
    source, _ = served

    assert set(FOLDERS) <= {folder.name for folder in source.list_folders() if folder.is_selectable}


def test_examine_tells_what_is_there(opened: Opened) -> None:
    source, _ = opened

    state = source.examine("INBOX")

    assert (state.key.folder, state.exists, state.uid_next) == ("INBOX", 120, 121)
    assert state == source.examine("INBOX")


@pytest.mark.parametrize(("low", "high"), [(1, 120), (7, 4_294_967_295), (121, 200)])
def test_windows_cover_every_uid_once_and_in_order(opened: Opened, low: int, high: int) -> None:
    source, _ = opened
    inbox = source.examine("INBOX").key

    windows = source.windows(inbox, low, high)

    assert windows[0].low == low
    assert windows[-1].high == high
    assert [window.low for window in windows[1:]] == [window.high + 1 for window in windows[:-1]]


def test_an_unknown_folder_is_refused(opened: Opened) -> None:
    source, _ = opened

    with pytest.raises(FolderUnknown):
        source.examine("Nowhere")


def test_another_epoch_is_noticed_by_every_call(opened: Opened) -> None:
    source, marker = opened
    inbox = source.examine("INBOX").key
    former = replace(inbox, uidvalidity=inbox.uidvalidity - 1)
    calls: list[Callable[[], object]] = [
        lambda: source.windows(former, 1, 10),
        lambda: source.survey(former, UidWindow(1, 10), Selection()),
        lambda: list(source.fetch(former, [1])),
        lambda: marker.add(former, "AIProcessed", [1]),
        lambda: marker.present(former, [1]),
        lambda: marker.permitted(former, ["AIProcessed"]),
        lambda: marker.remove(former, "AIProcessed", [1]),
        lambda: marker.bearing(former, "AIProcessed", [1]),
    ]

    for call in calls:
        with pytest.raises(MailboxChanged):
            call()


def test_a_survey_names_each_mail_of_its_window_once(opened: Opened) -> None:
    source, _ = opened
    inbox = source.examine("INBOX").key

    assert source.survey(inbox, UidWindow(100, 200), Selection()) == [Surveyed(uid) for uid in range(100, 121)]


@pytest.mark.parametrize("field", list(DateField))
def test_dates_narrow_a_survey_down(opened: Opened, field: DateField) -> None:
    source, _ = opened
    inbox = source.examine("INBOX").key
    day = date(2024, 1, 1)

    never = Selection(start_date=date(1990, 1, 1), end_date=date(1990, 1, 2), date_field=field)

    assert source.survey(inbox, UidWindow(1, 200), never) == []
    if field is DateField.SENT:
        assert len(source.survey(inbox, UidWindow(1, 200), Selection(start_date=day, end_date=day))) == 120


def test_every_mail_asked_for_is_answered_once(opened: Opened) -> None:
    source, _ = opened
    inbox = source.examine("INBOX").key

    fetched = list(source.fetch(inbox, [*range(120, 0, -1), 999, 1]))

    answers = {each.ref.uid: each for each in fetched}
    assert len(fetched) == len(answers) == 121
    gone = answers.pop(999)
    assert isinstance(gone, Unfetched)
    assert isinstance(gone.error, MessageGone)
    assert {uid: each.content.subject for uid, each in answers.items() if isinstance(each, Message)} == {
        uid: f"mail {uid}" for uid in range(1, 121)
    }


@pytest.mark.parametrize("number", range(len(ODD)), ids=[path.stem for path in ODD])
def test_the_same_bytes_are_the_same_question_on_every_server(served: Opened, number: int) -> None:
    source, _ = served
    raw = ODD[number].read_bytes()

    (message,) = source.fetch(source.examine("odd").key, [number + 1])

    assert isinstance(message, Message)
    assert message.content == whole(raw, len(raw), Reading(OWNER))
    assert message.size == len(raw)


def test_keywords_are_kept_and_seen_and_reading_marks_nothing_read(opened: Opened) -> None:
    source, marker = opened
    inbox = source.examine("INBOX").key
    list(source.fetch(inbox, [1, 2, 3]))

    assert marker.permitted(inbox, ["AIProcessed"]) == {"AIProcessed"}
    assert marker.add(inbox, "AIProcessed", [1, 2]) == {1, 2}
    assert marker.remove(inbox, "AIProcessed", [2]) == {2}
    assert marker.bearing(inbox, "aiprocessed", [1, 2, 3]) == {1}

    source.examine("INBOX")
    flags = {each.ref.uid: each.flags for each in source.fetch(inbox, [1, 2, 3]) if isinstance(each, Message)}
    assert [uid for uid in flags if "AIProcessed" in flags[uid]] == [1]
    assert not any("\\Seen" in each for each in flags.values())
    assert source.survey(inbox, UidWindow(1, 2), Selection(force_reprocess=False)) == [
        Surveyed(1, "already processed"),
        Surveyed(2),
    ]


def test_a_marker_knows_which_mails_are_still_there(opened: Opened) -> None:
    source, marker = opened
    inbox = source.examine("INBOX").key

    assert marker.present(inbox, [1, 3, 120, 999]) == {1, 3, 120}
    assert marker.present(inbox, []) == set()
