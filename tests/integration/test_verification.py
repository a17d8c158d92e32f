"""`verify` against the server: what was missed, what is gone, what is back, and what nobody can say."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import pytest

from backfill.clock import StopRequest
from backfill.ledger.rows import Job
from backfill.message import MailboxKey
from backfill.operations.verify import Comparison, Finding, Verification
from backfill.ports import MailboxState, Surveyed, UidWindow
from backfill.selection import Selection
from tests.support.bench import INBOX, Bench, BenchMailbox


@dataclass
class SearchedMailbox(BenchMailbox):
    """A mailbox where not every mail fits the job's criteria. Remembers what it was asked."""

    fitting: set[int] = field(default_factory=set)
    asked: list[Selection] = field(default_factory=list)
    stop: StopRequest | None = None  # set by the first question

    def examine(self, folder: str) -> MailboxState:
        return replace(super().examine(folder), key=replace(self.key, folder=folder))

    def survey(self, mailbox: MailboxKey, window: UidWindow, selection: Selection) -> list[Surveyed]:
        self.asked.append(selection)
        if self.stop is not None:
            self.stop.set("SIGINT")
        there = super().survey(mailbox, window, selection)
        has_criteria = selection.search or selection.start_date or selection.end_date
        return [mail for mail in there if mail.uid in self.fitting] if has_criteria else there


@pytest.fixture
def bench(tmp_path: Path, ledger_url: str) -> Iterator[Bench]:
    bench = Bench(tmp_path, url=ledger_url)
    yield bench
    bench.close()


def compared(bench: Bench, job: Job) -> Comparison:
    return Verification(bench.ledger, bench.mailbox, bench.stop).compare(job)


def found(bench: Bench, job: Job) -> list[tuple[Finding, int | None]]:
    return [(difference.kind, difference.uid) for difference in compared(bench, job).differences]


def planned(bench: Bench, selection: Selection, uids: set[int], high: int) -> Job:
    """A job whose first folder is planned, with these mails selected of those up to `high`."""
    job = bench.ledger.jobs.open(INBOX.account, selection, bench.classifier.fingerprint, dry_run=False)
    mailbox_id = bench.ledger.plans.open_mailbox(replace(INBOX, folder=selection.folders[0]))
    window = bench.ledger.plans.freeze(job.id, mailbox_id, high)
    bench.ledger.plans.plan_window(window, high, [Surveyed(uid) for uid in sorted(uids)])
    return job


def searched(bench: Bench, *uids: int, fitting: set[int]) -> SearchedMailbox:
    mailbox = bench.mailbox = SearchedMailbox(fitting=fitting)
    mailbox.holds(*uids)
    return mailbox


def test_a_finished_job_agrees_with_the_server(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 31))
    bench.run()

    assert found(bench, bench.plan()) == []


def test_a_mail_that_planning_missed_is_found_and_repaired(bench: Bench) -> None:
    bench.mailbox.holds(1, 3, 4)
    bench.run()
    bench.mailbox.holds(2)
    job = bench.plan()
    verification = Verification(bench.ledger, bench.mailbox, bench.stop)

    missed = verification.compare(job).differences
    verification.repair(job, missed)
    bench.run()

    assert [(d.kind, d.uid) for d in missed] == [(Finding.NOT_PLANNED, 2)]
    assert bench.statuses() == {1: "done", 2: "done", 3: "done", 4: "done"}
    assert sorted(bench.classifier.asked_about) == [1, 2, 3, 4]
    assert found(bench, job) == []


def test_a_mail_that_counts_as_vanished_and_is_back_is_taken_up_again(bench: Bench) -> None:
    bench.mailbox.holds(1, 2)
    bench.mailbox.gone = {2}
    bench.run()
    bench.mailbox.gone = set()
    job = bench.plan()
    verification = Verification(bench.ledger, bench.mailbox, bench.stop)

    verification.repair(job, verification.compare(job).differences)
    bench.run()

    assert bench.statuses() == {1: "done", 2: "done"}


def test_a_waiting_mail_that_is_gone_is_named_and_a_done_one_is_nobodys_business(bench: Bench) -> None:
    bench.mailbox.holds(1, 2, 3)
    bench.run(max_emails=1)
    job = bench.plan()
    del bench.mailbox.contents[1], bench.mailbox.contents[2]

    assert found(bench, job) == [(Finding.GONE, 2)]


def test_a_rebuilt_folder_is_named(bench: Bench) -> None:
    bench.mailbox.holds(1, 2)
    job = bench.plan()
    bench.mailbox.key = replace(INBOX, uidvalidity=8)

    assert found(bench, job) == [(Finding.EPOCH, None)]


