"""The real command against servers that answer oddly: its exit code, its words, and what it leaves behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.api_server import ApiServer
from tests.support.project import Project, complaints, letter
from tests.support.scripted_imap import BYE, STALL, ScriptedImap

PRIVATE = "very private words"
MAILS = {uid: letter(uid) for uid in range(1, 4)}


def project(folder: Path, server: ScriptedImap, api: ApiServer) -> Project:
    return Project.create(folder / "project", server, "bob", api.url)  # type: ignore[arg-type]  # host and port will do


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
