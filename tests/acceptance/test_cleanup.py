"""`backfill cleanup-flags` against Dovecot: keywords of older systems go, what is ours or the owner's stays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Mailbox
from tests.support.project import PROCESSED, Project, letter


@pytest.fixture
def old(project: Project, mailbox: Mailbox) -> Project:
    """A mailbox that older systems have left their keywords in."""
    mailbox.holds(*(letter(n) for n in range(6)))
    mailbox.holds(letter(10), letter(11), folder="Archive")
    with project.mail_program() as client:
        client.select_folder("INBOX")
        client.add_flags([1, 2, 3], [b"OldTag", b"\\Seen"])
        client.add_flags([3, 4], [b"Other.Tag", b"Keep"])
        client.add_flags([5], [PROCESSED])
        client.select_folder("Archive")
        client.add_flags([1], [b"oldtag", b"Keep"])
    return project


def result_of(project: Project, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = project.run(*arguments, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def everything(project: Project) -> dict[str, dict[int, set[bytes]]]:
    return {folder: project.flags(folder) for folder in ("INBOX", "Archive")}


def test_the_keywords_are_removed_everywhere_and_put_back_by_an_undo(old: Project) -> None:
    before = everything(old)

    cleaned = result_of(old, "cleanup-flags", "OLDTAG", "Other.Tag", "--folder", "*", "--yes")

    assert old.flags() == {
        1: {b"\\Seen"},
        2: {b"\\Seen"},
        3: {b"\\Seen", b"Keep"},
        4: {b"Keep"},
        5: {PROCESSED},
        6: set(),
    }
    assert old.flags("Archive") == {1: {b"Keep"}, 2: set()}
    assert cleaned["changed"] == 6
    listed = old.run("jobs").stdout
    assert "cleanup of 6 keywords" in listed

    put_back = result_of(old, "undo", str(cleaned["job"]["id"]), "--yes")

    assert {word.lower() for flags in everything(old)["Archive"].values() for word in flags} == {b"oldtag", b"keep"}
    assert _folded(everything(old)) == _folded(before)
    assert put_back["changed"] == 6
    assert put_back["job"]["state"] == "undone"


def _folded(found: dict[str, dict[int, set[bytes]]]) -> dict[str, dict[int, set[bytes]]]:
    """Without regard to case: a server keeps one spelling of a keyword in a folder."""
    return {
        folder: {uid: {word.lower() for word in words} for uid, words in flags.items()}
        for folder, flags in found.items()
    }


def test_only_the_mails_of_the_selection_are_cleaned(old: Project) -> None:
    result_of(old, "cleanup-flags", "OldTag", "--search", "UID 2", "--yes")

    flags = old.flags()
    assert b"OldTag" not in flags[2]
    assert all(b"OldTag" in flags[uid] for uid in (1, 3))


def test_a_preview_counts_by_folder_and_keyword_and_writes_nothing(old: Project) -> None:
    before = everything(old)

    shown = old.run("cleanup-flags", "OldTag", "Other.Tag", "--folder", "*", "--preview")

    assert shown.returncode == 0
    assert "INBOX: OldTag of 3 mails" in shown.stdout
    assert "INBOX: Other.Tag of 2 mails" in shown.stdout
    assert "Archive: OldTag of 1 mail" in shown.stdout
    assert everything(old) == before
    assert json.loads(old.run("jobs", "--json").stdout) == []


def test_without_a_terminal_and_without_yes_nothing_is_removed(old: Project) -> None:
    before = everything(old)

    declined = old.run("cleanup-flags", "OldTag")

    assert declined.returncode == 2
    assert "--yes" in declined.stderr
    assert "OldTag of 3 mails" in declined.stderr
    assert everything(old) == before


@pytest.mark.parametrize("word", ["\\Seen", "\\Deleted", "two words", "*", 'a"b', "x" * 60, ""])
def test_a_system_flag_or_a_word_that_is_no_keyword_is_refused(old: Project, word: str) -> None:
    before = everything(old)

    refused = old.run("cleanup-flags", "OldTag", word, "--yes")

    assert refused.returncode == 2, refused.stderr
    assert everything(old) == before


def test_what_this_ledger_has_set_is_left_to_undo(old: Project) -> None:
    old.succeed("run", "--yes")
    there = old.flags()

    cleaned = result_of(old, "cleanup-flags", "aiprocessed", "--yes")

    assert old.flags() == there
    assert cleaned["found"] == [{"folder": "INBOX", "keyword": "aiprocessed", "mails": 0, "left": 6}]
    result_of(old, "undo", "--yes")
    again = result_of(old, "cleanup-flags", "AIProcessed", "--yes")
    assert again["changed"] == 1
    assert all(PROCESSED not in flags for flags in old.flags().values())


@pytest.mark.parametrize("is_cleanup_first", [True, False])
def test_a_cleanup_and_a_run_that_sets_the_same_keyword_can_be_undone_in_any_order(
    old: Project, is_cleanup_first: bool
) -> None:
    before = old.flags()
    result_of(old, "cleanup-flags", "AIProcessed", "--yes")
    old.succeed("run", "--yes")

    for job in ("1", "2") if is_cleanup_first else ("2", "1"):
        result_of(old, "undo", job, "--yes")

    assert old.flags() == before


def test_a_keyword_of_this_configuration_is_warned_of(old: Project) -> None:
    shown = old.run("cleanup-flags", "aiprocessed", "--preview")

    assert "is a keyword that this configuration sets" in shown.stderr


def test_the_owners_changes_between_cleanup_and_undo_are_no_error(old: Project) -> None:
    job = result_of(old, "cleanup-flags", "OldTag", "--folder", "*", "--yes")["job"]["id"]
    with old.mail_program() as client:
        client.select_folder("INBOX")
        client.add_flags([1], [b"OldTag"])
        client.delete_messages([2])
        client.expunge()
        client.delete_folder("Archive")

    put_back = result_of(old, "undo", str(job), "--yes")

    assert put_back["gone"] == 2
    assert {uid for uid, flags in old.flags().items() if b"OldTag" in flags} == {1, 3}


def test_a_cleanup_is_no_job_for_other_commands(old: Project) -> None:
    job = str(result_of(old, "cleanup-flags", "OldTag", "--yes")["job"]["id"])

    for command in (("report", job), ("verify", job), ("run", "--job", job), ("retry", job), ("cancel", job)):
        refused = old.run(*command)
        assert refused.returncode == 2, command
        assert f"backfill undo {job}" in refused.stderr
    old.succeed("run", "--yes")  # and no job that a run would take for its own
    assert old.report()["counts"]["done"] == 6


def test_the_same_cleanup_again_removes_what_came_since_and_one_undo_puts_all_back(old: Project) -> None:
    before = old.flags()
    first = result_of(old, "cleanup-flags", "OldTag", "--yes")
    with old.mail_program() as client:
        client.select_folder("INBOX")
        client.add_flags([6], [b"OldTag"])

    second = result_of(old, "cleanup-flags", "OldTag", "--yes")

    assert second["job"]["id"] == first["job"]["id"]
    assert second["changed"] == 1
    result_of(old, "undo", str(first["job"]["id"]), "--yes")
    assert old.flags() == {**before, 6: {b"OldTag"}}
