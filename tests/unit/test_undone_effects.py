"""What `undo` removes is ours and nothing else: keywords that we added, notes that nobody has changed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from backfill.effects.flags import FlagsEffect
from backfill.effects.notes import NotesEffect
from backfill.errors import EffectRefused, MailboxChanged, MessageGone
from backfill.message import MailboxKey
from backfill.ports import Receipt, ReceiptState, Unapplied, Undone
from backfill.rubric import Rubric
from tests.support.judged import INBOX, judged
from tests.support.memory_marker import MemoryMarker

TEMPLATE = (Path(__file__).parents[2] / "config" / "note.md.j2").read_text("utf-8")


def flags_on(marker: MemoryMarker, processed_tag: str = "AIProcessed", **tags: str) -> FlagsEffect:
    return FlagsEffect(marker, processed_tag=processed_tag, keywords=Rubric.default(**tags).keywords)


def applied(effect: FlagsEffect | NotesEffect, *mails: object) -> list[Receipt]:
    receipts = list(effect.apply(mails))  # type: ignore[arg-type]
    assert all(isinstance(each, Receipt) for each in receipts)
    return receipts  # type: ignore[return-value]


@pytest.mark.parametrize("spelling", ["Important", "IMPORTANT", "aiprocessed", "$Label1", "\\Seen"])
def test_a_keyword_that_the_mail_bore_before_stays(spelling):
    marker = MemoryMarker(INBOX)
    marker.holds(1, keywords=[spelling])
    receipts = applied(flags_on(marker), judged(1, "important", flags_before=frozenset({spelling})))

    list(flags_on(marker).undo(receipts))

    assert marker.keywords_of(1) == {spelling}


def test_a_keyword_that_the_owner_adds_later_stays_although_it_is_one_of_ours():
    marker = MemoryMarker(INBOX)
    marker.holds(1)
    receipts = applied(flags_on(marker), judged(1))
    marker.add(INBOX, "Important", [1])

    list(flags_on(marker).undo(receipts))

    assert marker.keywords_of(1) == {"Important"}


def test_a_keyword_that_the_owner_has_removed_is_no_error():
    marker = MemoryMarker(INBOX)
    marker.holds(1)
    receipts = applied(flags_on(marker), judged(1, "spam"))
    marker.remove(INBOX, "Spam", [1])

    assert list(flags_on(marker).undo(receipts)) == [Undone(receipts[0].ref, "flags")]
    assert marker.keywords_of(1) == set()


def test_the_keywords_of_the_receipt_count_and_not_those_of_todays_configuration():
    marker = MemoryMarker(INBOX)
    marker.holds(1, keywords=["Wichtig"])
    receipts = applied(flags_on(marker), judged(1, "important"))

    list(flags_on(marker, processed_tag="Erledigt", important_tag="Wichtig").undo(receipts))

    assert marker.keywords_of(1) == {"Wichtig"}


def test_what_an_earlier_verdict_added_is_still_ours_after_a_later_one():
    marker = MemoryMarker(INBOX)
    marker.holds(1)
    (first,) = applied(flags_on(marker), judged(1, "spam"))
    bears = frozenset({"Spam", "AIProcessed"})  # a later job sees our own keywords on the mail
    (second,) = applied(flags_on(marker), replace(judged(1, "spam", flags_before=bears), previous=first.detail))

    list(flags_on(marker).undo([second]))

    assert marker.keywords_of(1) == set()


def test_a_mail_that_is_gone_is_said_to_be_gone_and_the_others_are_undone():
    marker = MemoryMarker(INBOX)
    marker.holds(1, 2)
    receipts = applied(flags_on(marker), judged(1), judged(2))
    del marker.mails[1]

    gone, undone = flags_on(marker).undo(receipts)

    assert isinstance(gone, Unapplied)
    assert isinstance(gone.error, MessageGone)
    assert undone == Undone(receipts[1].ref, "flags")


def test_a_keyword_that_the_server_does_not_give_up_leaves_the_mail_as_it_is_with_the_folder_named():
    marker = MemoryMarker(INBOX)
    marker.holds(1, 2)
    receipts = applied(flags_on(marker), judged(1), judged(2))
    marker.deaf.add(1)

    stays, undone = flags_on(marker).undo(receipts)

    assert isinstance(stays, Unapplied)
    assert isinstance(stays.error, EffectRefused)
    assert "AIProcessed" in str(stays.error)
    assert "INBOX" in str(stays.error)
    assert isinstance(undone, Undone)


def test_in_another_epoch_nothing_is_removed():
    marker = MemoryMarker(INBOX)
    marker.holds(1)
    (receipt,) = applied(flags_on(marker), judged(1))
    other = replace(receipt, ref=replace(receipt.ref, mailbox=MailboxKey(INBOX.account, "INBOX", 8)))

    with pytest.raises(MailboxChanged):
        list(flags_on(marker).undo([other]))

    assert marker.keywords_of(1) == {"AIProcessed"}


def test_a_folder_that_kept_no_keyword_has_none_to_lose():
    marker = MemoryMarker(INBOX, permanent_flags=["\\Seen"])
    marker.holds(1, keywords=["Spam"])
    receipts = applied(flags_on(marker), judged(1, "spam"))

    assert list(flags_on(marker).undo(receipts)) == [Undone(receipts[0].ref, "flags")]
    assert marker.keywords_of(1) == {"Spam"}
    assert flags_on(marker).traces(receipts[0]) == ()


# Notes


@pytest.fixture
def notes(tmp_path) -> NotesEffect:
    return NotesEffect(tmp_path / "notes", TEMPLATE)


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_note_and_the_empty_folders_of_its_month_and_year_are_gone(notes, tmp_path):
    receipts = applied(notes, judged(1), judged(2))

    list(notes.undo(receipts))

    assert files_in(tmp_path) == ["notes"]


def test_a_folder_with_a_file_of_the_owners_stays(notes, tmp_path):
    receipts = applied(notes, judged(1))
    (tmp_path / "notes/2024/05/mine.md").write_text("mine")

    list(notes.undo(receipts))

    assert files_in(tmp_path) == ["notes", "notes/2024", "notes/2024/05", "notes/2024/05/mine.md"]


def test_an_edited_note_is_kept_and_named_and_the_others_are_deleted(notes, tmp_path):
    receipts = applied(notes, judged(1), judged(2))
    edited = tmp_path / "notes" / receipts[0].detail["path"]
    edited.write_text("my own words")

    kept, undone = notes.undo(receipts)

    assert isinstance(kept, Undone)
    assert kept.kept == f"{edited}: edited since it was written"
    assert undone == Undone(receipts[1].ref, "notes")
    assert edited.read_text() == "my own words"


def test_a_file_that_was_never_ours_is_kept_and_named(notes, tmp_path):
    (receipt,) = applied(notes, judged(1))
    path = tmp_path / "notes" / receipt.detail["path"]
    path.write_text("older than backfill")
    (foreign,) = applied(notes, judged(1))
    assert foreign.state is ReceiptState.FOREIGN

    (kept,) = notes.undo([foreign])

    assert isinstance(kept, Undone)
    assert kept.kept == f"{path}: not written by backfill"
    assert path.read_text() == "older than backfill"
    assert notes.traces(foreign) == ()


@pytest.mark.parametrize("times", [1, 2])
def test_an_edited_note_is_said_to_be_edited_after_later_verdicts_have_met_it(notes, tmp_path, times):
    (receipt,) = applied(notes, judged(1))
    edited = tmp_path / "notes" / receipt.detail["path"]
    edited.write_text("my own words")
    for _ in range(times):
        (receipt,) = applied(notes, replace(judged(1, "spam"), previous=receipt.detail))

    (kept,) = notes.undo([receipt])

    assert receipt.state is ReceiptState.FOREIGN
    assert isinstance(kept, Undone)
    assert kept.kept == f"{edited}: edited since it was written"
    assert edited.read_text() == "my own words"


def test_a_file_that_was_never_ours_is_not_said_to_be_edited_after_later_verdicts(notes, tmp_path):
    (receipt,) = applied(notes, judged(1))
    path = tmp_path / "notes" / receipt.detail["path"]
    path.write_text("older than backfill")
    (foreign,) = applied(notes, judged(1))
    (later,) = applied(notes, replace(judged(1, "spam"), previous=foreign.detail))

    (kept,) = notes.undo([later])

    assert isinstance(kept, Undone)
    assert kept.kept == f"{path}: not written by backfill"


def test_a_note_whose_edit_the_owner_took_back_is_ours_again(notes, tmp_path):
    (receipt,) = applied(notes, judged(1))
    edited = tmp_path / "notes" / receipt.detail["path"]
    ours = edited.read_bytes()
    edited.write_text("my own words")
    (met,) = applied(notes, replace(judged(1, "spam"), previous=receipt.detail))
    edited.write_bytes(ours)

    assert list(notes.undo([met])) == [Undone(met.ref, "notes")]
    assert not edited.exists()


def test_a_note_that_the_owner_has_deleted_or_moved_is_no_error(notes, tmp_path):
    receipts = applied(notes, judged(1), judged(2))
    (tmp_path / "notes" / receipts[0].detail["path"]).unlink()
    (tmp_path / "notes" / receipts[1].detail["path"]).rename(tmp_path / "kept.md")

    assert [type(answer) for answer in notes.undo(receipts)] == [Undone, Undone]
    assert files_in(tmp_path) == ["kept.md", "notes"]


@pytest.mark.parametrize("kind", ["folder", "symlink"])
def test_what_took_the_place_of_a_note_is_kept(notes, tmp_path, kind):
    (receipt,) = applied(notes, judged(1))
    path = tmp_path / "notes" / receipt.detail["path"]
    path.rename(tmp_path / "moved.md")
    path.mkdir() if kind == "folder" else path.symlink_to(tmp_path / "moved.md")

    (kept,) = notes.undo([receipt])

    assert isinstance(kept, Undone)
    assert "no longer a file that backfill wrote" in kept.kept
    assert (tmp_path / "moved.md").exists()


@pytest.mark.parametrize("path", ["../outside.md", "/etc/passwd", "2024/../../outside.md", "", "."])
def test_a_receipt_cannot_name_a_file_outside_the_notes_folder(notes, tmp_path, path):
    (receipt,) = applied(notes, judged(1))
    outside = tmp_path / "outside.md"
    outside.write_bytes((tmp_path / "notes" / receipt.detail["path"]).read_bytes())

    list(notes.undo([replace(receipt, detail={**receipt.detail, "path": path})]))

    assert outside.exists()


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_note_in_a_folder_that_may_not_be_written_or_read_stands_and_is_named(notes, tmp_path, mode):
    (receipt,) = applied(notes, judged(1))
    folder = (tmp_path / "notes" / receipt.detail["path"]).parent
    folder.chmod(mode)
    user = os.geteuid()

    if user == 0:  # root may write everywhere
        os.seteuid(65534)
    try:
        (stands,) = notes.undo([receipt])
    finally:
        os.seteuid(user)

    folder.chmod(0o700)
    assert isinstance(stands, Unapplied)
    assert str(folder) in str(stands.error)
    assert list(notes.undo([receipt])) == [Undone(receipt.ref, "notes")]


@pytest.mark.parametrize("has_name", [True, False])
def test_what_a_crash_left_half_written_goes_with_the_note(notes, tmp_path, has_name):
    (receipt,) = applied(notes, judged(1))
    path = tmp_path / "notes" / receipt.detail["path"]
    path.write_bytes(b"") if has_name else path.unlink()
    path.with_name(f".{path.stem[-12:]}.tmp").write_text("half a no")

    list(notes.undo([receipt]))

    assert files_in(tmp_path) == ["notes"]


def test_after_a_crash_between_two_verdicts_the_note_that_is_there_is_the_one_to_be_deleted(notes, tmp_path):
    (first,) = applied(notes, judged(1))
    (there,) = notes.presumed([replace(judged(1, "spam"), previous=first.detail)])

    list(notes.undo([there]))

    assert files_in(tmp_path) == ["notes"]


def test_a_note_that_cannot_be_looked_at_is_left_alone_and_the_others_are_compared(tmp_path: Path):
    notes = NotesEffect(tmp_path, TEMPLATE)
    first, second, third = applied(notes, judged(1), judged(2), judged(3))
    odd = replace(first, detail={**first.detail, "path": "2024/" + "x" * 300 + ".md"})
    (tmp_path / str(third.detail["path"])).unlink()

    lost = list(notes.lost([odd, second, third]))

    assert [(each.ref.uid, each.is_edited) for each in lost] == [(1, True), (3, False)]
