"""The same question is paid for once: across folders, jobs, dry runs, epochs and generations."""

from __future__ import annotations

import pytest

from backfill.errors import AskedElsewhere
from backfill.ledger.attempts import Question
from backfill.ledger.rows import Item, Run
from backfill.lifecycle import AttemptOutcome, ItemStatus
from backfill.verdict import Usage
from tests.support.barrier import at_once
from tests.support.ledgers import ACCOUNT, FINGERPRINT, answer, inbox, mail
from tests.support.ledgers import receipt as make_receipt


@pytest.fixture
def paid(bench):
    """A verdict on a mail in INBOX, UID 11, whose subject is "invoice"."""
    bench.plan(11)
    run = bench.run()
    (item,) = bench.claim(run)
    recorded = bench.record(run, item, "invoice", answer=answer(9))
    bench.finish(run, item, recorded.verdict, "flags")
    bench.end(run)
    return recorded.verdict


def known(bench, generation=0):
    key = bench.value("SELECT message_key FROM verdict")
    return bench.ledger.verdicts.known(FINGERPRINT.digest(), generation, [key]).get(key)


def test_a_copy_in_another_folder_is_known(bench, paid):
    bench.plan(1, mailbox=inbox(folder="Archive"))
    run = bench.run()
    (copy,) = bench.claim(run)

    recorded = bench.record(run, copy, "invoice", known=known(bench))

    assert recorded.verdict == paid
    assert (recorded.is_ours, recorded.is_reused) == (True, True)
    assert bench.ledger.report.summary(bench.job).calls.reused == 1


def test_another_job_knows_it_and_finds_its_receipts(bench, paid):
    wider = bench.open_job(folders=("INBOX", "Archive"))
    bench.plan(11, job=wider)
    run = bench.run(wider)
    (item,) = bench.claim(run)

    recorded = bench.record(run, item, "invoice", known=known(bench))

    assert {effect: kept.verdict_id for effect, kept in recorded.receipts.items()} == {"flags": paid.id}
    assert bench.finish(run, item, recorded.verdict)
    assert bench.value("SELECT COUNT(*) FROM receipt") == 1


def test_what_a_dry_run_has_asked_is_known_to_the_real_one(bench):
    dry = bench.open_job(dry_run=True)
    bench.plan(11, job=dry)
    run = bench.run(dry)
    bench.work_off(run)
    bench.end(run)

    bench.plan(11)
    (item,) = bench.claim(bench.run())

    assert set(bench.ledger.verdicts.known(bench.job.fingerprint, 0, [mail(item).key])) == {mail(item).key}
    assert bench.current_receipts(item) == [{}]


def test_after_a_uidvalidity_change_nothing_is_paid_again(bench, paid):
    bench.plan(1, mailbox=inbox(uidvalidity=8))
    run = bench.run()
    (renumbered,) = bench.claim(run)

    recorded = bench.record(run, renumbered, "invoice", known=known(bench))

    assert recorded.verdict == paid
    assert recorded.receipts == {}  # another epoch: whether its keyword is there is not known


def test_another_prompt_knows_nothing(bench, paid):
    key = bench.value("SELECT message_key FROM verdict")

    assert bench.ledger.verdicts.known("another fingerprint", 0, [key]) == {}


def test_asking_again_makes_a_generation_and_asks_once_however_often_it_is_interrupted(bench, paid):
    jobs = bench.ledger.jobs
    generation = jobs.next_generation(ACCOUNT, bench.job.selection, bench.job.fingerprint)
    again = bench.open_job(generation=generation)
    bench.plan(11, job=again)
    run = bench.run(again)
    (item,) = bench.claim(run)
    before = known(bench, generation)
    bench.record(run, item, "invoice", answer=answer(2))
    bench.end(run)

    resumed = jobs.next_generation(ACCOUNT, bench.job.selection, bench.job.fingerprint)

    assert (before, generation, resumed) == (None, 1, 1)
    assert known(bench, generation).scores["importance"] == 2
    assert known(bench, 0).scores["importance"] == 2  # the newest is what an ordinary job goes by
    assert bench.value("SELECT COUNT(*) FROM verdict") == 2


def test_a_generation_that_is_done_is_followed_by_the_next(bench, paid):
    again = bench.open_job(generation=1)
    bench.plan(11, job=again)
    bench.work_off(bench.run(again))
    bench.ledger.jobs.settle(again.id)

    assert bench.ledger.jobs.next_generation(ACCOUNT, bench.job.selection, bench.job.fingerprint) == 2


