"""What the stages of a run hand to each other, and the bounds within which they do.

Types flow one way: claimed items become tasks, tasks become results, results become effects. Every queue is bounded
and the window bounds what is claimed but not recorded, so memory stays flat however fast or slow a stage is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, Full, Queue
from typing import TypeVar

from loguru import logger

from backfill.clock import StopRequest
from backfill.errors import FolderUnusable
from backfill.executor.askers import AskingThreads
from backfill.executor.bounds import Cap, Window
from backfill.executor.observer import Observer
from backfill.executor.results import Judgment, Opening, Result, Task
from backfill.ledger.attempts import Call
from backfill.ledger.rows import Job, Run
from backfill.lifecycle import RunOutcome
from backfill.limits import RunLimits
from backfill.metered import Stopped
from backfill.throttle.gates import Gates

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ended:
    """Why nothing more is read. `reason` is for people; empty when everything is done."""

    outcome: RunOutcome
    reason: str = ""
    asked_again: int = 0  # calls whose answers did not come in time: the next run makes them again


@dataclass(slots=True)
class Flow:
    """What the stages of one run share."""

    job: Job
    run: Run
    limits: RunLimits
    stop: StopRequest
    observer: Observer
    cap: Cap
    gates: Gates
    window: Window
    tasks: Queue[Task | None]
    results: Queue[Result]
    judgments: Queue[Judgment | None]
    threads: AskingThreads
    only_retried: bool  # nothing but what this run took up again is worked on
    #: message_key → tasks that wait for the answer to the same question. Only the reader adds keys.
    asking: dict[str, list[Task]] = field(default_factory=dict)
    asking_lock: threading.Lock = field(default_factory=threading.Lock)
    calling: set[int] = field(default_factory=set)  # items whose call is under way or not committed yet
    ended: Ended | None = None  # why the reader stopped reading, once it has
    error: BaseException | None = None  # the first that concerns the run and no single item
    is_over: bool = False  # nobody takes results any more
    left_out: dict[int, FolderUnusable] = field(default_factory=dict)  # by number: mailboxes that do not open, and why

    @classmethod
    def of(
        cls,
        job: Job,
        run: Run,
        limits: RunLimits,
        cap: Cap,
        gates: Gates,
        stop: StopRequest,
        observer: Observer,
        *,
        only_retried: bool = False,
    ) -> Flow:
        """The bounds are those of `fit`."""
        threads = AskingThreads(limits.concurrency)
        ahead = _ahead(threads.size)
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
            threads=threads,
            only_retried=only_retried,
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

    def leave_out(self, mailbox_id: int, error: FolderUnusable) -> None:
        """Claim nothing more from a mailbox in this run: its folder does not open. The others are worked on."""
        if mailbox_id not in self.left_out:
            logger.bind(job=self.job.id, run=self.run.uuid).warning("left out until the next run: {}", error)
            self.left_out = {**self.left_out, mailbox_id: error}  # anew, since other threads read it

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
