"""`verify` against the server: what was missed, what is gone, what is back, and what nobody can say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backfill.ledger.rows import Job
from backfill.selection import Selection
from backfill.verification import Finding, Verification
from tests.support.bench import INBOX, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.ledger.close()


def found(bench: Bench, job: Job) -> list[tuple[Finding, int | None]]:
    return [(d.kind, d.uid) for d in Verification(bench.ledger, bench.mailbox).differences(job)]


def test_a_finished_job_agrees_with_the_server(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 31))
    bench.run()

    assert found(bench, bench.plan()) == []


def test_a_mail_that_planning_missed_is_found_and_repaired(bench: Bench) -> None:
    bench.mailbox.holds(1, 3, 4)
    bench.run()
    bench.mailbox.holds(2)
    job = bench.plan()
    verification = Verification(bench.ledger, bench.mailbox)

    missed = verification.differences(job)
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
    verification = Verification(bench.ledger, bench.mailbox)

    verification.repair(job, verification.differences(job))
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


@pytest.mark.parametrize("criteria", ["UNSEEN", "FROM bob NOT KEYWORD AIProcessed", "unkeyword x", "NEW"])
def test_criteria_that_change_are_not_asked_again(bench: Bench, criteria: str) -> None:
    bench.mailbox.holds(1, 2, 3)
    job = bench.ledger.jobs.open(INBOX.account, Selection(search=criteria), bench.classifier.fingerprint, dry_run=False)
    mailbox_id = bench.ledger.jobs.open_mailbox(INBOX)
    window = bench.ledger.jobs.freeze(job.id, mailbox_id, 3)
    bench.ledger.jobs.plan_window(window, 3, [])

    assert found(bench, job) == []
