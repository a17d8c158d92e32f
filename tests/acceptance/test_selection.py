"""Which mail is meant, and which job: what the options, their absence, and a second start bring about."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing

import pytest

from backfill.fingerprint import Fingerprint
from tests.conftest import Mailbox
from tests.support.api_server import ApiServer
from tests.support.project import PROCESSED, Project, complaints, letter

PROMISED: dict[str, set[str]] = {  # DESIGN.md, section 6; keys are only ever added
    "job": {"id", "state", "dry_run", "account", "fingerprint", "selection"},
    "counts": {"found", "done", "failed", "skipped", "vanished", "pending"},
    "calls": {"made", "succeeded", "rate_limited", "failed", "unknown_outcome", "reused"},
    "tokens": {"prompt", "completion", "cached"},
    "effects": {"flags", "notes", "not_applicable"},
    "time": {"started_at", "ended_at", "running_seconds", "average_seconds_per_email"},
}


def subjects(api: ApiServer) -> list[str]:
    return sorted(call.subject for call in api.calls)


# Which mail.


def test_several_folders_are_worked_through_whatever_they_are_called(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    folders = ["Sent Items", "Entwürfe", "R&D", "日本語/β"]
    for number, folder in enumerate([*folders, "Not this one"], 1):
        mailbox.holds(letter(number), folder=folder)

    project.succeed("run", "--yes", *(word for folder in folders for word in ("--folder", folder)))

    assert subjects(api) == ["Letter 1", "Letter 2", "Letter 3", "Letter 4"]
    assert {folder["name"]: folder["done"] for folder in project.report()["folders"]} == dict.fromkeys(folders, 1)
    assert all(PROCESSED in project.flags(folder)[1] for folder in folders)
    assert {line["folder"] for line in project.analytics()} == set(folders)
    assert len(project.notes()) == 4


def test_both_days_of_a_date_range_are_included_as_the_mail_writes_them(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(
        letter(1, date="Fri, 31 May 2024 23:59:59 +0000"),
        letter(2, date="Sat, 01 Jun 2024 00:00:00 +0000"),
        letter(3, date="Sat, 01 Jun 2024 00:30:00 +1400"),  # still May in London
        letter(4, date="Sun, 30 Jun 2024 23:59:59 -0800"),  # July in London
        letter(5, date="Mon, 01 Jul 2024 00:00:00 +0000"),
    )

    project.succeed("run", "--yes", "--start-date", "2024-06-01", "--end-date", "2024-06-30")

    assert subjects(api) == ["Letter 2", "Letter 3", "Letter 4"]


def test_one_day_is_a_range(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    received = {"Letter 1": "09-Jun-2024 23:59:59 +0000", "Letter 2": "10-Jun-2024 12:00:00 +0000"}
    for number, moment in enumerate(received.values(), 1):
        mailbox.holds(letter(number), received=moment)

    project.succeed(
        *("run", "--yes", "--date-field", "received", "--start-date", "2024-06-10", "--end-date", "2024-06-10")
    )

    assert subjects(api) == ["Letter 2"]


def test_no_force_reprocess_skips_marked_mail_and_says_by_which_rule(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2), flags=["AIProcessed"])
    mailbox.holds(letter(3))

    project.succeed("run", "--yes", "--no-force-reprocess")

    assert subjects(api) == ["Letter 3"]
    counts = project.report()["counts"]
    assert (counts["found"], counts["done"], counts["skipped"]) == (3, 1, 2)
    assert project.rows("SELECT status, reason, COUNT(*) FROM item GROUP BY 1, 2 ORDER BY 1") == [
        ("done", None, 1),
        ("skipped", "already processed", 2),
    ]


def test_marked_mail_is_processed_again_by_default(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(letter(1), flags=["AIProcessed"])

    project.succeed("run", "--yes")

    assert project.report()["counts"]["done"] == 1
    assert subjects(api) == ["Letter 1"]


def test_batches_get_through_the_mailbox(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(*(letter(number) for number in range(20)))

    done = []
    for _ in range(3):
        project.succeed("run", "--yes", "--max-emails", "7")
        done.append((project.report()["counts"]["done"], api.call_count))

    assert done == [(7, 7), (14, 14), (20, 20)]


def test_the_same_mail_in_two_folders_costs_one_call(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(letter(1), letter(2))
    mailbox.holds(letter(1), folder="Copies")

    project.succeed("run", "--yes", "--folder", "INBOX", "--folder", "Copies")

    assert subjects(api) == ["Letter 1", "Letter 2"]
    report = project.report()
    assert (report["counts"]["done"], report["calls"]["made"], report["calls"]["reused"]) == (3, 2, 1)
    assert PROCESSED in project.flags("Copies")[1]
    assert len(project.notes()) == 3


# Dry.


def test_a_dry_run_writes_nothing_and_the_real_run_pays_nothing(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(5)))

    project.succeed("run", "--yes", "--dry-run")

    assert api.call_count == 5
    assert project.report()["counts"]["done"] == 5
    assert project.report()["job"]["dry_run"] is True
    assert project.notes() == []
    assert project.analytics() == []
    assert all(flags == set() for flags in project.flags().values())

    project.succeed("run", "--yes")

    assert api.call_count == 5
    report = project.report()
    assert (report["job"]["dry_run"], report["counts"]["done"], report["calls"]["reused"]) == (False, 5, 5)
    assert len(project.notes()) == len(project.analytics()) == 5
    assert all(PROCESSED in flags and b"\\Seen" not in flags for flags in project.flags().values())


def test_a_plan_makes_no_call_and_changes_nothing(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(*(letter(number) for number in range(3)))

    planned = project.run("plan", "--json")

    assert planned.returncode == 0
    counts = json.loads(planned.stdout)["counts"]
    assert (counts["found"], counts["pending"], counts["done"]) == (3, 3, 0)
    assert api.call_count == 0
    assert project.notes() == []
    assert all(flags == set() for flags in project.flags().values())


# Which job.


def test_newer_mail_extends_a_finished_job_and_nothing_new_is_said(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2))
    project.succeed("run", "--yes")

    told = project.succeed("run", "--yes")

    assert "nothing new" in told.lower()
    assert api.call_count == 2

    mailbox.holds(letter(3))
    told = project.succeed("run", "--yes")

    assert "1 new mail" in told
    assert subjects(api) == ["Letter 1", "Letter 2", "Letter 3"]
    assert project.count("job") == 1
    assert project.report()["counts"]["done"] == 3


def test_a_run_without_a_selection_goes_on_with_the_one_unfinished_job(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1))
    mailbox.holds(letter(2), letter(3), folder="Archive")
    project.succeed("run", "--yes", "--folder", "Archive", "--max-emails", "1")

    told = project.succeed("run", "--yes")

    assert "Going on with job 1 · Archive" in told
    assert subjects(api) == ["Letter 2", "Letter 3"]


def test_several_unfinished_jobs_are_listed_and_one_has_to_be_named(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1))
    mailbox.holds(letter(2), folder="Archive")
    project.succeed("plan", "--folder", "Archive")
    project.succeed("plan", "--folder", "INBOX")

    refused = project.run("run", "--yes")
    project.succeed("run", "--yes", "--job", "1")

    assert refused.returncode == 2
    (complaint,) = complaints(refused.stderr)
    assert "job 1 · Archive" in complaint
    assert "job 2 · INBOX" in complaint
    assert "--job N" in complaint
    assert subjects(api) == ["Letter 2"]


def test_another_model_half_way_is_refused_with_the_difference(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2))
    project.succeed("run", "--yes", "--max-emails", "1")
    project.configure(llm={"model": "test/model-2"})

    refused = project.run("run", "--yes")

    assert refused.returncode == 2
    (complaint,) = complaints(refused.stderr)
    assert "model: test/model-1 -> test/model-2" in complaint
    assert "--as-planned" in complaint
    assert "--new-job, which asks about all of its 2 mails again" in complaint
    assert re.search(r"1 calls with [1-9]\d* tokens were made", complaint)
    assert api.call_count == 1

    project.succeed("run", "--yes", "--as-planned")

    assert [call.body["model"] for call in api.calls] == ["test/model-1"] * 2
    assert project.count("job") == 1


def test_a_job_of_a_version_that_showed_mails_otherwise_is_refused_and_never_mixed(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2))
    project.succeed("run", "--yes", "--max-emails", "1")
    ((canonical, prompt),) = project.rows("SELECT fingerprint_parts, prompt FROM job")
    older = Fingerprint(canonical, prompt).having(rendering=1)
    with closing(sqlite3.connect(project.ledger)) as connection, connection:
        connection.execute("UPDATE job SET fingerprint = ?, fingerprint_parts = ?", (older.digest(), older.canonical))

    refused = project.run("run", "--yes")
    as_planned = project.run("run", "--yes", "--as-planned")

    assert (refused.returncode, as_planned.returncode) == (2, 2)
    assert re.search(r"rendering: 1 -> \d", complaints(refused.stderr)[0])
    assert "by a version of backfill that asked the model in another way" in complaints(as_planned.stderr)[0]
    assert "--new-job" in complaints(as_planned.stderr)[0]
    assert api.call_count == 1


def test_another_prompt_half_way_may_begin_anew(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(letter(1), letter(2))
    project.succeed("run", "--yes", "--max-emails", "1")
    (project.folder / "config/prompt.md").write_text("Score this mail, be brief.\n")

    refused = project.run("run", "--yes")
    project.succeed("run", "--yes", "--new-job")

    assert refused.returncode == 2
    assert "prompt: another text" in refused.stderr
    assert ["be brief" in call.text for call in api.calls] == [False, True, True]
    assert project.count("job") == 2
    assert project.report()["counts"]["done"] == 2


@pytest.mark.parametrize("name", ["--config", "BACKFILL_CONFIG"])
def test_started_from_elsewhere_as_cron_does_the_same_ledger_is_found(
    project: Project, mailbox: Mailbox, api: ApiServer, name: str
) -> None:
    mailbox.holds(letter(1), letter(2))
    project.succeed("run", "--yes", "--max-emails", "1")
    elsewhere = project.folder.parent / "elsewhere"
    elsewhere.mkdir()
    config = str(project.config)

    if name == "--config":
        told = project.run("run", "--yes", "--config", config, cwd=elsewhere)
    else:
        told = project.run("run", "--yes", cwd=elsewhere, environment={name: config})

    assert told.returncode == 0, told.stderr
    assert told.stderr.splitlines()[0] == f"Ledger: {project.ledger}"
    assert project.count("job") == 1
    assert project.report()["counts"]["done"] == 2
    assert api.call_count == 2
    assert list(elsewhere.iterdir()) == []


# How it is asked and answered.


def test_options_without_a_command_mean_run(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(letter(1), letter(2), letter(3))

    project.succeed("--yes", "--max-emails", "2")

    assert api.call_count == 2


def test_the_answers_for_machines_have_the_keys_that_were_promised(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2))
    ran = project.run("run", "--yes", "--json")

    answers = [ran, project.run("report", "--format", "json"), project.run("status", "--json")]

    for answer in answers:
        report = json.loads(answer.stdout)
        assert {"conserved", "cost_usd", "failures", *PROMISED} <= report.keys()
        assert all(keys <= report[name].keys() for name, keys in PROMISED.items())
        assert report["counts"]["done"] == 2
        assert report["conserved"] is True
        assert report["calls"]["made"] == report["calls"]["succeeded"] == 2
        assert report["tokens"] == {"prompt": 690, "completion": 34, "cached": 256}
        assert report["cost_usd"] == pytest.approx(0.000246)
        assert (report["effects"]["flags"], report["effects"]["notes"]) == (2, 2)
    (line,) = [line for line in project.analytics() if line["uid"] == 1]
    assert set(line) == {
        *("account", "folder", "uidvalidity", "uid", "message_key", "status", "importance_score", "spam_score"),
        *("labels", "model", "tokens", "cost_usd", "latency_s", "error", "run", "processed_at", "supersedes"),
        *("scores", "category", "reason", "job", "sent_at", "received_at"),
    }


def test_jobs_are_listed_for_people_and_for_machines(project: Project, mailbox: Mailbox) -> None:
    mailbox.holds(letter(1))
    project.succeed("run", "--yes", "--dry-run")
    project.succeed("plan", "--start-date", "2024-01-01")

    listed = project.run("jobs")
    machine = project.run("jobs", "--json")

    assert [line for line in listed.stdout.splitlines() if not line.startswith(" ")] == [
        "job 1 · INBOX · dry run, done",
        "job 2 · INBOX · 2024-01-01 to … (sent) · open",
    ]
    assert [(job["id"], job["state"], job["dry_run"]) for job in json.loads(machine.stdout)] == [
        (1, "done", True),
        (2, "open", False),
    ]
