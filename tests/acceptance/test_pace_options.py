"""The options for pace and concurrency, from the command line to the API."""

from __future__ import annotations

import signal
import threading
from datetime import UTC, datetime

import pytest

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer, Call, Response, scores_for, verdict
from tests.support.project import PATIENCE_S, Project, end, letter, wait_until


def test_calls_at_once_grow_to_what_a_slow_api_takes(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(*(letter(number) for number in range(60)))
    enough = threading.Event()

    def answer(call: Call) -> Response:
        """Nobody before 20 calls are under way at once."""
        if api.concurrency_peak >= 20:
            enough.set()
        assert enough.wait(PATIENCE_S)
        return verdict(*scores_for(call.mail))

    api.answer_with(answer)

    run = project.run("run", "--yes", "--concurrency", "auto", "--calls-per-minute", "6000")

    assert run.returncode == 0, run.stderr
    assert project.report()["counts"]["done"] == 60
    assert api.concurrency_peak >= 20


def test_tokens_a_minute_are_kept_in_the_ledger(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(letter(1), letter(2))

    run = project.run("run", "--yes", "--tokens-per-minute", "60000")

    assert run.returncode == 0, run.stderr
    # A thousand a second, and less by as much as a slot may be late.
    assert project.rows("SELECT interval_us FROM throttle WHERE name LIKE 'calls:%#tokens'") == [(1_005_000,)]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("run --yes --concurrency 0", "--concurrency must be more than 0"),
        ("run --yes --concurrency many", "concurrency"),
        ("run --yes --concurrency 100000", "--concurrency must be more than 0 and at most 256, not 100000"),
        ("run --yes --tokens-per-minute 0", "--tokens-per-minute must be more than 0"),
        ("run --yes --calls-per-minute 1e9", "--calls-per-minute must be more than 0 and at most 100,000"),
        ("run --yes --max-cost nan", "--max-cost must be more than 0 and at most 1,000,000, not NaN"),
        ("plan --max-cost-per-day 1e400", "--max-cost-per-day must be more than 0"),
        ("retry --max-emails 9223372036854775808", "--max-emails must be more than 0"),
        ("run --yes --max-emails 2.5", "--max-emails"),
        ("run --yes --concurrency 2.5", "--concurrency"),
        ("run --yes --between 24:30-07:00", "--between should be two times of the day"),
        ("pace inf", "must be more than 0 and at most 100,000"),
    ],
)
def test_a_limit_that_is_none_is_refused_before_anything_is_opened(
    project: Project, arguments: str, complaint: str
) -> None:
    refused = project.run(*arguments.split())

    assert refused.returncode == 2
    assert complaint in refused.stderr
    assert not project.ledger.exists()


@pytest.mark.parametrize("command", ["run --yes --job", "status", "report", "verify", "retry", "pause", "pace 5"])
def test_a_job_number_that_no_ledger_can_hold_is_no_job(project: Project, command: str) -> None:
    project.succeed("plan")

    refused = project.run(*command.split(), "9223372036854775808")

    assert refused.returncode == 2
    assert "There is no job 9223372036854775808 in this ledger" in refused.stderr


def test_hours_until_midnight_are_waited_for_with_a_word_and_end_at_a_stop(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1))
    where_it_is_noon = {"TZ": f"NOON{datetime.now(UTC).hour - 12}"}

    with project.start("run", "--yes", "--between", "22:00-24:00", environment=where_it_is_noon) as waiting:
        wait_until(lambda: "waiting: outside of 22:00-00:00" in project.log(), waiting)
        code, said, _ = end(waiting, signal.SIGTERM)

    assert code == 75
    assert "outside of 22:00-00:00 (local time); goes on at" in said
    assert api.call_count == 0
