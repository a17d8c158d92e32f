"""`verify` finds what does not agree, and says which mail it concerns."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from sqlalchemy.engine import make_url

from backfill.ledger import Ledger
from backfill.ledger.reads.audit import DifferenceKind
from tests.support.ledgers import Bench, inbox


@pytest.fixture
def worked(bench):
    """UID 11 done with its receipt, 12 failed, 13 pending."""
    bench.plan(11, 12, 13)
    run = bench.run()
    done, failed, _ = bench.claim(run)
    bench.finish(run, done, bench.record(run, done).verdict, "flags")
    bench.ledger.items.fail(run, failed, "refused")
    bench.end(run)
    return bench


def test_a_ledger_that_was_worked_with_agrees_with_itself(worked):
    assert worked.ledger.audit.differences(worked.job.id, ["flags"]) == []


DAMAGE = {
    DifferenceKind.COUNT: (None, "DELETE FROM item WHERE uid = 13"),
    DifferenceKind.OUTSIDE_PLAN: (13, "UPDATE plan_range SET next_uid = 13"),
    DifferenceKind.CLOSED_EPOCH: (13, "UPDATE mailbox SET closed_at = 1"),
    DifferenceKind.NO_OUTCOME: (12, "DELETE FROM outcome WHERE status = 'failed'"),
    DifferenceKind.TWICE_FINAL: (
        11,
        """INSERT INTO outcome (item_id, run_id, status, labels, supersedes, at)
           SELECT item_id, run_id, status, labels, supersedes, at FROM outcome WHERE status = 'done'""",
    ),
    DifferenceKind.NO_VERDICT: (11, "UPDATE item SET message_key = 'other' WHERE uid = 11"),
    DifferenceKind.DEAD_CLAIM: (13, "UPDATE item SET claimed_by = (SELECT MIN(id) FROM run) WHERE uid = 13"),
    DifferenceKind.DEAD_ATTEMPT: (
        13,
        """INSERT INTO attempt (item_id, run_id, started_at, outcome)
           SELECT i.id, r.id, 1, 'open' FROM item i, run r WHERE i.uid = 13""",
    ),
    DifferenceKind.NO_RECEIPT: (11, "DELETE FROM receipt"),
    DifferenceKind.OPEN_IN_DONE_JOB: (13, "UPDATE job SET state = 'done'"),
}


def test_every_kind_of_difference_is_tried():
    assert set(DAMAGE) == set(DifferenceKind)


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_does_not_agree_is_found_and_named(worked, kind):
    uid, damage = DAMAGE[kind]
    assert worked.write(damage) > 0

    (difference,) = worked.ledger.audit.differences(worked.job.id, ["flags"])

    assert (difference.kind, difference.folder, difference.uid) == (kind, "INBOX", uid)
    assert difference.sentence.startswith("INBOX")
    assert difference.sentence.endswith(".")
    assert uid is None or str(uid) in difference.sentence


def test_an_output_that_was_taken_back_on_purpose_is_no_difference(worked):
    worked.write("UPDATE receipt SET undone_at = 1")

    assert worked.ledger.audit.differences(worked.job.id, ["flags"]) == []


def test_a_dry_run_needs_no_receipts(bench):
    dry = bench.open_job(dry_run=True)
    bench.plan(11, job=dry)
    bench.work_off(bench.run(dry))

    assert bench.ledger.audit.differences(dry.id, ["flags", "notes"]) == []


def test_another_job_is_another_matter(worked):
    other = worked.open_job(dry_run=True)
    worked.plan(1, job=other, mailbox=inbox(folder="Archive"))
    worked.write("DELETE FROM receipt")

    assert worked.ledger.audit.differences(other.id, ["flags"]) == []


def test_so_many_differences_of_a_kind_are_listed_and_no_more(bench):
    bench.plan(*range(1, 50))
    bench.write("UPDATE mailbox SET closed_at = 1")

    assert len(bench.ledger.audit.differences(bench.job.id, limit=10)) == 10


def test_repair_gives_back_what_ended_runs_hold_and_opens_a_job_that_has_work(worked):
    for kind in (DifferenceKind.DEAD_CLAIM, DifferenceKind.DEAD_ATTEMPT, DifferenceKind.OPEN_IN_DONE_JOB):
        worked.write(DAMAGE[kind][1])

    repaired = worked.ledger.audit.repair(worked.job.id)

    assert repaired == 3
    assert worked.ledger.audit.differences(worked.job.id, ["flags"]) == []


def test_repair_leaves_a_living_run_alone(worked):
    run = worked.run()
    (item,) = worked.claim(run)
    worked.open_attempt(run, item)

    assert worked.ledger.audit.repair(worked.job.id) == 0
    assert worked.item(13).claimed_by == run.id


@pytest.mark.parametrize("damage", ["DELETE FROM item WHERE uid = 13", "DELETE FROM plan_range"])
def test_what_somebody_has_removed_is_planned_again_by_a_repair(worked, damage):
    worked.write(damage)
    assert worked.ledger.audit.differences(worked.job.id, ["flags"])

    worked.ledger.audit.repair(worked.job.id)
    worked.ledger.plans.plan_again(worked.job.id)
    worked.plan(11, 12, 13)

    assert worked.statuses() == {11: "done", 12: "failed", 13: "pending"}
    assert worked.ledger.audit.differences(worked.job.id, ["flags"]) == []


def test_mail_that_is_planned_again_does_not_bear_the_outcome_of_what_was_removed(sqlite_url, clock):
    bench = Bench(Ledger.open(sqlite_url, clock), clock)
    bench.plan(11, 12)
    bench.work_off(run := bench.run())
    bench.end(run)
    with closing(sqlite3.connect(make_url(sqlite_url).database)) as connection:
        connection.execute("DELETE FROM item WHERE uid = 12")
        connection.commit()

    bench.ledger.audit.repair(bench.job.id)
    bench.ledger.plans.plan_again(bench.job.id)
    bench.plan(11, 12)

    assert bench.outcomes() == [(11, "done", False)]
    assert bench.ledger.audit.differences(bench.job.id) == []
    bench.close()
