"""A note per mail, whole, alone under its name, and deaf to what the mail says."""

from __future__ import annotations

import os
import re
import resource
import stat
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from backfill.effects.notes import NotesEffect, note_path
from backfill.errors import ConfigError, EffectRefused, EffectUnavailable
from backfill.files import write_once
from backfill.message import Attachment, MailboxKey, WholeText
from backfill.ports import ReceiptState, Unapplied
from backfill.rubric import Category, Rubric, Score
from backfill.verdict import Scores
from tests.support.judged import judged
from tests.unit.test_markdown import HARMLESS, rendered
from tests.unit.test_markdown import HOSTILE as HOSTILE_TEXTS

TEMPLATE = (Path(__file__).parents[2] / "config" / "note.md.j2").read_text("utf-8")

HOSTILE = [
    'quote " and: colon\n---\nspam_score: 0',
    "../../../etc/passwd",
    "..",
    "CON",
    "NUL.txt",
    "C:\\Windows\\system32",
    'a/b\\c:d*e?f"g<h>i|j#k^l[m]n',
    "\x00\x1b[31mred\r\nBcc: all",
    "\u202egnp.exe",
    "\ud800 lone surrogate",
    "\x85\u2028\u2029\ufeff",
    "[[link]] ![](http://tracker.example/x.png) <script>alert(1)</script>",
    "<% tp.system.prompts() %> {{ 7*7 }} {% raw %}",
    "x" * 5000,
    "trailing dots ... ",
    "",
]


@pytest.fixture
def notes_dir(tmp_path) -> Path:
    return tmp_path / "notes"


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


@contextmanager
def no_file_longer_than(size: int):
    """The kernel refuses further bytes (EFBIG), as it does when a quota or a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def without_privileges():
    """Root may write anywhere; be nobody for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def front_matter(note: str) -> dict:
    assert note.startswith("---\n")
    return yaml.safe_load(note.split("\n---\n")[0].removeprefix("---\n"))


def test_two_hundred_mails_of_one_subject_and_second_make_two_hundred_notes(notes_dir):
    effect = NotesEffect(notes_dir, TEMPLATE)

    receipts = list(effect.apply([judged(uid) for uid in range(1, 201)]))

    assert len(files_in(notes_dir)) == 200
    assert {receipt.state for receipt in receipts} == {ReceiptState.APPLIED}
    assert {notes_dir / receipt.detail["path"] for receipt in receipts} == set(files_in(notes_dir))


def test_a_note_tells_the_verdict_the_address_and_the_text(notes_dir):
    (receipt,) = NotesEffect(notes_dir, TEMPLATE).apply([judged(17, "important")])

    note = (notes_dir / receipt.detail["path"]).read_text("utf-8")
    told = front_matter(note)
    assert receipt.detail["path"].startswith("2024/05/2024-05-03-Your-invoice-")
    assert (told["importance_score"], told["spam_score"], told["labels"]) == (8, 1, ["important"])
    assert (told["folder"], told["uidvalidity"], told["uid"]) == ("INBOX", 7, 17)
    assert (told["source"], told["model"], told["message_id"]) == ("chat", "a-model", "<17@example.com>")
    assert "Dear owner,\nplease pay." in note


def test_an_attachment_without_a_name_is_noted_by_its_kind(notes_dir):
    mail = judged(17)
    attached = (Attachment("", "image/png"), Attachment("a.pdf", "application/pdf"))
    message = replace(mail.message, content=replace(mail.message.content, attachments=attached))

    (receipt,) = NotesEffect(notes_dir, TEMPLATE).apply([replace(mail, message=message)])

    note = (notes_dir / receipt.detail["path"]).read_text("utf-8")
    assert front_matter(note)["attachments"] == ["image/png", "a.pdf"]


def answered(scores: dict[str, int], *labels: str, category: str | None = None, reason: str = ""):
    mail = judged(17, *labels)
    return replace(mail, verdict=replace(mail.verdict, scores=Scores(scores), category=category, reason=reason))


def told_of(notes_dir: Path, mail, template: str = TEMPLATE) -> dict:
    (receipt,) = NotesEffect(notes_dir, template, OWN).apply([mail])
    return front_matter((notes_dir / receipt.detail["path"]).read_text("utf-8"))


OWN = Rubric(
    (Score("no", "it is refused", 5, None), Score("tax", "the tax office wants it", 7, None)),
    (Category("2024-01-01", "of that day", None), Category("null", "all else", None)),
    reason=True,
)


