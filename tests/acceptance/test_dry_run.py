"""A dry run shows what a real run would do, and keeps no word of any mail."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer, verdict
from tests.support.project import Project, letter

SUBJECTS = ["Prize \x1b[31m!", "Rent is due", "Lunch?", "Rent is due again"]


@pytest.fixture
def dry(project: Project, mailbox: Mailbox, api: ApiServer) -> Project:
    """A project with four mails: one is spam, two are important."""
    mailbox.holds(
        *(letter(number, subject=subject, body=f"{subject} {number}") for number, subject in enumerate(SUBJECTS, 1))
    )
    api.answer_with(
        lambda call: verdict(*((9, 0) if "Rent" in call.mail else (1, 9) if "Prize" in call.mail else (3, 1)))
    )
    return project


def would(project: Project, *arguments: str) -> Counter[str]:
    """What the last line of `run --dry-run --json` says, by keyword or kind of output."""
    told = project.run("run", "--yes", "--dry-run", "--json", *arguments)
    assert told.returncode == 0, told.stderr
    return Counter({each["what"]: each["mails"] for each in json.loads(told.stdout.splitlines()[-1])["would"]})


def test_it_ends_with_the_number_of_mails_for_each_keyword_and_of_notes(dry: Project) -> None:
    told = dry.succeed("run", "--yes", "--dry-run")

    assert (
        "Dry run: a real run would set AIProcessed on 4 mails, set Important on 2 mails, set Spam on 1 mail, "
        "write 4 notes." in " ".join(told.split())
    )


def test_a_real_run_does_what_the_dry_run_has_said(dry: Project) -> None:
    foreseen = would(dry)
    dry.succeed("run", "--yes")

    set_on = Counter(word.decode() for flags in dry.flags().values() for word in flags if not word.startswith(b"\\"))
    assert foreseen == set_on + Counter({"note": len(dry.notes())})


def test_a_changed_threshold_changes_what_is_foreseen_without_a_call(dry: Project, api: ApiServer) -> None:
    before = would(dry)
    dry.configure(processing={"importance_threshold": 3})

    after = would(dry)

    assert (before["Important"], after["Important"]) == (2, 3)
    assert api.call_count == 4


def test_as_json_each_mail_is_a_line_and_the_figures_are_the_last_one(dry: Project) -> None:
    told = dry.run("run", "--yes", "--dry-run", "--json")

    *mails, figures = [json.loads(line) for line in told.stdout.splitlines()]
    shown = {line["mail"]["uid"]: line["mail"] for line in mails}
    assert sorted(shown) == [1, 2, 3, 4]
    assert (shown[2]["subject"], shown[2]["scores"], shown[2]["labels"]) == (
        "Rent is due",
        {"importance": 9, "spam": 0},
        ["important"],
    )
    assert (shown[2]["date"][:10], shown[2]["sender"]) == ("2024-06-03", "Ada Lovelace <ada@example.com>")
    assert (figures["counts"]["done"], figures["job"]["dry_run"]) == (4, True)
    assert "\x1b" not in told.stdout


def test_with_verbose_each_mail_is_shown_on_the_terminal_as_it_is_judged(dry: Project) -> None:
    told = dry.run("run", "--yes", "--dry-run", "--verbose")

    assert "2024-06-03  Ada Lovelace <ada@example.com>  Rent is due  importance 9, spam 0 -> important" in told.stderr
    assert "\x1b" not in told.stderr
    assert "Rent" not in told.stdout


def test_a_verdict_that_is_known_is_shown_too(dry: Project) -> None:
    dry.succeed("run", "--yes")

    told = dry.run("run", "--yes", "--dry-run", "--verbose")

    assert "Rent is due again" in told.stderr


@pytest.mark.parametrize("option", [(), ("--verbose",), ("--json",), ("--verbose", "--json")])
def test_no_word_of_a_mail_reaches_log_ledger_or_any_other_file(dry: Project, option: tuple[str, ...]) -> None:
    dry.succeed("run", "--yes", "--dry-run", *option)

    written = {path: path.read_bytes() for path in dry.folder.rglob("*") if path.is_file()}
    assert [path for path, content in written.items() if b"Rent" in content or b"Lunch" in content] == []


def test_quiet_says_nothing_but_the_result(dry: Project) -> None:
    words = dry.run("run", "--yes", "--dry-run", "--quiet", "--verbose")
    machine = dry.run("run", "--yes", "--dry-run", "--quiet", "--json")

    assert words.stderr == ""
    assert "Rent" not in words.stdout
    assert len(machine.stdout.splitlines()) == 1
    assert json.loads(machine.stdout)["would"]


def test_without_verbose_no_mail_is_shown(dry: Project) -> None:
    told = dry.run("run", "--yes", "--dry-run")

    assert "Rent" not in told.stdout + told.stderr


def test_a_real_run_shows_no_mail_and_its_json_is_as_ever(dry: Project) -> None:
    told = dry.run("run", "--yes", "--verbose", "--json")

    figures = json.loads(told.stdout)
    assert "would" not in figures
    assert "Rent" not in told.stderr


def test_an_output_that_cannot_be_made_is_named_and_the_others_are_foreseen(dry: Project) -> None:
    (dry.folder / "config/note.md.j2").write_text("{{ nothing")

    told = dry.run("run", "--yes", "--dry-run")

    assert told.returncode == 0
    assert "What notes would do is not known" in told.stderr
    assert "set Important on 2 mails" in " ".join(told.stderr.split())
