"""Ctrl-C and SIGTERM: the first one drains and says how to go on, the second one ends at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import datetime, timedelta

import pytest

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer
from tests.support.project import Project, complaints, end, letter, wait_until

MAILS = 80


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_says_how_to_go_on_and_the_next_run_finishes(
    project: Project, mailbox: Mailbox, api: ApiServer, number: signal.Signals
) -> None:
    api.latency_s = 0.2
    mailbox.holds(*(letter(n) for n in range(MAILS)))

    with project.start("run", "--yes") as child:
        wait_until(lambda: api.call_count >= 20, child)
        code, errors, seconds = end(child, number)
    stopped = project.report()
    api.latency_s = 0.0
    resumed = project.run("run", "--yes")

    assert code == 75
    assert seconds < 10
    assert "go on with: backfill run --job 1" in errors
    assert "Traceback" not in errors
    assert complaints(errors) == []
    assert stopped["conserved"]
    assert stopped["last_run"] == {"outcome": "interrupted", "reason": number.name}
    assert 0 < stopped["counts"]["done"] < MAILS
    assert stopped["counts"]["done"] + stopped["counts"]["pending"] == MAILS
    assert stopped["calls"]["unknown_outcome"] == 0

    assert resumed.returncode == 0, resumed.stderr
    assert project.report()["counts"]["done"] == MAILS
    assert api.call_count == len({call.subject for call in api.calls}) == MAILS
    assert len(project.notes()) == len(project.analytics()) == MAILS


def test_a_stop_awaits_answers_in_flight_no_longer_than_ten_seconds(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    api.latency_s = 120
    mailbox.holds(*(letter(n) for n in range(MAILS)))

    with project.start("run", "--yes", "--concurrency", "8") as child:
        wait_until(lambda: api.call_count == 8, child)
        code, errors, seconds = end(child, signal.SIGINT)

    assert code == 75
    assert seconds < 10
    assert "o on with: backfill run" in errors
    assert api.call_count == 8
    assert project.count("item WHERE claimed_by IS NOT NULL") == 0
    assert project.report()["calls"]["unknown_outcome"] == 8


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_at_once(
    project: Project, mailbox: Mailbox, api: ApiServer, number: signal.Signals, expected: int
) -> None:
    api.latency_s = 120
    mailbox.holds(letter(1), letter(2))

    with project.start("run", "--yes") as child:
        wait_until(lambda: api.call_count == 2, child)
        child.send_signal(number)
        _read_until(child, "once more to stop at once")
        code, errors, seconds = end(child, number)

    assert code == expected
    assert seconds < 1
    assert "Stopped at once. What was recorded is kept." in errors


@pytest.mark.skipif(sys.platform != "linux", reason="fills the pipe by its name under /proc")
def test_a_second_signal_ends_at_once_also_where_nobody_reads_what_is_said(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    api.latency_s = 120
    mailbox.holds(letter(1), letter(2))

    with project.start("run", "--yes") as child:
        wait_until(lambda: api.call_count == 2, child)
        pipe = os.open(f"/proc/{child.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        with suppress(BlockingIOError):
            while True:
                os.write(pipe, b" ")
        wait_until(lambda: child.send_signal(signal.SIGTERM) or child.poll() is not None, child)
        os.close(pipe)

    assert child.returncode == 143


def test_a_stop_while_waiting_for_a_slot_of_the_throttle_ends_within_two_seconds(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2), letter(3))

    with project.start("run", "--yes", "--calls-per-minute", "1") as child:
        wait_until(lambda: project.count("item WHERE status = 'done'") == 1, child)
        code, errors, seconds = end(child, signal.SIGINT)

    assert code == 75
    assert seconds < 2
    assert "go on with: backfill run --job 1 --calls-per-minute 1\n" in errors
    assert api.call_count == 1
    assert project.report()["calls"]["made"] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_waiting_for_the_hours_of_the_day_ends_the_run(
    project: Project, mailbox: Mailbox, api: ApiServer, number: signal.Signals
) -> None:
    mailbox.holds(letter(1), letter(2))
    now = datetime.now()
    hours = f"{now + timedelta(hours=2):%H:%M}-{now + timedelta(hours=3):%H:%M}"

    with project.start("run", "--yes", "--between", hours) as child:
        wait_until(lambda: f"outside of {hours}" in project.log(), child)
        code, errors, _ = end(child, number)

    assert code == 75
    assert f"go on with: backfill run --job 1 --between {hours}\n" in errors
    assert api.call_count == 0


def _read_until(child: subprocess.Popen[str], words: str) -> None:
    assert child.stderr is not None
    for line in child.stderr:
        if words in line:
            return
    raise AssertionError(f"it ended without {words!r}")
