"""What a report tells of a job's answers: every value counted, labels by today's thresholds, some reasons."""

from __future__ import annotations

from dataclasses import replace

from backfill.ledger.reads.answers import MOST_EXAMPLES
from backfill.rubric import Category, Rubric, Score
from backfill.selection import Selection
from backfill.verdict import Answer, Scores
from tests.support.ledgers import ACCOUNT, FINGERPRINT, Bench

NAMES = ("no", "null", "2024-01-01")
RUBRIC = Rubric(
    (Score("tax", "the tax office wants it", 7, None), Score("no", "it is refused", 5, None)),
    tuple(Category(name if name != "no" else "No way", "mail", None) for name in NAMES),
    reason=True,
)


def work_off(bench: Bench, *answers: Answer) -> None:
    """A job of the rubric whose mails get these answers; the last one stays without effects."""
    bench.job = bench.ledger.jobs.open(ACCOUNT, Selection(), FINGERPRINT, RUBRIC, dry_run=False, generation=1)
    bench.plan(*range(1, len(answers) + 1))
    run = bench.run()
    for item, answer in zip(bench.claim(run), answers, strict=True):
        verdict = bench.record(run, item, answer=answer).verdict
        if item.ref.uid < len(answers):
            bench.finish(run, item, verdict)


def said(tax: int, no: int, category: str, reason: str = "") -> Answer:
    return Answer(Scores.of(tax=tax, no=no), "chat", category=category, reason=reason)


def test_every_answer_is_counted_and_labels_are_those_of_done_mails(bench: Bench) -> None:
    work_off(bench, said(7, 0, "null"), said(10, 5, "null"), said(0, 10, "2024-01-01"), said(9, 9, "No way"))

    summary = bench.ledger.report.summary(bench.job)

    tax, no = summary.scores
    assert (tax.mails[0], tax.mails[7], tax.mails[9], tax.mails[10], sum(tax.mails)) == (1, 1, 1, 1, 4)
    assert (no.name, no.mails[5], sum(no.mails)) == ("no", 1, 4)
    assert summary.categories == (("No way", 1), ("null", 2), ("2024-01-01", 1))
    assert summary.labels == (("tax", 2), ("no", 2), ("No way", 0), ("null", 2), ("2024-01-01", 1))


def test_labels_follow_todays_thresholds_for_the_names_that_the_job_asks_for(bench: Bench) -> None:
    work_off(bench, said(7, 0, "null"), said(1, 0, "null"), said(0, 0, "null"))
    today = Rubric((replace(RUBRIC.scores[0], threshold=1), Score("new", "x", 0, None)))

    summary = bench.ledger.report.summary(bench.job, today)

    assert dict(summary.labels)["tax"] == 2
    assert [(each.name, each.score.threshold) for each in summary.scores] == [("tax", 1), ("no", 5)]


def test_some_reasons_are_told_of_each_label_when_they_are_asked_for(bench: Bench) -> None:
    work_off(bench, *(said(9, 0, "null", f"Because {number}.") for number in range(9)), said(0, 9, "No way", "x"))

    told = bench.ledger.report.summary(bench.job, with_examples=True).examples

    assert [(each.label, each.uid, each.reason) for each in told] == [
        ("tax", 9, "Because 8."),
        ("tax", 8, "Because 7."),
        ("null", 9, "Because 8."),
        ("null", 8, "Because 7."),
    ]
    assert len(told) == 2 * MOST_EXAMPLES
    assert bench.ledger.report.summary(bench.job).examples == ()


def test_a_job_of_before_asks_for_importance_and_spam(bench: Bench) -> None:
    bench.plan(1, 2)
    bench.work_off(bench.run())
    bench.write("UPDATE job SET rubric = NULL")

    job = bench.ledger.jobs.get(bench.job.id)
    assert job is not None
    summary = bench.ledger.report.summary(job)

    assert [each.name for each in summary.scores] == ["importance", "spam"]
    assert summary.labels == (("important", 2), ("spam", 0))
    assert summary.categories == ()
