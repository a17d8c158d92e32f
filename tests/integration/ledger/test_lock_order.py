"""Two runs that write the same rows at the same moment wait in one line, and never for each other, on PostgreSQL.

The server would end one of them after a second; it would be tried again, but everybody behind it waits as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from backfill.errors import AskedElsewhere
from backfill.ledger import Ledger
from backfill.ledger.attempts import Call, Question
from backfill.ledger.budgets import Purse, Reservation
from backfill.ledger.results import Committed, Finished
from backfill.ledger.verdicts import Answered
from tests.support.clocks import TurnedClock
from tests.support.ledgers import Bench, answer, mail, receipt

WAITING = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def benches(postgres_url: str) -> Iterator[list[Bench]]:
    """Two processes with a run each; their clocks are turned by nothing but a transaction that is tried again."""
    first, second = (Bench(Ledger.open(postgres_url, clock), clock) for clock in (TurnedClock(), TurnedClock()))
    first.plan(*range(1, 7))
    yield [first, second]
    first.close()
    second.close()


def tried_again(benches: list[Bench], blocking: str, *works: Callable[[], object]) -> list[float]:
    """Seconds that each process has waited to try again, when both have come upon a row that a third one holds."""
    began = [bench.clock.seconds for bench in benches]
    engine = create_engine(benches[0].ledger.database.url, poolclass=NullPool)
    with engine.connect() as other, ThreadPoolExecutor(2) as pool:
        other.execute(text(blocking))
        working = [pool.submit(work) for work in works]
        while other.execute(text(WAITING)).scalar_one() < 2:
            assert not any(each.done() for each in working)
        other.rollback()
        for each in working:
            each.result(30)
    return [bench.clock.seconds - before for bench, before in zip(benches, began, strict=True)]


def test_verdicts_about_the_same_mails(benches):
    runs = [bench.run() for bench in benches]
    items = [bench.claim(run, 3) for bench, run in zip(benches, runs, strict=True)]
    subjects = sorted("abc", key=lambda subject: mail(items[0][0], subject).key)
    middle = mail(items[0][0], subjects[1]).key

    def record(which: int, order: list[str]) -> Callable[[], object]:
        judgements = [
            Answered(item, mail(item, subject), answer()) for item, subject in zip(items[which], order, strict=True)
        ]
        return lambda: benches[which].ledger.results.commit(runs[which], judged=judgements)

    waited = tried_again(
        benches,
        f"INSERT INTO message (message_key, from_addr, list_id, size) VALUES ('{middle}', '', '', 1)",
        record(0, subjects),
        record(1, subjects[::-1]),
    )

    assert waited == [0, 0]


def test_receipts_about_the_same_mails(benches):
    runs = [bench.run() for bench in benches]
    items = benches[0].claim(runs[0], 3)
    verdict = benches[0].record(runs[0], items[0], "a").verdict
    finished = [Finished(item, verdict, (), (receipt(item.ref, "notes"),)) for item in items]
    benches[0].write(
        "INSERT INTO receipt (mailbox_id, uid, effect, verdict_id, state, detail, applied_at)"
        " SELECT mailbox_id, uid, 'notes', :verdict, 'applied', '{}', 1 FROM item",
        verdict=verdict.id,
    )

    def keep(which: int, order: list[Finished]) -> Callable[[], object]:
        receipts = benches[which].ledger.receipts
        return lambda: [receipts.keep(items[0], verdict, [each.receipts[0] for each in order])]

    waited = tried_again(
        benches, "UPDATE receipt SET stale = TRUE WHERE uid = 2", keep(0, finished), keep(1, finished[::-1])
    )

    assert waited == [0, 0]


def test_what_is_set_aside_in_the_same_purses(benches):
    runs = [bench.run() for bench in benches]
    items = [bench.claim(run, 1)[0] for bench, run in zip(benches, runs, strict=True)]
    purses = [Purse(name, 10**9, "for this test") for name in ("a", "b", "c")]
    for purse in purses:
        benches[0].write("INSERT INTO purse (name, spent) VALUES (:name, 0)", name=purse.name)

    def call(which: int, order: list[Purse]) -> Callable[[], object]:
        return lambda: benches[which].open_attempt(runs[which], items[which], Reservation(1, tuple(order)))

    waited = tried_again(benches, "UPDATE purse SET spent = 0 WHERE name = 'b'", call(0, purses), call(1, purses[::-1]))

    assert waited == [0, 0]


def test_questions_that_each_run_has_open_while_it_asks_the_other_s(benches):
    runs = [bench.run() for bench in benches]
    items = [bench.claim(run, 2) for bench, run in zip(benches, runs, strict=True)]
    subjects = "ab"
    keys = [mail(items[0][0], subject).key for subject in subjects]

    def call(which: int, place: int, subject: str) -> Call:
        item = items[which][place]
        return Call(item, None, Question.about(benches[0].job, mail(item, subject).key))

    def answered(which: int) -> Callable[[], object]:
        """Saves the answer to its own question and asks the other one's."""
        own, other = subjects[which], subjects[1 - which]
        attempt = benches[which].ledger.results.commit(runs[which], calls=[call(which, 0, own)]).opened[0]
        assert isinstance(attempt, int)
        judged = [Answered(items[which][0], mail(items[which][0], own), answer(), attempt_id=attempt)]
        calls = [call(which, 1, other)]
        return lambda: opened.append(benches[which].ledger.results.commit(runs[which], judged=judged, calls=calls))

    opened: list[Committed] = []
    waited = tried_again(
        benches,
        "INSERT INTO message (message_key, from_addr, list_id, size) VALUES "
        + ", ".join(f"('{key}', '', '', 1)" for key in keys),
        answered(0),
        answered(1),
    )

    assert waited == [0, 0]
    assert all(isinstance(each.opened[0], AskedElsewhere) for each in opened)