def test_a_rebuilt_folder_is_named_though_nothing_was_waiting(bench: Bench) -> None:
    bench.mailbox.holds(1, 2)
    bench.run()
    job = bench.plan()
    bench.mailbox.key = replace(INBOX, uidvalidity=8)

    assert found(bench, job) == [(Finding.EPOCH, None)]


def test_a_rebuilt_folder_that_was_planned_anew_is_no_difference(bench: Bench) -> None:
    bench.mailbox.holds(1, 2)
    bench.run()
    bench.mailbox.key = replace(INBOX, uidvalidity=8)
    bench.run()

    assert found(bench, bench.plan()) == []


def test_a_mail_that_is_there_is_never_called_gone_whatever_the_criteria_say_of_it_now(bench: Bench) -> None:
    mailbox = searched(bench, 1, 2, 3, fitting=set())
    job = planned(bench, Selection(start_date=date(2024, 1, 1), search="LARGER 10"), {1, 2, 3}, high=3)

    assert found(bench, job) == []
    assert mailbox.asked == [Selection()]


def test_a_vanished_mail_that_is_back_is_named_whatever_the_criteria_say_of_it_now(bench: Bench) -> None:
    searched(bench, 1, fitting=set())
    job = planned(bench, Selection(search="LARGER 10"), {1}, high=1)
    run = bench.begin(job)
    (item,) = bench.ledger.items.claim(run, 1)
    bench.ledger.items.vanish(run, item)

    assert found(bench, job) == [(Finding.BACK, 1)]


def test_only_mail_that_the_criteria_select_is_missed(bench: Bench) -> None:
    searched(bench, 1, 2, 3, fitting={1, 2})
    job = planned(bench, Selection(search="LARGER 10"), {1}, high=3)

    assert found(bench, job) == [(Finding.NOT_PLANNED, 2)]


def test_a_selected_folder_without_a_plan_is_named(bench: Bench) -> None:
    searched(bench, 1, fitting={1})
    job = planned(bench, Selection(folders=("INBOX", "Sent")), {1}, high=1)

    (difference,) = compared(bench, job).differences

    assert (difference.kind, difference.folder) == (Finding.UNPLANNED, "Sent")
    assert "the next run plans the rest" in difference.sentence


def test_a_plan_whose_mailbox_was_removed_by_hand_counts_as_not_planned(tmp_path: Path) -> None:
    bench = Bench(tmp_path, url=f"sqlite:///{tmp_path}/cut.db")
    searched(bench, 1, fitting={1})
    job = planned(bench, Selection(folders=("INBOX",)), {1}, high=1)
    with closing(sqlite3.connect(tmp_path / "cut.db")) as connection, connection:
        connection.execute("DELETE FROM mailbox")

    differences = compared(bench, job).differences
    bench.close()

    assert [(each.kind, each.folder) for each in differences] == [(Finding.UNPLANNED, "INBOX")]


def test_a_folder_that_is_not_planned_to_its_end_is_named(bench: Bench) -> None:
    bench.mailbox.holds(1)
    job = bench.ledger.jobs.open(INBOX.account, Selection(), bench.classifier.fingerprint, dry_run=False)
    bench.ledger.plans.freeze(job.id, bench.ledger.plans.open_mailbox(INBOX), 5)

    assert found(bench, job) == [(Finding.UNPLANNED, None)]


def test_a_stop_request_ends_it_with_what_was_found_and_says_so(bench: Bench) -> None:
    searched(bench, 1, 2, fitting={1, 2}).stop = bench.stop
    job = planned(bench, Selection(folders=("INBOX", "Sent")), {1}, high=2)

    comparison = compared(bench, job)

    assert not comparison.is_complete
    assert {difference.kind for difference in comparison.differences} == {Finding.UNPLANNED, Finding.NOT_PLANNED}
    assert any("SIGINT" in note for note in comparison.notes)


@pytest.mark.parametrize(
    "criteria", ["UNSEEN", "FROM bob NOT KEYWORD AIProcessed", "unkeyword x", "NEW", r'FROM "a \" b" SEEN']
)
def test_criteria_that_change_are_not_asked_again_and_that_is_said(bench: Bench, criteria: str) -> None:
    searched(bench, 1, 2, 3, fitting={1, 2, 3})
    job = planned(bench, Selection(search=criteria), set(), high=3)

    comparison = compared(bench, job)

    assert comparison.differences == ()
    assert comparison.is_complete
    (note,) = comparison.notes
    assert criteria in note


@pytest.mark.parametrize("criteria", ['SUBJECT "something new"', r'FROM "the \"old\" seen"', "LARGER 1000"])
def test_words_that_are_searched_for_are_no_criteria_that_change(bench: Bench, criteria: str) -> None:
    searched(bench, 1, 2, fitting={1, 2})
    job = planned(bench, Selection(search=criteria), {1}, high=2)

    assert found(bench, job) == [(Finding.NOT_PLANNED, 2)]
    assert compared(bench, job).notes == ()
