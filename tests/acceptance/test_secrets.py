"""Servers and services that quote what they were sent: no secret is stored, logged, printed or reported."""

from __future__ import annotations

import base64
import sqlite3

import pytest

from tests.support.api_server import Response, completion
from tests.support.project import KEY, Project, letter

PASSWORD = "correct-horse-battery"
REPORTS = [("report",), ("report", "--format", "json"), ("status",), ("jobs", "--json"), ("report", "--format", "html")]


def everything(project: Project, *said: str) -> str:
    """All that was printed, with the content of every file that was written, and every text in the ledger."""
    files = [path for path in (project.folder / "var").rglob("*") if path.is_file()]
    texts = [path.read_bytes().decode("utf-8", "replace") for path in files]
    shown = [(done := project.run(*command)).stdout + done.stderr for command in REPORTS]
    with sqlite3.connect(project.ledger) as ledger:
        dump = "\n".join(ledger.iterdump()) if project.ledger.exists() else ""
    return "\n".join([*said, *texts, *shown, dump])


def error(**details: object) -> dict[str, object]:
    return {"error": {"message": f"Incorrect API key provided: {KEY}", **details}}


GOOD = '{"importance_score": 9, "spam_score": 0}'
#: Each ends a run by itself.
ECHOES = {
    "type": Response(401, error(type=KEY)),
    "code": Response(402, error(code=f"limit of {KEY}")),
    "id and model": completion(GOOD, id=f"gen-{KEY}", model=f"test/{KEY}"),
    "names": Response(404, error(code="model_not_found", metadata={"fallback_models": [KEY, f"x/{KEY}"]})),
}


@pytest.mark.parametrize("name", ECHOES)
def test_a_key_that_the_service_quotes_is_kept_nowhere(project, mailbox, api, name):
    mailbox.holds(letter(1))
    api.answer_with(lambda call: ECHOES[name])
    project.configure(processing={"max_emails_per_run": 1})

    done = project.run("run", "--yes", "--verbose")
    checked = project.run("check", "--yes")

    kept = everything(project, done.stdout, done.stderr, checked.stdout, checked.stderr)
    assert KEY[:10] not in kept
    assert base64.b64encode(KEY.encode()).decode()[:12] not in kept


def test_a_password_in_the_options_of_the_ledger_url_is_not_shown(project):
    project.configure(paths={"ledger_url": f"postgresql://127.0.0.1:1/mail?user=jo&password={PASSWORD}"})

    ended = [project.run(*command) for command in (("ledger", "path"), ("status",), ("check", "--no-call"))]

    shown = "".join(done.stdout + done.stderr for done in ended) + project.log()
    assert PASSWORD not in shown
    assert "password=***" in shown
