"""What APIs answer besides verdicts, with the real command: exit code, sentence, and what becomes of the mail."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer, Call, Response, scores_for, verdict
from tests.support.project import Project, complaints, letter, wait_until


def judge(call: Call) -> Response:
    return verdict(*scores_for(call.mail))


# ── the line ─────────────────────────────────────────────────────────────────────────────────────────────


def test_answers_that_came_while_the_process_stood_still_are_not_paid_for_again(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(3)))
    project.configure(llm={"timeout_seconds": 1})
    stands_still = threading.Event()

    def answer(call: Call) -> Response:
        stands_still.wait(10)
        return judge(call)

    api.answer_with(answer)
    with project.start("run", "--yes", "--concurrency", "3") as child:
        wait_until(lambda: api.call_count == 3, child)
        child.send_signal(signal.SIGSTOP)
        stands_still.set()
        time.sleep(1.5)  # no clock of ours: the child's own time limit passes
        child.send_signal(signal.SIGCONT)
        _, errors = child.communicate(timeout=30)

    assert child.returncode == 0, errors
    assert api.call_count == 3


@pytest.mark.parametrize(
    ("variable", "value", "word"),
    [
        ("HTTPS_PROXY", "socks5://127.0.0.1:1", "PySocks"),
        ("ALL_PROXY", "gopher://127.0.0.1:1", "http://host:port"),
        ("REQUESTS_CA_BUNDLE", "/nowhere/bundle.pem", "certificates"),
        ("CURL_CA_BUNDLE", "/nowhere/bundle.pem", "certificates"),
    ],
)
def test_a_mistake_in_the_environment_is_named_and_fails_no_mail(
    project: Project, mailbox: Mailbox, variable: str, value: str, word: str
) -> None:
    mailbox.holds(letter(1), letter(2))
    project.configure(llm={"api_url": "https://api.example.invalid/v1"})

    run = project.run("run", "--yes", environment={variable: value})
    checked = project.run("check", "--yes", environment={variable: value})

    assert run.returncode == checked.returncode == 2
    (complaint,) = complaints(run.stderr)
    assert variable in complaint
    assert word in complaint
    assert variable in checked.stdout
    assert project.report()["counts"]["pending"] == 2
    assert project.count("attempt WHERE outcome IS NULL") == 0
