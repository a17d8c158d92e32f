"""Ten days of a slow run on a turned clock, with everything that happens in ten days: exact at the end of them."""

from __future__ import annotations

import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from loguru import logger

from backfill.clock import StopRequest
from backfill.errors import BackfillError, MessageRefused, RateLimited, ServerUnavailable, ServiceUnavailable
from backfill.hours import Hours
from backfill.ledger import Ledger
from backfill.lifecycle import RunOutcome
from backfill.message import MailboxKey, Message
from backfill.ports import Judged, Receipt, Unapplied, Unfetched
from backfill.throttle.gates import HoursGate
from backfill.verdict import Scores
from tests.support.bench import Bench, BenchClock, BenchEffect, BenchMailbox, PowerCut

MAILS = 320
MAX_PER_DAY = 36
DAYTIME = Hours.parse("08:00-20:00")
BEGIN = datetime(2024, 5, 3, 12, tzinfo=UTC)
CONCURRENCY = 3
GONE, REFUSED, UNREADABLE_AT_FIRST = 14, 77, 200


class Days(BenchClock):
    """Days go by as quickly as a run sleeps through them. What is due happens during a sleep or a call."""

    def __init__(self) -> None:
        super().__init__()
        self.due: list[tuple[datetime, Callable[[], None]]] = []

    def sleep(self, seconds: float, stop: StopRequest) -> bool:
        stop.wait(0.0003 if seconds < 60 else 0)  # or the slot that another thread has just got would be over
        self.turn(seconds)
        self.let_happen()
        return stop.is_set()

    def let_happen(self) -> None:
        """What was due until now."""
        with self._lock:
            happening = [what for when, what in self.due if when <= self._now]
            self.due = [(when, what) for when, what in self.due if when > self._now]
        for what in happening:
            what()

    def set_back(self, hours: float) -> None:
        """By somebody, or by a time server."""
        with self._lock:
            self._now -= timedelta(hours=hours)

    def day(self) -> int:
        return (self._now - BEGIN.replace(hour=0)).days


@dataclass
class Watch:
    """What an outside observer of the API and of the process sees."""

    bench: Bench
    clock: Days
    calls: list[tuple[datetime, int]] = field(default_factory=list)  # when the gates let it through, and which mail
    refused: int = 0
    threads: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))  # by day
    descriptors: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    passed: dict[int, datetime] = field(default_factory=dict)  # by thread
    is_cut_off: bool = False

    def answer(self, message: Message) -> Scores:
        """A bad API: every ninth call is not answered, one way or another."""
        self.calls.append((self.passed[threading.get_ident()], message.ref.uid))
        self.threads[self.clock.day()].append(threading.active_count())
        self.descriptors[self.clock.day()].append(len(os.listdir("/proc/self/fd")))
        self.clock.let_happen()
        if self.is_cut_off:
            self.is_cut_off = False
            raise PowerCut
        if message.ref.uid == REFUSED:
            raise MessageRefused
        if len(self.calls) % 9 == 0:
            self.refused += 1
            raise (RateLimited(wait_s=120), RateLimited(), ServiceUnavailable("500"), ServiceUnavailable("timeout"))[
                self.refused % 4
            ]
        return Scores.of(importance=5, spam=1)

    def cut_off(self) -> None:
        """The process is killed in its next call."""
        self.is_cut_off = True


@dataclass
class JobStatus:
    """A gate; what passes it last is a call, which takes no time here."""

    gate: HoursGate
    watch: Watch

    def closed_for(self) -> float:
        self.watch.passed[threading.get_ident()] = self.watch.clock.now()
        return self.gate.closed_for()

    def reason(self) -> str:
        return self.gate.reason()


@dataclass
class FlakyMailbox(BenchMailbox):
    is_away: bool = False

    def fetch(self, mailbox: MailboxKey, uids: Sequence[int]) -> Iterator[Message | Unfetched]:
        if self.is_away:
            raise ServerUnavailable("The line broke.")
        yield from super().fetch(mailbox, uids)


