"""The output `webhook`: each verdict reaches the receiver, whatever happens, and its secret reaches nobody else."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator

import pytest

from tests.acceptance.test_secrets import everything
from tests.conftest import Mailbox
from tests.support.dovecot import PASSWORD
from tests.support.hook_server import HookServer, Post, Say
from tests.support.project import KEY, Project, letter, wait_until

MAILS = 120
SECRET = "hook-secret-0123456789"
TOKEN = "T0KEN-0123456789-in-the-path"


@pytest.fixture
def receiver(project: Project) -> Iterator[HookServer]:
    with HookServer() as server:
        project.configure(effects=["flags", "notes", "webhook"], webhook={"secret_env": "HOOK_SECRET"})
        address = server.url.replace("/hooks/mail", f"/hooks/{TOKEN}")
        project.hide(
            IMAP_PASSWORD=PASSWORD,
            OPENROUTER_API_KEY=KEY,
            HOOK_SECRET=SECRET,
            BACKFILL_WEBHOOK__URL=address,
        )
        yield server


def test_each_verdict_is_posted_counted_and_checked(project: Project, mailbox: Mailbox, receiver: HookServer) -> None:
    mailbox.holds(letter(1), letter(2))

    project.succeed("run", "--yes")
    again = project.succeed("run", "--yes")
    told = project.run("report").stdout
    checked = project.run("check", "--no-call").stdout

    assert sorted(receiver.uids) == [1, 2], again
    assert {post.headers["authorization"] for post in receiver.posts if post.method == "POST"} == {f"Bearer {SECRET}"}
    assert project.report()["effects"] == {"flags": 2, "notes": 2, "not_applicable": 0, "foreign": 0, "webhook": 2}
    assert "flags 2, notes 2, webhook 2" in told
    assert "nothing was posted" in checked
    assert sorted(receiver.uids) == [1, 2]


def test_a_receiver_that_quotes_the_secret_reveals_it_nowhere(
    project: Project, mailbox: Mailbox, receiver: HookServer
) -> None:
    mailbox.holds(letter(1))

    def quoting(post: Post) -> Say:
        said = f"{post.headers.get('authorization')} {post.path}"
        return Say(401, {"WWW-Authenticate": said, "Retry-After": said}, said.encode())

    receiver.script = quoting
    done = project.run("run", "--yes", "--verbose")

    assert done.returncode == 3, done.stderr
    assert "answers with HTTP 401; check webhook." in done.stderr
    kept = everything(project, done.stdout, done.stderr)
    assert SECRET not in kept
    assert TOKEN not in kept
    assert project.rows("SELECT status FROM item") == [("classified",)]


def test_after_kills_every_verdict_was_posted_under_one_key(
    project: Project, mailbox: Mailbox, receiver: HookServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(MAILS)))
    places = sorted(random.sample(range(1, MAILS - 40), 3))
    print(f"kills at {places} posts")

    for place in places:
        with project.start("run", "--yes") as child:
            wait_until(lambda place=place: len(receiver.posts) >= place, child)  # type: ignore[misc]
            child.send_signal(signal.SIGKILL)
    project.succeed("run", "--yes")

    assert len(receiver.world) == MAILS
    assert len({post.key for post in receiver.posts}) == MAILS
    assert project.report()["effects"]["webhook"] == MAILS


def test_without_an_address_nothing_begins(project: Project, mailbox: Mailbox, api: object) -> None:
    mailbox.holds(letter(1))
    project.configure(effects=["webhook"])

    done = project.run("run", "--yes")

    assert (done.returncode, project.count("job")) == (2, 0)
    assert "webhook.url is not set" in done.stderr


def test_taken_back_the_receiver_knows_no_verdict_and_applied_again_it_knows_all(
    project: Project, mailbox: Mailbox, receiver: HookServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(5)))
    project.succeed("run", "--yes")
    world = dict(receiver.world)

    project.succeed("undo", "--only", "webhook", "--yes")
    undone = dict(receiver.world)
    project.succeed("run", "--yes")
    after_run = dict(receiver.world)
    project.succeed("apply", "--yes")

    assert (len(world), undone, after_run) == (5, {}, {})
    assert receiver.world == world
    assert len(project.notes()) == 5


def test_a_receiver_that_is_away_keeps_nothing_else_from_the_undo_and_the_same_command_goes_on(
    project: Project, mailbox: Mailbox, receiver: HookServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(5)))
    project.succeed("run", "--yes")

    receiver.script = lambda post: Say(503)
    away = project.run("undo", "--yes")
    receiver.script = lambda post: None
    project.succeed("undo", "--yes")

    assert away.returncode == 1, away.stdout + away.stderr
    assert "take back the rest with: backfill undo 1" in away.stdout
    assert receiver.world == {}
    assert project.notes() == []


def test_another_threshold_is_posted_by_apply_and_only_where_labels_change(
    project: Project, mailbox: Mailbox, receiver: HookServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(20)))
    project.succeed("run", "--yes")
    before = {mail: post["labels"] for mail, post in receiver.world.items()}

    project.configure(processing={"importance_threshold": 3})
    project.succeed("apply", "--yes")

    after = {mail: post["labels"] for mail, post in receiver.world.items()}
    changed = [mail for mail in after if after[mail] != before[mail]]
    assert changed
    assert len(receiver.uids) == 20 + len(changed)
