"""`backfill verify` at the command line: what it says, and when it does not claim more than it knows."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from backfill import BackfillProcessor, settings
from backfill.clock import StopRequest
from tests.conftest import Mailbox
from tests.support.api_server import ApiServer
from tests.support.dovecot import PASSWORD
from tests.support.project import KEY, PROCESSED, Project, letter


def test_criteria_that_cannot_be_compared_are_named_and_no_difference(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2))
    project.succeed("run", "--yes", "--search", "UNSEEN")

    told = project.run("verify")
    for_machines = json.loads(project.run("verify", "--json").stdout)

    assert told.returncode == 0, told.stderr
    assert "no differences" in told.stdout
    assert "UNSEEN match other mail now" in told.stdout
    assert for_machines["complete"]
    assert len(for_machines["notes"]) == 1


def test_a_folder_rebuilt_after_the_job_is_a_difference(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(letter(1), folder="Archive")
    project.succeed("run", "--yes", "--folder", "Archive")
    with project.mail_program() as client:
        client.delete_folder("Archive")
    mailbox.holds(letter(1), folder="Archive")

    told = project.run("verify")

    assert told.returncode == 7
    assert "Archive has another UIDVALIDITY" in told.stdout


def test_outputs_that_were_chosen_after_the_work_are_made_after_a_repair_without_another_call(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2))
    project.configure(effects=[])
    project.succeed("run", "--yes")
    project.configure(effects=["flags", "notes"])

    repaired = project.run("verify", "--repair")
    project.succeed("run", "--yes")

    assert repaired.returncode == 7
    assert "backfill run --job 1, then backfill verify 1" in repaired.stdout
    assert api.call_count == 2
    assert len(project.notes()) == 2
    assert all(PROCESSED in flags for flags in project.flags().values())
    project.succeed("verify")


def test_a_folder_that_was_deleted_is_a_difference_with_its_mails(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2), folder="Archive")
    project.succeed("run", "--yes", "--folder", "Archive")
    with project.mail_program() as client:
        client.delete_folder("Archive")

    told = project.run("verify")

    assert told.returncode == 7, told.stderr
    assert "Archive is no longer on the server; 2 of its mails are in the ledger." in told.stdout


@pytest.mark.parametrize("command", [("run", "--yes"), ("retry", "--yes"), ("verify", "--repair")])
def test_analytics_that_are_behind_are_named_and_brought_up_to_date_by_any_command(
    project: Project, mailbox: Mailbox, api: ApiServer, command: tuple[str, ...]
) -> None:
    mailbox.holds(*(letter(number) for number in range(1, 6)))
    project.succeed("run", "--yes")
    file = project.folder / "var/analytics.jsonl"
    whole = file.read_text()
    lines = whole.splitlines(keepends=True)
    file.write_text("".join(lines[:2]) + lines[2][:10])  # a full disk took the rest, which was not committed
    with closing(sqlite3.connect(project.ledger)) as ledger, ledger:
        ledger.execute("UPDATE sink SET last_outcome_id = 2, committed_bytes = ?", (len("".join(lines[:2])),))

    told = project.run("verify")
    project.run(*command)

    assert told.returncode == 7
    assert "analytics.jsonl is not up to date" in told.stdout
    assert file.read_text() == whole
    project.succeed("verify")


@pytest.mark.parametrize("command", [("run", "--yes"), ("retry", "--yes"), ("verify", "--repair")])
def test_analytics_that_were_shortened_are_named_and_left_alone_by_every_command(
    project: Project, mailbox: Mailbox, api: ApiServer, command: tuple[str, ...]
) -> None:
    mailbox.holds(*(letter(number) for number in range(1, 6)))
    project.succeed("run", "--yes")
    file = project.folder / "var/analytics.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2]) + lines[2][:10])
    shortened = file.read_text()

    told = project.run("verify")
    project.run(*command)

    assert told.returncode == 7
    assert "analytics.jsonl is shorter than the ledger says" in told.stdout
    assert "backfill export --all-jobs" in told.stdout
    assert file.read_text() == shortened


def test_a_stopped_verification_repairs_nothing_and_says_that_it_is_not_complete(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1))
    project.succeed("run", "--yes")
    stop = StopRequest()
    stop.set("SIGINT")
    loaded = settings.load(project.config, environment={"IMAP_PASSWORD": PASSWORD, "OPENROUTER_API_KEY": KEY})

    verified = BackfillProcessor(settings=loaded, stop=stop).verify(repair=True)

    assert (verified.is_complete, verified.is_repaired) == (False, False)
    assert any("SIGINT" in note for note in verified.notes)


def test_a_lost_keyword_and_a_lost_note_are_differences_and_come_back_without_a_call(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2), letter(3))
    project.configure(processing={"spam_threshold": 0})
    project.succeed("run", "--yes")
    with project.mail_program() as client:
        client.select_folder("INBOX")
        client.remove_flags([1], [b"Spam"])
    gone, empty, edited = project.notes()
    gone.unlink()
    empty.write_bytes(b"")
    edited.write_text("my own words")

    told = project.run("verify")
    project.run("verify", "--repair")
    project.succeed("run")

    assert told.returncode == 7
    assert "INBOX, UID 1 is done, but has lost the keyword Spam." in told.stdout
    assert told.stdout.count("has lost the note") == 2
    assert "1 note with other words than ours" in told.stdout
    assert project.run("verify").returncode == 0
    assert all({b"Spam", PROCESSED} <= flags for flags in project.flags().values())
    assert gone.stat().st_size
    assert empty.stat().st_size
    assert edited.read_text() == "my own words"
    assert api.call_count == 3


def test_other_thresholds_than_those_of_the_outputs_are_differences_that_apply_mends(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2))
    project.configure(processing={"spam_threshold": 10})
    project.succeed("run", "--yes")
    project.configure(processing={"spam_threshold": 0})

    told = project.run("verify")
    project.succeed("apply", "--yes")

    assert told.returncode == 7
    assert "INBOX, UID 1 follows other settings than today's (notes, flags); `backfill apply` mends it." in told.stdout
    assert project.run("verify").returncode == 0


def test_what_the_owner_adds_is_no_difference(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(letter(1))
    project.configure(processing={"spam_threshold": 10, "importance_threshold": 10})
    project.succeed("run", "--yes")
    with project.mail_program() as client:
        client.select_folder("INBOX")
        client.add_flags([1], [b"Spam", b"Mine"])

    assert project.run("verify").returncode == 0


def test_the_repair_of_an_older_job_takes_nothing_from_the_newer_one(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2))
    project.succeed("run", "--yes")
    project.configure(llm={"temperature": 0.9})
    project.succeed("run", "--yes", "--new-job")
    receipts = project.rows("SELECT id, verdict_id, stale FROM receipt ORDER BY id")

    older = project.run("verify", "1", "--repair", "--json")
    for_people = project.run("verify", "1")

    assert older.returncode == 0, older.stdout
    assert json.loads(older.stdout)["superseded"] == 2
    assert "Superseded: 2 by job 2" in for_people.stdout
    assert project.rows("SELECT id, verdict_id, stale FROM receipt ORDER BY id") == receipts


def test_an_undone_job_has_no_difference_for_mails_that_are_gone_and_stays_undone(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2), letter(3))
    project.configure(effects=["flags"])
    project.succeed("run", "--yes")
    project.succeed("undo", "1", "--yes")
    mailbox.holds(letter(4))
    with project.mail_program() as client:
        client.select_folder("INBOX")
        client.delete_messages([2])
        client.expunge()
    project.configure(effects=["flags", "notes"])

    told = project.run("verify", "1")
    repaired = project.run("verify", "1", "--repair")

    assert told.returncode == 0, told.stdout
    assert "no differences" in told.stdout
    assert "was undone" in told.stdout
    assert repaired.returncode == 0, repaired.stdout
    assert "backfill run" not in repaired.stdout
    assert project.rows("SELECT state FROM job") == [("undone",)]


def test_an_undone_job_with_a_difference_is_not_sent_to_a_run_that_refuses_it(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2))
    project.succeed("run", "--yes")
    project.succeed("undo", "1", "--yes")
    with closing(sqlite3.connect(project.ledger)) as ledger, ledger:
        ledger.execute("UPDATE plan_range SET planned = planned + 1")

    repaired = project.run("verify", "1", "--repair")

    assert repaired.returncode == 7, repaired.stdout
    assert "now: backfill verify 1" in repaired.stdout
    assert project.run("verify", "1").returncode == 0
