"""`backfill apply`: changed thresholds, keywords, templates and outputs, from stored verdicts, without one call."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer, Call, Response, verdict
from tests.support.dovecot import PASSWORD
from tests.support.project import PROCESSED, Project, letter

SPAM, IMPORTANT = b"Spam", b"Important"
MAILS = 10


@pytest.fixture
def done(project: Project, mailbox: Mailbox, api: ApiServer) -> Project:
    """Ten mails with spam scores from 0 to 9 by their UIDs, and a run about them."""

    def answer(call: Call) -> Response:
        return verdict(1, int(call.subject.removeprefix("Letter ")))

    api.answer_with(answer)
    mailbox.holds(*(letter(n) for n in range(MAILS)))
    project.succeed("run", "--yes")
    project.hide(IMAP_PASSWORD=PASSWORD)  # no key from here on
    return project


def keywords(project: Project) -> dict[int, set[bytes]]:
    return {
        uid: {flag for flag in flags if not flag.startswith(b"\\")} for uid, flags in sorted(project.flags().items())
    }


def spam_from(score: int) -> dict[int, set[bytes]]:
    """The keywords of the mails where `score` is the threshold; UID 1 has the score 0."""
    return {uid: {PROCESSED, SPAM} if uid - 1 >= score else {PROCESSED} for uid in range(1, MAILS + 1)}


def labels(note: Path) -> str:
    found = re.search(r"^labels: (.*)$", note.read_text(), re.MULTILINE)
    assert found
    return found[1]


def times(project: Project) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in project.notes()}


def test_changed_thresholds_change_what_differs_and_nothing_else(done: Project, api: ApiServer) -> None:
    assert keywords(done) == spam_from(5)
    calls, before = api.call_count, times(done)
    done.configure(processing={"spam_threshold": 8})

    told = done.run("apply", "--yes")

    assert told.returncode == 0, told.stderr
    assert "3 mails changed" in told.stdout
    assert "label spam: 3 mails lose it" in told.stdout
    assert keywords(done) == spam_from(8)
    assert api.call_count == calls
    assert len([path for path, time in times(done).items() if before[path] != time]) == 3
    assert sorted(labels(note) for note in done.notes()) == ['["spam"]'] * 2 + ["[]"] * 8
    assert done.run("verify").returncode == 0
    assert len(done.analytics()) == MAILS + 3
    again = done.run("apply", "--yes")
    assert "nothing differs" in again.stdout
    assert len(done.analytics()) == MAILS + 3


def test_a_preview_counts_and_names_and_writes_nothing(done: Project) -> None:
    done.configure(processing={"spam_threshold": 3})

    told = done.run("apply", "--preview")
    for_machines = json.loads(done.run("apply", "--preview", "--json").stdout)

    assert told.returncode == 0, told.stderr
    assert "2 mails would change" in told.stdout
    assert "label spam: 2 mails gain it" in told.stdout
    assert "INBOX, UID 4 (2024-06-03, Ada Lovelace <ada@example.com>): +spam" in told.stdout
    assert for_machines["labels"] == {"spam": {"gain": 2, "lose": 0}}
    assert for_machines["keywords"] == {"Spam": {"gain": 2, "lose": 0}}
    assert for_machines["outputs"] == {"flags": 2, "notes": 2}
    assert [each["uid"] for each in for_machines["examples"]] == [4, 5]
    assert keywords(done) == spam_from(5)


def test_a_renamed_keyword_takes_the_place_of_the_old_one(done: Project) -> None:
    before = times(done)
    done.configure(imap={"spam_tag": "Junk"})

    done.succeed("apply", "--yes")

    assert keywords(done) == {
        uid: {word.replace(SPAM, b"Junk") for word in words} for uid, words in spam_from(5).items()
    }
    assert times(done) == before


def test_another_template_rewrites_the_notes_and_sets_no_keyword(done: Project) -> None:
    (done.folder / "config/note.md.j2").write_text("{{ labels | quoted }} {{ subject | escaped }}\n")

    told = done.run("apply", "--yes", "--json")

    assert json.loads(told.stdout)["outputs"] == {"notes": MAILS}
    assert {note.read_text().split()[1] for note in done.notes()} == {"Letter"}


def test_an_output_that_was_added_is_brought_about(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    project.configure(effects=["flags"])
    mailbox.holds(letter(1), letter(2))
    project.succeed("run", "--yes")
    project.configure(effects=["flags", "notes"])

    project.succeed("apply", "--yes")

    assert len(project.notes()) == 2
    assert api.call_count == 2


def test_without_a_terminal_and_without_yes_nothing_is_changed(done: Project) -> None:
    done.configure(processing={"spam_threshold": 8})

    refused = done.run("apply")

    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert keywords(done) == spam_from(5)


def test_a_dry_run_cannot_be_applied(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(letter(1))
    project.succeed("run", "--yes", "--dry-run")

    refused = project.run("apply", "--yes")

    assert refused.returncode == 2
    assert "dry run" in refused.stderr


def test_what_the_owner_did_in_between_is_his(done: Project) -> None:
    with done.mail_program() as client:
        client.select_folder("INBOX")
        client.remove_flags([6, 10], [SPAM])  # not spam, he says
        client.add_flags([1, 7], [IMPORTANT, b"Mine"])  # one of ours, and one of his own
    edited = next(note for note in done.notes() if "Letter-7" in note.name)
    edited.write_text(edited.read_text() + "my own words\n")
    gone = next(note for note in done.notes() if "Letter-9" in note.name)
    gone.unlink()
    done.configure(processing={"spam_threshold": 8})

    told = done.run("apply", "--yes")

    assert told.returncode == 0, told.stderr
    assert keywords(done) == spam_from(8) | {
        1: {PROCESSED, IMPORTANT, b"Mine"},
        7: {PROCESSED, IMPORTANT, b"Mine"},
        10: {PROCESSED},
    }
    assert edited.read_text().endswith("my own words\n")
    assert "1 file left alone" in told.stdout
    assert not gone.exists()  # its mail did not change


def test_a_folder_that_the_owner_deleted_in_between_stops_nothing(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1))
    mailbox.holds(letter(2), folder="Archive")
    mailbox.holds(letter(3), folder="Rebuilt")
    project.configure(processing={"spam_threshold": 0})
    project.succeed("run", "--yes", "--all-folders")
    with project.mail_program() as client:
        client.delete_folder("Archive")
        client.delete_folder("Rebuilt")
    mailbox.holds(letter(3), folder="Rebuilt")
    project.configure(imap={"spam_tag": "Junk"})

    told = project.run("apply", "--yes")

    assert told.returncode == 0, told.stdout + told.stderr
    assert "2 mails in folders that are gone or rebuilt" in told.stdout
    assert b"Junk" in keywords(project)[1]
    assert SPAM not in keywords(project)[1]


def test_mails_with_a_newer_verdict_are_left_to_the_newer_job(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2))
    project.configure(processing={"spam_threshold": 0})
    project.succeed("run", "--yes")
    project.configure(llm={"temperature": 0.9})
    project.succeed("run", "--yes", "--new-job", "--max-emails", "1")
    project.configure(imap={"spam_tag": "Junk"})

    told = project.run("apply", "1", "--yes")

    assert "1 mail superseded: left to job 2" in told.stdout
    assert [SPAM in words for words in keywords(project).values()] == [True, False]
    assert "nothing differs" not in project.run("apply", "2", "--preview").stdout


def test_what_was_undone_comes_back_without_a_call(done: Project, api: ApiServer) -> None:
    calls, before = api.call_count, [note.read_bytes() for note in done.notes()]
    done.succeed("undo", "--yes")
    assert keywords(done) == {uid: set() for uid in range(1, MAILS + 1)}

    done.succeed("apply", "--yes")

    assert keywords(done) == spam_from(5)
    assert [note.read_bytes() for note in done.notes()] == before
    assert api.call_count == calls
    assert done.report()["job"]["state"] == "done"


def test_a_run_with_other_thresholds_says_what_apply_would_change(done: Project) -> None:
    done.configure(processing={"spam_threshold": 8})
    done.hide(IMAP_PASSWORD=PASSWORD, OPENROUTER_API_KEY="sk-or-0123456789abcdef")

    told = done.succeed("run")

    assert "3 mails that were done earlier follow other settings than today's" in told
    assert "backfill apply 1" in told
    assert keywords(done) == spam_from(5)
    done.succeed("apply", "--yes")
    assert "other settings" not in done.succeed("run")


@pytest.mark.parametrize("how", ["pause", "cancel"])
def test_a_job_at_rest_is_applied_and_stays_at_rest(
    project: Project, mailbox: Mailbox, api: ApiServer, how: str
) -> None:
    mailbox.holds(letter(1), letter(2))
    project.configure(processing={"spam_threshold": 10})
    project.succeed("run", "--yes", "--max-emails", "1")
    project.succeed(how, "1")
    project.configure(processing={"spam_threshold": 0})

    project.succeed("apply", "1", "--yes")

    assert sum(SPAM in words for words in keywords(project).values()) == 1
    assert api.call_count == 1
    assert project.rows("SELECT state FROM job") == [({"pause": "paused", "cancel": "cancelled"}[how],)]
