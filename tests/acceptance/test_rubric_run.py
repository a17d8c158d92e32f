"""The owner's own questions with the real command: asked, stored, marked on the server, and never paid for twice."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from backfill.ledger import Ledger
from backfill.ledger.rows import Job
from tests.conftest import Mailbox
from tests.support.api_server import ApiServer, Call, Response, answer_for, completion
from tests.support.project import Project, letter

OF_0_1 = Path(__file__).parents[1] / "support" / "ledger_of_0_1.sql"
ACCOUNT_OF_0_1, UIDVALIDITY_OF_0_1 = "someone@example.org@127.0.0.1", "1795872000"

RUBRIC: dict[str, Any] = {
    "scores": {
        "urgency": {"means": "how soon the owner must act", "threshold": 5, "keyword": "Urgent"},
        "spam": {"means": "how unwanted it is", "threshold": 5, "keyword": None},
    },
    "categories": {
        "Invoice": {"means": "a bill or receipt", "keyword": "Invoice"},
        "Über uns": {"means": "news of companies", "keyword": "News"},
        "Other": {"means": "everything else", "keyword": None},
    },
    "reason": True,
}


@pytest.fixture
def asking(project: Project) -> Project:
    project.ask(RUBRIC)
    return project


def having(**changes: Any) -> dict[str, Any]:
    return {**RUBRIC, **changes}


def verdicts(project: Project) -> list[tuple[Any, ...]]:
    found = project.rows("SELECT scores, category, reason FROM verdict ORDER BY id")
    return [(json.loads(scores), category, reason) for scores, category, reason in found]


@pytest.mark.parametrize("form", ["json_schema", "json_object", "none"])
def test_what_is_answered_is_stored_as_answered(asking, mailbox: Mailbox, api: ApiServer, form):
    mailbox.holds(*map(letter, range(6)))
    asking.configure(llm={"response_format": form})

    asking.succeed("run", "--yes")

    expected = [
        ({"urgency": each["urgency_score"], "spam": each["spam_score"]}, each["category"], each["reason"])
        for each in map(answer_for, api.calls)
    ]
    assert sorted(verdicts(asking), key=itemgetter(2)) == sorted(expected, key=itemgetter(2))


def test_a_reason_stands_in_analytics_and_note_and_never_in_the_log(asking, mailbox: Mailbox):
    mailbox.holds(letter(1))

    asking.succeed("run", "--yes")

    ((scores, category, reason),) = verdicts(asking)
    (line,) = asking.analytics()
    assert (line["scores"], line["category"], line["reason"]) == (scores, category, reason)
    assert (line["importance_score"], line["spam_score"]) == (None, scores["spam"])
    assert reason in asking.notes()[0].read_text()
    assert "Because of" not in asking.log()
    assert f"urgency {scores['urgency']}, spam {scores['spam']}, {category}" in asking.log()


def test_eight_scores_and_forty_categories_are_marked_as_the_ledger_derives_them(project, mailbox: Mailbox, api):
    scores = {
        f"score_{n}": {"means": f"question {n}", "threshold": 4 + n % 5, "keyword": f"Score{n}"} for n in range(8)
    }
    categories = {f"Category {n}": {"means": f"kind {n}", "keyword": f"Kind{n}" if n % 4 else None} for n in range(40)}
    project.ask({"scores": scores, "categories": categories, "reason": True})
    mailbox.holds(*map(letter, range(60)))

    project.succeed("run", "--yes")

    expected: dict[int, set[bytes]] = {}
    found = project.rows("SELECT i.uid, v.scores, v.category FROM item i JOIN verdict v ON v.id = i.verdict_id")
    for uid, said, category in found:
        reached = [f"Score{name[6:]}" for name, value in json.loads(said).items() if value >= scores[name]["threshold"]]
        chosen = categories[category]["keyword"]
        expected[uid] = {word.encode() for word in [*reached, *([chosen] if chosen else []), "AIProcessed"]}
    assert len(expected) == 60
    assert project.flags() == expected
    assert api.call_count == 60
    assert project.run("verify").returncode == 0
    labels = project.report()["labels"]
    assert set(labels) == {*scores, *categories}
    assert sum(labels[name] for name in categories) == 60


def test_other_thresholds_and_keywords_are_no_other_question(asking, mailbox: Mailbox, api: ApiServer):
    mailbox.holds(*map(letter, range(4)))
    asking.succeed("run", "--yes", "--max-emails", "2")
    scores = {name: keys | {"threshold": 0, "keyword": f"My{name}"} for name, keys in RUBRIC["scores"].items()}

    asking.ask(having(scores=scores))
    asking.succeed("run", "--yes")

    assert api.call_count == 4
    assert asking.count("job") == 1
    assert {b"Myurgency", b"Myspam"} <= asking.flags()[4]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"scores": {"speed": RUBRIC["scores"]["urgency"], "spam": RUBRIC["scores"]["spam"]}},
            "score urgency -> speed, with the same meaning",
        ),
        (
            {"scores": {**RUBRIC["scores"], "spam": RUBRIC["scores"]["spam"] | {"means": "how unwanted it may be"}}},
            "score spam means 'how unwanted it is' -> 'how unwanted it may be'",
        ),
        ({"categories": {"Other": RUBRIC["categories"]["Other"]}}, "category Invoice is asked for no more"),
        ({"reason": False}, "reason: asked for -> not asked for"),
    ],
)
def test_another_question_is_refused_with_old_and_new_side_by_side(asking, mailbox, api, changed, told):
    mailbox.holds(*map(letter, range(3)))
    asking.succeed("run", "--yes", "--max-emails", "1")

    asking.ask(having(**changed))
    refused = asking.run("run", "--yes")

    assert refused.returncode == 2
    assert told in refused.stderr
    assert "--as-planned" in refused.stderr
    assert api.call_count == 1


SPAM_OTHERWISE = RUBRIC["scores"]["spam"] | {"means": "how unwanted it may be"}


@pytest.mark.parametrize(
    ("rubric", "model", "told"),
    [
        (
            having(scores={**RUBRIC["scores"], "spam": SPAM_OTHERWISE}),
            "test/model-1",
            "score spam means 'how unwanted it is' -> 'how unwanted it may be'",
        ),
        (RUBRIC, "test/model-2", "model: test/model-1 -> test/model-2"),
    ],
    ids=["another meaning", "another model"],
)
def test_before_the_mail_of_a_finished_job_is_asked_about_anew_a_run_says_what_differs(
    asking, mailbox, api, rubric, model, told
):
    mailbox.holds(*map(letter, range(3)))
    asking.succeed("run", "--yes")

    asking.configure(llm={"model": model})
    asking.ask(rubric)
    unanswered = asking.run("run")
    said_again = asking.run("run", "--yes")

    for done in (unanswered, said_again):
        assert f"Job 1 asked otherwise about the same mail: {told}." in done.stderr
        assert "asked about anew" in done.stderr
    assert unanswered.returncode != 0
    assert (said_again.returncode, api.call_count) == (0, 6)
    assert "asked otherwise" not in asking.run("run", "--yes").stderr


def test_a_new_job_that_asks_the_same_says_of_no_difference(asking, mailbox, api):
    mailbox.holds(letter(1))
    asking.succeed("run", "--yes", "--dry-run")
    first = asking.run("run", "--yes")

    again = asking.run("run", "--yes", "--ask-again")

    assert "asked otherwise" not in first.stderr + again.stderr
    assert api.call_count == 2


def test_as_planned_asks_what_was_asked_with_the_thresholds_and_keywords_of_today(asking, mailbox, api):
    mailbox.holds(*map(letter, range(3)))
    asking.succeed("run", "--yes", "--max-emails", "1")
    urgency = RUBRIC["scores"]["urgency"] | {"threshold": 0, "keyword": "Soon"}

    asking.ask({"scores": {"urgency": urgency, "joy": {"means": "how nice it is", "threshold": 5, "keyword": "Nice"}}})
    asking.succeed("run", "--yes", "--as-planned")

    questions = {call.body["messages"][0]["content"] for call in api.calls}
    assert len(questions) == 1
    assert {b"Soon"} <= asking.flags()[3]
    assert b"Nice" not in asking.flags()[3]


def test_a_job_of_importance_and_spam_goes_on_as_planned_under_a_rubric_of_ones_own(project, mailbox, api):
    mailbox.holds(*map(letter, range(3)))
    project.succeed("run", "--yes", "--max-emails", "1")

    project.ask(RUBRIC)
    refused = project.run("run", "--yes")
    project.succeed("run", "--yes", "--as-planned")

    assert refused.returncode == 2
    assert "score urgency is new" in refused.stderr
    assert {json.dumps(sorted(scores)) for scores, _, _ in verdicts(project)} == {'["importance", "spam"]'}
    assert api.call_count == 3


def test_a_rubric_of_ones_own_takes_nothing_from_what_an_older_job_derived(project, mailbox, api):
    mailbox.holds(*map(letter, range(8)))
    project.succeed("run", "--yes")
    before = project.flags()

    project.ask(having(scores={"urgency": RUBRIC["scores"]["urgency"]}))
    verified = project.run("verify")
    project.succeed("apply", "--yes")

    assert verified.returncode == 0, verified.stdout
    assert project.flags() == before
    assert api.call_count == 8


def test_a_category_off_the_list_is_asked_for_once_more_with_the_list_named(asking, mailbox: Mailbox, api: ApiServer):
    mailbox.holds(letter(1))

    def answer(call: Call) -> Response:
        good = answer_for(call)
        is_reminded = 'category is one of: "Invoice", "Über uns", "Other"' in call.body["messages"][0]["content"]
        return completion(json.dumps(good if is_reminded else good | {"category": "Rechnung"}))

    api.answer_with(answer)
    asking.succeed("run", "--yes")

    assert api.call_count == 2
    assert asking.count("verdict WHERE category IN ('Invoice', 'Über uns', 'Other')") == 1


def test_a_mail_whose_answers_stay_off_the_list_fails_alone_and_no_answer_is_made_up(asking, mailbox, api):
    mailbox.holds(letter(1), letter(2))

    def answer(call: Call) -> Response:
        good = answer_for(call)
        return completion(json.dumps(good | {"category": "Rechnung"} if call.subject == "Letter 1" else good))

    api.answer_with(answer)
    done = asking.run("run", "--yes")

    assert done.returncode in {1, 75}, done.stderr
    assert asking.count("verdict") == 1
    assert asking.count("attempt WHERE outcome = 'unusable'") >= 2


def test_a_ledger_of_0_1_goes_on_without_paying_for_what_it_knows(project, mailbox: Mailbox, api: ApiServer):
    mailbox.holds(*map(letter, range(1, 7)))
    with project.mail_program() as client:
        uidvalidity = client.folder_status("INBOX", ["UIDVALIDITY"])[b"UIDVALIDITY"]
    dump = OF_0_1.read_text().replace(UIDVALIDITY_OF_0_1, str(uidvalidity))
    project.ledger.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(project.ledger)) as connection:
        connection.executescript(dump.replace(ACCOUNT_OF_0_1, f"{mailbox.user}@{mailbox.server.host}"))
    before = job_of(project)

    project.succeed("run", "--yes")
    went_on = [call.subject for call in api.calls]
    project.succeed("run", "--yes", "--dry-run")

    assert (before.id, before.rubric.is_default) == (1, True)
    assert sorted(went_on) == ["Letter 5", "Letter 6"]
    assert api.call_count == 2
    assert project.count("item WHERE job_id = 1 AND status = 'done'") == 6
    assert project.report()["calls"]["reused"] == 6


def job_of(project: Project) -> Job:
    ledger = Ledger.open(f"sqlite:///{project.ledger}")
    try:
        job = ledger.jobs.get(1)
        assert job is not None
        return job
    finally:
        ledger.close()