@pytest.mark.parametrize("category", ["2024-01-01", "null", "no", "Money & (more)", "领收书", "1e3"])
def test_a_note_has_each_score_and_the_category_as_text_whatever_yaml_would_make_of_it(notes_dir, category):
    told = told_of(notes_dir, answered({"no": 9, "tax": 2}, "no", category, category=category, reason="It says so."))

    assert (told["no_score"], told["tax_score"]) == (9, 2)
    assert (told["category"], told["reason"], told["labels"]) == (category, "It says so.", ["no", category])
    assert "importance_score" not in told


@pytest.mark.parametrize("reason", HOSTILE)
def test_a_hostile_reason_stays_in_its_quotes(notes_dir, reason):
    told = told_of(notes_dir, answered({"no": 1, "tax": 2}, reason=reason))

    assert (told["no_score"], told["tax_score"], told["uid"]) == (1, 2, 17)
    assert "<%" not in next(path for path in files_in(notes_dir)).read_text("utf-8").split("\n---\n")[0]


def test_a_template_of_before_shows_a_score_that_is_not_asked_for_as_null(notes_dir):
    template = "---\nimportance_score: {{ importance_score }}\nspam_score: {{ spam_score }}\n---\n"

    assert told_of(notes_dir, answered({"tax": 2}), template) == {"importance_score": None, "spam_score": None}


def test_a_template_may_name_a_score_of_the_rubric_and_no_other(notes_dir):
    assert told_of(notes_dir, answered({"tax": 2}), "---\ntax: {{ scores.tax }}\n---\n") == {"tax": 2}
    with pytest.raises(ConfigError, match="has no attribute 'fisc'"):
        NotesEffect(notes_dir, "{{ scores.fisc }}", OWN)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("important", "spam"), ["important", "spam"]),
        (("Tax & Co. (2024)", "tax-co-2024"), ["Tax-Co-2024"]),
        (("2024", "2024-01-01", "领收书"), ["_2024", "2024-01-01", "领收书"]),
        (("(.)",), []),
        (("बिल और रसीद", "ใบแจ้งหนี้"), ["बिल-और-रसीद", "ใบแจ้งหนี้"]),
        (("A - B", "+ x"), ["A---B", "x"]),
    ],
)
def test_labels_are_tags_that_obsidian_takes(notes_dir, labels, expected):
    assert told_of(notes_dir, answered({"no": 1}, *labels))["tags"] == expected


@pytest.mark.parametrize("subject", HOSTILE)
def test_a_hostile_subject_neither_leaves_its_quotes_nor_the_folder(notes_dir, subject):
    (receipt,) = NotesEffect(notes_dir, TEMPLATE).apply([judged(1, subject=subject)])

    (path,) = files_in(notes_dir)
    note = path.read_text("utf-8")
    assert path == notes_dir / receipt.detail["path"]
    assert path.parent == notes_dir / "2024" / "05"
    assert front_matter(note)["subject"] == subject.encode("utf-8", "replace").decode()
    assert front_matter(note)["spam_score"] == 1
    assert not re.search(r"(?<!\\)(<script|\[\[)", note.split("\n---\n", 1)[1])
    assert "<%" not in note


@given(subject=st.text(st.characters(codec=None), max_size=300))
def test_any_subject_gives_a_name_that_every_system_takes(subject):
    name = note_path(judged(1, subject=subject).message).name

    assert not set(name) & set('/\\:*?"<>|#^[]')
    assert name.isprintable()
    assert name[0] not in ". "
    assert not name.removesuffix(".md").endswith((".", " "))
    assert len(name.encode()) <= 10 + 1 + 100 + 1 + 12 + 3


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("Re: счёт №5 за май", "Re-счёт-5-за-май"),
        ("会议纪要：明天", "会议纪要-明天"),
        ("हिन्दी में", "हिन्दी-में"),
        ("Cafe\u0301", "Café"),
    ],
)
def test_subjects_of_all_scripts_keep_their_words(subject, words):
    assert note_path(judged(1, subject=subject).message).name.startswith(f"2024-05-03-{words}-")


def test_a_long_subject_in_another_script_is_cut_between_characters():
    name = note_path(judged(1, subject="会" * 300).message).name

    assert name.startswith("2024-05-03-" + "会" * 33 + "-")


