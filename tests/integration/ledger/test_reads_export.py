"""The rows of an export: each judged or failed mail of a job once, as it is now, whatever goes on beside it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from backfill.ledger.reads import export
from tests.support.ledgers import answer, inbox
from tests.support.query_plans import assert_uses, plans


@pytest.fixture
def small_windows(monkeypatch):
    """A number, not our code: with 5,000 mails to a window a test of several takes long."""
    monkeypatch.setattr(export, "WINDOW", 3)


def rows(bench, job=None):
    return [row for window in bench.ledger.exports.windows((job or bench.job).id) for row in window]


def test_judged_and_failed_mails_are_told_and_the_others_are_not(bench):
    bench.plan(1, 2, 3, 4, skipped={5: "bears the processed keyword"})
    run = bench.run()
    done, failed, judged, _ = bench.claim(run)
    bench.finish(run, done, bench.record(run, done).verdict)
    bench.ledger.items.fail(run, failed, "refused")
    bench.record(run, judged)

    told = rows(bench)

    assert [(row.outcome.ref.uid, row.outcome.status, row.outcome.reason) for row in told] == [
        (1, "done", None),
        (2, "failed", "refused"),
        (3, "classified", None),
    ]
    assert [dict(row.outcome.scores) for row in told] == [
        {"importance": 8, "spam": 1},
        {},
        {"importance": 8, "spam": 1},
    ]
    assert [(row.sender, row.size) for row in told] == [("jo@example.com", 100), (None, None), ("jo@example.com", 100)]
    assert [row.outcome.run_uuid for row in told] == [run.uuid, run.uuid, None]


def test_a_mail_that_became_final_twice_is_told_once_with_all_that_it_cost(bench):
    bench.plan(1)
    run = bench.run()
    (item,) = bench.claim(run)
    bench.ledger.items.fail(run, item, "refused")
    bench.ledger.items.retry(run)
    (item,) = bench.claim(run)
    attempt = bench.open_attempt(run, item)
    paid = answer(tokens_in=700, tokens_out=20, cost_usd=Decimal("0.001"))
    bench.finish(run, item, bench.record(run, item, answer=paid, attempt_id=attempt).verdict)

    (told,) = rows(bench)

    assert (told.outcome.status, told.outcome.supersedes) == ("done", True)
    assert (told.outcome.tokens, told.outcome.cost_nano) == (720, 1_000_000)


def test_windows_come_in_the_order_of_folders_and_uids_without_a_gap(bench, small_windows):
    bench.plan(*range(1, 8))
    bench.plan(*range(3, 6), mailbox=inbox(folder="Archive"))
    bench.work_off(bench.run())

    told = [row.outcome.ref for row in rows(bench)]

    assert [(ref.mailbox.folder, ref.uid) for ref in told] == [
        *(("INBOX", uid) for uid in range(1, 8)),
        *(("Archive", uid) for uid in range(3, 6)),
    ]


def test_a_run_goes_on_between_two_windows(bench, small_windows):
    bench.plan(*range(1, 9))
    run = bench.run()
    for item in bench.claim(run, 4):
        bench.finish(run, item, bench.record(run, item).verdict)
    windows = bench.ledger.exports.windows(bench.job.id)
    told = next(windows)
    bench.work_off(run)

    told += [row for window in windows for row in window]

    assert [row.outcome.ref.uid for row in told] == list(range(1, 9))


def test_a_mail_that_a_newer_job_has_judged_otherwise_is_superseded(bench):
    newer = bench.open_job(generation=1)
    bench.plan(1, 2)
    bench.plan(2, 3, job=newer)
    bench.work_off(bench.run())
    bench.work_off(bench.run(newer))

    told = {job.id: {row.outcome.ref.uid: row.superseded for row in rows(bench, job)} for job in (bench.job, newer)}

    assert told == {bench.job.id: {1: False, 2: True}, newer.id: {2: False, 3: False}}


def test_a_window_is_found_by_an_index(bench):
    bench.plan(*range(1, 2_001))
    bench.work_off(bench.run())
    bench.open_job(generation=1)
    bench.plan(5, job=bench.open_job(generation=1))

    plan = plans(bench, lambda: next(bench.ledger.exports.windows(bench.job.id)))

    assert_uses(plan, "uq_item_job_id", "sqlite_autoindex_item_1")
