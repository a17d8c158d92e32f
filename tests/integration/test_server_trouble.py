"""Whole runs against servers in trouble: what is waited for, what ends a run and with which code, and nothing lost."""

from __future__ import annotations

import pytest

from backfill.errors import (
    ConfigError,
    CredentialsRefused,
    MailThrottled,
    ServerTroubled,
    StoreUnavailable,
)
from backfill.operations.request import Request
from backfill.report.text import render_text
from backfill.selection import Selection
from tests.support.desk import Desk, counts, letter
from tests.support.scripted_imap import BYE, ScriptedImap

MAILS = {uid: letter(uid) for uid in range(1, 6)}


def on_login(server: ScriptedImap, answer: bytes, *numbers: int) -> None:
    """Answer the LOGINs of those numbers (none: all) like that."""
    server.script = lambda command: (
        [answer] if command.startswith("LOGIN") and (not numbers or len(server.said("LOGIN")) in numbers) else None
    )


# At the start.


def test_too_many_connections_are_waited_for_a_minute(desk: Desk) -> None:
    greetings = {1: [b"* BYE [ALERT] Too many connections from your IP", BYE]}
    with ScriptedImap(MAILS, greeting=lambda number: greetings.get(number, [b"* OK ready"])) as server:
        result = desk.run(server.port)

    assert counts(result) == {"done": 5}
    assert desk.clock.monotonic() >= 60
    assert any("Waiting 60 s" in line for line in desk.said)


def test_a_temporary_refusal_of_the_login_is_tried_again(desk: Desk) -> None:
    with ScriptedImap(MAILS) as server:
        on_login(server, b"{tag} NO Temporary System Error (Failure)", 1, 2)
        result = desk.run(server.port)

    assert counts(result) == {"done": 5}


def test_a_refusal_that_stays_temporary_ends_the_run_as_unreachable(desk: Desk) -> None:
    with ScriptedImap(MAILS) as server:
        on_login(server, b"{tag} NO [AUTHENTICATIONFAILED] temporary failure, try again later")
        with pytest.raises(ServerTroubled) as ended:
            desk.run(server.port)

        assert ended.value.exit_code == 4
        assert 2 < len(server.said("LOGIN")) < 10


def test_a_lock_that_names_a_quarter_of_an_hour_is_waited_for(desk: Desk) -> None:
    with ScriptedImap(MAILS) as server:
        on_login(server, b"{tag} NO [ALERT] Account is temporarily locked, try again in 15 minutes", 1)
        result = desk.run(server.port)

    assert counts(result) == {"done": 5}
    assert desk.clock.monotonic() >= 900
    assert any("Waiting 900 s" in line for line in desk.said)


def test_a_lock_for_hours_ends_the_run_with_the_time(desk: Desk) -> None:
    with ScriptedImap(MAILS) as server:
        on_login(server, b"{tag} NO Account is locked for 3 hours")
        with pytest.raises(MailThrottled, match="3 hours") as ended:
            desk.run(server.port)

    assert ended.value.exit_code == 75


def test_a_wrong_password_ends_the_run_after_one_try(desk: Desk) -> None:
    with ScriptedImap(MAILS) as server:
        on_login(server, b"{tag} NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)")
        with pytest.raises(CredentialsRefused) as ended:
            desk.run(server.port)

        assert ended.value.exit_code == 3
        assert len(server.said("LOGIN")) == 1


def test_criteria_that_end_like_a_literal_are_refused_at_once() -> None:
    for criteria in ("SUBJECT {5}", "SUBJECT {5+}", "FROM bob TEXT ~{12}  "):
        with pytest.raises(ConfigError, match="quotes"):
            Selection(search=criteria).check()
    Selection(search='SUBJECT "{5}"').check()


# In the middle.


@pytest.mark.parametrize(
    "answer",
    [
        b"{tag} NO Temporary System Error (Failure)",
        b"{tag} NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)",
        b"{tag} BAD User is authenticated but not connected.",
        b"{tag} NO [ALERT] locked, try again in 5 minutes",
        b"* BYE server is shutting down",
    ],
)
def test_a_login_refused_once_in_the_middle_of_a_run_costs_it_nothing(desk: Desk, answer: bytes) -> None:
    with ScriptedImap({uid: letter(uid) for uid in range(1, 121)}) as server:
        state = {"cut": False, "refused": False}

        def script(command: str) -> list[bytes] | None:
            if command.startswith("UID FETCH") and "BODY.PEEK[1]" in command and not state["cut"]:
                state["cut"] = True
                return [BYE]
            if command.startswith("LOGIN") and state["cut"] and not state["refused"]:
                state["refused"] = True
                return [answer]
            return None

        server.script = script
        result = desk.run(server.port)

    assert state == {"cut": True, "refused": True}
    assert counts(result) == {"done": 120}


