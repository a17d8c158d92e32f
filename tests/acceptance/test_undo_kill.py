"""`kill -9` at any moment of a run and of its undo: afterwards every flag of every mail is as it was."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests.conftest import Mailbox
from tests.support.project import PROCESSED, Project, letter

MAILS = 400
#: How often each command is killed. `KILLS=200` kills for some minutes.
KILLS = int(os.environ.get("KILLS") or 2)


@pytest.fixture
def marked(project: Project, mailbox: Mailbox) -> Project:
    mailbox.holds(*(letter(n) for n in range(MAILS)))
    project.configure(classifier="heuristic", processing={"importance_threshold": 3, "spam_threshold": 1})
    with project.mail_program() as client:
        client.select_folder("INBOX")
        client.add_flags(range(1, 100), [b"\\Seen", b"$Label1"])
        client.add_flags(range(50, 150), [b"Important"])
        client.add_flags(range(120, 200), [PROCESSED])
        client.add_flags(range(200, 220), [b"SPAM"])
    return project


def kill(project: Project, chance: random.Random, *arguments: str) -> None:
    """Start a command, and kill it some time after its work has begun."""
    runs = project.count("run")
    with project.start(*arguments) as child:
        while child.poll() is None and project.count("run") == runs:
            time.sleep(0.002)
        # No measure of progress: one transaction may record hundreds of mails, and a kill is to fall in between, too.
        time.sleep(chance.expovariate(1.5 if arguments[0] != "undo" else 8))  # an undo is quicker
        child.send_signal(signal.SIGKILL)


@pytest.mark.timeout(1800)
def test_a_run_and_its_undo_that_are_killed_at_any_moment_leave_every_flag_as_it_was(marked: Project) -> None:
    seed = int(os.environ.get("KILL_SEED") or random.randrange(1_000_000))
    chance = random.Random(seed)
    print(f"to repeat this: KILL_SEED={seed} KILLS={KILLS}")
    before = marked.flags()
    marked.succeed("run", "--yes", "--max-emails", "20")

    for _ in range(KILLS):
        for command in ("run", "undo", "apply"):
            if command != "run" or marked.report()["job"]["state"] not in ("undone", "done"):
                kill(marked, chance, command, *("1",) * (command != "run"), "--yes")
    marked.succeed("undo", "1", "--yes")

    killed = marked.rows("SELECT command, COUNT(*) FROM run WHERE outcome = 'lost' GROUP BY command")
    print(f"killed within their work: {killed}")
    assert marked.flags() == before
    assert marked.notes() == []
    assert marked.report()["job"]["state"] == "undone"
    marked.succeed("apply", "1", "--yes")
    assert sum(PROCESSED in flags for flags in marked.flags().values()) >= 20
    marked.succeed("undo", "1", "--yes")
    assert marked.flags() == before
