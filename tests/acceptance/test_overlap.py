"""Several jobs about the same mails, in any order: mailbox and notes follow the newest job's verdicts alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer, Call, Response, verdict
from tests.support.project import Project, letter

MAILS = 4
SPAM, IMPORTANT, PROCESSED = b"Spam", b"Important", b"AIProcessed"


@pytest.fixture(autouse=True)
def judges(api: ApiServer) -> None:
    """Three models: the first sees spam in each mail, the second in none, the third calls each important."""
    scores = {"test/spam": (1, 9), "test/plain": (1, 1), "test/important": (9, 1)}

    def answer(call: Call) -> Response:
        return verdict(*scores[call.body["model"]])

    api.answer_with(answer)


@pytest.fixture
def mails(project: Project, mailbox: Mailbox) -> None:
    mailbox.holds(*(letter(n) for n in range(1, MAILS + 1)))


def ask(project: Project, model: str, *options: str) -> None:
    project.configure(llm={"model": f"test/{model}"})
    project.succeed("run", "--yes", *options)


def keywords(project: Project) -> list[set[bytes]]:
    """The keywords of each mail, by UID."""
    return [{flag for flag in flags if not flag.startswith(b"\\")} for _, flags in sorted(project.flags().items())]


def labels(note: Path) -> str:
    found = re.search(r"^labels: (.*)$", note.read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_what_a_newer_job_no_longer_calls_for_is_taken_away(project: Project, mails: None) -> None:
    ask(project, "spam")
    assert keywords(project) == [{SPAM, PROCESSED}] * MAILS

    ask(project, "plain", "--new-job")

    assert keywords(project) == [{PROCESSED}] * MAILS
    assert {labels(note) for note in project.notes()} == {"[]"}
    assert len(project.notes()) == MAILS


def test_a_keyword_that_stood_there_before_the_first_job_outlives_all_of_them(project: Project, mails: None) -> None:
    with project.mail_program() as client:
        client.select_folder("INBOX")
        client.add_flags([1], [SPAM])
        client.add_flags([2], [IMPORTANT])
    ask(project, "spam")
    ask(project, "important", "--new-job")

    ask(project, "plain", "--new-job")

    assert keywords(project) == [{SPAM, PROCESSED}, {IMPORTANT, PROCESSED}, {PROCESSED}, {PROCESSED}]


def test_a_keyword_of_an_earlier_configuration_goes_when_a_newer_job_judges_the_mail(
    project: Project, mails: None
) -> None:
    project.configure(imap={"spam_tag": "Junk"})
    ask(project, "spam")
    project.configure(imap={"spam_tag": "Spam"})

    ask(project, "spam", "--ask-again")

    assert keywords(project) == [{SPAM, PROCESSED}] * MAILS


@pytest.mark.timeout(300)
@pytest.mark.parametrize("order", [(3, 2, 1), (2, 3, 1)])
def test_three_jobs_resumed_in_any_order_leave_what_the_newest_says(
    project: Project, mails: None, order: tuple[int, ...]
) -> None:
    models = {1: "spam", 2: "plain", 3: "important"}
    for model in models.values():
        ask(project, model, "--new-job", "--max-emails", "1")
    ask(project, "spam", "--dry-run", "--new-job")

    for job in order:
        project.configure(llm={"model": f"test/{models[job]}"})
        project.succeed("run", "--job", str(job))

    assert keywords(project) == [{IMPORTANT, PROCESSED}] * MAILS
    assert {labels(note) for note in project.notes()} == {'["important"]'}
    for job in (3, 1, 2):
        assert project.run("verify", str(job)).returncode == 0, project.run("verify", str(job)).stdout
    assert keywords(project) == [{IMPORTANT, PROCESSED}] * MAILS


@pytest.mark.parametrize("how", ["cancel", "undo"])
def test_a_job_that_was_given_up_is_begun_anew_by_new_job_with_the_verdicts_that_are_known(
    project: Project, mails: None, api: ApiServer, how: str
) -> None:
    ask(project, "spam", "--max-emails", "2")
    project.succeed(how, "1", *(["--yes"] if how == "undo" else []))
    refused = project.run("run", "--yes", "--folder", "INBOX")

    project.succeed("run", "--yes", "--folder", "INBOX", "--new-job")

    assert refused.returncode == 2
    assert "--new-job" in refused.stderr
    assert keywords(project) == [{SPAM, PROCESSED}] * MAILS
    assert api.call_count == MAILS
    assert [job for job, _ in project.rows("SELECT id, state FROM job ORDER BY id")] == [1, 2]
    assert project.report()["job"]["id"] == 2
    assert "There is nothing new" in project.run("run", "--folder", "INBOX").stderr
    assert project.run("verify", "1").returncode == project.run("verify", "2").returncode == 0


def test_a_job_can_be_given_up_and_begun_anew_again_and_again(project: Project, mails: None, api: ApiServer) -> None:
    for job in (1, 2, 3):
        ask(project, "spam", "--max-emails", "1", "--new-job")
        project.succeed("cancel", str(job))

    ask(project, "spam", "--new-job")

    assert project.report()["job"]["id"] == 4
    assert api.call_count == MAILS
