"""What became final is told once, in order, and the files that tell of it know how far they have got."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from decimal import Decimal

import pytest

from backfill.ledger import Ledger
from backfill.ledger.outcomes import Identity, write_outcome
from tests.support.ledgers import Bench, answer, inbox
from tests.support.query_plans import plans


def test_an_outcome_says_what_the_mail_cost_and_what_came_of_it(bench):
    bench.plan(11)
    run = bench.run()
    (item,) = bench.claim(run)
    attempt = bench.open_attempt(run, item)
    bench.clock.turn(2)
    paid = answer(9, tokens_in=700, tokens_out=20, cost_usd=Decimal("0.001"))
    verdict = bench.record(run, item, answer=paid, attempt_id=attempt).verdict
    bench.finish(run, item, verdict, labels=["important"])

    (row,) = bench.ledger.outcomes.after(0, 10)

    assert (row.ref, row.status, row.labels) == (item.ref, "done", ("important",))
    assert (row.scores, row.model) == (verdict.scores, verdict.model)
    assert (row.tokens, row.latency_us, row.cost_nano, row.run_uuid) == (720, 2_000_000, 1_000_000, run.uuid)
    assert {type(row.tokens), type(row.latency_us), type(row.cost_nano)} == {int}  # sums are decimals on PostgreSQL


def test_outcomes_come_in_order_and_in_pages(bench):
    bench.plan(*range(1, 8))
    bench.work_off(bench.run())

    first = bench.ledger.outcomes.after(0, 4)
    rest = bench.ledger.outcomes.after(first[-1].id, 4)

    assert [row.ref.uid for row in first + rest] == list(range(1, 8))


def test_a_dry_run_has_outcomes_that_no_file_is_told_of(bench):
    dry = bench.open_job(dry_run=True)
    bench.plan(11, job=dry)
    bench.work_off(bench.run(dry))

    assert bench.ledger.outcomes.after(0, 10) == []
    assert bench.outcomes() == [(11, "done", False)]


def test_a_second_outcome_of_a_mail_supersedes_the_first(bench):
    bench.plan(11)
    run = bench.run()
    bench.ledger.items.fail(run, bench.claim(run)[0], "refused")
    bench.ledger.items.retry(run)
    bench.work_off(run)

    assert bench.outcomes() == [(11, "failed", False), (11, "done", True)]


@pytest.mark.parametrize(
    ("first_dry", "then_dry", "supersedes"),
    [(False, False, True), (True, False, False), (False, True, False), (True, True, False)],
)
def test_an_outcome_supersedes_that_of_another_real_job_about_the_same_mail(bench, first_dry, then_dry, supersedes):
    first, then = (bench.open_job(dry_run=dry, generation=at) for at, dry in enumerate((first_dry, then_dry)))
    bench.plan(11, job=first)
    run = bench.run(first)
    bench.ledger.items.fail(run, bench.claim(run)[0], "refused")  # without a verdict
    bench.plan(11, job=then)
    bench.plan(11, job=then, mailbox=inbox(folder="Archive"))

    bench.work_off(bench.run(then))

    assert bench.outcomes()[1:] == [(11, "done", supersedes), (11, "done", False)]


def test_writing_an_outcome_reads_no_other_than_those_of_its_mail(bench):
    for generation in range(3):
        bench.plan(*range(1, 1_001), job=bench.open_job(generation=generation))
    bench.work_off(bench.run())

    plan = plans(bench, lambda: bench.work_off(bench.run()), kinds="INSERT INTO outcome", as_it_likes=False)

    assert not re.search(r"SCAN (earlier|same|outcome)|Seq Scan on (item|outcome)", plan), plan


def test_an_outcome_is_found_by_what_its_line_says(bench):
    bench.plan(11, 12)
    bench.work_off(bench.run())
    first, second = bench.ledger.outcomes.after(0, 10)
    said = Identity(second.ref, second.status, second.run_uuid, second.at)

    found = [bench.ledger.outcomes.find(each) for each in (said, replace(said, run_uuid="another"))]

    assert found == [second.id, None]
    assert bench.ledger.outcomes.find(replace(said, ref=first.ref)) == first.id


def test_a_sink_that_has_moved_meanwhile_is_not_moved_back(bench):
    outcomes = bench.ledger.outcomes
    new = outcomes.open_sink("host", "/var/analytics.jsonl")
    ahead = replace(new, committed_bytes=500, last_outcome_id=5)

    moves = [outcomes.advance(new, ahead), outcomes.advance(new, replace(new, committed_bytes=9, last_outcome_id=1))]

    assert moves == [True, False]
    assert outcomes.open_sink("host", "/var/analytics.jsonl") == ahead


def test_on_postgresql_an_outcome_that_commits_late_is_not_passed_by(postgres_url, clock):
    """Numbers are given out before they are committed: 2 may be there while 1 is still on its way."""
    bench = Bench(Ledger.open(postgres_url, clock), clock)
    slow, reader = Ledger.open(postgres_url, clock), Ledger.open(postgres_url, clock)
    bench.plan(11, 12)
    run = bench.run()
    late, early = bench.claim(run)
    numbered, go_on = threading.Event(), threading.Event()

    def fail_slowly(connection):
        write_outcome(connection, run, late.id, "failed", None, "refused", (), 1)
        numbered.set()
        go_on.wait(30)

    writing = threading.Thread(target=lambda: slow.database.write(fail_slowly))
    writing.start()
    numbered.wait(30)
    bench.ledger.items.fail(run, early, "refused")
    seen = []
    reading = threading.Thread(target=lambda: seen.extend(reader.outcomes.after(0, 10)))
    reading.start()
    while not bench.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
        reading.join(0.01)
    go_on.set()
    for thread in (writing, reading):
        thread.join()

    assert [row.ref.uid for row in seen] == [11, 12]
    for opened in (bench, slow, reader):
        opened.close()


def test_the_secret_of_a_ledger_stays_the_same(bench, ledger_url):
    other = Ledger.open(ledger_url)

    secrets = {bench.ledger.secrets.get("prompt"), other.secrets.get("prompt"), bench.ledger.secrets.get("prompt")}
    other.close()

    assert len(secrets) == 1
    assert bench.rows("SELECT name FROM fact") == [("prompt",)]
