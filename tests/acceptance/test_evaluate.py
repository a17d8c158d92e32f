"""`backfill evaluate`: a classifier against mails with labels, without a mail server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backfill.clock import SystemClock
from backfill.demo.mailbox import sample_mailbox
from backfill.ledger import Ledger
from backfill.throttle.calls import Throttler
from tests.support.api_server import ApiServer, Response, verdict
from tests.support.project import KEY, Project


@pytest.fixture
def offline(project: Project) -> Project:
    """A project whose mail server is nowhere."""
    project.configure(imap={"server": "mail.invalid", "security": "tls"}, llm={"retry_delay_seconds": 0.01})
    project.hide(OPENROUTER_API_KEY=KEY)
    return project


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Twenty spam, five important, five other mails in folders."""
    mails = [mail for folder in sample_mailbox().values() for mail in folder]
    kinds = {
        "spam": [mail for mail in mails if mail.is_spam][:20],
        "important": [mail for mail in mails if mail.is_important][:5],
        "plain": [mail for mail in mails if mail.kind == "receipt"][:5],
    }
    for name, chosen in kinds.items():
        folder = tmp_path / "labelled" / name
        folder.mkdir(parents=True)
        for number, mail in enumerate(chosen):
            (folder / f"{number}.eml").write_bytes(mail.raw)
    return tmp_path / "labelled"