@dataclass
class FlakyEffect(BenchEffect):
    mailbox: FlakyMailbox = field(default_factory=FlakyMailbox)

    def apply(self, mails: Sequence[Judged]) -> Iterator[Receipt | Unapplied]:
        if self.mailbox.is_away:
            raise ServerUnavailable("The line broke.")
        yield from super().apply(mails)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    logger.disable("backfill")
    clock = Days()
    clock.turn((BEGIN - clock.now()).total_seconds())
    bench = Bench(tmp_path, clock)
    mailbox = FlakyMailbox()
    mailbox.holds(*range(1, MAILS + 1))
    mailbox.gone.add(GONE)
    bench.mailbox, bench.effect = mailbox, FlakyEffect(mailbox=mailbox)
    yield bench
    bench.ledger.close()
    logger.enable("backfill")


def open_every_connection(ledger: Ledger) -> None:
    """As many as are kept for reading, which are opened when they are needed at the same time first."""
    barrier = threading.Barrier(5)
    threads = [threading.Thread(target=ledger.database.read, args=(lambda _: barrier.wait(30),)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_ten_days_of_faults_end_with_every_mail_final_exactly_once(bench: Bench) -> None:
    clock, mailbox = bench.clock, bench.mailbox
    assert isinstance(clock, Days)
    assert isinstance(mailbox, FlakyMailbox)
    watch = Watch(bench, clock)
    bench.classifier.answers = watch.answer

    def on(day: int, hour: float, what: Callable[[], None]) -> None:
        clock.due.append((BEGIN.replace(hour=0) + timedelta(days=day, hours=hour), what))

    def set_away(*, is_away: bool) -> Callable[[], None]:
        return lambda: setattr(mailbox, "is_away", is_away)

    for day, hour, hours in ((1, 9, 0.1), (3, 8.5, 5), (7, 11, 0.5)):
        on(day, hour, set_away(is_away=True))
        on(day, hour + hours, set_away(is_away=False))
    on(2, 10, watch.cut_off)
    on(4, 9, lambda: clock.turn(9 * 3600))  # a laptop is closed over the day
    on(5, 10, watch.cut_off)
    on(6, 11, lambda: clock.set_back(1))
    on(6, 13, lambda: bench.stop.set("SIGTERM"))
    on(8, 15, watch.cut_off)
    on(9, 9, lambda: clock.turn(86_400))  # and for a whole day

    open_every_connection(bench.ledger)
    ended, endings = None, Counter[str]()
    while ended is None or ended.outcome is not RunOutcome.FINISHED:
        try:
            ended = bench.run(
                analytics=True,
                gates=(JobStatus(HoursGate(DAYTIME, clock, UTC), watch),),
                max_per_day=MAX_PER_DAY,
                calls_per_minute=2,
                concurrency=CONCURRENCY,
                retry_attempts=2,
                retry_delay_s=30.0,
            )
            endings[ended.outcome] += 1
        except PowerCut:
            endings["killed"] += 1
        except BackfillError as error:
            endings[type(error).__name__] += 1
        bench.stop = StopRequest()
        clock.turn(1800)  # until somebody starts it again
        assert sum(endings.values()) < 40, endings

    finals = Counter(bench.statuses().values())
    assert finals == {"done": MAILS - 2, "failed": 1, "vanished": 1}
    assert bench.rows("SELECT COUNT(*), COUNT(DISTINCT item_id) FROM outcome") == [(MAILS - 1, MAILS - 1)]
    assert sorted(bench.effect.applied) == [uid for uid in range(1, MAILS + 1) if uid not in (GONE, REFUSED)]
    assert bench.rows("SELECT COUNT(*) FROM item WHERE claimed_by IS NOT NULL") == [(0,)]

    lost = watch.refused + endings["killed"] * CONCURRENCY
    assert MAILS - 1 <= len(watch.calls) <= MAILS - 1 + lost
    assert bench.rows("SELECT COUNT(*) FROM attempt WHERE outcome <> 'unsent'") == [(len(watch.calls),)]
    by_day = Counter(day for (day,) in bench.rows("SELECT started_at / 86400000000 FROM attempt"))
    assert max(by_day.values()) == MAX_PER_DAY
    assert all(DAYTIME.include(when.time()) for when, _ in watch.calls)

    assert clock.day() >= 10, by_day
    assert endings["killed"] == 3
    assert endings[RunOutcome.INTERRUPTED] >= 1
    first, last = min(watch.threads), max(watch.threads)
    assert min(watch.threads[last]) <= max(watch.threads[first])
    assert min(watch.descriptors[last]) <= max(watch.descriptors[first])
