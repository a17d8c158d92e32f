"""What a watcher is told: who is alive by the lock and by nothing else, how fast, what went wrong, and quickly."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from backfill.hours import Hours
from backfill.ledger.budgets import Reservation
from backfill.ledger.reads.rates import PerMail
from backfill.ledger.rows import Item
from backfill.lifecycle import AttemptOutcome, ItemStatus
from backfill.verdict import Usage
from tests.support.ledger_worker import worker
from tests.support.ledgers import answer
from tests.support.query_plans import plans

API = "calls:api"


def call(bench, run, item: Item, *, seconds: float = 2.0, outcome: AttemptOutcome | None = None) -> None:
    """A call that takes so long, and its end: the verdict, recorded and done, or what it came to."""
    attempt = bench.open_attempt(run, item)
    bench.clock.turn(seconds)
    if outcome is None:
        usage = answer(tokens_in=100, tokens_out=10)
        verdict = bench.record(run, item, answer=usage, attempt_id=attempt).verdict
        bench.finish(run, item, verdict)
    else:
        bench.ledger.attempts.close(attempt, outcome, Usage(http_status=503))


def test_a_job_is_at_work_as_long_as_its_run_holds_the_lock(bench):
    bench.plan(1)
    before = bench.ledger.status.is_at_work(bench.job.id)
    bench.run()
    meanwhile = bench.ledger.status.is_at_work(bench.job.id)
    for lock in bench.locks:
        lock.drop()

    after = bench.ledger.status.is_at_work(bench.job.id)

    assert (before, meanwhile, after) == (False, True, False)


def test_a_run_that_was_killed_is_not_at_work_although_it_has_not_said_so(bench, ledger_url):
    bench.plan(1, 2)

    with worker(ledger_url, bench.clock.seconds, claimed=1):
        alive = bench.ledger.status.of(bench.job.id)
    killed = bench.ledger.status.of(bench.job.id)

    assert [run.info.command for run in alive.speed.runs] == ["run"]
    assert killed.speed.runs == ()
    assert killed.last_run is not None
    assert killed.last_run.outcome is None


def test_asking_whether_a_run_is_alive_takes_the_lock_from_nobody(bench):
    bench.plan(1)
    run = bench.run()
    bench.ledger.status.of(bench.job.id)
    bench.end(run)
    bench.write("UPDATE run SET ended_at = NULL, outcome = NULL")  # as if it had died
    for lock in bench.locks:
        lock.drop()
    bench.ledger.status.of(bench.job.id)

    lock = bench.ledger.runs.lock()
    bench.ledger.runs.take(lock)

    assert lock.prove()
    lock.drop()


def test_the_counts_are_those_of_the_rows(bench):
    bench.plan(*range(1, 8), skipped={8: "processed", 9: "processed"})
    run = bench.run()
    items = {item.ref.uid: item for item in bench.claim(run, 5)}
    for uid in (1, 2):
        call(bench, run, items[uid])
    bench.ledger.items.fail(run, items[3], "unreadable")
    bench.ledger.items.vanish(run, items[4])

    counts = bench.ledger.status.tally(bench.job.id).counts

    counted = bench.rows("SELECT status, COUNT(*) AS mails FROM item GROUP BY status")
    assert {row.status: row.mails for row in counted} == {
        ItemStatus.DONE: counts.done,
        ItemStatus.FAILED: counts.failed,
        ItemStatus.SKIPPED: counts.skipped,
        ItemStatus.VANISHED: counts.vanished,
        ItemStatus.PENDING: counts.pending,
    }
    assert (counts.found, counts.done, counts.pending) == (9, 2, 3)


def test_rates_are_those_of_the_living_run(bench):
    bench.plan(*range(1, 11))
    run = bench.run()
    for item in bench.claim(run, 4):
        call(bench, run, item, seconds=15)
    (open_item, *_) = bench.claim(run, 1)
    bench.open_attempt(run, open_item)

    speed = bench.ledger.status.speed(bench.job.id)

    assert speed.recent is not None
    assert (speed.recent.seconds, speed.recent.mails, speed.recent.calls) == (60.0, 4, 5)
    assert speed.recent.busy_seconds == 60.0
    assert speed.recent.tokens == 440
    assert [run.in_flight for run in speed.runs] == [1]


def test_mail_whose_verdict_was_known_took_no_work(bench):
    bench.plan(*range(1, 11))
    run = bench.run()
    first, *copies = bench.claim(run, 3)
    attempt = bench.open_attempt(run, first)
    bench.clock.turn(2)
    verdict = bench.record(run, first, "the same", attempt_id=attempt).verdict
    bench.finish(run, first, verdict)
    for copy in copies:
        bench.record(run, copy, "the same", known=verdict)
        bench.finish(run, copy, verdict)

    speed = bench.ledger.status.speed(bench.job.id)

    assert speed.recent is not None
    assert (speed.recent.mails, speed.recent.worked, speed.recent.calls, speed.takes.calls) == (3, 1, 1, 1.0)


def test_mail_that_a_gate_decided_took_no_call(bench):
    bench.plan(*range(1, 11))
    run = bench.run()
    asked, *gated = bench.claim(run, 4)
    call(bench, run, asked)
    for item in gated:
        bench.finish(run, item, bench.record(run, item).verdict)

    speed = bench.ledger.status.speed(bench.job.id)

    assert speed.recent is not None
    assert (speed.recent.worked, speed.recent.calls, speed.takes.calls) == (4, 1, 0.25)


@pytest.mark.parametrize("wish", ["resume", "pace"])
def test_what_was_before_a_pause_or_another_pace_makes_no_rate(bench, wish):
    bench.plan(*range(1, 11))
    run = bench.run()
    for item in bench.claim(run, 4):
        call(bench, run, item)
    bench.clock.turn(1)
    if wish == "resume":
        bench.ledger.steering.pause(bench.job.id, "paused by Ada")
        bench.clock.turn(100)
        bench.ledger.steering.resume(bench.job.id)
    else:
        bench.ledger.steering.set_pace(bench.job.id, 6.0)
    bench.clock.turn(20)
    for item in bench.claim(run, 2):
        call(bench, run, item, seconds=5)

    recent = bench.ledger.status.speed(bench.job.id).recent

    assert recent is not None
    assert (recent.seconds, recent.mails, recent.calls) == (30.0, 2, 2)


def test_the_pace_that_was_set_is_known_without_a_run(bench):
    bench.plan(1)
    bench.ledger.steering.set_pace(bench.job.id, 30.0)

    assert bench.ledger.status.tally(bench.job.id).pace == 30.0


def test_what_a_run_may_do_in_a_day_is_known_with_the_calls_that_were_made(bench):
    bench.plan(1, 2)
    run = bench.run()
    parameters = f'{{"api": "{API}", "max_per_day": 64, "between": "22:00-07:00"}}'
    bench.write("UPDATE run SET parameters = :parameters", parameters=parameters)
    (item,) = bench.claim(run, 1)
    bench.open_attempt(run, item)
    bench.ledger.budgets.open_calls(bench.clock.now(), API, 64)

    speed = bench.ledger.status.speed(bench.job.id)

    assert [(each.max_per_day, each.between) for each in speed.runs] == [(64, Hours.parse("22:00-07:00"))]
    assert speed.throttle.made_today == 1


def test_what_a_run_may_spend_is_known_with_what_is_taken_and_what_a_mail_takes(bench):
    bench.plan(1, 2, 3)
    run = bench.run()
    parameters = '{"max_cost_usd": "0.05", "max_emails": 64}'
    bench.write("UPDATE run SET parameters = :parameters", parameters=parameters)
    of_job = bench.ledger.budgets.open(bench.job.id, 50_000_000)
    for item in bench.claim(run, 2):
        attempt = bench.open_attempt(run, item, Reservation(9_000_000, (of_job,)))
        verdict = bench.record(run, item, answer=answer(cost_usd=Decimal("0.004")), attempt_id=attempt).verdict
        bench.finish(run, item, verdict)

    speed = bench.ledger.status.speed(bench.job.id)

    assert [(each.max_emails, each.max_cost_usd) for each in speed.runs] == [(64, Decimal("0.05"))]
    assert speed.taken_usd == Decimal("0.008")
    assert speed.takes == PerMail(1.0, Decimal("0.004"))


def test_what_is_not_limited_has_no_budget(bench):
    bench.plan(1)
    bench.run()

    speed = bench.ledger.status.speed(bench.job.id)

    assert ([each.max_cost_usd for each in speed.runs], speed.taken_usd, speed.takes) == ([None], None, PerMail())


def test_what_a_mail_took_before_it_was_taken_up_again_is_not_what_the_next_one_takes(bench):
    bench.plan(1)
    run = bench.run()
    (item,) = bench.claim(run, 1)
    for _ in range(3):
        call(bench, run, item, outcome=AttemptOutcome.UNUSABLE)
    bench.ledger.items.fail(run, item, "answer_unusable")
    bench.end(run)
    again = bench.run(command="retry")
    bench.ledger.items.retry(again, ())
    (item,) = bench.claim(again, 1)
    call(bench, again, item)

    assert bench.ledger.status.speed(bench.job.id).takes.calls == 2.0  # three for the first outcome, one for the second


def test_only_answers_tell_how_long_an_answer_takes(bench):
    bench.plan(*range(1, 11))
    run = bench.run()
    answered, refused, waiting = bench.claim(run, 3)
    call(bench, run, answered, seconds=4)
    call(bench, run, refused, seconds=1, outcome=AttemptOutcome.UNAVAILABLE)
    bench.open_attempt(run, waiting)
    bench.clock.turn(30)

    recent = bench.ledger.status.speed(bench.job.id).recent

    assert recent is not None
    assert (recent.calls, recent.answered, recent.answer_seconds) == (3, 1, 4.0)


@pytest.mark.parametrize("successor", [False, True])
def test_the_time_of_a_killed_run_counts_up_to_its_last_sign_of_life(bench, successor):
    bench.plan(1, 2, 3)
    run = bench.run()
    first, second = bench.claim(run, 2)
    call(bench, run, first, seconds=4)
    bench.clock.turn(2)
    bench.open_attempt(run, second)
    bench.lock_of[run.id].drop()
    bench.clock.turn(3600)
    if successor:
        bench.run()

    assert bench.ledger.report.summary(bench.job).total_time == 6.0


def test_the_time_of_a_run_goes_on_from_its_last_heartbeat(bench):
    bench.plan(1, 2)
    run = bench.run()
    bench.clock.turn(100)
    bench.ledger.runs.beat(run, 90_000_000)  # it has slept for a while
    (item,) = bench.claim(run, 1)
    call(bench, run, item, seconds=3)

    assert bench.ledger.report.summary(bench.job).total_time == 93.0


def test_what_happened_long_ago_makes_no_rate(bench):
    bench.plan(*range(1, 11))
    run = bench.run()
    for item in bench.claim(run, 4):
        call(bench, run, item)
    bench.clock.turn(3600)

    recent = bench.ledger.status.speed(bench.job.id).recent

    assert recent is not None
    assert (recent.seconds, recent.mails, recent.calls) == (300.0, 0, 0)


def test_the_last_errors_are_named_newest_first_with_their_mail(bench):
    bench.plan(*range(1, 11))
    run = bench.run()
    first, second, third, *_ = bench.claim(run)
    call(bench, run, first, outcome=AttemptOutcome.UNAVAILABLE)
    call(bench, run, second)
    bench.ledger.items.fail(run, third, "refused")

    last_errors = bench.ledger.status.of(bench.job.id).last_errors

    assert [(trouble.reason, trouble.http_status, trouble.ref.uid) for trouble in last_errors] == [
        ("refused", None, 3),
        ("unavailable", 503, 1),
    ]


def test_spend_is_that_of_all_runs_of_the_job(bench):
    bench.plan(1, 2)
    for _ in range(2):
        run = bench.run()
        (item,) = bench.claim(run, 1)
        attempt = bench.open_attempt(run, item)
        bench.write("UPDATE attempt SET cost_nano = 2000000 WHERE id = :attempt", attempt=attempt)
        bench.end(run)

    assert str(bench.ledger.status.of(bench.job.id).spent_usd) == "0.004"


@pytest.mark.parametrize("waited_s", [0.0, 90.0])
def test_the_limit_is_waited_for_when_its_next_slot_lies_ahead(bench, waited_s):
    bench.plan(1)
    bench.run()
    bench.write("UPDATE run SET parameters = :parameters", parameters=f'{{"api": "{API}"}}')
    bench.ledger.throttles.set_rate(API, 2)
    for _ in range(3):
        bench.ledger.throttles.reserve(API, bench.clock.now_us())
    bench.clock.turn(waited_s)

    calls = bench.ledger.status.speed(bench.job.id).throttle.calls

    assert calls is not None
    assert calls.per_minute == 2.0
    assert calls.is_waited_for == (waited_s == 0.0)


def test_a_watcher_reads_no_table_that_grows(bench):
    bench.plan(*range(1, 2001))
    run = bench.run()
    bench.write(
        "INSERT INTO verdict (message_key, fingerprint, generation, scores, reason, source, explanation, truncated,"
        " created_at) VALUES ('key', 'print', 0, '{}', '', 'chat', '', FALSE, 1)"
    )
    bench.write("UPDATE item SET status = 'done', final_at = 1, verdict_id = 1 WHERE uid <= 1900")
    bench.write(
        "INSERT INTO attempt (item_id, run_id, started_at, outcome, cost_nano) SELECT id, :run, 1, 'ok', 1 FROM item",
        run=run.id,
    )
    bench.write(
        "INSERT INTO outcome (item_id, run_id, status, labels, supersedes, at)"
        " SELECT id, :run, 'done', '', FALSE, 1 FROM item",
        run=run.id,
    )

    plan = plans(bench, lambda: bench.ledger.status.of(bench.job.id))

    grows = "item|attempt|outcome|verdict"
    assert not re.search(rf"SCAN ({grows})(?! USING)|Seq Scan on ({grows})", plan), plan
    assert not re.search("autoindex_item|uq_item_job_id", plan), plan  # through which a whole job would be read
    assert all(index in plan for index in ("ix_item_claimable", "ix_item_failed", "ix_attempt_cost")), plan


@pytest.mark.parametrize("outcome", [AttemptOutcome.OK, AttemptOutcome.RATE_LIMITED, AttemptOutcome.UNKNOWN])
def test_a_call_that_belongs_to_no_run_changes_no_figure_of_a_job(bench, outcome):
    bench.plan(1, 2)
    run = bench.run()
    for item in bench.claim(run):
        call(bench, run, item)
    ledger, job = bench.ledger, bench.job

    def figures():
        return ledger.report.summary(job), ledger.status.of(job.id), ledger.audit.differences(job.id)

    before = figures()
    attempt = ledger.attempts.open_without_run(API, None)
    ledger.attempts.close(attempt, outcome, Usage(tokens_in=5, tokens_out=5, cost_usd=Decimal(1), http_status=429))

    assert figures() == before
