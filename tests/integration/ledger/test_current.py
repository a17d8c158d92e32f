"""Which verdict is a mail's current one, whatever the order in which jobs judged it."""

from __future__ import annotations

from itertools import permutations

import pytest

from backfill.ledger.current import superseded
from backfill.lifecycle import STANDING, ItemStatus, JobState
from backfill.selection import Selection
from tests.support.ledgers import ACCOUNT, FINGERPRINT, answer, inbox
from tests.support.query_plans import assert_uses, plans


@pytest.fixture
def overlapping(bench):
    """Makes jobs over the same mails. Each job asks anew, so its verdicts are its own."""

    def make(number: int, *uids: int, dry_runs: tuple[int, ...] = ()):
        jobs = [bench.open_job(generation=at + 1, dry_run=at in dry_runs) for at in range(number)]
        for job in jobs:
            bench.plan(*uids, job=job)
        return jobs

    return make


def judge(bench, job, *uids, importance=8):
    """Judge these mails of the job, and make them done."""
    run = bench.run(job)
    for item in bench.claim(run):
        if item.ref.uid in uids:
            found = bench.record(run, item, answer=answer(importance)).verdict
            bench.finish(run, item, found, "flags")
    bench.end(run)


def superseded_jobs(bench, uid):
    """The jobs whose verdict about the mail does not count, because a newer job's does."""
    rows = bench.rows(f"SELECT i.job_id FROM item i WHERE i.uid = :uid AND {superseded('i')} ORDER BY 1", uid=uid)
    return [row.job_id for row in rows]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_newest_job_counts_in_whatever_order_jobs_judge_a_mail(bench, overlapping, order):
    jobs = overlapping(3, 1)

    for place in order:
        judge(bench, jobs[place], 1)

    assert superseded_jobs(bench, 1) == [jobs[0].id, jobs[1].id]
    assert bench.ledger.current.count(jobs[0].id) == {jobs[2].id: 1}
    assert bench.ledger.current.count(jobs[2].id) == {}


def test_a_mail_that_the_newer_job_has_not_judged_yet_keeps_the_older_verdict(bench, overlapping):
    older, newer = overlapping(2, 1, 2)
    judge(bench, older, 1, 2)

    judge(bench, newer, 2)

    assert (superseded_jobs(bench, 1), superseded_jobs(bench, 2)) == ([], [older.id])


def test_a_dry_run_counts_for_no_mail(bench, overlapping):
    older, _ = jobs = overlapping(2, 1, dry_runs=(1,))

    for job in jobs:
        judge(bench, job, 1)

    assert superseded_jobs(bench, 1) == []
    assert bench.ledger.current.count(older.id) == {}


def test_two_jobs_that_agree_supersede_each_other_nowhere(bench):
    older, newer = bench.open_job(search="a"), bench.open_job(search="b")
    for job in (older, newer):
        bench.plan(1, job=job)

    for job in (older, newer):
        judge(bench, job, 1)

    assert bench.ledger.current.count(older.id) == {}


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("status", [ItemStatus.CLASSIFIED, ItemStatus.DONE, ItemStatus.FAILED, ItemStatus.VANISHED])
def test_a_newer_verdict_counts_only_as_long_as_it_stands(bench, overlapping, state, status):
    older, newer = overlapping(2, 1)
    for job in (older, newer):
        judge(bench, job, 1)

    bench.write("UPDATE job SET state = :state WHERE id = :job", state=state, job=newer.id)
    final = "NULL" if status is ItemStatus.CLASSIFIED else "1"
    bench.write(
        f"UPDATE item SET status = :status, final_at = {final} WHERE job_id = :job", status=status, job=newer.id
    )

    assert (older.id in superseded_jobs(bench, 1)) == (status in STANDING[state])


def test_the_same_number_in_another_folder_or_epoch_is_another_mail(bench):
    jobs = [bench.open_job(generation=1), bench.open_job(generation=2), bench.open_job(generation=3)]
    for job, mailbox in zip(jobs, (inbox(), inbox(folder="Archive"), inbox(uidvalidity=8)), strict=True):
        bench.plan(1, job=job, mailbox=mailbox)
        judge(bench, job, 1)

    assert superseded_jobs(bench, 1) == []


def test_a_mails_verdicts_are_found_without_reading_whole_jobs(bench, overlapping):
    jobs = overlapping(3, *range(1, 500))
    bench.write(
        "INSERT INTO verdict (message_key, fingerprint, generation, scores, reason, source, explanation, truncated,"
        " created_at) VALUES ('key', 'print', 0, '{}', '', 'chat', '', FALSE, 1),"
        " ('key', 'print', 1, '{}', '', 'chat', '', FALSE, 1)"
    )
    bench.write("UPDATE item SET status = 'classified', verdict_id = 1 + job_id % 2 WHERE uid < 490")
    run = bench.run(jobs[0])
    items = [item for item in bench.claim(run, 50) if item.verdict is not None]

    plan = plans(bench, lambda: bench.ledger.current.superseded(items))

    assert items
    assert_uses(plan, "ix_item_judged")


@pytest.mark.parametrize("state", [JobState.CANCELLED, JobState.UNDONE])
def test_a_job_that_was_given_up_makes_room_for_a_new_one_and_keeps_its_number(bench, state):
    given_up = bench.job
    bench.write("UPDATE job SET state = :state WHERE id = :job", state=state, job=given_up.id)

    anew = [bench.ledger.jobs.open(ACCOUNT, Selection(), FINGERPRINT, dry_run=False, anew=True) for _ in range(2)]

    assert [job.id for job in anew] == [given_up.id + 1] * 2  # the second time there is nothing given up
    assert bench.ledger.jobs.get(given_up.id).state is state
    assert bench.open_job().id == anew[0].id