@pytest.mark.parametrize(
    "answer",
    [
        b"{tag} BAD User is authenticated but not connected.",
        b"{tag} NO System Error (Failure)",
        b"{tag} NO Mailbox is temporarily unavailable, please try again later",
    ],
)
def test_a_folder_that_does_not_open_for_a_moment_does_not_pause_the_job(desk: Desk, answer: bytes) -> None:
    with ScriptedImap(MAILS) as server:
        state = {"cut": False, "refused": 0}

        def script(command: str) -> list[bytes] | None:
            if command.startswith("UID FETCH") and not state["cut"]:
                state["cut"] = True
                return [BYE]
            if command.startswith("EXAMINE") and state["cut"] and state["refused"] < 2:
                state["refused"] += 1
                return [answer]
            return None

        server.script = script
        result = desk.run(server.port)

    assert state["refused"] == 2
    assert counts(result) == {"done": 5}


def test_an_account_without_room_ends_the_run_and_keeps_what_was_judged(desk: Desk) -> None:
    with ScriptedImap(MAILS) as server:
        server.script = lambda command: (
            [b"{tag} NO [OVERQUOTA] Not enough disk quota"] if command.startswith("UID STORE") else None
        )
        with pytest.raises(StoreUnavailable, match="room") as ended:
            desk.run(server.port)
        calls = desk.api.call_count
        server.script = lambda command: None
        result = desk.run(server.port)

    assert ended.value.exit_code == 75
    assert desk.clock.monotonic() < 60
    assert counts(result) == {"done": 5}
    assert desk.api.call_count == 5 >= calls


def test_a_folder_that_takes_no_more_keywords_is_done_all_the_same(desk: Desk) -> None:
    with ScriptedImap(MAILS) as server:
        server.script = lambda command: (
            [b"{tag} NO [LIMIT] too many keywords"] if command.startswith("UID STORE") else None
        )
        result = desk.run(server.port)

    assert counts(result) == {"done": 5}
    assert "5 not applicable" in render_text(result.summary)
    assert desk.clock.monotonic() < 60


def test_a_dry_run_goes_on_while_the_owner_reads(desk: Desk) -> None:
    with ScriptedImap({uid: letter(uid) for uid in range(1, 121)}) as server:

        def owner_reads(command: str) -> None:
            if "BODY.PEEK[1]" in command:
                for uid in (3, 4, 5, 60, 61):
                    server.flags[uid].add("\\Seen")

        server.script = owner_reads
        result = desk.run(server.port, dry_run=True)

    assert counts(result) == {"done": 120}


# Planning.


def test_an_empty_folder_that_refuses_to_be_searched_is_planned(desk: Desk) -> None:
    with ScriptedImap() as server:
        server.script = lambda command: [b"{tag} NO no such message"] if command.startswith("UID SEARCH") else None
        result = desk.processor(server.port).plan(Request(Selection()))

    assert result.summary.counts.found == 0


# Receipts against the server.


def test_verify_finds_keywords_that_the_server_did_not_keep_and_the_next_run_sets_them_again(desk: Desk) -> None:
    with ScriptedImap(MAILS) as server:
        desk.run(server.port)
        server.flags[2].clear()
        server.flags[4].clear()
        del server.mails[4]  # expunged by its owner: no difference
        first = desk.processor(server.port).verify()
        repaired = desk.processor(server.port).verify(repair=True)
        result = desk.run(server.port)
        last = desk.processor(server.port).verify()

    assert [str(each.kind) for each in first.differences] == ["unmarked"]
    assert [each.uid for each in repaired.differences] == [2]  # type: ignore[union-attr]
    assert counts(result) == {"done": 5}
    assert "AIProcessed" in server.flags[2]
    assert last.differences == ()
    assert desk.api.call_count == 5