def test_mail_without_any_date_is_filed_as_undated():
    path = note_path(judged(1, sent_at=None, received_at=None).message)

    assert str(path).startswith("undated/undated-Your-invoice-")


def test_the_same_uid_in_another_folder_or_epoch_has_another_note():
    mailboxes = [MailboxKey("a", "INBOX", 1), MailboxKey("a", "INBOX", 2), MailboxKey("a", "Sent", 1)]
    paths = {note_path(judged(1, mailbox=mailbox).message) for mailbox in mailboxes}

    assert len(paths) == 3


def test_a_body_cannot_end_its_code_block(notes_dir):
    body = "```\n# Out\n``````\n![](http://tracker.example)\n~~~\n<% tp.x %>\n\x1b[31m"

    (receipt,) = NotesEffect(notes_dir, "{{ body | fenced }}").apply([judged(1, body=body)])

    lines = (notes_dir / receipt.detail["path"]).read_text("utf-8").splitlines()
    opening = lines.index("```````text")
    assert lines[opening + 1 :] == [
        *("```", "# Out", "``````", "![](http://tracker.example)", "~~~", "< % tp.x %>", " [31m"),
        "```````",
    ]


def test_files_and_folders_are_their_owners_alone(notes_dir):
    list(NotesEffect(notes_dir, TEMPLATE).apply([judged(1)]))

    modes = {stat.S_IMODE(path.stat().st_mode) for path in notes_dir.rglob("*") if path.is_dir()}
    assert modes == {0o700}
    assert stat.S_IMODE(notes_dir.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in files_in(notes_dir)] == [0o600]


def test_a_file_with_other_bytes_is_left_alone_and_the_receipt_says_so(notes_dir):
    effect = NotesEffect(notes_dir, TEMPLATE)
    (first,) = effect.apply([judged(1)])
    path = notes_dir / first.detail["path"]
    path.write_text("the owner's own words")

    (second,) = effect.apply([judged(1)])

    assert second.state is ReceiptState.FOREIGN
    assert path.read_text() == "the owner's own words"
    assert files_in(notes_dir) == [path]


@pytest.mark.parametrize("kind", ["folder", "dangling link"])
def test_what_is_no_file_is_left_alone_too(notes_dir, kind):
    path = notes_dir / note_path(judged(1).message)
    path.parent.mkdir(parents=True)
    path.mkdir() if kind == "folder" else path.symlink_to("nowhere")

    (receipt,) = NotesEffect(notes_dir, TEMPLATE).apply([judged(1)])

    assert receipt.state is ReceiptState.FOREIGN
    assert not (path.parent / "nowhere").exists()


def test_a_crash_before_the_receipt_changes_nothing(notes_dir):
    (before,) = NotesEffect(notes_dir, TEMPLATE).apply([judged(1)])
    (path,) = files_in(notes_dir)
    written = (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)

    (again,) = NotesEffect(notes_dir, TEMPLATE).apply([judged(1)])

    assert again == before
    assert again.detail == before.detail
    assert (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns) == written


def test_what_a_crash_left_half_written_is_swept_up_by_the_next_try(notes_dir):
    path = notes_dir / note_path(judged(1).message)
    path.parent.mkdir(parents=True)
    path.touch()
    (path.parent / f".{path.stem[-12:]}.tmp").write_text("half a no")

    (receipt,) = NotesEffect(notes_dir, TEMPLATE).apply([judged(1)])

    assert receipt.state is ReceiptState.APPLIED
    assert files_in(notes_dir) == [path]
    assert path.read_text("utf-8").startswith("---\n")


def test_a_full_disk_stops_the_effect_and_leaves_no_part_of_a_note(notes_dir):
    effect = NotesEffect(notes_dir, TEMPLATE)

    with no_file_longer_than(64), pytest.raises(EffectUnavailable, match="notes"):
        list(effect.apply([judged(1)]))

    assert files_in(notes_dir) == []
    assert [receipt.state for receipt in effect.apply([judged(1)])] == [ReceiptState.APPLIED]


def test_a_notes_folder_that_cannot_be_made_stops_the_effect(tmp_path):
    (tmp_path / "notes").write_text("a file stands here")

    with pytest.raises(EffectUnavailable, match="notes"):
        list(NotesEffect(tmp_path / "notes", TEMPLATE).apply([judged(1)]))


def test_a_folder_without_permission_stops_the_effect(notes_dir):
    effect = NotesEffect(notes_dir, TEMPLATE)
    notes_dir.mkdir(mode=0o500)

    with without_privileges(), pytest.raises(EffectUnavailable, match="Permission denied"):
        list(effect.apply([judged(1)]))


