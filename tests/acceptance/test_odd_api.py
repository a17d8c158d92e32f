"""What APIs answer besides verdicts, with the real command: exit code, sentence, and what becomes of the mail."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer, Call, Response, completion, scores_for, verdict
from tests.support.project import Project, complaints, letter, wait_until


def judge(call: Call) -> Response:
    return verdict(*scores_for(call.mail))


# The line.


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


# Answers.


def test_a_model_that_talks_around_its_verdict_is_understood_in_one_call_for_each_mail(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(4)))
    object_ = '{"importance_score": 7, "spam_score": 2}'
    wrapped = {
        "Letter 0": completion(f"Sure!\n```JSON\n{object_}\n```\nAnything else?"),
        "Letter 1": completion(f"\ufeff<think>Hm.</think>{object_[:-1]},}}<|im_end|>"),
        "Letter 2": completion("{'importance_score': 7, 'spam_score': 2}"),
        "Letter 3": completion(f"<|channel|>analysis<|message|>Hm.<|end|><|channel|>final<|message|>{object_}"),
    }
    api.answer_with(lambda call: wrapped[call.subject])

    project.succeed("run", "--yes")

    assert api.call_count == 4
    assert {(line["importance_score"], line["spam_score"]) for line in project.analytics()} == {(7, 2)}


# Errors.

NO_CREDIT = {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}


@pytest.mark.parametrize(
    ("answer", "code", "remedy"),
    [
        (
            Response(400, '[{"error": {"code": 400, "message": "API key not valid. Pass a valid API key."}}]'),
            3,
            "check the key",
        ),
        (Response(200, NO_CREDIT), 3, "add credit"),
        (Response(400, {"type": "error", "error": {"message": "Your credit balance is too low"}}), 3, "add credit"),
        (
            Response(429, {"error": {"message": "x", "code": "billing_not_active"}}, {"Retry-After": "1"}),
            3,
            "add credit",
        ),
        (Response(200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}), 2, "llm.api_url"),
        (Response(404, {"detail": "Not Found"}), 2, "llm.api_url"),
    ],
    ids=["key", "credit in 200", "credit in 400", "not active", "LM Studio without /v1", "vLLM without /v1"],
)
def test_an_error_that_concerns_all_mail_stops_at_once_with_its_remedy_and_fails_none(
    project: Project, mailbox: Mailbox, api: ApiServer, answer: Response, code: int, remedy: str
) -> None:
    mailbox.holds(*(letter(number) for number in range(10)))
    api.answer_with(lambda _: answer)

    halted = project.run("run", "--yes", "--concurrency", "2")
    calls = api.call_count
    checked = project.run("check", "--yes")

    assert halted.returncode == checked.returncode == code
    (complaint,) = complaints(halted.stderr)
    assert remedy in complaint
    assert remedy in checked.stdout
    assert calls <= 2
    counts = project.report()["counts"]
    assert (counts["pending"], counts["failed"]) == (10, 0)


def test_a_mail_beyond_the_context_is_asked_about_once_more_and_an_unsafe_one_is_asked_about_once(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1, body="long " * 700), letter(2), letter(3))
    too_long = Response(400, {"object": "error", "message": "This model's maximum context length is 1024 tokens."})
    unsafe = completion("", finish_reason="SAFETY")

    def answer(call: Call) -> Response:
        if call.subject == "Letter 2":
            return unsafe
        return too_long if call.mail.count("long") > 500 else judge(call)

    api.answer_with(answer)

    run = project.run("run", "--yes")

    assert run.returncode == 1
    assert "refused: 1 · INBOX 2" in run.stdout
    assert project.report()["counts"]["done"] == 2
    assert sorted(call.subject for call in api.calls) == ["Letter 1", "Letter 1", "Letter 2", "Letter 3"]


def test_a_model_with_another_name_for_the_limit_is_asked_by_that_from_the_second_call_on(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(5)))
    refused = {
        "message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'.",
        "code": "unsupported_parameter",
        "param": "max_tokens",
    }
    api.answer_with(lambda call: Response(400, {"error": refused}) if "max_tokens" in call.body else judge(call))

    project.succeed("run", "--yes", "--concurrency", "1")

    assert api.call_count == 6
    assert project.run("check", "--yes").returncode == 0


def test_the_address_of_the_call_itself_is_taken_as_it_is_meant(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1))
    project.configure(llm={"api_url": f"{api.url}/chat/completions"})

    project.succeed("run", "--yes")

    assert [call.path for call in api.calls] == ["/v1/chat/completions"]


# What stands before the API.

PAGE = Response(403, b"<html><h1>Request blocked</h1>Support ID 4711</html>", {"Content-Type": "text/html"})


def test_a_firewall_that_takes_one_mail_for_an_attack_fails_it_alone(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(1, 7)))
    api.answer_with(lambda call: PAGE if call.subject == "Letter 1" else judge(call))

    run = project.run("run", "--yes", "--concurrency", "1")
    again = project.run("run", "--yes")

    assert run.returncode == again.returncode == 1
    assert "turned_away: 1 · INBOX 1" in run.stdout
    assert project.report()["counts"]["done"] == 5


def test_an_address_that_leads_to_a_web_page_stops_the_run_with_the_right_one_and_fails_no_mail(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(12)))
    origin = api.url.removesuffix("/v1")
    project.configure(llm={"api_url": origin})
    api.answer_with(lambda _: Response(404, b"404 page not found", {"Content-Type": "text/plain"}))

    run = project.run("run", "--yes")
    checked = project.run("check", "--yes")

    assert run.returncode == checked.returncode == 2
    (complaint,) = complaints(run.stderr)
    assert f"{origin}/v1" in complaint
    assert f"{origin}/v1" in checked.stdout
    counts = project.report()["counts"]
    assert (counts["pending"], counts["failed"]) == (12, 0)
    assert api.call_count <= 2 * 12
