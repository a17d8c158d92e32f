"""Whole runs against mail servers that change, break or ask for patience: real ledger, real API, nothing lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from loguru import logger

from backfill.errors import ConfigError, FolderUnknown, MailThrottled, MarksMailRead
from backfill.folders import FolderPatterns
from backfill.lifecycle import JobState, RunOutcome
from backfill.operations.request import Request
from backfill.selection import Selection
from tests.conftest import Mailbox
from tests.support.desk import Desk, counts, letter
from tests.support.fault_proxy import FaultProxy
from tests.support.scripted_imap import ScriptedImap

DAY = 86_400


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """What the log warns of."""
    said: list[str] = []
    logger.enable("backfill")  # as a library it is silent
    handler = logger.add(lambda message: said.append(str(message)), level="WARNING", format="{message}")
    yield said
    logger.remove(handler)
    logger.disable("backfill")


# Another epoch.


def test_a_folder_made_anew_between_fetch_and_store_gets_no_keyword_on_a_wrong_mail(desk: Desk) -> None:
    mails = {uid: letter(uid) for uid in range(1, 11)}
    with ScriptedImap(mails) as server:

        def made_anew(command: str) -> None:
            if command.startswith("SELECT") and server.uidvalidity == 7:  # the marker's first look
                server.uidvalidity = 8
                server.mails = {uid: letter(11 - uid) for uid in range(1, 11)}  # the same mails, other UIDs
                server.hang_up()

        server.script = made_anew
        result = desk.run(server.port)

        assert counts(result) == {"done": 10, "vanished": 10}
        assert all("AIProcessed" in flags for flags in server.flags.values())
    stores = [place for place, said in enumerate(server.commands) if said.startswith("UID STORE")]
    selects = [place for place, said in enumerate(server.commands) if said.startswith("SELECT")]
    assert min(stores) > selects[1]  # nothing was stored in the session that met the new epoch
    assert desk.api.call_count == 10  # known mails cost no call


def test_a_folder_that_disappears_is_a_pause_with_its_name_and_the_job_goes_on_when_it_is_back(desk: Desk) -> None:
    with ScriptedImap({uid: letter(uid) for uid in range(1, 4)}) as server:
        gone: list[bytes] | None = None
        server.script = lambda said: gone if said.startswith(("EXAMINE", "SELECT")) else None
        desk.processor(server.port).plan(Request(Selection()))

        gone = [b"{tag} NO [NONEXISTENT] Mailbox does not exist"]
        with pytest.raises(FolderUnknown, match="INBOX"):
            desk.run(server.port)
        ledger = desk.ledger()
        (job,) = ledger.jobs.all()
        ledger.close()

        gone = None
        assert job.state is JobState.PAUSED
        assert counts(desk.run(server.port)) == {"done": 3}


def test_a_folder_that_disappears_while_a_run_reads_it_is_a_pause_as_well(desk: Desk) -> None:
    with ScriptedImap({uid: letter(uid) for uid in range(1, 4)}) as server:

        def renamed(command: str) -> list[bytes] | None:
            if command.startswith("UID FETCH"):
                return [b"* BYE folder renamed", b"\0bye"]
            if command.startswith("EXAMINE") and server.said("UID FETCH"):
                return [b"{tag} NO [NONEXISTENT] Mailbox does not exist"]
            return None

        server.script = renamed
        with pytest.raises(FolderUnknown, match="INBOX"):
            desk.run(server.port)
        server.script = lambda said: None
        result = desk.run(server.port)

    assert counts(result) == {"done": 3}
    assert desk.api.call_count == 3


def closing(folder: str, *, after: str) -> Callable[[ScriptedImap], Callable[[str], list[bytes] | None]]:
    """A script by which a folder does not open any more once the server has heard a command like `after`."""

    def of(server: ScriptedImap) -> Callable[[str], list[bytes] | None]:
        opened = [""]

        def script(command: str) -> list[bytes] | None:
            if command.startswith(("EXAMINE", "SELECT")):
                opened[0] = command
                is_closed = folder in command and any(after in said for said in server.commands[:-1])
                return [b"{tag} NO [NOPERM] Permission denied"] if is_closed else None
            if command.startswith(after) and folder in opened[0]:
                return [b"* BYE folder closed", b"\0bye"]
            return None

        return script

    return of


@pytest.mark.parametrize("after", ["UID FETCH", "UID STORE"], ids=["while it is read", "while keywords are set"])
def test_a_folder_that_closes_in_a_run_waits_and_the_others_are_worked_off(desk: Desk, after: str) -> None:
    two = Selection(folders=("Closed", "Open"))
    with ScriptedImap({uid: letter(uid) for uid in range(1, 4)}) as server:
        server.script = closing("Closed", after=after)(server)
        first = desk.run(server.port, selection=two)
        server.script = lambda command: None
        second = desk.run(server.port, selection=two)

    assert first.ended is not None
    assert first.ended.outcome is RunOutcome.INTERRUPTED
    assert "3 mails wait for a folder" in first.ended.reason
    assert "Permission denied" in first.ended.reason
    assert counts(first) == {"done": 3, "pending": 3}
    assert counts(second) == {"done": 6}
    assert desk.api.call_count == 3  # the folders hold the same mails


def test_a_folder_that_never_opened_is_named_and_planned_when_it_opens(desk: Desk) -> None:
    two = Selection(folders=("INBOX", "Shared"))
    with ScriptedImap({uid: letter(uid) for uid in range(1, 4)}) as server:
        server.script = lambda command: (
            [b"{tag} NO [NOPERM] Permission denied"]
            if command.startswith("EXAMINE") and "Shared" in command
            else [b'* LIST () "/" "INBOX"', b'* LIST () "/" "Shared"', b"{tag} OK done"]
            if command.startswith("LIST")
            else None
        )
        first = desk.run(server.port, selection=two)
        again = desk.run(server.port, selection=two)
        server.script = lambda command: None
        last = desk.run(server.port, selection=two)

    assert counts(first) == counts(again) == {"done": 3}
    assert first.ended is not None
    assert first.ended.outcome is RunOutcome.INTERRUPTED
    assert "Shared" in first.ended.reason
    assert any("'Shared' is left out this time" in said for said in desk.said)
    assert counts(last) == {"done": 6}
    assert last.job.state is not JobState.PAUSED


def test_a_folder_that_opens_and_cannot_be_searched_does_not_keep_the_others_waiting(desk: Desk) -> None:
    two = Selection(folders=("INBOX", "Odd"))
    opened = [""]

    def script(command: str) -> list[bytes] | None:
        if command.startswith(("EXAMINE", "SELECT")):
            opened[0] = command
        is_odd = "Odd" in opened[0] and command.startswith("UID SEARCH")
        return [b"{tag} NO [SERVERBUG] Internal error"] if is_odd else None

    with ScriptedImap({uid: letter(uid) for uid in range(1, 4)}, script) as server:
        first = desk.run(server.port, selection=two)

    assert counts(first) == {"done": 3}
    assert first.ended is not None
    assert "Odd" in first.ended.reason


def test_a_folder_that_closes_after_it_was_planned_does_not_keep_the_others_from_being_reckoned(desk: Desk) -> None:
    two = Request(Selection(folders=("Closed", "Open")))
    with ScriptedImap({uid: letter(uid) for uid in range(1, 4)}) as server:
        desk.processor(server.port).plan(two)
        server.script = lambda command: (
            [b"{tag} NO [NOPERM] Permission denied"]
            if command.startswith(("EXAMINE", "SELECT")) and "Closed" in command
            else None
        )
        again = desk.processor(server.port).plan(two)

    assert again.forecast is not None
    assert (again.forecast.mails, again.forecast.sampled) == (6, 3)


# A line that breaks.


def test_a_line_cut_every_100_kb_delays_a_run_and_loses_nothing(
    desk: Desk, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox.holds(*(letter(number, size=9000) for number in range(1, 151)))
    with FaultProxy(mailbox.server.port, after=100_000) as proxy:
        result = desk.run(proxy.port, mailbox.user)

        assert counts(result) == {"done": 150}
        assert proxy.faults > 5
    assert desk.api.call_count == 150


# Patience.


def test_a_server_that_asks_for_patience_is_left_alone_so_long_and_then_gives_everything(desk: Desk) -> None:
    with ScriptedImap({uid: letter(uid) for uid in range(1, 4)}) as server:
        asked: list[float] = []

        def throttles_once(command: str) -> list[bytes] | None:
            if command.startswith("UID FETCH") and not asked:
                asked.append(desk.clock.monotonic())
                return [b"{tag} NO Request is throttled. Suggested Backoff Time: 299910 milliseconds"]
            if command.startswith("UID FETCH") and len(asked) == 1:
                asked.append(desk.clock.monotonic())
            return None

        server.script = throttles_once
        result = desk.run(server.port)

    assert counts(result) == {"done": 3}
    assert asked[1] - asked[0] >= 299.9


def test_patience_for_hours_ends_the_run_with_the_time_and_the_next_run_knows(desk: Desk) -> None:
    throttled = [b"{tag} BAD Request is throttled. Suggested Backoff Time: 18000000 milliseconds"]
    with ScriptedImap({uid: letter(uid) for uid in range(1, 4)}) as server:
        server.script = lambda said: throttled if said.startswith("UID FETCH") else None
        first = desk.run(server.port)
        connections, server.script = server.connections, lambda said: None
        with pytest.raises(MailThrottled, match="2024-05-03 05:00") as refused:
            desk.run(server.port)
        untouched = server.connections == connections
        desk.clock.turn(5 * 3600)
        last = desk.run(server.port)

    assert first.ended is not None
    assert first.ended.outcome is RunOutcome.INTERRUPTED
    assert "05:00" in first.ended.reason
    assert refused.value.exit_code == 75
    assert untouched
    assert counts(last) == {"done": 3}


def test_a_server_that_refuses_keywords_for_hours_gets_them_later_and_no_mail_is_paid_for_twice(desk: Desk) -> None:
    throttled = [b"{tag} BAD Request is throttled. Suggested Backoff Time: 18000000 milliseconds"]
    with ScriptedImap({uid: letter(uid) for uid in range(1, 4)}) as server:
        server.script = lambda said: throttled if said.startswith("UID STORE") else None
        with pytest.raises(MailThrottled):
            desk.run(server.port)
        server.script = lambda said: None
        desk.clock.turn(5 * 3600)
        result = desk.run(server.port)

    assert counts(result) == {"done": 3}
    assert desk.api.call_count == 3


def test_no_more_bytes_a_day_are_read_than_allowed_over_restarts(desk: Desk, mailbox: Mailbox) -> None:
    mailbox.holds(*(letter(number, size=9000) for number in range(1, 121)))
    limit = 600_000
    read: list[tuple[float, int]] = []
    refusals = 0
    with FaultProxy(mailbox.server.port) as proxy:
        for _ in range(40):
            try:
                result = desk.run(proxy.port, mailbox.user, max_bytes_per_day=limit)
            except MailThrottled:
                refusals += 1
            else:
                read.append((desk.clock.monotonic(), proxy.bytes))
                if result.ended is not None and result.ended.outcome is RunOutcome.FINISHED:
                    break
            desk.clock.turn(2 * 3600)

    batch = 700_000  # what was under way when the day's bytes were used up
    windows = [
        later - earlier for start, earlier in [(0.0, 0), *read] for end, later in read if start <= end <= start + DAY
    ]
    assert counts(result) == {"done": 120}
    assert max(windows) <= limit + batch
    assert read[-1][0] > DAY / 2
    assert refusals


# Which folders.


def test_patterns_are_resolved_when_a_job_is_made_and_all_folders_leave_out_junk(desk: Desk, mailbox: Mailbox) -> None:
    for number, folder in enumerate(("INBOX", "Lists/a", "Lists/b", "Junk"), 1):
        mailbox.holds(letter(number), folder=folder)
    port, user = mailbox.server.port, mailbox.user

    everything = desk.processor(port, user).plan(Request(Selection(), folders=FolderPatterns(all_folders=True)))
    some = desk.processor(port, user).backfill_emails(folder="L*", exclude=["*b"], dry_run=True)
    api = desk.processor(port, user).backfill_emails(all_folders=True, dry_run=True)

    assert set(everything.job.selection.folders) - {"Lists"} == {"INBOX", "Lists/a", "Lists/b"}
    assert some.total_emails == 1
    assert api.total_emails == 3


def test_a_pattern_that_fits_nothing_makes_no_job(desk: Desk, mailbox: Mailbox) -> None:
    with pytest.raises(ConfigError, match="INBOX"):
        desk.processor(mailbox.server.port, mailbox.user).plan(
            Request(Selection(), folders=FolderPatterns(("INBOY*",)))
        )

    ledger = desk.ledger()
    assert ledger.jobs.all() == []
    ledger.close()


# Unharmed.


def test_a_dry_run_ends_where_mail_would_be_marked_read_and_a_real_run_takes_it_back(desk: Desk) -> None:
    with ScriptedImap({uid: letter(uid) for uid in range(1, 4)}, marks_read=True) as server:
        with pytest.raises(MarksMailRead) as stopped:
            desk.run(server.port, dry_run=True)
        for flags in server.flags.values():
            flags.clear()
        result = desk.run(server.port)

    assert stopped.value.exit_code == 3
    assert counts(result) == {"done": 3}
    assert set(map(frozenset, server.flags.values())) <= {
        frozenset({"AIProcessed", *more}) for more in ([], ["Important"], ["Spam"], ["Important", "Spam"])
    }


def test_gmails_labels_are_written_in_place_of_keywords(desk: Desk) -> None:
    with ScriptedImap({uid: letter(uid) for uid in range(1, 4)}, capabilities="X-GM-EXT-1") as server:
        result = desk.run(server.port, gmail_labels=True)

    assert counts(result) == {"done": 3}
    assert all("AIProcessed" in labels for labels in server.labels.values())
    assert not any(server.flags.values())


def test_mail_that_the_server_does_not_give_out_fails_with_that_reason_and_the_gone_vanish(desk: Desk) -> None:
    with ScriptedImap({uid: letter(uid) for uid in range(1, 6)}) as server:
        processor = desk.processor(server.port)
        processor.plan(Request(Selection()))
        del server.mails[2]

        def keeps_one_back(command: str) -> list[bytes] | None:
            if not command.startswith("UID FETCH"):
                return None
            asked = [uid for uid in (1, 3, 5) if str(uid) in command.split()[2].split(",")]
            return [*(server.fetched(command, uid) for uid in asked), b"{tag} OK done"]

        server.script = keeps_one_back
        result = desk.run(server.port)

    assert counts(result) == {"done": 3, "vanished": 1, "failed": 1}
    assert [(each.reason, each.count) for each in result.summary.failures] == [("unreadable", 1)]


def test_a_folder_that_holds_more_than_the_server_lists_is_not_called_complete(desk: Desk, warnings: list[str]) -> None:
    limit = "MESSAGELIMIT=1000"
    with ScriptedImap({uid: letter(uid) for uid in range(1, 4)}, capabilities=limit) as server:
        server.script = lambda said: (
            [line.replace(b"* 3 EXISTS", b"* 5 EXISTS") for line in server._opened()] if "EXAMINE" in said else None
        )
        desk.processor(server.port).plan(Request(Selection()))

    assert len(warnings) == 2
    assert "MESSAGELIMIT" in warnings[0]
    assert "holds 5 mails and the server lists 3" in warnings[1]
