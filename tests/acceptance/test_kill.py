"""`kill -9` at any moment: every mail is done once, and at most the calls in flight are paid for twice."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable

import pytest

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer
from tests.support.project import PROCESSED, Project, letter, wait_until

MAILS = 300
KILLS = 5
CONCURRENCY = 8


def moments(seed: int, measures: dict[str, Callable[[], int]]) -> list[tuple[str, int]]:
    """`KILLS` moments of progress in random places, each by a measure of its own: "when 120 notes are written".

    They are apart, and none is near the end: a mail that is begun in three runs that die is given up, as it should be,
    and a busy machine notices a moment late.
    """
    chance = random.Random(seed)
    step = 4 * CONCURRENCY
    places = sorted(
        place + chance.randrange(CONCURRENCY) for place in chance.sample(range(1, MAILS - 100, step), KILLS)
    )
    return [(chance.choice(sorted(measures)), place) for place in places]


@pytest.mark.timeout(180)
def test_a_run_that_is_killed_at_any_moment_loses_nothing_and_repeats_nothing(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    api.latency_s = 0.03
    mailbox.holds(*(letter(n) for n in range(MAILS)))
    project.configure(processing={"concurrency": CONCURRENCY})
    measures: dict[str, Callable[[], int]] = {
        "calls": lambda: api.call_count,
        "notes": lambda: len(project.notes()),
        "items done": lambda: project.count("item WHERE status = 'done'"),
    }
    seed = int(os.environ.get("KILL_SEED") or random.randrange(1_000_000))
    print(f"to repeat this: KILL_SEED={seed}; kills at {moments(seed, measures)}")

    for measure, place in moments(seed, measures):
        with project.start("run", "--yes") as child:
            wait_until(lambda watch=measures[measure], place=place: watch() >= place, child)
            child.send_signal(signal.SIGKILL)
    project.succeed("run", "--yes")

    report = project.report()
    assert report["counts"] == {"found": MAILS, "done": MAILS, "failed": 0, "skipped": 0, "vanished": 0, "pending": 0}
    assert report["conserved"]
    assert report["job"]["state"] == "done"
    assert report["failures"] == []

    whole = [call for call in api.calls if call.body is not None]  # a kill may cut a request short
    assert len({call.subject for call in whole}) == MAILS
    assert api.call_count <= MAILS + KILLS * CONCURRENCY
    assert report["calls"]["made"] >= api.call_count

    assert sorted(line["uid"] for line in project.analytics()) == list(range(1, MAILS + 1))
    assert {line["status"] for line in project.analytics()} == {"done"}
    assert len(project.notes()) == MAILS
    assert {note.suffix for note in project.notes()} == {".md"}
    assert len(project.flags()) == MAILS
    assert all(PROCESSED in flags and b"\\Seen" not in flags for flags in project.flags().values())


@pytest.mark.timeout(180)
def test_no_mail_is_blamed_for_kills_that_come_again_and_again(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    api.latency_s = 0.03
    mailbox.holds(*(letter(n) for n in range(40)))
    project.configure(processing={"concurrency": CONCURRENCY})

    for place in (2, 10, 18, 26):
        with project.start("run", "--yes") as child:
            wait_until(lambda place=place: api.call_count >= place, child)
            child.send_signal(signal.SIGKILL)
    project.succeed("run", "--yes")

    counts = project.report()["counts"]
    assert (counts["done"], counts["failed"]) == (40, 0)


@pytest.mark.timeout(300)
def test_an_apply_that_is_killed_at_any_moment_goes_on_with_whatever_the_settings_say_then(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mails = 120
    mailbox.holds(*(letter(n) for n in range(mails)))
    project.configure(processing={"spam_threshold": 10, "importance_threshold": 10})
    project.succeed("run", "--yes")
    calls, important = api.call_count, [b"Important" in flags for flags in project.flags().values()]
    seed = int(os.environ.get("KILL_SEED") or random.randrange(1_000_000))
    chance = random.Random(seed)
    kills = int(os.environ.get("KILLS") or KILLS)
    print(f"to repeat this: KILL_SEED={seed}")

    for kill in range(kills):
        project.configure(processing={"spam_threshold": 10 * (kill % 2)}, imap={"spam_tag": f"Spam{kill % 3}"})
        done = project.count("outcome")
        place = done + chance.randrange(mails)
        with project.start("apply", "--yes") as child:
            wait_until(
                lambda place=place, child=child: project.count("outcome") >= place or child.poll() is not None, child
            )
            child.send_signal(signal.SIGKILL)
    project.configure(processing={"spam_threshold": 0}, imap={"spam_tag": "Spam"})
    project.succeed("apply", "--yes")

    assert api.call_count == calls
    assert project.report()["counts"]["done"] == mails
    keywords = [{flag for flag in flags if not flag.startswith(b"\\")} for flags in project.flags().values()]
    assert keywords == [{PROCESSED, b"Spam", *([b"Important"] if each else [])} for each in important]
    assert len(project.notes()) == mails
    assert project.count("receipt WHERE stale") == 0
    verified = project.run("verify")
    assert verified.returncode == 0, verified.stdout
