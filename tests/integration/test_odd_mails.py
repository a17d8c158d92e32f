"""One odd mail stops nothing: what nobody expected befalls that mail, and the others are worked on."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from backfill.errors import Concession, LedgerUnusable, MachineExhausted, ServerUnavailable, Unexpected
from backfill.lifecycle import RunOutcome
from backfill.message import Content, Message, MessageRef
from backfill.ports import Judged, Receipt, Unapplied
from backfill.verdict import Answer, Scores
from tests.support.bench import INBOX, Bench, BenchClassifier, BenchEffect

SECRET = "the mail's own words"


@pytest.fixture
def bench(tmp_path: Path, ledger_url: str) -> Iterator[Bench]:
    bench = Bench(tmp_path, url=ledger_url)
    yield bench
    bench.close()


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    logger.enable("backfill")
    handler = logger.add(lambda line: lines.append(str(line)), level="INFO", diagnose=False, backtrace=False)
    yield lines
    logger.remove(handler)
    logger.disable("backfill")


def breaks() -> Any:
    raise ArithmeticError(SECRET)


def mail(uid: int, **facts: Any) -> Message:
    message = Message(MessageRef(INBOX, uid), Content(subject=f"odd {uid}"), frozenset(), None, None, 10)
    return replace(message, **facts)


# Reading.


@pytest.mark.parametrize("odd", [{1}, {60}, {120}, {7, 8, 9, 119}], ids=str)
def test_a_mail_that_cannot_be_read_fails_alone_and_all_others_are_done(bench: Bench, odd: set[int]) -> None:
    bench.mailbox.holds(*range(1, 121))
    bench.mailbox.odd = dict.fromkeys(odd, breaks)

    ended = bench.run()

    assert ended.outcome is RunOutcome.FINISHED
    assert bench.reasons() == dict.fromkeys(odd, "unexpected")
    assert list(bench.statuses().values()).count("done") == 120 - len(odd)
    assert sorted(bench.classifier.asked_about) == sorted({*range(1, 121)} - odd)
    assert bench.rows("SELECT losses, claimed_by FROM item WHERE status = 'failed'") == [(3, None)] * len(odd)


@pytest.mark.parametrize("stage", ["reading", "asking", "applying"])
@pytest.mark.parametrize(
    "shortage",
    [MemoryError(), OSError(errno.EMFILE, "Too many open files"), RuntimeError("can't start new thread")],
    ids=["memory", "files", "threads"],
)
def test_a_machine_that_gives_no_more_ends_the_run_and_fails_no_mail(
    bench: Bench, shortage: Exception, stage: str
) -> None:
    def gives_out(*_: object) -> Any:
        raise shortage

    bench.mailbox.holds(1, 2, 3)
    match stage:
        case "reading":
            bench.mailbox.odd = dict.fromkeys((1, 2, 3), gives_out)
        case "asking":
            bench.classifier.classify = gives_out  # type: ignore[method-assign]
        case _:
            bench.effect.apply = gives_out  # type: ignore[method-assign]

    with pytest.raises(MachineExhausted, match="ulimit"):
        bench.run()

    assert bench.rows("SELECT uid FROM item WHERE status = 'failed' OR losses > 0 OR claimed_by IS NOT NULL") == []


def test_a_mail_that_can_be_read_after_all_is_done(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 11))
    tries = iter((breaks, breaks, lambda: mail(5)))
    bench.mailbox.odd = {5: lambda: next(tries)()}

    bench.run()

    assert set(bench.statuses().values()) == {"done"}


def test_a_mail_that_is_never_answered_fails_and_the_run_ends(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 11))
    bench.mailbox.odd = {5: lambda: mail(999)}

    bench.run()

    assert bench.reasons() == {5: "unexpected"}
    assert list(bench.statuses().values()).count("done") == 9


def test_a_server_that_goes_away_while_an_odd_mail_is_looked_for_is_waited_for(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 11))
    away = iter((ServerUnavailable(), ServerUnavailable()))

    def odd() -> Message:
        for error in away:
            raise error
        return breaks()

    bench.mailbox.odd = {5: odd}

    bench.run()

    assert bench.reasons() == {5: "unexpected"}
    assert list(bench.statuses().values()).count("done") == 9


def test_a_capped_run_tries_an_odd_mail_as_often_as_another_one_does(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 31))
    bench.mailbox.odd = {5: breaks}

    ended = bench.run(max_emails=10)

    assert ended.outcome is RunOutcome.CAPPED
    assert bench.reasons() == {5: "unexpected"}
    assert list(bench.statuses().values()).count("done") == 9


# Judging.


@pytest.mark.parametrize("is_metered", [True, False], ids=["metered", "free"])
def test_a_classifier_that_breaks_at_a_mail_fails_that_mail_alone(bench: Bench, is_metered: bool) -> None:
    bench.mailbox.holds(*range(1, 41))
    bench.classifier.is_metered = is_metered
    bench.classifier.answers = lambda message: (
        breaks() if message.ref.uid in (3, 4, 40) else Scores.of(importance=9, spam=1)
    )

    ended = bench.run()

    assert ended.outcome is RunOutcome.FINISHED
    assert bench.reasons() == dict.fromkeys((3, 4, 40), "unexpected")
    assert list(bench.statuses().values()).count("done") == 37
    assert bench.attempts().count("unknown") == (9 if is_metered else 0)
    assert "open" not in bench.attempts()


@dataclass
class OddClassifier(BenchClassifier):
    """Does what nobody expects of a classifier with the mail 5."""

    decides: Callable[[], Answer | None] = lambda: None
    estimates: Callable[[], int] = lambda: 100
    changes: Callable[[Answer], Any] = lambda answer: answer

    def decide_free(self, message: Message) -> Answer | None:
        return self.decides() if message.ref.uid == 5 else None

    def estimate_tokens(self, message: Message) -> int:
        return self.estimates() if message.ref.uid == 5 else 100

    def classify(self, message: Message, concession: Concession | None = None) -> Any:
        answer = super().classify(message, concession)
        return self.changes(answer) if message.ref.uid == 5 else answer


@pytest.mark.parametrize("broken", ["decides", "estimates"])
def test_what_breaks_before_the_call_fails_its_mail_alone(bench: Bench, broken: str) -> None:
    bench.mailbox.holds(*range(1, 11))
    bench.classifier = OddClassifier(**{broken: breaks})

    bench.run(max_cost="1")

    assert bench.reasons() == {5: "unexpected"}
    assert bench.attempts() == ["ok"] * 9


@pytest.mark.parametrize("answer", [None, "yes", Scores.of(importance=1, spam=1)], ids=repr)
def test_an_answer_that_is_none_fails_its_mail_alone(bench: Bench, answer: Any) -> None:
    bench.mailbox.holds(*range(1, 11))
    bench.classifier = OddClassifier(changes=lambda _: answer)

    bench.run()

    assert bench.reasons() == {5: "unexpected"}
    assert bench.attempts().count("ok") == 9


def test_copies_of_an_odd_mail_fail_and_no_question_stays_open(bench: Bench) -> None:
    bench.mailbox.holds(1, 2, 3, subject="the same")
    bench.mailbox.holds(4, 5)
    bench.classifier.answers = lambda message: (
        breaks() if message.content.subject == "the same" else Scores.of(importance=9, spam=1)
    )

    bench.run()

    assert bench.reasons() == dict.fromkeys((1, 2, 3), "unexpected")
    assert bench.rows("SELECT COUNT(*) FROM attempt WHERE outcome = 'open'") == [(0,)]


def test_a_bug_that_befalls_every_mail_that_is_paid_for_stops_the_run_before_much_is_paid(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 201))
    bench.classifier.answers = breaks_always

    with pytest.raises(Unexpected):
        bench.run()

    assert len(bench.classifier.asked_about) < 30
    assert "failed" not in bench.statuses().values()


def breaks_always(message: Message) -> Scores:
    return Scores(**breaks())


# Saving.


TOO_LARGE = 2**63
ODD_FACTS = {"size": {"size": TOO_LARGE}, "negative": {"size": -TOO_LARGE - 1}, "no time": {"sent_at": "yesterday"}}
ODD_ANSWERS: dict[str, Callable[[Answer], Answer]] = {
    "tokens": lambda answer: replace(answer, usage=replace(answer.usage, tokens_in=TOO_LARGE)),
    "no text": lambda answer: replace(answer, explanation=None),  # type: ignore[arg-type]
    "bytes": lambda answer: replace(answer, source=b"bench"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("kind", ODD_FACTS)
def test_a_fact_that_the_ledger_cannot_take_fails_its_mail_alone(bench: Bench, kind: str) -> None:
    bench.mailbox.holds(*range(1, 41))
    bench.mailbox.odd = {5: lambda: mail(5, **ODD_FACTS[kind])}

    ended = bench.run(concurrency=8)

    assert ended.outcome is RunOutcome.FINISHED
    assert bench.reasons() == {5: "unexpected"}
    assert list(bench.statuses().values()).count("done") == 39
    assert "open" not in bench.attempts()


@pytest.mark.parametrize("kind", ODD_ANSWERS)
def test_an_answer_that_the_ledger_cannot_take_fails_its_mail_alone(bench: Bench, kind: str) -> None:
    bench.mailbox.holds(*range(1, 41))
    bench.classifier = OddClassifier(changes=ODD_ANSWERS[kind])

    ended = bench.run(concurrency=8)

    assert ended.outcome is RunOutcome.FINISHED
    assert bench.reasons() == {5: "unexpected"}
    assert list(bench.statuses().values()).count("done") == 39
    assert "open" not in bench.attempts()


def test_characters_that_no_database_takes_are_replaced_and_the_mail_is_done(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 4))
    odd = Content(subject="odd", sender="a\0b\ud800 <a@example.com>", list_id="\udfff\0")
    bench.mailbox.odd = {2: lambda: mail(2, content=odd, flags=frozenset({"\ud800", "\0"}))}

    bench.run()

    assert set(bench.statuses().values()) == {"done"}
    assert ("a\ufffdb\ufffd <a@example.com>",) in bench.rows("SELECT from_addr FROM message")


# Applying.


def test_an_effect_that_breaks_at_a_mail_fails_that_mail_alone_and_keeps_its_verdict(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 121))
    bench.effect.odd = {uid: OverflowError(SECRET) for uid in (1, 60, 61)}

    ended = bench.run()

    assert ended.outcome is RunOutcome.FINISHED
    assert bench.reasons() == dict.fromkeys((1, 60, 61), "unexpected")
    assert {*bench.effect.applied} == {*range(1, 121)} - {1, 60, 61}
    assert bench.rows("SELECT COUNT(*) FROM item WHERE status = 'failed' AND verdict_id IS NULL") == [(0,)]
    assert len(bench.classifier.asked_about) == 120


@dataclass
class OddEffect(BenchEffect):
    """Answers otherwise than anybody expects for the mail 5."""

    answers: Callable[[Any], list[Any]] = lambda answer: [answer]

    def apply(self, mails: Sequence[Judged]) -> Iterator[Receipt | Unapplied]:
        for answer in super().apply(mails):
            yield from self.answers(answer) if answer.ref.uid == 5 else [answer]


@pytest.mark.parametrize(
    "answers",
    [
        lambda answer: [replace(answer, detail={"detail": object()})],
        lambda answer: [],
        lambda answer: [answer, answer],
        lambda answer: [None],
        lambda answer: [replace(answer, ref=MessageRef(INBOX, 6))],
    ],
    ids=["that cannot be saved", "none", "two", "no receipt", "of another mail"],
)
def test_a_receipt_that_makes_no_sense_fails_its_mail_alone(bench: Bench, answers: Callable[[Any], list[Any]]) -> None:
    bench.mailbox.holds(*range(1, 11))
    bench.effect = OddEffect(answers=answers)

    bench.run()

    assert bench.reasons() == {5: "unexpected"}
    assert list(bench.statuses().values()).count("done") == 9


# The log and the next run.


def test_the_log_holds_the_trace_and_no_word_of_the_mail(bench: Bench, log: list[str]) -> None:
    bench.mailbox.holds(1, 2, 3)
    bench.mailbox.odd = {1: breaks}
    bench.classifier.answers = lambda message: breaks() if message.ref.uid == 2 else Scores.of(importance=9, spam=1)
    bench.effect.odd = {3: ArithmeticError(SECRET)}

    bench.run()

    failures = [line for line in log if "failed (unexpected)" in line]
    assert len(failures) == 3
    assert all("ArithmeticError" in line and "Traceback" in line for line in failures)
    assert all(f", in {place}" in "".join(failures) for place in ("fetch", "classify", "apply"))
    assert SECRET not in "".join(log)


def test_retry_takes_an_odd_mail_up_again_with_all_its_tries(bench: Bench) -> None:
    bench.mailbox.holds(1, 2)
    bench.mailbox.odd = {1: breaks}
    bench.run()
    bench.mailbox.odd = {}

    job = bench.plan()
    run = bench.begin(job)
    taken = bench.ledger.items.retry(run, ["unexpected"])
    bench.end(run, RunOutcome.FINISHED)
    bench.run()

    assert taken == 1
    assert set(bench.statuses().values()) == {"done"}


def test_a_ledger_that_takes_no_mail_any_more_ends_the_run(bench: Bench) -> None:
    bench.mailbox.holds(*range(1, 201))

    def answer(message: Message) -> Scores:
        if message.ref.uid == 5:
            bench.ledger.database.write(
                lambda connection: connection.exec_driver_sql("ALTER TABLE verdict RENAME TO gone")
            )
        return Scores.of(importance=9, spam=1)

    bench.classifier.answers = answer

    with pytest.raises(LedgerUnusable):
        bench.run()

    assert "failed" not in bench.statuses().values()