def figures(project: Project, *arguments: str) -> dict[str, Any]:
    done = project.run("evaluate", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_the_rules_are_measured_on_the_mails_that_come_along_and_nothing_is_written(offline: Project) -> None:
    found = figures(offline, "--classifier", "heuristic")

    sample, unseen = found["sets"]["sample"], found["sets"]["unseen"]
    assert (sample["mails"], unseen["mails"]) == (320, 76)
    assert sample["spam"]["auc"] >= 0.99
    assert sample["importance"]["auc"] >= 0.95
    assert unseen["spam"]["auc"] >= 0.6
    assert unseen["importance"]["auc"] >= 0.85
    assert not offline.ledger.exists()


def test_a_folder_is_shown_as_a_table_that_adds_up(offline: Project, labelled: Path) -> None:
    done = offline.run("evaluate", str(labelled), "--classifier", "heuristic", "--owner", "robin@example.org")

    assert done.returncode == 0, done.stderr
    assert "30 mails, classifier heuristic" in done.stdout
    assert "spam, threshold 5: AUC 1.000, precision 1.000, recall 1.000" in done.stdout
    assert [line.split()[-2:] for line in done.stdout.splitlines() if "labelled" in line][1:3] == [
        ["20", "0"],
        ["0", "10"],
    ]


def test_a_model_is_asked_only_after_the_question_was_agreed_to(
    offline: Project, api: ApiServer, labelled: Path
) -> None:
    api.offer(
        "/models", {"data": [{"id": "test/model-1", "pricing": {"prompt": "0.000001", "completion": "0.000002"}}]}
    )

    done = offline.run("evaluate", str(labelled))

    assert done.returncode == 2
    assert "30 mails, about" in done.stderr
    assert "for at most about $0.0" in done.stderr
    assert "--yes" in done.stderr
    assert api.call_count == 0


def test_a_price_of_each_request_is_in_the_question_for_every_mail(
    offline: Project, api: ApiServer, labelled: Path
) -> None:
    pricing = {"prompt": "0.000000001", "completion": "0.000000001", "request": "0.01"}
    api.offer("/models", {"data": [{"id": "test/model-1", "pricing": pricing}]})

    done = offline.run("evaluate", str(labelled))

    assert "30 mails, about" in done.stderr
    assert "for at most about $0.3" in done.stderr


def test_a_models_calls_are_counted_and_cost_what_they_cost(offline: Project, api: ApiServer, labelled: Path) -> None:
    api.answer_with(lambda call: verdict(1, 9) if "lotto" in call.mail or "pills" in call.mail else verdict(9, 1))
    api.reply(Response(429, {"error": {"code": 429}}, {"Retry-After": "0"}), Response(403, moderated()))

    found = figures(offline, str(labelled), "--yes")["sets"][str(labelled)]

    assert (found["mails"], found["calls"], found["unanswered"]) == (30, 30, 1)
    assert api.call_count == 31
    assert found["cost_usd"] == pytest.approx(29 * 0.000123)
    assert found["importance"]["recall"] == 1.0


def moderated() -> dict[str, Any]:
    return {"error": {"code": 403, "metadata": {"reasons": ["violence"]}}}


def test_the_gate_decides_for_free_what_is_certain(offline: Project, api: ApiServer, labelled: Path) -> None:
    found = figures(offline, str(labelled), "--classifier", "gated", "--yes")["sets"][str(labelled)]

    assert found["gated"] > 10
    assert found["gated"] + found["calls"] == 30
    assert api.call_count == found["calls"]


def test_the_pace_of_a_run_at_work_stays_as_it_is(offline: Project, api: ApiServer, labelled: Path) -> None:
    table = labelled.parent / "labels.csv"
    table.write_text("file,label\nlabelled/spam/1.eml,spam\nlabelled/plain/1.eml,ham\n")
    ledger = Ledger.open(f"sqlite:///{offline.ledger}")
    at_work = Throttler(ledger, SystemClock(), f"calls:{api.url}", 600)

    figures(offline, str(labelled), "--labels", str(table), "--yes")

    assert round(at_work.pace_in_force()) == 600
    assert api.call_count == 2
    ledger.close()


def test_a_table_of_labels_may_be_used(offline: Project, labelled: Path) -> None:
    table = labelled.parent / "labels.csv"
    table.write_text("file,label\nlabelled/spam/1.eml,spam\nlabelled/plain/1.eml,ham\n")

    found = figures(offline, str(labelled), "--labels", str(table), "--classifier", "heuristic")

    assert found["unlabelled"] == 28
    assert found["sets"][str(labelled)]["spam"]["mails"] == 2


def test_a_refused_key_ends_it_with_the_code_for_that(offline: Project, api: ApiServer, labelled: Path) -> None:
    api.answer_with(lambda call: Response(401, {"error": {"code": 401}}))

    done = offline.run("evaluate", str(labelled), "--yes")

    assert done.returncode == 3
    assert api.call_count == 1


def priced(api: ApiServer) -> None:
    api.offer("/models", {"data": [{"id": "test/model-1", "pricing": {"prompt": "0.000001", "completion": "0.00001"}}]})


def test_every_call_is_in_the_ledger_with_what_it_cost_and_belongs_to_no_job(
    offline: Project, api: ApiServer, labelled: Path
) -> None:
    api.reply(Response(429, {"error": {"code": 429}}, {"Retry-After": "0"}), Response(403, moderated()))

    figures(offline, str(labelled), "--yes")

    calls = offline.rows(
        """SELECT outcome, COUNT(*), SUM(cost_nano) FROM attempt WHERE outcome <> 'unsent'
            GROUP BY outcome ORDER BY outcome"""
    )
    assert [tuple(row) for row in calls] == [
        ("ok", 29, 29 * 123_000),
        ("rate_limited", 1, 0),
        ("refused", 1, None),
    ]
    assert offline.rows("SELECT DISTINCT api, run_id, item_id FROM attempt") == [(f"calls:{api.url}", None, None)]
    assert (offline.count("job"), offline.count("verdict")) == (0, 0)


def test_the_limit_on_a_days_calls_holds_and_is_not_waited_for(
    offline: Project, api: ApiServer, labelled: Path
) -> None:
    offline.configure(processing={"max_per_day": 4})

    done = offline.run("evaluate", str(labelled), "--yes")

    assert done.returncode == 75
    assert "today's 4 calls (max_per_day) are made" in done.stderr
    assert offline.count("attempt") == 4
    assert api.call_count == offline.count("attempt WHERE outcome <> 'unsent'")  # whose slot a slow disk made too late


def test_the_limit_on_a_days_cost_holds(offline: Project, api: ApiServer, labelled: Path) -> None:
    priced(api)
    offline.configure(processing={"max_cost_usd_per_day": 0.005})

    done = offline.run("evaluate", str(labelled), "--yes")

    assert done.returncode == 5
    assert "for another call" in done.stderr
    assert 0 < api.call_count < 30
    [(spent,)] = offline.rows("SELECT spent FROM purse WHERE name LIKE 'day:%'")
    assert spent == api.call_count * 123_000


def test_calls_that_are_blocked_for_long_are_not_waited_for(offline: Project, api: ApiServer, labelled: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{offline.ledger}")
    Throttler(ledger, SystemClock(), f"calls:{api.url}", 600).block(3600, "quota")
    ledger.close()

    done = offline.run("evaluate", str(labelled), "--yes")

    assert "quota, until 20" in done.stderr
    assert (done.returncode, api.call_count) == (75, 0)
