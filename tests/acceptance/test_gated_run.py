"""`classifier: gated` in a run: what it saves is seen, and a job goes on with the gate it was planned with."""

from __future__ import annotations

import json

from backfill.demo.mailbox import sample_mailbox
from tests.conftest import Mailbox
from tests.support.api_server import ApiServer, completion
from tests.support.project import Project, letter


def test_what_the_gate_decides_costs_no_call_and_the_report_says_how_many(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mails = [mail for folder in sample_mailbox().values() for mail in folder]
    certain = [mail.raw for mail in mails if mail.kind in ("newsletter", "spam")][:20]
    mailbox.holds(*certain, *(letter(number) for number in range(5)))
    project.configure(classifier="gated")

    run = project.run("run", "--yes")

    assert run.returncode == 0, run.stderr
    report = project.report()
    calls = report["calls"]
    assert report["counts"]["done"] == 25
    assert calls["gated"] >= 15
    assert calls["gated"] + calls["made"] == 25 == calls["gated"] + api.call_count
    assert f"{calls['gated']} without a call" in run.stdout
    sources = dict(project.rows("SELECT source, COUNT(*) FROM verdict GROUP BY source"))
    assert sources == {"gate": calls["gated"], "chat": calls["made"]}
    explained = [row[0] for row in project.rows("SELECT explanation FROM verdict WHERE source = 'gate'")]
    assert all(text.startswith(("vouched-mass-mail: ", "proved-deceit: ")) for text in explained)


def test_a_gated_job_goes_on_as_it_was_planned_when_the_configuration_has_changed(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(4)))
    project.configure(classifier="gated")
    project.succeed("run", "--yes", "--max-emails", "2")
    project.configure(classifier="chat", llm={"model": "test/model-2"})

    done = project.run("run", "--as-planned", "--yes")

    assert done.returncode == 0, done.stderr
    assert {call.body["model"] for call in api.calls} == {"test/model-1"}
    assert project.report()["counts"]["done"] == 4


def test_the_gate_gives_certain_spam_its_category_and_leaves_all_else_to_the_model(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mails = [mail for folder in sample_mailbox().values() for mail in folder]
    mailbox.holds(*(mail.raw for mail in mails if mail.kind in ("newsletter", "spam")))
    categories = {"Junk": {"means": "unwanted", "keyword": "Unwanted"}, "Other": {"means": "all else"}}
    project.ask({"scores": {"spam": {"threshold": 5}}, "categories": categories, "spam_category": "Junk"})
    project.configure(classifier="gated")
    api.answer_with(lambda call: completion(json.dumps({"spam_score": 0, "category": "Other"})))

    project.succeed("run", "--yes", "--max-emails", "30")
    project.ask({"scores": {"spam": {"threshold": 5}}, "categories": categories, "spam_category": "Other"})
    refused, planned = project.run("run", "--yes"), project.run("run", "--yes", "--as-planned")

    assert (refused.returncode, planned.returncode) == (2, 0), planned.stderr
    found = {tuple(row) for row in project.rows("SELECT source, category FROM verdict")}
    assert found == {("gate", "Junk"), ("chat", "Other")}
    assert {tuple(row) for row in project.rows("SELECT scores FROM verdict WHERE source = 'chat'")} == {('{"spam":0}',)}
    gated = project.report()["calls"]["gated"]
    assert (
        gated == project.report()["categories"]["Junk"] == sum(b"Unwanted" in kept for kept in project.flags().values())
    )
    assert gated >= 10
