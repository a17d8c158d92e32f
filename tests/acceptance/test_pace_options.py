"""The options for pace and concurrency, from the command line to the API."""

from __future__ import annotations

import threading

import pytest

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer, Call, Response, scores_for, verdict
from tests.support.project import PATIENCE_S, Project, letter


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
        (("--concurrency", "0"), "--concurrency must be more than 0"),
        (("--concurrency", "many"), "concurrency"),
        (("--tokens-per-minute", "0"), "--tokens-per-minute must be more than 0"),
    ],
)
def test_a_pace_that_is_none_is_refused_before_anything_is_opened(
    project: Project, arguments: tuple[str, ...], complaint: str
) -> None:
    refused = project.run("run", "--yes", *arguments)

    assert refused.returncode == 2
    assert complaint in refused.stderr
    assert not project.ledger.exists()
