"""An operator's mistakes: one line that names the remedy, the right exit code, and nothing half-written."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer
from tests.support.dovecot import PASSWORD
from tests.support.project import COMMAND, KEY, PROCESSED, Project, complaints, letter

WRONG_PASSWORD = "hunter2-hunter2"
NOBODY_LISTENS = 1  # of the ports

CTRL_D = "\x04"

Change = Callable[[Project], object]


@dataclass(frozen=True)
class Mistake:
    """What is wrong, what is typed, and what the complaint has to say."""

    remedy: str  # a regular expression
    arguments: tuple[str, ...] = ("run", "--yes")
    change: Change = field(default=lambda project: None)
    code: int = 2


def configure(**sections: object) -> Change:
    return lambda project: project.configure(**sections)


def write(name: str, text: str) -> Change:
    return lambda project: (project.folder / name).write_text(text)


def remove(name: str) -> Change:
    return lambda project: (project.folder / name).unlink()


def make_pipe(name: str) -> Change:
    def change(project: Project) -> None:
        (project.folder / name).unlink()
        os.mkfifo(project.folder / name)

    return change


NO_HOME = r"~nosuchuser in ~nosuchuser/x names no home folder"

MISTAKES = {
    "init in nobody's home": Mistake(NO_HOME, ("init", "~nosuchuser/x")),
    "a demo in nobody's home": Mistake(NO_HOME, ("demo", "~nosuchuser/x")),
    "a report to nobody's home": Mistake(NO_HOME, ("report", "--output", "~nosuchuser/x")),
    "an export to nobody's home": Mistake(NO_HOME, ("export", "--output", "~nosuchuser/x")),
    "a backup to nobody's home": Mistake(NO_HOME, ("ledger", "backup", "~nosuchuser/x")),
    "labelled mails in nobody's home": Mistake(NO_HOME, ("evaluate", "~nosuchuser/x")),
    "labels in nobody's home": Mistake(NO_HOME, ("evaluate", ".", "--labels", "~nosuchuser/x")),
    "wrong password": Mistake(
        r"refused to log in .*check username, password",
        change=lambda project: project.hide(IMAP_PASSWORD=WRONG_PASSWORD, OPENROUTER_API_KEY=KEY),
        code=3,
    ),
    "no password": Mistake(
        r"IMAP_PASSWORD is not set; put IMAP_PASSWORD=… into .*\.env",
        change=lambda project: project.hide(OPENROUTER_API_KEY=KEY),
    ),
    "no key": Mistake(
        r"OPENROUTER_API_KEY is not set; put OPENROUTER_API_KEY=… into .*\.env",
        change=lambda project: project.hide(IMAP_PASSWORD=PASSWORD),
    ),
    "no mail server": Mistake(
        r"Nothing answers at 127\.0\.0\.1:\d+; check imap\.server and imap\.port",
        change=configure(imap={"port": NOBODY_LISTENS}),
        code=4,
    ),
    "unknown folder": Mistake(
        r"'Nowhere'.*`backfill folders` lists", arguments=("run", "--yes", "--folder", "INBOX", "--folder", "Nowhere")
    ),
    "criteria that the server does not know": Mistake(
        r"--search: .*FROB", arguments=("run", "--yes", "--search", "FROB 7")
    ),
    "a day that does not exist": Mistake(
        r"--start-date takes a day as YYYY-MM-DD", arguments=("run", "--yes", "--start-date", "2024-02-30")
    ),
    "start after end": Mistake(
        r"2024-05-02 is after .*2024-05-01; swap them",
        arguments=("run", "--yes", "--start-date", "2024-05-02", "--end-date", "2024-05-01"),
    ),
    "no limit at all": Mistake(r"--max-emails must be more than 0", arguments=("run", "--yes", "--max-emails", "0")),
    "no hours of the day": Mistake(
        r"--between should be two times of the day, e\.g\. 22:00-07:00, not '22-7'",
        arguments=("run", "--yes", "--between", "22-7"),
    ),
    "no calls a day": Mistake(r"--max-per-day must be more than 0", arguments=("run", "--yes", "--max-per-day", "0")),
    "hours in the configuration that are none": Mistake(
        r"processing\.between in .*config\.yaml should begin and end at different times, e\.g\. 22:00-07:00",
        change=configure(processing={"between": "07:00-07:00"}),
    ),
    "no configuration": Mistake(r"config\.yaml; `backfill init` writes one", change=remove("config/config.yaml")),
    "unknown key": Mistake(
        r"imap\.sever in .*config\.yaml is not a known key; the nearest key is imap\.server",
        change=configure(imap={"sever": "mail.example.com"}),
    ),
    "a value of the wrong kind": Mistake(
        r"processing\.concurrency in .*config\.yaml should be a valid integer",
        change=configure(processing={"concurrency": "many"}),
    ),
    "broken YAML": Mistake(r"config\.yaml, line 2: not valid YAML", change=write("config/config.yaml", "imap:\n  - [")),
    "no prompt": Mistake(r"prompt\.md cannot be read; `backfill init` writes one", change=remove("config/prompt.md")),
    "a pipe as prompt": Mistake(r"prompt\.md cannot be read", change=make_pipe("config/prompt.md")),
    "an empty prompt": Mistake(r"needs a prompt", change=write("config/prompt.md", "<!-- nothing -->\n")),
    "a broken note template": Mistake(
        r"note template does not work.*paths\.note_template", change=write("config/note.md.j2", "{{ subject | frob }}")
    ),
    "a ledger folder that cannot be made": Mistake(
        r"ledger /proc/nowhere/ledger\.db",
        change=configure(paths={"ledger_url": "sqlite:////proc/nowhere/ledger.db"}),
        code=74,
    ),
    "a ledger that is none": Mistake(
        r"no SQLite database; check paths\.ledger_url",
        change=configure(paths={"ledger_url": "sqlite:///config/prompt.md"}),
        code=74,
    ),
    "unknown job": Mistake(r"no job 99 .*`backfill jobs`", arguments=("run", "--yes", "--job", "99")),
    "unknown command": Mistake(r"no command 'rnu'; did you mean `backfill run`", arguments=("rnu",)),
    "unknown option": Mistake(r"--fodler.*--help", arguments=("run", "--yes", "--fodler", "INBOX")),
    "a report on nothing": Mistake(r"no job yet; `backfill plan` makes one", arguments=("report",)),
    "a report on an unknown job": Mistake(r"no job 99 in this ledger; `backfill jobs`", arguments=("report", "99")),
    "a retry of nothing": Mistake(r"no job yet; `backfill plan` makes one", arguments=("retry",)),
    "a retry of an unknown job": Mistake(r"no job 99 in this ledger; `backfill jobs`", arguments=("retry", "99")),
    "a proof of an unknown job": Mistake(r"no job 99 in this ledger; `backfill jobs`", arguments=("verify", "99")),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_on_one_line_and_nothing_is_half_written(
    project: Project, mailbox: Mailbox, api: ApiServer, mistake: Mistake
) -> None:
    mailbox.holds(letter(1))
    mistake.change(project)

    done = project.run(*mistake.arguments)

    assert done.returncode == mistake.code, done.stdout + done.stderr
    (complaint,) = complaints(done.stderr)
    assert done.stderr.splitlines()[-1] == complaint
    assert re.search(mistake.remedy, complaint)
    told = done.stdout + done.stderr + project.log()
    assert "Traceback" not in told
    assert KEY not in told
    assert WRONG_PASSWORD not in told
    assert not list(project.folder.glob("~*"))
    assert project.count("job") == 0
    assert api.call_count == 0
    assert_untouched(project)


def test_without_a_terminal_nobody_is_asked_and_nothing_is_sent(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1))

    done = project.run("run")

    assert done.returncode == 2
    (complaint,) = complaints(done.stderr)
    assert re.search(r"1 mails? .*test/model-1 at http.*--yes", complaint)
    assert api.call_count == 0
    assert_untouched(project)


@pytest.mark.parametrize(
    ("classifier", "said"), [("chat", "2 mails are to be"), ("gated", "At most 2 mails are to be")]
)
def test_the_question_names_no_more_mail_than_the_run_will_take(
    project: Project, mailbox: Mailbox, api: ApiServer, classifier: str, said: str
) -> None:
    mailbox.holds(*(letter(number) for number in range(5)))
    project.configure(classifier=classifier)

    done = project.run("run", "--max-emails", "2")

    assert done.returncode == 2
    (complaint,) = complaints(done.stderr)
    assert complaint.startswith(f"backfill: {said} sent to test/model-1")
    assert api.call_count == 0


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["report"]], ids=" ".join)
def test_a_reader_that_goes_away_is_no_mistake(project: Project, mailbox: Mailbox, arguments: list[str]) -> None:
    mailbox.holds(letter(1))
    project.succeed("plan")
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run([COMMAND, *arguments], cwd=project.folder, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_no_sends_nothing_and_a_yes_holds_for_the_whole_job(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(letter(1), letter(2))

    for typed in ("n\n", "\n", CTRL_D):
        declined = project.run("run", input=typed)

        assert declined.returncode == 2
        assert "Go ahead? [y/N]" in declined.stderr
        assert "answered with no" in declined.stderr
        assert api.call_count == 0
    assert_untouched(project)

    agreed = project.run("run", "--max-emails", "1", input="y\n")
    resumed = project.run("run")

    assert agreed.returncode == resumed.returncode == 0
    assert api.call_count == 2


def test_an_api_that_is_not_there_stops_the_run_before_the_mailbox_is_worn_out(
    project: Project, mailbox: Mailbox
) -> None:
    mailbox.holds(*(letter(number) for number in range(1, 21)))
    project.configure(llm={"api_url": f"http://127.0.0.1:{NOBODY_LISTENS}/v1"})

    done = project.run("run", "--yes", "--concurrency", "2")

    assert done.returncode == 4
    (complaint,) = complaints(done.stderr)
    assert "127.0.0.1 cannot be reached" in complaint
    assert "Traceback" not in done.stderr + project.log()
    report = project.report()
    assert (report["counts"]["pending"], report["counts"]["failed"]) == (20, 0)
    assert report["calls"]["made"] <= 6  # two calls, tried twice; the next two may have begun
    assert_untouched(project)


def test_two_runs_at_once_are_one_too_many(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(letter(1))
    api.latency_s = 60

    with project.start("run", "--yes") as first:
        while api.call_count == 0:
            assert first.poll() is None
        second = project.run("run", "--yes")
        api.is_closing.set()  # which ends the pause before the answer
        first.communicate(timeout=30)

    assert second.returncode == 6
    (complaint,) = complaints(second.stderr)
    assert re.search(rf"`backfill run` \(process {first.pid} on .*wait for it to end", complaint)
    assert first.returncode == 0
    assert api.call_count == 1


def assert_untouched(project: Project) -> None:
    assert project.notes() == []
    assert project.analytics() == []
    assert all(PROCESSED not in flags and b"\\Seen" not in flags for flags in project.flags().values())