@pytest.mark.parametrize(
    "template",
    [
        "{{ subject",
        "{{ no_such_name }}",
        "{{ subject | no_such_filter }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ 10 / importance_score }}",
        "{{ subject + 1 }}",
        "{{ body | int + to }}",
    ],
)
def test_a_template_that_does_not_work_is_told_before_the_first_mail(notes_dir, template):
    with pytest.raises(ConfigError, match=r"paths\.note_template"):
        NotesEffect(notes_dir, template)

    assert not notes_dir.exists()


def test_a_mail_with_which_the_template_does_not_work_is_refused_alone(notes_dir):
    effect = NotesEffect(notes_dir, "{{ 1 / (importance_score - 2) }}")
    odd = replace(judged(2), verdict=replace(judged(2).verdict, scores=Scores.of(importance=2, spam=0)))

    answers = {answer.ref.uid: answer for answer in effect.apply([judged(1), odd, judged(3)])}

    assert isinstance(answers[2], Unapplied)
    assert isinstance(answers[2].error, EffectRefused)
    assert {answers[1].state, answers[3].state} == {ReceiptState.APPLIED}


def test_another_verdict_makes_other_bytes_and_is_not_written_over_the_first(notes_dir):
    effect = NotesEffect(notes_dir, TEMPLATE)
    list(effect.apply([judged(1)]))

    (receipt,) = effect.apply([replace(judged(1), labels=("spam",))])

    assert receipt.state is ReceiptState.FOREIGN


def test_a_file_is_written_once_and_then_found(tmp_path):
    path = tmp_path / "a" / "note.md"

    assert write_once(path, b"ours")
    assert write_once(path, b"ours")
    assert not write_once(path, b"theirs")
    assert path.read_bytes() == b"ours"


def test_a_note_of_an_earlier_verdict_is_brought_up_to_date_while_nobody_has_changed_it(notes_dir):
    effect = NotesEffect(notes_dir, "{{ importance_score }}")
    before = judged(1)
    (first,) = effect.apply([before])
    after = replace(
        before, verdict=replace(before.verdict, scores=Scores.of(importance=2, spam=9)), previous=first.detail
    )

    (second,) = effect.apply([after])
    (notes_dir / second.detail["path"]).write_text("mine now")
    (third,) = effect.apply([replace(before, previous=second.detail)])

    assert (second.state, third.state) == (ReceiptState.APPLIED, ReceiptState.FOREIGN)
    assert (notes_dir / second.detail["path"]).read_text() == "mine now"


def told_by(notes_dir: Path, **content: object) -> tuple[dict, str]:
    """The front matter and the rest of the note about a mail with this content."""
    mail = judged(17, "important")
    message = replace(mail.message, content=replace(mail.message.content, **content))
    list(NotesEffect(notes_dir, TEMPLATE).apply([replace(mail, message=message)]))
    (path,) = files_in(notes_dir)
    head, _, rest = path.read_text("utf-8").removeprefix("---\n").partition("\n---\n")
    return yaml.safe_load(head), rest


@pytest.mark.parametrize(
    ("date", "read"),
    [
        ("2024-05-03T09:30:00+02:00", datetime(2024, 5, 3, 9, 30)),
        ("2024-05-03T23:59:59-11:00", datetime(2024, 5, 3, 23, 59, 59)),
        ("0099-01-01T00:00:00+00:00", datetime(99, 1, 1)),
        ("", datetime(2024, 5, 3, 9, 30)),
    ],
)
def test_the_date_is_read_as_a_date_and_stands_as_on_the_senders_clock(notes_dir, date, read):
    told, _ = told_by(notes_dir, date=date)

    assert told["date"] == read


def test_a_mail_without_any_date_has_none(notes_dir):
    list(NotesEffect(notes_dir, TEMPLATE).apply([judged(1, sent_at=None, received_at=None)]))

    (path,) = files_in(notes_dir)
    assert front_matter(path.read_text("utf-8"))["date"] is None


def test_a_note_has_tags_an_alias_and_those_who_got_a_copy(notes_dir):
    told, _ = told_by(notes_dir, cc=("Al <al@example.com>", "b@example.com"))

    assert (told["tags"], told["aliases"], told["title"]) == (["important"], ["Your invoice"], "Your invoice")
    assert told["cc"] == ["Al <al@example.com>", "b@example.com"]