def test_two_copies_that_were_both_asked_share_the_first_verdict_and_both_costs_are_booked(bench):
    bench.plan(11, 12)
    run = bench.run()
    one, other = bench.claim(run)
    attempts = [bench.open_attempt(run, item) for item in (one, other)]

    first = bench.record(run, one, "same", answer=answer(9, tokens_in=1), attempt_id=attempts[0])
    second = bench.record(run, other, "same", answer=answer(2, tokens_in=2), attempt_id=attempts[1])

    assert first.verdict == second.verdict
    assert bench.rows("SELECT outcome, tokens_in FROM attempt ORDER BY id") == [("ok", 1), ("late", 2)]
    assert bench.statuses() == {11: "classified", 12: "classified"}


# Between runs.


def ask(bench, run: Run, item: Item, subject: str = "same") -> int:
    """Open the attempt that asks about this content."""
    question = Question.about(bench.job, mail(item, subject).key)
    return bench.open_attempt(run, item, question=question)


@pytest.fixture
def copies(bench):
    """Two copies of a mail, each held by a run of its own where the database has room for two."""
    bench.plan(11, 12)
    one = bench.run()
    other = one if bench.ledger.database.is_sqlite else bench.run()
    return (one, *bench.claim(one, 1)), (other, *bench.claim(other, 1))


def test_a_question_that_is_being_asked_is_not_asked_a_second_time(bench, copies):
    one, other = copies
    ask(bench, *one)

    with pytest.raises(AskedElsewhere):
        ask(bench, *other)

    ask(bench, *other, subject="another")
    assert bench.value("SELECT COUNT(*) FROM attempt") == 2


def test_of_two_runs_that_ask_the_same_at_the_same_moment_one_does(bench, copies):
    results = at_once(*[lambda copy=copy: ask(bench, *copy) for copy in copies])

    assert sorted(type(result).__name__ for result in results) == ["AskedElsewhere", "int"]
    assert bench.value("SELECT COUNT(*) FROM attempt") == 1


def test_a_question_that_was_answered_meanwhile_is_not_asked(bench, copies):
    one, other = copies
    bench.record(*one, "same", attempt_id=ask(bench, *one))

    with pytest.raises(AskedElsewhere):
        ask(bench, *other)

    assert bench.value("SELECT COUNT(*) FROM attempt") == 1


@pytest.mark.parametrize("outcome", [AttemptOutcome.RATE_LIMITED, AttemptOutcome.UNUSABLE, AttemptOutcome.UNSENT])
def test_a_question_that_brought_no_verdict_may_be_asked_again(bench, copies, outcome):
    one, other = copies
    bench.ledger.attempts.close(ask(bench, *one), outcome, Usage())

    assert ask(bench, *other)


def test_a_run_that_ends_with_its_question_open_leaves_it_to_the_others(bench):
    bench.plan(11, 12)
    first = bench.run()
    ask(bench, first, bench.claim(first, 1)[0])
    bench.end(first)
    second = bench.run()

    assert ask(bench, second, bench.claim(second, 1)[0])


def test_another_generation_is_another_question(bench):
    again = bench.open_job(generation=1)

    assert Question.about(bench.job, "key").digest() != Question.about(again, "key").digest()


# Receipts.


def test_a_receipt_survives_the_run_that_brought_the_effect_about(bench):
    bench.plan(11)
    run = bench.run()
    (item,) = bench.claim(run)
    verdict = bench.record(run, item).verdict
    bench.ledger.receipts.keep(item, verdict, [make_receipt(item.ref, "notes", path="a.md")])
    bench.end(run)

    (again,) = bench.claim(bench.run())

    assert bench.current_receipts(again) == [{"notes": verdict.id}]
    assert bench.status(11) is ItemStatus.CLASSIFIED


def test_a_receipt_is_one_for_each_mail_and_effect_and_the_latest_counts(bench):
    bench.plan(11)
    run = bench.run()
    (item,) = bench.claim(run)
    verdict = bench.record(run, item).verdict
    for keywords in (["A"], ["A", "B"]):
        bench.ledger.receipts.keep(item, verdict, [make_receipt(item.ref, "flags", keywords=keywords)])

    assert bench.rows("SELECT detail FROM receipt") == [('{"keywords": ["A", "B"]}',)]


def test_a_receipt_that_was_undone_does_not_count(bench, paid):
    bench.write("UPDATE receipt SET undone_at = 1")
    wider = bench.open_job(folders=("INBOX", "Archive"))
    bench.plan(11, job=wider)
    (item,) = bench.claim(bench.run(wider))

    assert bench.current_receipts(item) == [{}]


def test_the_flags_of_before_are_those_of_the_first_time(bench):
    bench.plan(11)
    run = bench.run()
    (item,) = bench.claim(run)
    bench.write("UPDATE item SET flags_before = :flags", flags='["\\\\Seen"]')

    bench.record(run, item)

    assert bench.item(11).flags_before == '["\\\\Seen"]'
