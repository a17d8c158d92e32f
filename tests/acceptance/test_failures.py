"""What fails, fails alone and with its reason; what the world is to blame for fails no mail."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from itertools import count

import pytest

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer, Call, Response, completion, scores_for, verdict
from tests.support.project import PROCESSED, Project, complaints, letter, wait_until

MODERATED = Response(403, {"error": {"code": 403, "metadata": {"reasons": ["violence"], "flagged_input": "…"}}})
DOWN = Response(503, {"error": {"code": 503}})


def judge(call: Call) -> Response:
    return verdict(*scores_for(call.mail))


def judge_all_but(subject: str, otherwise: Response) -> Callable[[Call], Response]:
    return lambda call: otherwise if call.subject == subject else judge(call)


# One mail.


def test_a_mail_that_the_api_refuses_fails_alone_and_retry_takes_only_it(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(1, 7)))
    api.answer_with(judge_all_but("Letter 3", MODERATED))

    run = project.run("run", "--yes")

    assert run.returncode == 1
    assert "Failed, by reason" in run.stdout
    assert "refused: 1 · INBOX 3" in run.stdout
    report = project.report()
    assert report["failures"] == [{"reason": "refused", "count": 1, "uids": [{"folder": "INBOX", "uid": 3}]}]
    assert (report["counts"]["done"], report["counts"]["failed"], report["conserved"]) == (5, 1, True)
    assert api.call_count == 6
    assert len(project.notes()) == 5
    assert [uid for uid, flags in project.flags().items() if PROCESSED not in flags] == [3]

    again = project.run("run", "--yes")

    assert again.returncode == 1
    assert "backfill retry" in again.stdout
    assert api.call_count == 6

    still_refused = project.run("retry")

    assert still_refused.returncode == 1
    assert [call.subject for call in api.calls[6:]] == ["Letter 3"]

    api.answer_with(judge)
    repaired = project.run("retry")

    assert repaired.returncode == 0, repaired.stderr
    assert [call.subject for call in api.calls[7:]] == ["Letter 3"]
    assert project.report()["failures"] == []
    assert len(project.notes()) == 6
    outcomes = [line for line in project.analytics() if line["uid"] == 3]
    assert [(line["status"], line["error"], line["supersedes"]) for line in outcomes] == [
        ("failed", "refused", False),
        ("failed", "refused", True),
        ("done", None, True),
    ]
    assert len(project.analytics()) == 8

    nothing_left = project.run("retry")

    assert nothing_left.returncode == 0
    assert "nothing to take up" in nothing_left.stderr
    assert api.call_count == 8


def test_a_mail_for_which_no_usable_answer_ever_comes_fails_alone(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(1, 5)))
    api.answer_with(judge_all_but("Letter 2", completion("It looks important to me!")))

    run = project.run("run", "--yes")

    assert run.returncode == 1
    assert "answer_invalid: 1 · INBOX 2" in run.stdout
    assert project.report()["counts"]["done"] == 3
    assert [call.subject for call in api.calls].count("Letter 2") == 2  # llm.retry_attempts
    assert api.call_count == 5


def test_retry_takes_up_what_failed_for_the_reason_that_is_named(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2), letter(3))
    answers = {"Letter 1": MODERATED, "Letter 2": completion("")}
    api.answer_with(lambda call: answers.get(call.subject) or judge(call))
    project.run("run", "--yes")
    before = api.call_count
    api.answer_with(judge)

    retried = project.run("retry", "--reason", "answer_empty")

    assert retried.returncode == 1
    assert [call.subject for call in api.calls[before:]] == ["Letter 2"]
    assert [failure["reason"] for failure in project.report()["failures"]] == ["refused"]


def test_a_mail_that_was_deleted_meanwhile_is_no_failure(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(letter(1), letter(2), letter(3))
    project.succeed("plan")
    with project.mail_program() as client:
        client.select_folder("INBOX")
        client.delete_messages([2])
        client.expunge()

    project.succeed("run", "--yes")

    report = project.report()
    assert (report["counts"]["done"], report["counts"]["vanished"], report["conserved"]) == (2, 1, True)
    assert sorted(call.subject for call in api.calls) == ["Letter 1", "Letter 3"]


def test_a_mail_deleted_between_verdict_and_keyword_counts_as_vanished(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    def judge_and_delete(call: Call) -> Response:
        if call.subject == "Letter 2":
            with project.mail_program() as client:
                client.select_folder("INBOX")
                client.delete_messages([2])
                client.expunge()
        return judge(call)

    mailbox.holds(letter(1), letter(2), letter(3))
    api.answer_with(judge_and_delete)

    project.succeed("run", "--yes")

    report = project.report()
    assert (report["counts"]["done"], report["counts"]["vanished"], report["counts"]["failed"]) == (2, 1, 0)
    assert report["conserved"]


# The world.


def test_an_api_that_fails_half_way_fails_no_mail(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(*(letter(number) for number in range(60)))
    api.answer_with(lambda call: judge(call) if api.call_count <= 15 else DOWN)

    halted = project.run("run", "--yes")
    standing = project.report()
    api.answer_with(judge)
    resumed = project.run("run", "--yes")

    assert halted.returncode == 4
    assert len(complaints(halted.stderr)) == 1
    assert standing["failures"] == []
    assert standing["counts"]["pending"] == 60 - standing["counts"]["done"] > 0
    assert standing["last_run"]["outcome"] == "halted"
    assert resumed.returncode == 0, resumed.stderr
    assert project.report()["counts"]["done"] == 60
    assert len(project.notes()) == len(project.analytics()) == 60


def test_an_api_that_vanishes_half_way_fails_no_mail(project: Project, mailbox: Mailbox) -> None:
    mailbox.holds(*(letter(number) for number in range(60)))
    with ApiServer(latency_s=0.05) as api:
        project.configure(llm={"api_url": api.url})
        with project.start("run", "--yes") as child:
            wait_until(lambda: api.call_count >= 15, child)
            api.stop()
            _, errors = child.communicate(timeout=30)
    standing = project.report()
    with ApiServer() as repaired:
        project.configure(llm={"api_url": repaired.url})
        resumed = project.run("run", "--yes")

    assert child.returncode == 4
    assert len(complaints(errors)) == 1
    assert standing["counts"]["failed"] == 0
    assert resumed.returncode == 0, resumed.stderr
    assert project.report()["counts"]["done"] == 60


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (Response(401, {"error": {"code": 401}}), "check the key"),
        (Response(402, {"error": {"code": 402}}), "add credit"),
        (Response(404, {"error": {"code": 404}}), "does not know the model"),
    ],
)
def test_a_refused_key_credit_or_model_stops_the_run_and_fails_no_mail(
    project: Project, mailbox: Mailbox, api: ApiServer, answer: Response, remedy: str
) -> None:
    mailbox.holds(*(letter(number) for number in range(10)))
    api.answer_with(lambda _: answer)

    halted = project.run("run", "--yes", "--concurrency", "2")

    assert halted.returncode == 3
    (complaint,) = complaints(halted.stderr)
    assert remedy in complaint
    assert api.call_count <= 2
    counts = project.report()["counts"]
    assert (counts["pending"], counts["failed"]) == (10, 0)
    assert project.notes() == []
    assert "go on with: backfill run --job 1" in halted.stderr
    assert halted.stdout == ""
    assert re.search(r"Total emails found: +10\b", project.log())


def test_a_429_is_obeyed_by_all_and_counted(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(*(letter(number) for number in range(30)))
    asked_at: list[float] = []
    numbers = count(1)

    def answer(call: Call) -> Response:
        number = next(numbers)
        asked_at.append(time.monotonic())
        return Response(429, {"error": {"code": 429}}, {"Retry-After": "2"}) if number == 5 else judge(call)

    api.answer_with(answer)

    run = project.run("run", "--yes", "--concurrency", "4")

    assert run.returncode == 0, run.stderr
    limited = asked_at[4]
    assert [moment for moment in asked_at if limited + 0.5 < moment < limited + 1.9] == []
    report = project.report()
    assert (report["counts"]["done"], report["counts"]["failed"]) == (30, 0)
    assert (report["calls"]["made"], report["calls"]["rate_limited"], report["calls"]["failed"]) == (31, 1, 0)


def test_a_wait_of_hours_ends_the_run_with_the_time_and_the_next_one_respects_it(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(10)))
    api.answer_with(lambda _: Response(429, {"error": {"code": 429}}, {"Retry-After": "7200"}))

    stopped = project.run("run", "--yes", "--concurrency", "2")
    calls = api.call_count
    too_early = project.run("run", "--yes")

    assert stopped.returncode == 75
    assert re.search(r"Stopped early \(rate_limited, until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\)", stopped.stderr)
    assert calls <= 2
    assert too_early.returncode == 75
    assert api.call_count == calls
    assert project.report()["counts"]["pending"] == 10


def test_a_folder_that_was_rebuilt_is_planned_anew_and_nothing_is_paid_for_twice(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    letters = [letter(number) for number in range(1, 6)]
    mailbox.holds(*letters, folder="Archive")
    project.succeed("run", "--yes", "--folder", "Archive", "--max-emails", "3")
    with project.mail_program() as client:
        client.delete_folder("Archive")
    mailbox.holds(*reversed(letters), folder="Archive")

    project.succeed("run", "--yes")

    report = project.report()
    assert api.call_count == len({call.subject for call in api.calls}) == 5
    assert (report["counts"]["done"], report["counts"]["vanished"], report["conserved"]) == (8, 2, True)
    assert all(PROCESSED in flags for flags in project.flags("Archive").values())


def test_when_notes_cannot_be_written_the_verdicts_are_kept(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(*(letter(number) for number in range(1, 6)))
    obstacle = project.folder / "var/notes"
    obstacle.parent.mkdir(exist_ok=True)
    obstacle.write_text("a file where a folder should be")

    halted = project.run("run", "--yes")
    asked = api.call_count
    obstacle.unlink()
    project.succeed("run", "--yes")

    assert halted.returncode == 74
    (complaint,) = complaints(halted.stderr)
    assert "Notes cannot be written" in complaint
    assert 1 <= asked <= 5
    assert api.call_count == 5
    assert project.report()["counts"]["done"] == 5
    assert len(project.notes()) == 5