def test_a_long_subject_is_whole_in_the_front_matter_and_short_in_the_title(notes_dir):
    subject = "Ihre Rechnung vom dritten Mai " * 10

    told, rest = told_by(notes_dir, subject=subject)

    assert told["subject"] == subject
    assert len(told["title"]) <= 80
    assert f"# {told['title']}\n" in rest


def test_the_text_is_prose_in_the_note_and_not_a_block(notes_dir):
    _, rest = told_by(notes_dir, body="Dear owner,\nplease pay.\n\nSee http://pay.example/x")

    assert "Dear owner,\nplease pay.\n\nSee `http://pay.example/x`\n" in rest
    assert "```" not in rest


def test_without_body_a_note_holds_nothing_of_the_text(notes_dir):
    list(NotesEffect(notes_dir, TEMPLATE, body="none").apply([judged(1, body="for nobody else")]))

    (path,) = files_in(notes_dir)
    assert "nobody" not in path.read_text("utf-8")


def test_attachments_are_listed_with_name_kind_and_size(notes_dir):
    mail = judged(17)
    attached = (
        Attachment("a.pdf", "application/pdf"),
        Attachment("", "image/png"),
        Attachment("[[x]] <% y %>\n# z.exe", "application/x-msdownload"),
    )
    content = replace(mail.message.content, attachments=attached)
    message = replace(mail.message, content=content, attachment_sizes=(123_456, 80, 2_500_000))

    list(NotesEffect(notes_dir, TEMPLATE).apply([replace(mail, message=message)]))

    (path,) = files_in(notes_dir)
    assert path.read_text("utf-8").split("## Attachments\n")[1].splitlines() == [
        "",
        r"- a\.pdf (application/pdf, 123 kB)",
        r"- (no name) (image/png, 80 bytes)",
        r"- \[\[x\]\] \<\% y \%\> \# z\.exe (application/x-msdownload, 2.5 MB)",
    ]


@pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS)
def test_a_mail_that_is_hostile_everywhere_makes_a_note_that_does_nothing(notes_dir, text):
    one_line = " ".join(text.split())
    fields = dict.fromkeys(("subject", "sender", "list_id"), one_line) | {"to": (one_line,), "cc": (one_line,)}

    told, rest = told_by(notes_dir, body=text, attachments=(Attachment(one_line, one_line),), **fields)

    assert told["importance_score"] == 8
    assert "<%" not in files_in(notes_dir)[0].read_text("utf-8")
    kinds = {token.type for token in rendered(rest)}
    assert kinds <= HARMLESS | {
        *("heading_open", "heading_close", "bullet_list_open", "bullet_list_close"),
        *("list_item_open", "list_item_close"),
    }


def test_a_note_by_the_template_of_an_earlier_version_is_made_as_before(notes_dir):
    """Its owner's copy of the template stays as it is when backfill is upgraded."""
    earlier = (Path(__file__).parent / "note-0.1.md.j2").read_text("utf-8")

    list(NotesEffect(notes_dir, earlier).apply([judged(17, "important")]))

    (path,) = files_in(notes_dir)
    told = front_matter(path.read_text("utf-8"))
    assert (told["importance_score"], told["date"]) == (8, "2024-05-03T09:30:00+00:00")
    assert "```text\nDear owner,\nplease pay.\n```" in path.read_text("utf-8")


def in_thread(uid: int, *ancestors: str, **given: object):
    mail = judged(uid, subject=f"Mail {uid}", **given)
    return replace(mail, message=replace(mail.message, ancestors=ancestors))


def test_a_reply_links_to_the_note_of_the_mail_that_it_answers(notes_dir):
    (first,) = NotesEffect(notes_dir, TEMPLATE).apply([in_thread(1)])
    june = datetime(2024, 6, 3, tzinfo=UTC)
    reply = replace(in_thread(2, "<1@example.com>", sent_at=june), thread={"<1@example.com>": first.detail})

    (second,) = NotesEffect(notes_dir, TEMPLATE).apply([reply])

    note = (notes_dir / second.detail["path"]).read_text("utf-8")
    name = Path(first.detail["path"]).stem
    assert front_matter(note)["in_reply_to"] == f"[[{name}]]"
    (target,) = re.findall(r"^In reply to \[.*\]\((.*)\)$", note, re.MULTILINE)
    assert ((notes_dir / second.detail["path"]).parent / target).resolve() == notes_dir / first.detail["path"]


