"""A folder that is in trouble by itself: its mails wait with the reason, no mail fails, and the other folders go on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backfill.errors import ServerUnavailable
from backfill.lifecycle import RunOutcome
from backfill.operations.request import Request
from backfill.selection import Selection
from tests.support.desk import Desk, counts, letter
from tests.support.scripted_imap import ScriptedImap

BOTH = Selection(folders=("Broken", "Sound"))
LISTED = [b'* LIST () "/" "Broken"', b'* LIST () "/" "Sound"', b"{tag} OK done"]


def refusing(server: ScriptedImap, answer: bytes, command: str) -> Callable[[str], list[bytes] | None]:
    """A script that answers `command` like that while the folder "Broken" is opened or open for reading."""
    opened = [""]

    def script(said: str) -> list[bytes] | None:
        if said.startswith("EXAMINE"):
            opened[0] = said
        if said.startswith(command) and "Broken" in (said if command == "EXAMINE" else opened[0]):
            return [answer]
        return LISTED if said.startswith("LIST") else None

    return script


@pytest.mark.parametrize("mails", [1, 2, 5, 60])
@pytest.mark.parametrize("answer", [b"{tag} NO [UNAVAILABLE] storage is offline", b"{tag} NO Internal server error"])
def test_a_folder_that_gives_out_no_mail_waits_and_the_others_are_worked_off(
    desk: Desk, mails: int, answer: bytes
) -> None:
    with ScriptedImap({uid: letter(uid) for uid in range(1, mails + 1)}) as server:
        server.script = refusing(server, answer, "UID FETCH")
        began = desk.clock.monotonic()
        first = desk.run(server.port, selection=BOTH)
        waited = desk.clock.monotonic() - began
        server.script = lambda said: None
        second = desk.run(server.port, selection=BOTH)

    assert counts(first) == {"done": mails, "pending": mails}
    assert first.ended.outcome is RunOutcome.INTERRUPTED
    assert "'Broken'" in first.ended.reason
    assert waited < 300
    assert counts(second) == {"done": 2 * mails}


def test_one_folder_alone_that_gives_out_no_mail_ends_the_run_as_unreachable(desk: Desk) -> None:
    with ScriptedImap({1: letter(1), 2: letter(2)}) as server:
        server.script = refusing(server, b"{tag} NO [UNAVAILABLE] storage is offline", "UID FETCH")
        with pytest.raises(ServerUnavailable) as ended:
            desk.run(server.port, selection=Selection(folders=("Broken",)))

    assert ended.value.exit_code == 4


def test_folders_that_all_give_out_no_mail_end_the_run_as_unreachable(desk: Desk) -> None:
    with ScriptedImap({1: letter(1), 2: letter(2)}) as server:
        server.script = lambda said: [b"{tag} NO [UNAVAILABLE] offline"] if said.startswith("UID FETCH") else None
        with pytest.raises(ServerUnavailable) as ended:
            desk.run(server.port, selection=BOTH)
        server.script = lambda said: None
        later = desk.run(server.port, selection=BOTH)

    assert ended.value.exit_code == 4
    assert counts(later) == {"done": 4}


@pytest.mark.parametrize("broken", [1, 3, 5])
def test_one_mail_that_the_server_cannot_give_out_fails_alone(desk: Desk, broken: int) -> None:
    with ScriptedImap({uid: letter(uid) for uid in range(1, 6)}) as server:
        server.script = lambda said: (
            [b"{tag} NO [UNAVAILABLE] Server error while fetching messages"]
            if said.startswith("UID FETCH") and str(broken) in said.split()[2].split(",")
            else None
        )
        result = desk.run(server.port)

    assert counts(result) == {"done": 4, "failed": 1}


IN_USE = [
    b"{tag} NO [INUSE] Mailbox is in use by another session",
    b"{tag} NO [INUSE] mailbox locked, try again in 5 minutes",
    b"{tag} NO [LIMIT] Mailbox is too large to open",
    b"{tag} NO [UNAVAILABLE] backend of this mailbox is down",
]


@pytest.mark.parametrize("answer", IN_USE)
def test_a_folder_that_is_in_use_when_it_is_planned_keeps_only_its_own_mails_waiting(desk: Desk, answer: bytes) -> None:
    with ScriptedImap({uid: letter(uid) for uid in range(1, 4)}) as server:
        server.script = refusing(server, answer, "EXAMINE")
        began = desk.clock.monotonic()
        first = desk.run(server.port, selection=BOTH)
        waited = desk.clock.monotonic() - began
        server.script = lambda said: None
        second = desk.run(server.port, selection=BOTH)

    assert counts(first) == {"done": 3}
    assert "Broken" in first.ended.reason
    assert waited < 120
    assert counts(second) == {"done": 6}


@pytest.mark.parametrize("answer", IN_USE)
def test_a_folder_that_is_in_use_when_it_is_read_keeps_only_its_own_mails_waiting(desk: Desk, answer: bytes) -> None:
    with ScriptedImap({uid: letter(uid) for uid in range(1, 4)}) as server:
        desk.processor(server.port).plan(Request(BOTH))
        server.script = refusing(server, answer, "EXAMINE")
        began = desk.clock.monotonic()
        first = desk.run(server.port, selection=BOTH)
        waited = desk.clock.monotonic() - began
        server.script = lambda said: None
        second = desk.run(server.port, selection=BOTH)

    assert counts(first) == {"done": 3, "pending": 3}
    assert "'Broken'" in first.ended.reason
    assert waited < 300
    assert counts(second) == {"done": 6}


@pytest.mark.parametrize(
    "answer",
    [
        b"{tag} NO [INUSE] Too many simultaneous connections",
        b"{tag} NO [LIMIT] Too many requests per minute",
        b"{tag} NO [LIMIT] connection limit exceeded",
    ],
)
def test_a_limit_of_the_account_that_is_told_at_a_folder_is_waited_for(desk: Desk, answer: bytes) -> None:
    with ScriptedImap({1: letter(1)}) as server:
        server.script = lambda said: (
            [answer] if said.startswith("EXAMINE") and len(server.said("EXAMINE")) == 1 else None
        )
        began = desk.clock.monotonic()
        result = desk.run(server.port)

    assert counts(result) == {"done": 1}
    assert desk.clock.monotonic() - began >= 60


@pytest.mark.parametrize("answer", IN_USE)
def test_a_folder_that_is_in_use_does_not_keep_an_apply_from_the_others(desk: Desk, answer: bytes) -> None:
    with ScriptedImap({uid: letter(uid) for uid in range(1, 4)}) as server:
        desk.run(server.port, selection=BOTH)
        server.script = refusing(server, answer, "EXAMINE")
        first = desk.processor(server.port, processed_tag="Read").apply()
        server.script = lambda said: None
        second = desk.processor(server.port, processed_tag="Read").apply()

    assert first.done >= 3
    assert first.summary.counts.done + first.summary.counts.pending == 6
    assert second.summary.counts.done == 6
