"""Odd surroundings: output closed, full or not UTF-8, a daemon, a lost terminal, a machine that gives no more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import Mailbox
from tests.support.project import COMMAND, PATIENCE_S, Project, _bare_environment, complaints, end, letter, wait_until


def shell(project: Project, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in the project folder; `backfill` is the real command."""
    return subprocess.run(
        ["bash", "-c", script.replace("backfill ", f"{COMMAND} ")],
        cwd=project.folder,
        env=_bare_environment() | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=PATIENCE_S,
    )


@pytest.fixture
def worked_off(project: Project, mailbox: Mailbox) -> Project:
    """A project whose three mails are done."""
    mailbox.holds(*map(letter, range(3)))
    project.succeed("run", "--yes")
    return project


RESULTS = ["report", "report --format json", "status", "status --json", "jobs", "folders", "ledger path"]


@pytest.mark.parametrize("output", [">&-", ">/dev/full"])
def test_a_result_that_nobody_got_is_no_success(worked_off, output):
    ended = {command: shell(worked_off, f"backfill {command} {output}") for command in RESULTS}

    assert {command: done.returncode for command, done in ended.items()} == dict.fromkeys(RESULTS, 74)
    assert all("Standard output cannot be written" in complaints(done.stderr)[0] for done in ended.values())


@pytest.mark.parametrize("output", [">&- 2>&-", "<&- >&- 2>&-", "2>&-", "2>/dev/full", "<&-", ">/dev/null 2>&1"])
def test_a_run_without_descriptors_does_its_work(project, mailbox, output):
    mailbox.holds(*map(letter, range(3)))

    done = shell(project, f"backfill run --yes {output}")

    assert done.returncode == 0, done.stderr
    assert project.count("item WHERE status = 'done'") == 3
    assert "BACKFILL OPERATION COMPLETE" in project.log()


@pytest.mark.parametrize("output", [">/dev/full", ">&-", ">/dev/full 2>&1"])
def test_a_run_whose_figures_cannot_be_shown_has_done_its_work(project, mailbox, output):
    mailbox.holds(*map(letter, range(3)))

    done = shell(project, f"backfill run --yes {output}")

    assert done.returncode == 74
    assert project.count("item WHERE status = 'done'") == 3


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-16"])
def test_what_an_encoding_does_not_have_is_replaced(worked_off, encoding):
    commands = [*RESULTS, "--help", "report --format html", "verify"]

    ended = {command: shell(worked_off, f"backfill {command}", PYTHONIOENCODING=encoding) for command in commands}

    assert {command: done.returncode for command, done in ended.items()} == dict.fromkeys(commands, 0)
    assert all(done.stdout for done in ended.values())


def test_json_says_the_same_in_every_encoding(worked_off):
    with worked_off.mail_program() as client:
        client.create_folder("Größe ✓ 😀")

    asked = [shell(worked_off, "backfill folders --json", PYTHONIOENCODING=each) for each in ("ascii", "utf-8")]

    names = [{row["name"] for row in json.loads(done.stdout)} for done in asked]
    assert names[0] == names[1]
    assert "Größe ✓ 😀" in names[0]


def test_a_reader_who_leaves_does_not_end_a_run(project, mailbox, api):
    mailbox.holds(*map(letter, range(30)))
    api.latency_s = 0.02

    done = shell(project, "backfill run --yes --concurrency 1 2>&1 | head -1; exit ${PIPESTATUS[0]}")

    assert done.returncode == 0
    assert project.count("item WHERE status = 'done'") == 30


def test_a_reader_who_leaves_is_told_no_success_of_a_run_that_failed(project, mailbox, api):
    mailbox.holds(*map(letter, range(3)))
    project.configure(imap={"port": 1})

    done = shell(project, "backfill run --yes 2>&1 | head -1; exit ${PIPESTATUS[0]}")

    assert done.returncode == 4


def test_watching_ends_when_nobody_looks_any_more(project, mailbox, api):
    mailbox.holds(*map(letter, range(3)))
    project.succeed("plan")

    done = shell(project, "(sleep 0.2; backfill status --watch --json) | head -0; exit ${PIPESTATUS[0]}")

    assert done.returncode == 0


@pytest.mark.parametrize("times", [1, 2])
def test_a_lost_terminal_stops_a_run_as_sigterm_does(project, mailbox, api, times):
    mailbox.holds(*map(letter, range(200)))
    api.latency_s = 0.3

    with project.start("run", "--yes", "--concurrency", "2") as child:
        wait_until(lambda: project.count("item WHERE status = 'done'") > 0, child)
        for _ in range(times - 1):
            child.send_signal(signal.SIGHUP)
        code, errors, _ = end(child, signal.SIGHUP)

    assert code == 75, errors
    assert project.count("item WHERE claimed_by IS NOT NULL") == 0


def test_nohup_keeps_a_run_going(project, mailbox, api):
    mailbox.holds(*map(letter, range(10)))
    api.latency_s = 0.1
    child = subprocess.Popen(
        ["nohup", COMMAND, "run", "--yes", "--concurrency", "1"],
        cwd=project.folder,
        env=_bare_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        wait_until(lambda: project.count("item WHERE status = 'done'") > 0, child)

        code, errors, _ = end(child, signal.SIGHUP)

    assert code == 0, errors
    assert project.count("item WHERE status = 'done'") == 10


def test_a_log_that_is_a_pipe_without_a_reader_is_refused_at_once(project):
    (project.folder / "var").mkdir()
    os.mkfifo(project.folder / "var/agent.log")

    done = project.run("status")

    assert done.returncode == 74
    assert "named pipe that nobody reads" in done.stderr


def test_a_log_on_a_full_disk_is_told_once_and_the_run_goes_on(project, mailbox):
    mailbox.holds(*map(letter, range(20)))
    project.configure(paths={"log_file": "/dev/full"})

    done = project.run("run", "--yes")

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("/dev/full cannot be written (No space left on device)") == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 3000


@pytest.mark.parametrize("limit", ["ulimit -n 8", "ulimit -n 12", "ulimit -v 90000", "ulimit -v 160000"])
def test_a_machine_that_gives_no_more_is_no_bug(project, mailbox, limit):
    mailbox.holds(*map(letter, range(3)))

    done = shell(project, f"{limit}; backfill run --yes")

    assert done.returncode in (0, 74), done.stderr
    assert done.returncode == 0 or "ulimit" in done.stderr
    assert "A bug" not in done.stderr


def test_a_crash_before_the_log_is_there_shows_no_variables(tmp_path):
    script = (
        "from backfill import cli, settings\n"
        "def initialize(path):\n    password = 'sk-' + 'hidden-value'\n    raise ZeroDivisionError('oh')\n"
        "settings.initialize = initialize\n"
        "raise SystemExit(cli.main(['status']))\n"
    )

    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 70
    assert "ZeroDivisionError" in done.stderr
    assert "hidden-value" not in done.stderr.replace("'sk-' + 'hidden-value'", "")
    assert "please report it with the lines above" in done.stderr