def test_a_mail_and_its_answer_that_are_written_together_are_linked_too(notes_dir):
    receipts = list(NotesEffect(notes_dir, TEMPLATE).apply([in_thread(2, "<1@example.com>"), in_thread(1)]))

    reply, first = (front_matter((notes_dir / each.detail["path"]).read_text("utf-8")) for each in receipts)
    assert reply["in_reply_to"] == f"[[{Path(receipts[1].detail['path']).stem}]]"
    assert "in_reply_to" not in first


@pytest.mark.parametrize(
    "ancestors", [("<gone@example.com>", "<1@example.com>"), ("<1@example.com>", "<0@example.com>")]
)
def test_the_nearest_mail_of_the_thread_that_has_a_note_is_linked(notes_dir, ancestors):
    mails = [in_thread(0), in_thread(1), in_thread(2, *ancestors)]

    receipts = list(NotesEffect(notes_dir, TEMPLATE).apply(mails))

    told = front_matter((notes_dir / receipts[2].detail["path"]).read_text("utf-8"))
    assert told["in_reply_to"] == f"[[{Path(receipts[1].detail['path']).stem}]]"


def test_a_reply_to_a_mail_without_a_note_tells_its_message_id_and_links_nowhere(notes_dir):
    (receipt,) = NotesEffect(notes_dir, TEMPLATE).apply([in_thread(2, "<gone@example.com>")])

    note = (notes_dir / receipt.detail["path"]).read_text("utf-8")
    assert front_matter(note)["in_reply_to"] == "<gone@example.com>"
    assert "In reply to" not in note


def test_a_mail_that_answers_itself_does_not_link_to_itself(notes_dir):
    (receipt,) = NotesEffect(notes_dir, TEMPLATE).apply([in_thread(1, "<1@example.com>")])

    assert "[[" not in (notes_dir / receipt.detail["path"]).read_text("utf-8")


def test_a_note_of_version_0_1_is_neither_foreign_nor_written_again_without_need(notes_dir):
    earlier = (Path(__file__).parent / "note-0.1.md.j2").read_text("utf-8")
    (receipt,) = NotesEffect(notes_dir, earlier).apply([judged(1)])
    told = {name: receipt.detail[name] for name in ("path", "sha256")}  # all that its receipts said

    today = NotesEffect(notes_dir, TEMPLATE)
    (again,) = today.apply([replace(judged(1, "spam"), previous=told)])

    assert today.holds(told, ())
    assert again.state is ReceiptState.APPLIED
    assert again.detail["path"] == told["path"]
    assert 'labels: ["spam"]' in (notes_dir / told["path"]).read_text("utf-8")


@pytest.mark.parametrize(
    ("body", "all_text", "kept", "says_more"),
    [
        ("full", WholeText("Dear owner,\n> pay!\nI have."), "Dear owner,\n\\> pay\\!\nI have\\.\n", False),
        ("full", WholeText("Dear", truncated=True), "Dear\n", True),
        ("full", None, "Shown.\n", True),
        ("shown", WholeText("Dear owner"), "Shown.\n", True),
        ("none", WholeText("Dear owner"), "", False),
    ],
)
def test_a_note_holds_as_much_of_the_text_as_was_asked_for(notes_dir, body, all_text, kept, says_more):
    mail = judged(1, body="Shown.")
    content = replace(mail.message.content, truncated=True)
    message = replace(mail.message, content=content, all_text=all_text)

    list(NotesEffect(notes_dir, TEMPLATE, body=body).apply([replace(mail, message=message)]))

    (path,) = files_in(notes_dir)
    rest = path.read_text("utf-8").split("\n---\n", 1)[1]
    assert kept.replace("I have\\.", "I have.") in rest
    assert ("longer than what is kept" in rest) is says_more
    assert ("Dear" in rest) is (body == "full" and all_text is not None)


def test_changing_how_much_of_the_text_is_kept_is_a_reason_to_write_the_note_again(notes_dir):
    (receipt,) = NotesEffect(notes_dir, TEMPLATE).apply([judged(1)])

    assert NotesEffect(notes_dir, TEMPLATE).holds(receipt.detail, ())
    assert not NotesEffect(notes_dir, TEMPLATE, body="none").holds(receipt.detail, ())
    assert not NotesEffect(notes_dir, TEMPLATE, body="full").holds(receipt.detail, ())
