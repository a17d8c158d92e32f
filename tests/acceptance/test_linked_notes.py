"""A note links to the note of the mail that it answers, whichever run wrote that, and on a real server."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer
from tests.support.project import Project, letter


def reply(number: int, *ancestors: int) -> bytes:
    references = " ".join(f"<{each}@example.com>" for each in ancestors)
    head = f"References: {references}\r\nIn-Reply-To: <{ancestors[-1]}@example.com>\r\n"
    return head.encode() + letter(number, subject=f"Re: Letter {ancestors[0]}")


def links(project: Project) -> dict[int, str | None]:
    told = [yaml.safe_load(note.read_text("utf-8").split("\n---\n")[0][4:]) for note in project.notes()]
    return {each["uid"]: each.get("in_reply_to") for each in told}


def name_of(project: Project, uid: int) -> str:
    return next(note.stem for note in project.notes() if f"\nuid: {uid}\n" in note.read_text("utf-8"))


def test_notes_of_a_thread_are_linked_over_runs_and_within_one(project: Project, mailbox: Mailbox) -> None:
    mailbox.holds(letter(1), reply(2, 1))
    project.succeed("run", "--yes")
    with project.mail_program() as client:
        for raw in (reply(3, 1, 2), reply(4, 77)):
            client.append("INBOX", raw)

    project.succeed("run", "--yes")

    assert links(project) == {
        1: None,
        2: f"[[{name_of(project, 1)}]]",
        3: f"[[{name_of(project, 2)}]]",
        4: "<77@example.com>",
    }
    assert all((note.parent / Path(target)).is_file() for note in project.notes() for target in targets(note))


def targets(note: Path) -> list[str]:
    lines = note.read_text("utf-8").splitlines()
    return [line.rpartition("](")[2].removesuffix(")") for line in lines if line.startswith("In reply to [")]


def test_how_much_of_the_text_is_kept_can_be_changed_without_a_call(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    lines = "\n".join(f"This is line {number} of a long letter." for number in range(500))
    mailbox.holds(letter(1, body=f"{lines}\n> quoted {lines}"))
    project.configure(notes={"body": "none"})
    project.succeed("run", "--yes")
    texts = [project.notes()[0].read_text("utf-8")]

    for body in ("shown", "full", "none"):
        project.configure(notes={"body": body})
        project.succeed("apply", "--yes")
        texts.append(project.notes()[0].read_text("utf-8"))

    none, shown, _, again = texts
    assert again == none
    assert ["line 0 " in text for text in texts] == [False, True, True, False]
    assert ["line 499 " in text for text in texts] == [False, False, True, False]
    assert "longer than what is kept" in shown
    assert api.call_count == 1
