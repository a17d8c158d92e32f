"""`backfill undo` against Dovecot: afterwards every flag of every mail is as it was, and only our notes are gone."""

from __future__ import annotations

import json
import signal
from collections.abc import Collection
from typing import Any

import pytest

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer, Call, Response, answer_for, completion, verdict
from tests.support.project import PROCESSED, Project, end, letter, wait_until

MAILS = 12


def taken(project: Project, *arguments: str) -> dict[str, Any]:
    done = project.run("undo", "--yes", "--json", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture
def marked(project: Project, mailbox: Mailbox) -> Project:
    """A mailbox whose mails bear \\Seen, foreign keywords, and some of ours, in other spellings, too."""
    mailbox.holds(*(letter(n) for n in range(MAILS)))
    with project.mail_program() as client:
        client.select_folder("INBOX")
        client.add_flags([1, 2], [b"\\Seen", b"\\Flagged"])
        client.add_flags([2, 3], [b"$Label1", b"NonJunk"])
        client.add_flags([3, 4], [b"Important"])
        client.add_flags([4, 5], [PROCESSED])
        client.add_flags([6], [b"SPAM"])
    return project


def judges(api: ApiServer, *, important: Collection[int] = (), spam: Collection[int] = ()) -> None:
    """Judge the mails with these UIDs important or spam, and the others neither."""

    def answer(call: Call) -> Response:
        uid = int(call.subject.split()[-1]) + 1
        return verdict(9 if uid in important else 2, 9 if uid in spam else 1)

    api.answer_with(answer)


def run_anew(project: Project, model: str) -> None:
    """A new job about the same mails, with another model."""
    project.configure(llm={"model": model})
    project.succeed("run", "--new-job", "--yes")


def test_afterwards_every_flag_of_every_mail_is_as_it_was(marked: Project, api: ApiServer) -> None:
    judges(api, important=range(1, 8), spam=range(5, 11))
    before = marked.flags()
    marked.succeed("run", "--yes")
    assert marked.flags() != before

    result = taken(marked)

    assert marked.flags() == before
    assert marked.notes() == []
    assert marked.report()["job"]["state"] == "undone"
    assert result["kept"] == result["refused"] == []
    assert result["expected"]["traces"] == result["taken"]
    assert {trace["what"]: trace["mails"] for trace in result["taken"]} == {
        "AIProcessed": MAILS - 2,
        "Important": 5,
        "Spam": 5,
        "note": MAILS,
    }
    lines = marked.analytics()
    assert [line["status"] for line in lines] == ["done"] * MAILS + ["undone"] * MAILS
    assert all(line["supersedes"] for line in lines[MAILS:])


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_two_jobs_about_the_same_mails_can_be_undone_in_any_order(
    marked: Project, api: ApiServer, order: tuple[int, int]
) -> None:
    before = marked.flags()
    judges(api, important=range(1, 8), spam=range(5, 11))
    marked.succeed("run", "--yes")
    of_the_first, notes_of_the_first = marked.flags(), contents(marked)
    judges(api, important=range(6, 12), spam=(1, 9, 12))
    run_anew(marked, "test/model-2")
    of_the_second, notes_of_the_second = marked.flags(), contents(marked)

    taken(marked, str(order[0]))

    if order[0] == 2:  # the first job's verdicts count again
        assert (marked.flags(), contents(marked)) == (of_the_first, notes_of_the_first)
    else:  # its verdicts did not count any more
        assert (marked.flags(), contents(marked)) == (of_the_second, notes_of_the_second)
    taken(marked, str(order[1]))
    assert marked.flags() == before
    assert marked.notes() == []


def test_the_answers_to_an_older_question_count_again_with_their_own_labels(marked: Project, api: ApiServer) -> None:
    judges(api, important=range(1, 8), spam=range(5, 11))
    marked.succeed("run", "--yes")
    of_the_first, notes_of_the_first = marked.flags(), contents(marked)
    api.answer_with(lambda call: completion(json.dumps(answer_for(call))))
    marked.ask({"categories": {"Bill": {"means": "a bill", "keyword": "Bill"}, "Other": {"means": "all else"}}})
    marked.succeed("run", "--new-job", "--yes")
    assert marked.flags() != of_the_first

    taken(marked, "2")

    assert (marked.flags(), contents(marked)) == (of_the_first, notes_of_the_first)
    assert marked.run("verify", "1").returncode == 0


def contents(project: Project) -> dict[str, bytes]:
    return {note.name: note.read_bytes() for note in project.notes()}


def test_an_undone_job_is_not_brought_back_by_a_run(project: Project, mailbox: Mailbox) -> None:
    mailbox.holds(letter(1), letter(2))
    before = project.flags()
    project.succeed("run", "--yes")
    taken(project)

    for arguments in (("run", "--yes"), ("run", "--folder", "INBOX", "--yes"), ("run", "--job", "1", "--yes")):
        refused = project.run(*arguments)

        assert refused.returncode == 2, refused.stderr
        assert "backfill apply 1" in refused.stderr
        assert "--new-job" in refused.stderr
    assert project.flags() == before


@pytest.mark.parametrize("given_up", ["undo", "cancel"])
def test_a_job_that_was_given_up_can_be_begun_anew_and_its_verdicts_are_not_paid_for_again(
    project: Project, mailbox: Mailbox, api: ApiServer, given_up: str
) -> None:
    mailbox.holds(letter(1), letter(2))
    if given_up == "undo":
        project.succeed("run", "--yes")
        there = project.flags()
        taken(project)
    else:
        project.succeed("run", "--yes", "--max-emails", "1")
        project.succeed("cancel")

    project.succeed("run", "--new-job", "--yes")

    report = project.report()
    assert (report["job"]["id"], report["job"]["state"], report["counts"]["done"]) == (2, "done", 2)
    assert api.call_count == 2
    assert given_up == "cancel" or project.flags() == there
    project.succeed("run", "--folder", "INBOX", "--yes")  # goes on with the new one
    assert project.report()["job"]["id"] == 2
    again = project.run("run", "--new-job", "--yes")
    assert again.returncode == 2
    assert "is this very job" in again.stderr


def test_without_a_terminal_and_without_yes_nothing_is_taken_back(project: Project, mailbox: Mailbox) -> None:
    mailbox.holds(letter(1), letter(2))
    project.succeed("run", "--yes")
    there = project.flags()

    declined = project.run("undo")
    answered = project.run("undo", input="n\n")

    assert (declined.returncode, answered.returncode) == (2, 2)
    assert "--yes" in declined.stderr
    assert "AIProcessed of 2 mails" in declined.stderr
    assert project.flags() == there
    assert project.report()["job"]["state"] == "done"


def test_a_preview_counts_and_names_examples_and_writes_nothing(project: Project, mailbox: Mailbox) -> None:
    mailbox.holds(*(letter(n) for n in range(8)))
    project.succeed("run", "--yes")
    there, notes = project.flags(), contents(project)

    shown = project.run("undo", "--preview")

    assert shown.returncode == 0
    assert "AIProcessed of 8 mails" in shown.stdout
    assert "note of 8 mails" in shown.stdout
    assert "INBOX, UID 1 (2024-06-03, Ada Lovelace <ada@example.com>): " in shown.stdout
    assert (project.flags(), contents(project)) == (there, notes)
    assert project.report()["job"]["state"] == "done"


@pytest.mark.parametrize(("only", "left"), [("flags", "notes"), ("notes", "flags")])
def test_one_output_alone_can_be_taken_back_and_a_run_leaves_it_so(
    project: Project, mailbox: Mailbox, only: str, left: str
) -> None:
    mailbox.holds(letter(1), letter(2))
    clean = project.flags()
    project.succeed("run", "--yes")
    there, notes = project.flags(), contents(project)

    taken(project, "--only", only)
    mailbox.holds(letter(3))
    project.succeed("run", "--yes")

    flags, now = project.flags(), contents(project)
    assert {uid: flags[uid] for uid in (1, 2)} == (clean if only == "flags" else there)
    assert len(now) == (len(notes) + 1 if left == "notes" else 1)
    assert PROCESSED in flags[3]
    assert project.report()["job"]["state"] == "done"
    verified = project.run("verify")
    assert verified.returncode == 0, verified.stdout
    project.succeed("apply", "1", "--yes")
    assert {uid: project.flags()[uid] for uid in (1, 2)} == there
    assert contents(project).items() >= notes.items()


def test_what_the_owner_did_meanwhile_is_respected_and_is_no_error(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*(letter(n) for n in range(6)))
    judges(api, spam=(1, 2))
    project.succeed("run", "--yes")
    notes = project.notes()
    notes[0].write_text("my own words")
    notes[1].unlink()
    (project.folder / "var/analytics.jsonl").unlink()
    with project.mail_program() as client:
        client.select_folder("INBOX")
        client.remove_flags([1], [b"Spam", PROCESSED])
        client.add_flags([3], [b"Important", b"\\Seen"])
        client.delete_messages([6])
        client.expunge()

    result = taken(project)

    assert project.flags() == {1: set(), 2: set(), 3: {b"Important", b"\\Seen"}, 4: set(), 5: set()}
    assert project.notes() == [notes[0]]
    assert notes[0].read_text() == "my own words"
    assert len(result["kept"]) == 1
    assert str(notes[0]) in result["kept"][0]
    assert result["gone"] == 1
    assert len(project.analytics()) == 12


@pytest.mark.parametrize("change", ["deleted", "rebuilt"])
def test_mails_of_a_folder_that_is_gone_are_said_and_the_others_are_undone(
    project: Project, mailbox: Mailbox, change: str
) -> None:
    mailbox.holds(letter(1))
    mailbox.holds(letter(2), letter(3), folder="Archive")
    before = project.flags()
    project.succeed("run", "--folder", "INBOX", "--folder", "Archive", "--yes")
    with project.mail_program() as client:
        client.delete_folder("Archive")
    if change == "rebuilt":
        mailbox.holds(letter(8), folder="Archive")

    result = taken(project)

    assert result["gone"] == 2
    assert project.flags() == before
    assert project.notes() == []
    assert project.report()["job"]["state"] == "undone"


def test_an_undo_twice_is_as_once(project: Project, mailbox: Mailbox) -> None:
    mailbox.holds(letter(1), letter(2))
    before = project.flags()
    project.succeed("run", "--yes")
    taken(project)
    lines = project.analytics()

    again = taken(project)

    assert again["taken"] == []
    assert project.flags() == before
    assert project.analytics() == lines


def test_a_job_about_another_account_is_refused_and_nothing_of_it_counts_as_gone(
    project: Project, mailbox: Mailbox
) -> None:
    mailbox.holds(letter(1), letter(2))
    project.succeed("run", "--yes")
    job = result_of_cleanup(project)
    there = project.flags()
    standing = project.count("receipt WHERE undone_at IS NULL")
    project.configure(imap={"username": "another@example.org"})

    for number in ("1", job):
        refused = project.run("undo", number, "--yes")
        assert refused.returncode == 2, refused.stderr
        assert "another@example.org" in refused.stderr

    assert project.flags() == there
    assert project.count("receipt WHERE undone_at IS NULL") == standing
    assert project.count("removal WHERE undone_at IS NULL") == 2


def test_a_job_about_another_account_is_also_refused_by_every_other_command_that_looks_at_its_mail(
    project: Project, mailbox: Mailbox
) -> None:
    mailbox.holds(letter(1), letter(2))
    project.succeed("run", "--yes")
    project.configure(imap={"username": "another@example.org"})

    for command in ("apply 1 --yes", "verify 1 --repair", "retry 1 --yes", "run --job 1 --yes"):
        refused = project.run(*command.split())
        assert refused.returncode == 2, refused.stderr
        assert "Job 1 is about the account" in refused.stderr
        assert "another@example.org" in refused.stderr

    assert project.count("item WHERE status = 'done'") == 2


def result_of_cleanup(project: Project) -> str:
    """The number of a cleanup of a keyword that both mails bore."""
    with project.mail_program() as client:
        client.select_folder("INBOX")
        client.add_flags([1, 2], [b"OldTag"])
    cleaned = json.loads(project.run("cleanup-flags", "OldTag", "--yes", "--json").stdout)
    return str(cleaned["job"]["id"])


def test_a_dry_run_has_nothing_to_take_back(project: Project, mailbox: Mailbox) -> None:
    mailbox.holds(letter(1))
    project.succeed("run", "--dry-run", "--yes")

    refused = project.run("undo", "--yes")

    assert refused.returncode == 2
    assert "dry run" in refused.stderr


def test_a_name_that_is_no_output_is_refused_with_those_that_are(project: Project, mailbox: Mailbox) -> None:
    mailbox.holds(letter(1))
    project.succeed("run", "--yes")

    refused = project.run("undo", "--only", "flag", "--yes")

    assert refused.returncode == 2
    assert "flags" in refused.stderr


def test_apply_after_an_undo_brings_everything_back_without_a_call(marked: Project, api: ApiServer) -> None:
    judges(api, important=range(1, 8), spam=range(5, 11))
    before = marked.flags()
    marked.succeed("run", "--yes")
    there, calls = (marked.flags(), contents(marked)), api.call_count
    taken(marked)

    marked.succeed("apply", "1", "--yes")

    assert (marked.flags(), contents(marked)) == there
    assert api.call_count == calls
    assert marked.report()["job"]["state"] == "done"
    taken(marked)
    assert marked.flags() == before
    assert marked.notes() == []


def test_ctrl_c_ends_an_undo_early_and_the_command_that_it_names_goes_on(project: Project, mailbox: Mailbox) -> None:
    mailbox.holds(*(letter(n) for n in range(3000)))
    project.configure(classifier="heuristic")
    before = project.flags()
    project.succeed("run", "--yes")

    with project.start("undo", "--yes") as child:
        wait_until(lambda: project.count("receipt WHERE undone_at IS NOT NULL") > 0, child)
        code, errors, _ = end(child, signal.SIGINT)

    assert code == 75, errors
    assert "Go on with: backfill undo 1" in errors
    assert project.count("receipt WHERE undone_at IS NULL") > 0
    assert "The undo is not finished; go on with: backfill undo 1" in project.run("status").stdout
    refused = project.run("run", "--yes")
    assert (refused.returncode, "go on with: backfill undo 1" in refused.stderr) == (2, True)
    project.succeed("undo", "1", "--yes")
    assert project.flags() == before
    assert project.notes() == []
    assert [line["status"] for line in project.analytics()].count("undone") == 3000
    assert "not finished" not in project.run("status").stdout + project.run("run", "--yes").stderr
