"""The asking stage by itself: what a stop or a slow ledger may come between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from backfill.clock import StopRequest
from backfill.errors import LedgerUnusable
from backfill.executor.asker import Asker
from backfill.executor.bounds import Cap
from backfill.executor.flow import Flow
from backfill.executor.results import Opening, Task
from backfill.executor.writer import Writer
from backfill.ledger.attempts import Call
from backfill.ledger.results import Finished, Needs
from backfill.ledger.verdicts import Answered
from backfill.lifecycle import IllegalTransition
from backfill.limits import RunLimits
from backfill.message import Message
from backfill.metered import MeteredCalls, Stopped
from backfill.rubric import Rubric
from backfill.throttle.budget import Budget
from backfill.throttle.calls import BURST_S, Throttler
from backfill.throttle.gates import Gates
from backfill.verdict import Scores, Verdict
from tests.support.bench import INBOX, PRICE, Bench, BenchClassifier


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path)
    yield opened
    opened.ledger.close()


class Comes(StopRequest):
    """A stop that comes when it is looked for; `calling` is what a drain would see at that moment."""

    flow: Flow | None = None
    calling: frozenset[int] | None = None

    def is_set(self) -> bool:
        if self.flow is not None and self.calling is None:
            self.calling = frozenset(self.flow.calling)
            self.set("SIGTERM")
        return super().is_set()


def one_mail(bench: Bench, stop: StopRequest) -> tuple[Flow, Task]:
    """A run with one mail that waits to be asked about."""
    bench.mailbox.holds(1)
    run = bench.begin(bench.plan())
    [item] = bench.ledger.items.claim(run, 1)
    [message] = bench.mailbox.fetch(INBOX, [1])
    assert isinstance(message, Message)
    gates = Gates((), bench.clock, stop, bench.observer.waiting)
    job = bench.ledger.jobs.get(run.job_id)
    flow = Flow.of(job, run, RunLimits(concurrency=1), Cap(None), gates, stop, bench.observer)
    return flow, Task(item, message)


def calls_of(bench: Bench, flow: Flow, throttler: Throttler | None, budget: Budget | None = None) -> MeteredCalls:
    asked = bench.classifier, throttler, bench.clock
    tell = flow.observer.waiting
    return MeteredCalls(bench.ledger, *asked, flow.stop, flow.gates, flow.limits, tell, budget, flow.threads)


def test_a_stop_finds_every_mail_that_is_about_to_be_asked_about(bench):
    stop = Comes()
    flow, task = one_mail(bench, stop)
    flow.tasks.put(task)
    stop.flow = flow

    Asker(flow, calls_of(bench, flow, None)).ask_all()

    assert stop.calling == {task.item.id}
    assert flow.calling == set()
    assert bench.classifier.asked_about == []


@contextmanager
def writing(bench: Bench, flow: Flow) -> Iterator[None]:
    """The run's writer is at work."""
    writer = Writer(flow, bench.ledger, None, Needs((), Rubric.default()), bench.clock)

    def work() -> None:
        while not flow.is_over:
            writer.save(0.01)

    thread = flow.start("writer", work)
    try:
        yield
    finally:
        flow.close()
        thread.join(10)


class Large(BenchClassifier):
    """Each mail has 10,000 tokens. The ledger is slow at the first call: `turn` is called after its slot was taken."""

    reckoned = 0

    def estimate_tokens(self, message: Message) -> int:
        self.reckoned += 1
        if self.reckoned == 2:
            self.turn(BURST_S)
        return 10_000


def test_the_tokens_of_a_slot_that_came_too_late_are_not_charged(bench):
    bench.classifier = Large()
    bench.classifier.turn = bench.clock.turn
    flow, task = one_mail(bench, bench.stop)
    throttler = Throttler(bench.ledger, bench.clock, "calls:bench", 6000, tokens_per_minute=60_000)
    budget = Budget(bench.ledger, bench.clock, flow.run.job_id, PRICE, 100, Decimal(1))
    began = bench.clock.monotonic()

    with writing(bench, flow):
        calls = calls_of(bench, flow, throttler, budget)
        answer, _ = calls.ask(task.message, Asker(flow, calls).opener(task))

    assert answer.scores is not None
    assert bench.clock.monotonic() - began < 1


def test_no_call_is_made_while_as_many_answers_as_threads_are_not_saved(bench):
    unsaved: list[int] = []

    def answers(message: Message) -> Scores:
        unsaved.append(bench.rows("SELECT COUNT(*) FROM attempt WHERE outcome = 'open'")[0][0])
        return Scores.of(importance=5, spam=1)

    bench.mailbox.holds(*range(1, 101))
    bench.classifier.answers = answers

    bench.run(concurrency=4)

    assert len(unsaved) == 100
    assert max(unsaved) <= 4  # this call's own among them


def test_no_call_is_noted_after_a_stop(bench):
    flow, task = one_mail(bench, bench.stop)
    bench.stop.set("SIGTERM")

    with writing(bench, flow), pytest.raises(Stopped):
        flow.open_attempt(Call(task.item))

    assert bench.rows("SELECT COUNT(*) FROM attempt") == [(0,)]


def test_an_answer_is_saved_when_what_was_ready_with_it_ends_the_run(bench):
    flow, task = one_mail(bench, bench.stop)
    [attempt] = bench.ledger.results.commit(flow.run, calls=[Call(task.item)]).opened
    flow.calling.add(task.item.id)
    writer = Writer(flow, bench.ledger, None, Needs((), Rubric.default()), bench.clock)
    flow.results.put(Answered(task.item, task.message, bench.classifier.classify(task.message), attempt))
    opening = Opening(Call(task.item))
    flow.results.put(opening)
    verdict = Verdict(1, task.message.key, Scores.of(importance=5, spam=1), "bench", None, None, truncated=False)
    flow.results.put(Finished(task.item, verdict, (), ()))  # of a mail that has no verdict yet, which is a bug

    with pytest.raises(IllegalTransition):
        writer.save(0.01)

    assert bench.rows("SELECT outcome FROM attempt") == [("ok",)]
    assert bench.rows("SELECT json_extract(scores, '$.importance') FROM verdict") == [(5,)]
    assert flow.calling == set()
    with pytest.raises(Stopped):
        opening.attempt.result(0)


def test_nobody_waits_for_a_writer_that_has_gone(bench):
    flow, task = one_mail(bench, bench.stop)
    flow.close()

    with pytest.raises(Stopped):
        flow.open_attempt(Call(task.item))


def test_no_thread_is_left_when_the_ledger_cannot_be_written(bench):
    def answers(message: Message) -> Scores:
        if message.ref.uid == 20:
            bench.ledger.database.write(lambda connection: connection.exec_driver_sql("DROP TABLE receipt"))
        return Scores.of(importance=5, spam=1)

    bench.mailbox.holds(*range(1, 101))
    bench.classifier.answers = answers

    with pytest.raises(LedgerUnusable):
        bench.run(concurrency=4)

    asking = [thread for thread in threading.enumerate() if thread.name.startswith("asker-")]
    for thread in asking:
        thread.join(10)
    assert not any(thread.is_alive() for thread in asking)
