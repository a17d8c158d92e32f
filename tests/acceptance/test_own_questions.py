"""The ready rubrics from `init` to the report, on Dovecot and an API that answers what the schema allows."""

from __future__ import annotations

import json
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from backfill.cli.setup import RubricName
from backfill.settings import load
from tests.conftest import Mailbox
from tests.support.api_server import ApiServer, Call, Response, completion
from tests.support.dovecot import PASSWORD
from tests.support.project import COMMAND, KEY, Project, letter

MAILS = 12
REASON = "It asks <b>the owner</b> for [[money]] \x1b[31mnow\x1b[0m,\nby Friday."


def answer(call: Call) -> Response:
    """What the schema allows, by the mail alone."""
    schema = call.body["response_format"]["json_schema"]["schema"]
    said: dict[str, Any] = {}
    for key, kind in schema["properties"].items():
        number = sha256(f"{key}{call.subject}".encode()).digest()[0]
        if kind["type"] == "integer":
            said[key] = number % 11
        else:
            said[key] = kind["enum"][number % len(kind["enum"])] if "enum" in kind else REASON
    return completion(json.dumps(said))


def begin(folder: Path, name: str, mailbox: Mailbox, api: ApiServer) -> Project:
    """A project as `backfill init --rubric NAME` makes it, with an account and an API."""
    done = subprocess.run([COMMAND, "init", str(folder), "--rubric", name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    project = Project(folder, mailbox.server, mailbox.user)
    server = {"server": mailbox.server.host, "port": mailbox.server.port, "security": "none", "username": mailbox.user}
    project.configure(
        imap=server,
        llm={"api_url": api.url, "model": "test/model-1"},
        processing={"calls_per_minute": 60_000},
    )
    project.hide(IMAP_PASSWORD=PASSWORD, OPENROUTER_API_KEY=KEY)
    mailbox.holds(*(letter(number) for number in range(1, MAILS + 1)))
    api.answer_with(answer)
    return project


def front_matter(note: Path) -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load(note.read_text("utf-8").split("\n---\n")[0].removeprefix("---\n"))
    return told


@pytest.mark.parametrize("name", get_args(RubricName))
def test_a_ready_rubric_works_from_init_to_the_report(
    tmp_path: Path, mailbox: Mailbox, api: ApiServer, name: str
) -> None:
    project = begin(tmp_path / "project", name, mailbox, api)
    asked = load(project.config, project.folder / ".env", {}).asked

    checked, planned = project.run("check", "--yes"), project.run("plan")
    project.succeed("run", "--yes")

    assert (checked.returncode, planned.returncode) == (0, 0), checked.stdout + planned.stderr
    assert f"{asked.scores[0].name} from {asked.scores[0].threshold} on" in checked.stdout
    assert f"{MAILS} calls" in planned.stdout + planned.stderr
    lines = project.analytics()
    assert len(lines) == MAILS
    for line in lines:
        assert line["scores"].keys() == {score.name for score in asked.scores}
        assert line["importance_score"] == line["scores"].get("importance")
        assert line["category"] in {category.name for category in asked.categories}
        assert line["category"] in line["labels"]
        assert set(line["labels"]) <= set(asked.label_names)
    flags = project.flags()
    for line in lines:
        keywords = {asked.keywords[label].encode() for label in line["labels"] if label in asked.keywords}
        assert flags[line["uid"]] == {b"AIProcessed", *keywords}
    by_uid = {told["uid"]: told for told in map(front_matter, project.notes())}
    for line in lines:
        told = by_uid[line["uid"]]
        assert {score: told[f"{score}_score"] for score in line["scores"]} == line["scores"]
        assert (told["category"], told["labels"]) == (line["category"], line["labels"])
    report = project.report()
    assert sum(report["categories"].values()) == MAILS
    assert report["labels"] == {label: sum(label in line["labels"] for line in lines) for label in asked.label_names}
    assert project.run("verify").returncode == 0


def test_a_reason_is_told_everywhere_but_in_the_log(tmp_path: Path, mailbox: Mailbox, api: ApiServer) -> None:
    project = begin(tmp_path / "project", "family-archive", mailbox, api)

    project.succeed("run", "--yes")

    words = "for [[money]]"
    assert all(words in line["reason"] and "\n" not in line["reason"] for line in project.analytics())
    assert all(words in front_matter(note)["reason"] for note in project.notes())
    for form in ("text", "json", "html", "markdown"):
        shown = project.run("report", "--format", form).stdout
        assert "money" in shown
        assert "\x1b" not in shown
    assert "<b>the" not in project.run("report", "--format", "html").stdout
    assert "money" not in project.log()


def test_a_threshold_moves_labels_of_the_report_without_a_call(
    tmp_path: Path, mailbox: Mailbox, api: ApiServer
) -> None:
    project = begin(tmp_path / "project", "receipts-and-tax", mailbox, api)
    project.succeed("run", "--yes")
    values = yaml.safe_load(project.config.read_text())
    values["rubric"]["scores"]["tax"]["threshold"] = 0
    project.config.write_text(yaml.safe_dump(values))

    report = json.loads(project.run("report", "--format", "json").stdout)

    assert (report["thresholds"]["tax"], report["labels"]["tax"]) == (0, MAILS)
    assert api.call_count == MAILS


def test_another_meaning_is_another_question_and_is_explained_by_name(
    tmp_path: Path, mailbox: Mailbox, api: ApiServer
) -> None:
    project = begin(tmp_path / "project", "receipts-and-tax", mailbox, api)
    project.succeed("run", "--yes", "--max-emails", "3")
    values = yaml.safe_load(project.config.read_text())
    scores = values["rubric"]["scores"]
    scores["fisc"] = scores.pop("tax")
    scores["keep"]["means"] = "my wife wants to keep it"
    project.config.write_text(yaml.safe_dump(values, sort_keys=False))

    refused = project.run("run", "--yes")

    assert refused.returncode == 2
    assert "score tax -> fisc, with the same meaning" in refused.stderr
    assert "score keep means" in refused.stderr
    assert "-> 'my wife wants to keep it'" in refused.stderr
    assert api.call_count == 3


def test_a_rubric_is_measured_on_mail_in_folders_named_like_its_categories(
    tmp_path: Path, mailbox: Mailbox, api: ApiServer
) -> None:
    project = begin(tmp_path / "project", "receipts-and-tax", mailbox, api)
    for number, folder in enumerate(("Invoice", "Invoice", "Receipt", "tax", "Other")):
        path = tmp_path / "labelled" / folder / f"{number}.eml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(letter(number))
    said = {"tax_score": 7, "keep_score": 1, "category": "Invoice"}
    api.answer_with(lambda call: completion(json.dumps(said)))

    shown = project.run("evaluate", str(tmp_path / "labelled"), "--yes")
    as_json = project.run("evaluate", str(tmp_path / "labelled"), "--yes", "--json")
    refused = project.run("evaluate", str(tmp_path / "labelled"), "--classifier", "heuristic")
    unlabelled = project.run("evaluate", "--yes")

    assert "categories: 4 mails, 0.500 of them as labelled" in shown.stdout
    assert "tax, threshold 7: AUC 0.500, precision 0.200, recall 1.000" in shown.stdout
    (found,) = json.loads(as_json.stdout)["sets"].values()
    assert found["categories"]["confusion"]["Receipt"] == {"Invoice": 1}
    assert found["categories"]["each"]["Invoice"]["recall"] == 1.0
    assert (found["spam"], found["scores"]["tax"]["true_positives"]) == (None, 1)
    assert refused.returncode == unlabelled.returncode == 2
    assert "heuristic do not fit" in refused.stderr
    assert "have labels for spam and importance only" in unlabelled.stderr
