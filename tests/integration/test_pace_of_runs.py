"""How a run keeps to its pace, and how many calls it has under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from backfill.errors import Concession, RateLimited
from backfill.ledger.attempts import Question
from backfill.message import Message
from backfill.throttle.calls import BURST_S, Throttler
from backfill.verdict import Announced, Answer, Scores, Usage
from tests.support.bench import INBOX, Bench, BenchClassifier

RESOURCE = "calls:bench"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path)
    yield opened
    opened.ledger.close()


@dataclass
class Together(BenchClassifier):
    """Answers nobody before so many calls are under way at once; `at_most` remembers how many there were."""

    parties: int = 1
    under_way: int = 0
    at_most: int = 0
    _all_there: threading.Condition = field(default_factory=threading.Condition)

    def classify(self, message: Message, concession: Concession | None = None) -> Answer:
        with self._all_there:
            self.under_way += 1
            self.at_most = max(self.at_most, self.under_way)
            self._all_there.notify_all()
            assert self._all_there.wait_for(lambda: self.at_most >= self.parties, timeout=20)
            self.under_way -= 1
        return super().classify(message, concession)


@dataclass
class Announcing(BenchClassifier):
    """Says of its limits what it is told to, beside each answer."""

    announced: Announced = field(default_factory=Announced)

    def classify(self, message: Message, concession: Concession | None = None) -> Answer:
        self.asked_about.append(message.ref.uid)
        return Answer(
            Scores.of(importance=5, spam=1), "bench", usage=Usage(tokens_in=100, tokens_out=5, announced=self.announced)
        )


def refuse_first(wait_s: float | None = None, announced: Announced | None = None):
    """The first call is refused for its pace."""
    refused: list[int] = []

    def judge(message: Message) -> Scores:
        if not refused:
            refused.append(message.ref.uid)
            error = RateLimited(wait_s=wait_s)
            error.announced = announced
            raise error
        return Scores.of(importance=5, spam=1)

    return judge


def pace(bench: Bench) -> float:
    return Throttler(bench.ledger, bench.clock, RESOURCE, 600).pace_in_force()


def test_there_are_as_many_calls_under_way_as_a_slow_service_needs(bench):
    bench.mailbox.holds(*range(1, 161))
    bench.classifier = Together(parties=130)

    bench.run(concurrency="auto")

    assert list(bench.statuses().values()) == ["done"] * 160


def test_there_are_hardly_more_than_that(bench):
    bench.mailbox.holds(*range(1, 61))
    bench.classifier = Together(parties=3)

    bench.run(concurrency="auto")

    assert bench.classifier.at_most <= 8


def test_a_fixed_number_of_calls_is_never_exceeded(bench):
    bench.mailbox.holds(*range(1, 31))
    bench.classifier = Together(parties=4)

    bench.run(concurrency=4)

    assert bench.classifier.at_most == 4


def test_every_thread_is_gone_after_a_run_that_needed_many(bench):
    bench.mailbox.holds(*range(1, 61))
    bench.classifier = Together(parties=40)
    before = set(threading.enumerate())

    bench.run(concurrency="auto")
    askers = [thread for thread in threading.enumerate() if thread.name.startswith("asker-") and thread not in before]
    for thread in askers:
        thread.join(10)

    assert not any(thread.is_alive() for thread in askers)


def test_a_refusal_without_a_time_slows_the_run_down_and_everybody_waits(bench):
    bench.mailbox.holds(*range(1, 6))
    bench.classifier.answers = refuse_first()

    bench.run(concurrency=1, retry_delay_s=20.0)

    assert any("rate_limited, until" in reason for reason in bench.observer.waited_for)
    assert 300 <= pace(bench) < 400
    assert list(bench.statuses().values()) == ["done"] * 5


def test_a_refusal_that_names_its_time_leaves_the_rate_as_it_is(bench):
    bench.mailbox.holds(*range(1, 6))
    bench.classifier.answers = refuse_first(wait_s=20.0)

    bench.run(concurrency=1)

    assert round(pace(bench)) == 600


def test_what_the_service_says_of_its_limits_is_kept_to(bench):
    bench.mailbox.holds(1, 2, 3)
    bench.classifier = Announcing(announced=Announced(calls_per_minute=30))

    bench.run(concurrency=1)

    assert round(pace(bench)) == 30


def test_what_the_service_says_beside_a_refusal_is_kept_to(bench):
    bench.mailbox.holds(1, 2, 3)
    bench.classifier.answers = refuse_first(wait_s=1.0, announced=Announced(calls_per_minute=20))

    bench.run(concurrency=1)

    assert round(pace(bench)) == 20


def test_a_limit_that_is_used_up_is_waited_for(bench):
    bench.mailbox.holds(1, 2)
    bench.classifier = Announcing(announced=Announced(wait_s=30.0))
    began = bench.clock.monotonic()

    bench.run(concurrency=1)

    assert bench.clock.monotonic() - began >= 30
    assert any("limit_used_up, until" in reason for reason in bench.observer.waited_for)


@dataclass
class Interrupted(BenchClassifier):
    """Remembers when it was asked; `between` happens when the tokens of a mail are reckoned, just before its call."""

    bench: Bench | None = None
    between: Callable[[int], None] = lambda uid: None
    asked_at: list[float] = field(default_factory=list)

    def estimate_tokens(self, message: Message) -> int:
        self.between(message.ref.uid)
        return 100

    def classify(self, message: Message, concession: Concession | None = None) -> Answer:
        assert self.bench is not None
        self.asked_at.append(self.bench.clock.monotonic())
        return super().classify(message, concession)


def test_a_call_that_another_run_is_making_takes_no_slot(bench):
    bench.mailbox.holds(1, 2, 3)

    def another_run_asks(uid: int) -> None:
        mail = next(bench.mailbox.fetch(INBOX, [uid]))
        question = Question(mail.key, bench.classifier.fingerprint.digest(), 0).digest()
        outcome = "open" if uid == 2 and len(bench.classifier.asked_at) == 1 else "unknown"
        bench.ledger.database.write(
            lambda connection: connection.exec_driver_sql(
                "INSERT INTO attempt (item_id, run_id, started_at, outcome, question) "
                f"VALUES ({uid}, 1, 0, '{outcome}', '{question}') ON CONFLICT DO NOTHING"
            )
        )

    bench.classifier = Interrupted(bench=bench, between=another_run_asks)
    bench.run(concurrency=1, calls_per_minute=60, max_cost="1", max_emails=2)
    first, second = bench.classifier.asked_at[:2]

    assert bench.classifier.asked_about == [1, 3]
    assert second - first < 1.1


def test_a_call_that_would_be_made_too_late_is_not_made_when_calls_are_blocked_meanwhile(bench):
    bench.mailbox.holds(1)

    def the_ledger_takes_its_time(uid: int) -> None:
        bench.clock.turn(1)
        Throttler(bench.ledger, bench.clock, RESOURCE, 600).block(7200, "quota")

    bench.classifier = Interrupted(bench=bench, between=the_ledger_takes_its_time)
    ended = bench.run(concurrency=1, max_cost="1")

    assert bench.classifier.asked_about == []
    assert bench.attempts() == ["unsent"]
    assert "quota, until" in ended.reason


def test_a_call_that_would_be_made_too_late_waits_for_another_slot(bench):
    bench.mailbox.holds(1, 2, 3)

    bench.classifier = Interrupted(bench=bench, between=lambda uid: bench.clock.turn(BURST_S))
    bench.run(concurrency=1, calls_per_minute=6, max_cost="1")
    gaps = [later - earlier for earlier, later in pairwise(bench.classifier.asked_at)]

    assert min(gaps) >= 10 - BURST_S
    assert bench.attempts() == ["ok"] * 3
