"""What the stages of a run hand to each other, and the bounds within which they do.

Types flow one way: claimed items become tasks, tasks become results, results become effects. Every queue is bounded
and the window bounds what is claimed but not recorded, so memory stays flat however fast or slow a stage is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from queue import Empty, Full, Queue
from typing import Protocol, TypeVar

from backfill.clock import StopRequest
from backfill.errors import BackfillError
from backfill.executor.gates import Gates
from backfill.executor.slots import Concurrency, Slots
from backfill.ledger.attempts import Call
from backfill.ledger.rows import Item, Job, Run
from backfill.lifecycle import RunOutcome
from backfill.message import Message
from backfill.ports import Receipt, Unapplied
from backfill.verdict import Answer, Label, Verdict

T = TypeVar("T")


class Stopped(Exception):
    """A stop came before the call was made; the item stays claimed and is given back with the run."""


class Observer(Protocol):
    """Is told what has been committed and what is being waited for. Called from several threads."""

    def begins(self, total: int) -> None:
        """So many mails are to be worked on."""
        ...

    def record(
        self, *, processed: int = 0, failed: int = 0, skipped: int = 0, vanished: int = 0, reused: int = 0
    ) -> None: ...

    def waiting(self, reason: str | None) -> None:
        """The run waits, for this reason; None: it works again."""
        ...

    def limited_by(self, limit: str | None, ends_at: datetime | None = None) -> None:
        """What binds the run, in a few words; None: that is not known.

        `ends_at`: when it will be done where its rate alone does not tell, since it rests at times.
        """
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may do. None of it is part of the job."""

    max_emails: int | None = None
    concurrency: Concurrency = 8
    retry_attempts: int = 3
    retry_delay_s: float = 5.0
    only_retried: bool = False  # work on the items that this run took up again, and on nothing else


@dataclass(frozen=True, slots=True)
class Ended:
    """Why nothing more is read. `reason` is for people; empty when everything is done."""

    outcome: RunOutcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A mail to be judged."""

    item: Item
    message: Message


@dataclass(frozen=True, slots=True)
class Asked:
    """The classifier's answer for a task; `attempt_id` is None when it is unmetered."""

    task: Task
    answer: Answer
    attempt_id: int | None


@dataclass(frozen=True, slots=True)
class Known:
    """A verdict that was in the ledger already."""

    task: Task
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Troubled:
    """An item that an error befell. `was_asked`: by an asking thread, which counted it among those in its hands."""

    item: Item
    error: BackfillError
    key: str | None = None
    was_asked: bool = False


@dataclass(frozen=True, slots=True)
class Judgment:
    """A committed verdict on its way to the effects. `receipts`: effect → verdict number it was made from."""

    item: Item
    message: Message | None
    verdict: Verdict
    flags_before: frozenset[str]
    receipts: dict[str, int]
    is_reused: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """What the effects made of a judgment."""

    judgment: Judgment
    labels: tuple[Label, ...]
    receipts: tuple[Receipt, ...]
    refusals: tuple[Unapplied, ...]


@dataclass(frozen=True, slots=True)
class Opening:
    """A call that is about to be made. Its thread waits for the number of the attempt."""

    call: Call
    attempt: Future[int] = field(default_factory=Future)

    def answer(self, answer: int | BackfillError) -> None:
        """It is committed, or is not to be made."""
        if isinstance(answer, BackfillError):
            self.attempt.set_exception(answer)
        else:
            self.attempt.set_result(answer)

    def refuse(self) -> None:
        """No more calls are made, unless it was answered already."""
        if not self.attempt.done():
            self.attempt.set_exception(Stopped())


#: What the writer is handed. A thread's answer comes before its next opening, and so it is saved before the next call.
Result = Asked | Known | Troubled | Applied | Opening


