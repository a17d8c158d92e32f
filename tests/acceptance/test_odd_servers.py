"""The real command against servers that answer oddly: its exit code, its words, and what it leaves behind."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.support.api_server import ApiServer
from tests.support.project import Project, complaints, letter
from tests.support.scripted_imap import BYE, STALL, Script, ScriptedImap

PRIVATE = "very private words"
MAILS = {uid: letter(uid) for uid in range(1, 4)}


def project(folder: Path, server: ScriptedImap, api: ApiServer) -> Project:
    return Project.create(folder / "project", server, "bob", api.url)  # type: ignore[arg-type]  # host and port will do


class ThreeFolders:
    """A script: the mails of MAILS in INBOX, Notes and Work; `trouble` answers for Work, where it has an answer."""

    def __init__(self, trouble: Script) -> None:
        self.trouble = trouble
        self.folder = ""

    def __call__(self, command: str) -> list[bytes] | None:
        if command.startswith("LIST"):
            return [*(b'* LIST () "/" "%s"' % name for name in (b"INBOX", b"Notes", b"Work")), b"{tag} OK done"]
        if opened := re.match(r'(?:EXAMINE|SELECT) "?(\w+)', command):
            self.folder = opened[1]
        return self.trouble(command) if self.folder == "Work" else None


def answering(start: str, *lines: bytes) -> Script:
    """A script that answers commands that begin like that with these lines."""
    return lambda command: list(lines) if command.startswith(start) else None


def test_a_server_that_knows_who_is_there_and_never_answers_logout(tmp_path: Path, api: ApiServer) -> None:
    with ScriptedImap(MAILS, greeting=b"* PREAUTH welcome") as server:
        server.script = lambda command: [STALL] if command == "LOGOUT" else None
        began = time.monotonic()
        done = project(tmp_path, server, api).run("run", "--yes")

    assert done.returncode == 0, done.stderr
    assert not server.said("LOGIN")
    assert time.monotonic() - began < 50


def test_a_login_that_names_its_time_is_waited_for_in_plain_sight(tmp_path: Path, api: ApiServer) -> None:
    with ScriptedImap(MAILS) as server:
        server.script = lambda command: (
            [b"{tag} NO [ALERT] Account is temporarily locked, try again in 2 seconds"]
            if command.startswith("LOGIN") and len(server.said("LOGIN")) == 1
            else None
        )
        done = project(tmp_path, server, api).run("run", "--yes")

    assert done.returncode == 0, done.stderr
    assert "Waiting 2 s" in done.stderr


def test_an_account_without_room_ends_with_75_and_its_cause(tmp_path: Path, api: ApiServer) -> None:
    with ScriptedImap(MAILS) as server:
        server.script = lambda command: (
            [b"{tag} NO [OVERQUOTA] Not enough disk quota"] if command.startswith("UID STORE") else None
        )
        desk = project(tmp_path, server, api)
        done = desk.run("run", "--yes")

    assert done.returncode == 75, done.stderr
    assert "Not enough disk quota" in "".join(complaints(done.stderr))
    assert desk.count("item WHERE status = 'classified'") == 3


def test_a_reply_that_cannot_be_read_puts_no_mail_on_the_terminal_or_into_the_log(
    tmp_path: Path, api: ApiServer
) -> None:
    with ScriptedImap(MAILS) as server:
        server.script = lambda command: (
            [f"* 1 FETCH (UID 1 FLAGS ($[foo BODY[1] {{18}}\r\n{PRIVATE}".encode(), BYE]
            if command.startswith("UID FETCH 1 ") or "FETCH 1," in command
            else None
        )
        desk = project(tmp_path, server, api)
        desk.configure(llm={"retry_attempts": 1})
        done = desk.run("run", "--yes")

    assert done.returncode == 1, done.stderr
    assert PRIVATE not in done.stdout + done.stderr
    assert PRIVATE not in desk.log()


@pytest.mark.parametrize("criteria", ["SUBJECT {5}", "TEXT {12+}"])
def test_criteria_that_a_server_would_wait_for_end_at_once(tmp_path: Path, api: ApiServer, criteria: str) -> None:
    with ScriptedImap(MAILS) as server:
        done = project(tmp_path, server, api).run("plan", "--search", criteria)

    assert done.returncode == 2
    assert "quotes" in done.stderr


@pytest.mark.parametrize(
    "trouble",
    [
        answering("UID SEARCH", b"{tag} NO cannot search"),
        answering("EXAMINE", b"garbage", b"{tag} OK done"),
        answering("EXAMINE", b"* BYE index is broken", BYE),
    ],
    ids=["search-refused", "examine-unreadable", "examine-hangs-up"],
)
def test_a_folder_that_the_server_stumbles_over_keeps_no_command_from_the_others(
    tmp_path: Path, api: ApiServer, trouble: Script
) -> None:
    with ScriptedImap(MAILS, ThreeFolders(trouble)) as server:
        desk = project(tmp_path, server, api)
        ran, verified = desk.run("run", "--all-folders", "--yes"), desk.run("verify")
        listed = desk.run("folders")

    assert (ran.returncode, verified.returncode, listed.returncode) == (75, 7, 0), ran.stderr + verified.stderr
    assert "'Work' is left out this time" in ran.stderr
    assert desk.count("item WHERE status = 'done'") == 6
    assert "Work is selected, but not fully planned" in verified.stdout
    assert "INBOX" in listed.stdout


def test_a_planned_folder_that_the_server_stumbles_over_later_is_named_and_the_others_are_verified(
    tmp_path: Path, api: ApiServer
) -> None:
    with ScriptedImap(MAILS, ThreeFolders(lambda command: None)) as server:
        desk = project(tmp_path, server, api)
        desk.succeed("run", "--all-folders", "--yes")
        server.script = ThreeFolders(answering("UID SEARCH", b"* BYE index is broken", BYE))
        verified, again = desk.run("verify"), desk.run("run", "--all-folders", "--yes")

    assert verified.returncode == 7, verified.stderr
    assert "Work cannot be opened or searched; 3 of its mails" in verified.stdout
    assert "1 difference" in verified.stdout
    assert again.returncode in (0, 75), again.stderr


def test_a_refusal_in_another_script_is_no_warning_about_bytes(tmp_path: Path, api: ApiServer) -> None:
    refusal = "{tag} NO 该文件夹不存在".encode()

    with ScriptedImap(MAILS, ThreeFolders(answering("EXAMINE", refusal))) as server:
        desk = project(tmp_path, server, api)
        done = desk.run("run", "--all-folders", "--yes")

    assert done.returncode == 75, done.stderr
    assert "decoding" not in done.stderr + desk.log()
    assert "b'" not in done.stderr + desk.log()
