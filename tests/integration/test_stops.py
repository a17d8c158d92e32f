"""A stop that comes during a wait, whichever it is: the run ends at once, and nothing more is waited for or called."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from backfill.clock import StopRequest
from backfill.errors import (
    AnswerUnusable,
    BackfillError,
    LedgerUnusable,
    MailThrottled,
    RateLimited,
    ServerUnavailable,
    ServiceUnavailable,
)
from backfill.hours import Hours
from backfill.ledger import Ledger
from backfill.lifecycle import RunOutcome
from backfill.message import MailboxKey, Message
from backfill.ports import Judged, Receipt, Unapplied, Unfetched
from backfill.throttle.gates import HoursGate
from backfill.verdict import Scores
from tests.support.bench import Bench, BenchClock, BenchEffect, BenchMailbox
from tests.support.clocks import TurnedClock
from tests.support.postgres import Postgres
from tests.support.severing_proxy import severing_proxy


class SignalledClock(BenchClock):
    """Armed with a stop, it asks for it in the sleep that reaches ten seconds; time stands still from then on."""

    def __init__(self) -> None:
        super().__init__()
        self.slept_on: list[float] = []  # seconds of sleeps that did not heed the signal
        self._stop: StopRequest | None = None
        self._signal_at = 0.0

    def arm(self, stop: StopRequest) -> None:
        self._stop, self._signal_at = stop, self.monotonic() + 10

    def sleep(self, seconds: float, stop: StopRequest) -> bool:
        if self._stop is None or self.monotonic() + seconds < self._signal_at:
            return super().sleep(seconds, stop)
        self._stop.set("SIGTERM")
        if not stop.is_set():
            self.slept_on.append(seconds)
        return stop.is_set()


def raising(error: BackfillError) -> Callable[[Message], Scores]:
    def answer(_: Message) -> Scores:
        raise error

    return answer


class ServerAway(BenchMailbox):
    error: BackfillError = ServerUnavailable("The line broke.")

    def fetch(self, mailbox: MailboxKey, uids: Sequence[int]) -> Iterator[Message | Unfetched]:
        raise self.error


class ServerBusy(ServerAway):
    error = MailThrottled("Come back later.", wait_s=600)


class MarkingFails(BenchEffect):
    def apply(self, mails: Sequence[Judged]) -> Iterator[Receipt | Unapplied]:
        raise ServerUnavailable("The line broke.")


def away(bench: Bench) -> None:
    bench.mailbox = ServerAway()


def busy(bench: Bench) -> None:
    bench.mailbox = ServerBusy()


def marking_fails(bench: Bench) -> None:
    bench.effect = MarkingFails()


def answers(error: BackfillError) -> Callable[[Bench], None]:
    def set_up(bench: Bench) -> None:
        bench.classifier.answers = raising(error)

    return set_up


def one_is_unusable(bench: Bench) -> None:
    def answer(message: Message) -> Scores:
        if message.ref.uid == 1:
            raise AnswerUnusable
        return Scores.of(importance=5, spam=1)

    bench.classifier.answers = answer


def blocked(bench: Bench) -> None:
    until = bench.clock.now() + timedelta(minutes=30)
    bench.run(max_emails=1)  # the row of the throttle is there
    bench.ledger.throttles.block("calls:bench", round(until.timestamp() * 1e6), "rate_limited")


def nothing(_: Bench) -> None:
    return


WAITS: dict[str, tuple[Callable[[Bench], None], dict[str, object]]] = {
    "for a slot of the throttle": (nothing, {"calls_per_minute": 0.5}),
    "for the end of a block": (blocked, {}),
    "for the API after a 429 that names a time": (answers(RateLimited(wait_s=45)), {}),
    "for the API after a 429 that names a long time": (answers(RateLimited(wait_s=600)), {}),
    "between two calls for one mail": (answers(ServiceUnavailable()), {"retry_delay_s": 20.0}),
    "for a mail that was postponed": (one_is_unusable, {"retry_delay_s": 900.0}),
    "for a mail that was postponed, in a run that takes no more": (
        one_is_unusable,
        {"retry_delay_s": 900.0, "max_emails": 2},
    ),
    "for a mail server that is away": (away, {}),
    "for a mail server that asks for patience": (busy, {}),
    "for a mail server that is away when mail is to be marked": (marking_fails, {}),
    "for the hours of the day": (nothing, {"hours": "22:00-07:00"}),
    "for the next day": (nothing, {"max_per_day": 3}),
}


@pytest.mark.parametrize(("set_up", "limits"), WAITS.values(), ids=WAITS)
def test_a_stop_during_a_wait_ends_the_run_at_once(
    tmp_path: Path, set_up: Callable[[Bench], None], limits: dict[str, object]
) -> None:
    clock = SignalledClock()
    bench = Bench(tmp_path, clock)
    clock.turn(12 * 3600)
    bench.mailbox.holds(*range(1, 11))
    set_up(bench)
    bench.mailbox.holds(*range(1, 11))
    hours = HoursGate(Hours.parse("22:00-07:00" if "hours" in limits else "00:00-23:59"), clock, UTC)
    clock.arm(bench.stop)

    ended = bench.run(gates=(hours,), **{name: value for name, value in limits.items() if name != "hours"})  # type: ignore[arg-type]

    assert (ended.outcome, ended.reason) == (RunOutcome.INTERRUPTED, "SIGTERM")
    assert clock.slept_on == []
    assert bench.rows("SELECT COUNT(*) FROM item WHERE claimed_by IS NOT NULL") == [(0,)]
    assert bench.rows("SELECT COUNT(*) FROM attempt WHERE outcome = 'open'") == [(0,)]
    bench.ledger.close()


def test_a_stop_while_the_ledgers_server_is_away_is_heeded(postgres: Postgres) -> None:
    clock = SignalledClock()
    stop = StopRequest()
    with severing_proxy(postgres.database()) as (proxy, url):
        ledger = Ledger.open(url, clock, stop)
        ledger.throttles.set_rate("calls:x", 60)
        proxy.go_away()
        clock.arm(stop)

        with pytest.raises(LedgerUnusable, match="server"):
            ledger.throttles.set_rate("calls:x", 60)

        assert stop.is_set()
        assert sum(clock.slept_on) <= 5  # for what was paid for, and below what a run gives the answers in flight
        ledger.close()


class TriesClock(TurnedClock):
    """Tells of each time that somebody is about to try again; a try takes two seconds by it."""

    def __init__(self, tried: Callable[[int], None] = lambda tries: None) -> None:
        super().__init__()
        self.tries = 0
        self._tried = tried

    def sleep(self, seconds: float, stop: StopRequest) -> bool:
        self.tries += 1
        self._tried(self.tries)
        return super().sleep(2.0, stop)


def test_a_stop_while_another_program_holds_the_ledger_is_heeded_after_five_seconds(sqlite_url: str) -> None:
    clock, stop = TriesClock(), StopRequest()
    ledger = Ledger.open(sqlite_url, clock, stop)
    with closing(sqlite3.connect(ledger.database.path or "", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        stop.set("SIGTERM")
        began = clock.monotonic()

        with pytest.raises(LedgerUnusable, match=r"Another program .*\(5 s after a stop\)"):
            ledger.throttles.set_rate("calls:x", 60)

        assert 4 <= clock.monotonic() - began <= 8
    ledger.close()


def test_what_is_to_be_kept_after_a_stop_is_kept_when_another_program_lets_go_of_the_ledger(sqlite_url: str) -> None:
    def let_go(tries: int) -> None:
        if tries == 2:  # about a second after the stop
            other.execute("ROLLBACK")

    clock, stop = TriesClock(let_go), StopRequest()
    ledger = Ledger.open(sqlite_url, clock, stop)
    with closing(sqlite3.connect(ledger.database.path or "", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        stop.set("SIGTERM")

        ledger.throttles.set_rate("calls:x", 60)

        assert clock.tries == 2
        assert other.execute("SELECT name FROM throttle").fetchall() == [("calls:x",)]
    ledger.close()