class Window:
    """Counts the items that are claimed and not recorded yet; whoever wants to claim waits for room."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.inside = 0
        self._changed = threading.Condition()

    def room(self, wanted: int, stop: StopRequest) -> int:
        """Wait until at least half of `wanted` fits; how many do. 0 when a stop came first."""
        with self._changed:
            while not stop.is_set():
                free = min(wanted, self.size - self.inside)
                if free >= max(1, wanted // 2):
                    return free
                self._changed.wait(0.5)
        return 0

    def enter(self, items: int) -> None:
        with self._changed:
            self.inside += items

    def leave(self) -> None:
        """One item is recorded, or final, or given back."""
        with self._changed:
            self.inside -= 1
            self._changed.notify_all()

    def resize(self, size: int) -> None:
        with self._changed:
            self.size = size
            self._changed.notify_all()

    def wait_for_change(self, seconds: float) -> None:
        """Until something leaves, or so long."""
        with self._changed:
            self._changed.wait(seconds)


class Cap:
    """Which mails a run has taken, where it may take only so many: each counts once, however often it is tried.

    A mail that is postponed keeps its place, for it may have cost a call; one that the world was at fault for gives
    it back. Items are named by number; each change is one operation on a set or dict, so it needs no lock.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._taken: set[int] = set()
        self._postponed: dict[int, datetime] = {}  # taken, and to be tried again by this run from then on

    def room(self, wanted: int) -> int:
        """How many of so many new mails may be taken."""
        return wanted if self._limit is None else min(wanted, self._limit - len(self._taken))

    def takes(self, item_ids: Iterable[int]) -> None:
        if self._limit is not None:
            for item_id in item_ids:
                self._taken.add(item_id)
                self._postponed.pop(item_id, None)

    def postpones(self, item_id: int, until: datetime) -> None:
        if self._limit is not None:
            self._postponed[item_id] = until

    def gives_back(self, item_id: int) -> None:
        self._taken.discard(item_id)

    def next_due(self) -> datetime | None:
        """When the first of the postponed mails is due; None when there is none."""
        return min(self._postponed.copy().values(), default=None)

    def take_due(self, now: datetime) -> list[int]:
        """The postponed mails that are due, which are no longer waited for."""
        due = [item_id for item_id, until in self._postponed.copy().items() if until <= now]
        for item_id in due:
            self._postponed.pop(item_id, None)
        return due


@dataclass(slots=True)
class Flow:
    """What the stages of one run share."""

    job: Job
    run: Run
    limits: Limits
    stop: StopRequest
    observer: Observer
    cap: Cap
    gates: Gates
    window: Window
    tasks: Queue[Task | None]
    results: Queue[Result]
    judgments: Queue[Judgment | None]
    slots: Slots
    #: message_key → tasks that wait for the answer to the same question. Only the reader adds keys.
    asking: dict[str, list[Task]] = field(default_factory=dict)
    asking_lock: threading.Lock = field(default_factory=threading.Lock)
    calling: set[int] = field(default_factory=set)  # items whose call is under way or not committed yet
    ended: Ended | None = None  # why the reader stopped reading, once it has
    error: BaseException | None = None  # the first that concerns the run and no single item
    is_over: bool = False  # nobody takes results any more

    @classmethod
    def of(
        cls, job: Job, run: Run, limits: Limits, cap: Cap, gates: Gates, stop: StopRequest, observer: Observer
    ) -> Flow:
        """The bounds are those of `fit`."""
        slots = Slots(limits.concurrency)
        ahead = _ahead(slots.size)
        return cls(
            job=job,
            run=run,
            limits=limits,
            stop=stop,
            observer=observer,
            cap=cap,
            gates=gates,
            window=Window(2 * ahead),
            tasks=Queue(ahead),
            results=Queue(),  # bounded by the window and the threads: nothing else is put there
            judgments=Queue(4 * ahead),
            slots=slots,
        )

    def fit(self, concurrency: int) -> None:
        """The bounds for so many slots, also while others wait at them."""
        ahead = _ahead(concurrency)
        self.window.resize(2 * ahead)
        for queue, size in ((self.tasks, ahead), (self.judgments, 4 * ahead)):
            with queue.mutex:
                queue.maxsize = size
                queue.not_full.notify_all()

    def fail(self, error: BaseException) -> None:
        """Stop the run for an error that concerns it as a whole; the first one is what it ends with."""
        if self.error is None:
            self.error = error
        self.stop.set(type(error).__name__)

    def open_attempt(self, call: Call) -> int:
        """Have it noted that a call is about to be made; the number of its attempt.

        Raises `Stopped` when no more calls are made, and what the ledger has against this one.
        """
        opening = Opening(call)
        self.results.put(opening)
        if self.is_over:  # perhaps since before the put, so that nobody will see it
            raise Stopped
        return opening.attempt.result()

    def close(self) -> None:
        """Nobody takes results any more: let those go who wait for an answer."""
        self.is_over = True
        with suppress(Empty):
            while True:
                result = self.results.get_nowait()
                if isinstance(result, Opening):
                    result.refuse()

    def start(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """Run a stage in a daemon thread; what it raises ends the run."""

        def carry() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - carried to the main thread, which raises it
                self.fail(error)

        thread = threading.Thread(target=carry, name=name, daemon=True)
        thread.start()
        return thread

    def hand(self, queue: Queue[T], thing: T) -> bool:
        """Put into a bounded queue; False when a stop came while it was full: the item is given back with the run."""
        while True:
            stopping = self.stop.is_set()
            try:
                queue.put(thing, block=not stopping, timeout=0.5)
            except Full:
                if stopping:
                    return False
            else:
                return True


def _ahead(concurrency: int) -> int:
    """Twice the concurrency is fetched ahead, but never so little that a batch is not worth it."""
    return max(2 * concurrency, 50)
