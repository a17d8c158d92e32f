"""Working off a job: what a mail, an answer, an outage or a stop come to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from backfill.clock import micros
from backfill.errors import (
    AnswersUnusable,
    AnswerUnusable,
    BackfillError,
    EffectRefused,
    EffectUnavailable,
    KeyRefused,
    MailboxChanged,
    MessageRefused,
    RateLimited,
    ServiceUnavailable,
)
from backfill.lifecycle import RunOutcome
from backfill.message import MailboxKey, Message
from backfill.ports import Unfetched
from backfill.verdict import Scores
from tests.support.bench import Bench, BenchMailbox


@pytest.fixture
def bench(tmp_path: Path, ledger_url: str) -> Iterator[Bench]:
    bench = Bench(tmp_path, url=ledger_url)
    yield bench
    bench.close()


def refusing(*uids: int, error: Callable[[], BackfillError]) -> Callable[[Message], Scores]:
    """Answers that are errors for some mails."""

    def answer(message: Message) -> Scores:
        if message.ref.uid in uids:
            raise error()
        return Scores.of(importance=9, spam=1)

    return answer


def first(times: int, error: Callable[[], BackfillError]) -> Callable[[Message], Scores]:
    """Answers of which so many, the first ones, are errors."""
    left = [times]

    def answer(message: Message) -> Scores:
        left[0] -= 1
        if left[0] >= 0:
            raise error()
        return Scores.of(importance=9, spam=1)

    return answer


def test_every_mail_is_asked_about_once_and_done(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 121))

    ended = bench.run()

    assert ended.outcome is RunOutcome.FINISHED
    assert sorted(bench.classifier.asked_about) == list(range(1, 121))
    assert sorted(bench.effect.applied) == list(range(1, 121))
    assert set(bench.statuses().values()) == {"done"}
    assert bench.attempts() == ["ok"] * 120


def test_copies_of_a_mail_are_asked_about_once_also_while_the_question_is_in_flight(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 41), subject="the same")

    bench.run(concurrency=8)

    assert len(bench.classifier.asked_about) == 1
    assert set(bench.statuses().values()) == {"done"}


def test_a_dry_run_pays_and_the_real_run_after_it_does_not(bench: Bench) -> None:
    bench.mailbox.holds(1, 2, 3)

    bench.run(dry_run=True)
    paid, written = len(bench.classifier.asked_about), list(bench.effect.applied)
    bench.run()

    assert (paid, written) == (3, [])
    assert len(bench.classifier.asked_about) == 3
    assert sorted(bench.effect.applied) == [1, 2, 3]


def test_a_refused_mail_fails_alone_with_its_reason(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 11))
    bench.classifier.answers = refusing(4, error=MessageRefused)

    bench.run()

    assert bench.reasons() == {4: "refused"}
    assert bench.statuses()[4] == "failed"
    assert list(bench.statuses().values()).count("done") == 9


def test_unusable_answers_are_asked_again_a_bounded_number_of_times(bench: Bench) -> None:
    bench.mailbox.holds(1, 2)
    bench.classifier.answers = refusing(2, error=AnswerUnusable)

    bench.run(retry_attempts=3)

    assert bench.classifier.asked_about.count(2) == 3
    assert bench.statuses() == {1: "done", 2: "failed"}
    assert bench.attempts().count("unusable") == 3


def test_a_service_that_never_gives_a_verdict_stops_the_run_before_a_mail_fails(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 101))
    bench.classifier.answers = first(10_000, AnswerUnusable)

    with pytest.raises(AnswersUnusable):
        bench.run(concurrency=2, retry_attempts=3)

    assert "failed" not in bench.statuses().values()
    assert len(bench.classifier.asked_about) <= 10


def test_a_few_mails_in_a_row_without_a_verdict_do_not_stop_a_run_that_works(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 41))
    bench.classifier.answers = refusing(*range(20, 28), error=AnswerUnusable)

    ended = bench.run(concurrency=1, retry_attempts=2)

    assert ended.outcome is RunOutcome.FINISHED
    assert list(bench.statuses().values()).count("failed") == 8


def test_a_service_that_was_never_there_stops_the_run_at_once_and_fails_no_mail(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 101))
    bench.classifier.answers = first(10_000, ServiceUnavailable)

    with pytest.raises(ServiceUnavailable):
        bench.run(concurrency=2, retry_attempts=2)

    assert set(bench.statuses().values()) == {"pending"}
    assert len(bench.classifier.asked_about) <= 8
    assert set(bench.attempts()) - {"unsent"} == {"unavailable"}


def test_an_outage_in_mid_run_stops_it_after_a_row_of_mails_and_fails_none(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 101))
    bench.classifier.answers = refusing(*range(31, 101), error=ServiceUnavailable)

    with pytest.raises(ServiceUnavailable):
        bench.run(concurrency=1, retry_attempts=2)
    bench.classifier.answers = lambda message: Scores.of(importance=5, spam=1)
    ended = bench.run()

    assert ended.outcome is RunOutcome.FINISHED
    assert set(bench.statuses().values()) == {"done"}


def test_an_hour_of_rate_limits_fails_no_mail_and_is_waited_out(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 21))
    began = bench.clock.now()
    bench.classifier.answers = lambda message: hour_of_429(message)

    def hour_of_429(message: Message) -> Scores:
        if (bench.clock.now() - began).total_seconds() < 3600:
            raise RateLimited
        return Scores.of(importance=5, spam=1)

    ended = bench.run()

    assert ended.outcome is RunOutcome.FINISHED
    assert set(bench.statuses().values()) == {"done"}
    assert any("rate_limited" in reason for reason in bench.observer.waited_for)


def test_a_new_run_tries_at_once_what_was_blocked_by_a_guess_only(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 4))
    bench.run()
    bench.ledger.throttles.block("calls:bench", micros(bench.clock.now()) + 900_000_000, "rate_limited", is_guess=True)
    bench.mailbox.holds(4)
    began = bench.clock.now()

    bench.run()

    assert bench.statuses()[4] == "done"
    assert (bench.clock.now() - began).total_seconds() < 60


def test_a_named_wait_is_obeyed_by_everybody_and_remembered_over_a_restart(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 21))
    bench.classifier.answers = first(1, lambda: RateLimited(wait_s=7200.0))

    ended = bench.run(concurrency=2)
    calls, again = len(bench.classifier.asked_about), bench.run()

    assert (ended.outcome, again.outcome) == (RunOutcome.INTERRUPTED, RunOutcome.INTERRUPTED)
    assert "rate_limited" in again.reason
    assert len(bench.classifier.asked_about) == calls <= 2
    bench.clock.turn(7200)
    assert bench.run().outcome is RunOutcome.FINISHED


def test_an_answer_in_flight_is_recorded_before_a_rebuilt_folder_is_planned_anew(bench: Bench) -> None:
    asked, noticed = threading.Event(), threading.Event()

    class Rebuilt(BenchMailbox):
        def fetch(self, mailbox: MailboxKey, uids: Sequence[int]) -> Iterator[Message | Unfetched]:
            if min(uids) > 50:
                asked.wait(30)
                noticed.set()
                raise MailboxChanged("another UIDVALIDITY")
            return super().fetch(mailbox, uids)

    def answers(message: Message) -> Scores:
        if message.ref.uid == 1:
            asked.set()
            noticed.wait(30)
            for _ in range(100):  # longer than a stop waits for answers, whenever the run looks at its clock
                bench.clock.turn(60)
                bench.stop.wait(0.01)
        return Scores.of(importance=5, spam=1)

    bench.mailbox = Rebuilt()
    bench.mailbox.holds(*range(1, 101))
    bench.classifier.answers = answers

    with pytest.raises(MailboxChanged):
        bench.run(concurrency=2)

    assert bench.statuses()[1] == "done"
    assert set(bench.attempts()) - {"unsent"} == {"ok"}


def test_a_refused_key_stops_the_run_and_fails_no_mail(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 31))
    bench.classifier.answers = first(10_000, KeyRefused)

    with pytest.raises(KeyRefused):
        bench.run(concurrency=3)

    assert set(bench.statuses().values()) == {"pending"}
    assert len(bench.classifier.asked_about) <= 3


def test_batches_of_max_emails_get_through_the_mailbox(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 24))

    outcomes = [bench.run(max_emails=10).outcome for _ in range(3)]

    assert outcomes == [RunOutcome.CAPPED, RunOutcome.CAPPED, RunOutcome.FINISHED]
    assert sorted(bench.classifier.asked_about) == list(range(1, 24))


def test_a_cap_counts_a_mail_that_is_tried_again_once(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 8))
    bench.classifier.answers = first(2, AnswerUnusable)

    ended = bench.run(max_emails=5, concurrency=1)

    assert ended.outcome is RunOutcome.CAPPED
    assert list(bench.statuses().values()).count("done") == 5
    assert len(set(bench.classifier.asked_about)) == 5


def test_a_cap_bounds_the_mails_that_are_paid_for_also_when_answers_are_no_use(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 101))
    bench.classifier.answers = refusing(*range(1, 101, 2), error=AnswerUnusable)

    ended = bench.run(max_emails=10, concurrency=1, retry_attempts=3)

    assert ended.outcome is RunOutcome.CAPPED
    assert sorted(set(bench.classifier.asked_about)) == list(range(1, 11))
    assert list(bench.statuses().values()).count("failed") == 5


def test_an_output_file_that_cannot_be_written_costs_no_answer_that_was_paid_for(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 101))

    def make_unwritable(message: Message) -> Scores:
        obstacle = bench.folder / f"obstacle-{message.ref.uid}"
        obstacle.symlink_to(bench.folder, target_is_directory=True)
        obstacle.replace(bench.folder / "analytics.jsonl")  # in one step: two threads answer, and a third one writes
        return Scores.of(importance=5, spam=1)

    bench.classifier.answers = make_unwritable
    with pytest.raises(EffectUnavailable):
        bench.run(analytics=True)

    assert set(bench.attempts()) - {"unsent"} == {"ok"}
    assert list(bench.statuses().values()).count("done") == len(bench.classifier.asked_about)


def test_a_stop_says_how_many_answers_it_did_not_wait_for(bench: Bench) -> None:
    let_go = threading.Event()

    def slow(message: Message) -> Scores:
        bench.stop.set("SIGTERM")
        while not let_go.wait(0.01):
            bench.clock.turn(1)
        return Scores.of(importance=5, spam=1)

    bench.mailbox.holds(1)
    bench.classifier.answers = slow

    ended = bench.run(concurrency=1)
    let_go.set()

    assert ended.outcome is RunOutcome.INTERRUPTED
    assert ended.reason == "SIGTERM; 1 answer did not come in time and will be asked for again"
    assert ended.asked_again == 1


def test_an_error_that_ends_the_run_says_how_many_answers_were_not_waited_for(bench: Bench) -> None:
    is_called, let_go = threading.Event(), threading.Event()

    def answer(message: Message) -> Scores:
        if message.ref.uid == 1:
            is_called.wait(10)
            raise KeyRefused
        is_called.set()
        while not let_go.wait(0.01):
            bench.clock.turn(1)
        return Scores.of(importance=5, spam=1)

    bench.mailbox.holds(1, 2)
    bench.classifier.answers = answer

    with pytest.raises(KeyRefused) as raised:
        bench.run(concurrency=2)
    let_go.set()

    assert raised.value.asked_again == 1
    assert str(raised.value).endswith("1 answer did not come in time and will be asked for again.")


def test_a_stopped_run_leaves_no_queue_of_slots_behind(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 101))
    bench.classifier.answers = lambda message: bench.stop.set("SIGTERM") or Scores.of(importance=5, spam=1)

    bench.run(concurrency=8)

    (arrival,) = bench.rows("SELECT arrival_us FROM throttle WHERE name = 'calls:bench'")
    assert arrival[0] - micros(bench.clock.now()) <= 2 * 100_000


def test_a_mail_that_runs_have_died_with_twice_is_processed_alone_and_last(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 21))
    job = bench.plan()
    for _ in range(2):
        dying = bench.begin(job)
        items = bench.ledger.items.claim(dying, 20)
        bench.ledger.items.begin(dying, [item for item in items if item.ref.uid == 2])
        bench.crash()

    bench.run()

    assert bench.classifier.asked_about[-1] == 2
    assert set(bench.statuses().values()) == {"done"}


def test_an_expunged_mail_vanishes_and_is_no_failure(bench: Bench) -> None:
    bench.mailbox.holds(1, 2, 3)
    bench.mailbox.gone = {2}

    bench.run()

    assert bench.statuses() == {1: "done", 2: "vanished", 3: "done"}
    assert bench.observer.failed == 0


def test_an_output_that_refuses_one_mail_keeps_its_verdict_and_retry_does_not_pay_again(bench: Bench) -> None:
    bench.mailbox.holds(1, 2, 3)
    bench.effect.refuses = {2: EffectRefused()}

    bench.run(retry_attempts=2)
    failed = bench.statuses()
    bench.effect.refuses = {}
    job = bench.plan()
    run = bench.begin(job)
    taken = bench.ledger.items.retry(run)
    bench.end(run, RunOutcome.FINISHED)
    bench.run()

    assert failed == {1: "done", 2: "failed", 3: "done"}
    assert taken == 1
    assert sorted(bench.classifier.asked_about) == [1, 2, 3]
    assert bench.statuses()[2] == "done"


def test_a_stop_makes_no_new_call_and_gives_everything_back(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 101))

    def stop_at_ten(message: Message) -> Scores:
        if len(bench.classifier.asked_about) >= 10:
            bench.stop.set("SIGTERM")
        return Scores.of(importance=5, spam=1)

    bench.classifier.answers = stop_at_ten
    ended = bench.run(concurrency=2)

    assert (ended.outcome, ended.reason) == (RunOutcome.INTERRUPTED, "SIGTERM")
    assert len(bench.classifier.asked_about) <= 12
    assert list(bench.statuses().values()).count("done") == len(bench.classifier.asked_about)
    assert bench.rows("SELECT uid FROM item WHERE claimed_by IS NOT NULL") == []


class BrokenGate:
    """Breaks after a while."""

    def __init__(self) -> None:
        self._asked = 0

    def closed_for(self) -> float:
        self._asked += 1
        return 1 / (self._asked < 20) - 1

    def reason(self) -> str:
        return "broken"


def test_a_bug_in_a_stage_ends_the_run_with_the_bug(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 31))

    with pytest.raises(ZeroDivisionError):
        bench.run(gates=(BrokenGate(),))

    assert "failed" not in bench.statuses().values()


def test_an_unmetered_classifier_needs_no_attempt_and_no_slot(bench: Bench) -> None:
    bench.mailbox.holds(1, 2, 3)
    bench.classifier.is_metered = False

    bench.run()

    assert bench.attempts() == []
    assert bench.rows("SELECT name FROM throttle") == []


def test_a_capped_retry_leaves_the_other_failed_mails_failed(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 11))
    bench.classifier.answers = refusing(*range(1, 11), error=MessageRefused)
    bench.run()

    taken = bench.ledger.items.retry(bench.begin(bench.plan()), limit=3)

    assert taken == 3
    assert list(bench.statuses().values()) == ["pending"] * 3 + ["failed"] * 7
