"""The queues between the stages of a run, and their bounds.

Values flow one way: claimed items become tasks, tasks become results, results become judgments for the effects. Every
queue is bounded, and the window bounds the items that are claimed and not recorded. So memory stays flat, also when one
stage is slow.
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
from backfill.errors import FolderTroubled, FolderUnusable
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
    """Why the run ends. `reason` is for people; empty if everything is done."""

    outcome: RunOutcome
    reason: str = ""
    asked_again: int = 0  # calls whose answers did not come in time: the next run makes them again


@dataclass(slots=True)
class Flow:
    """Everything that the stages of one run share."""

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
    only_retried: bool  # work only on the items that this run took up again
    #: The questions that are asked now: message_key → other tasks with the same question. Only the reader adds keys.
    asking: dict[str, list[Task]] = field(default_factory=dict)
    asking_lock: threading.Lock = field(default_factory=threading.Lock)
    calling: set[int] = field(default_factory=set)  # items whose call is under way, or not committed yet
    ended: Ended | None = None  # why the reader has ended; None: it still reads
    error: BaseException | None = None  # the first error that ends the run; None: none yet
    is_over: bool = False  # the writer takes no more results
    #: Mailbox number → why its folder cannot be worked on.
    left_out: dict[int, FolderUnusable | FolderTroubled] = field(default_factory=dict)

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
        """A flow with empty queues. Their bounds are those of `fit`."""
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
            results=Queue(),  # the window and the number of threads bound what can be in it
            judgments=Queue(4 * ahead),
            threads=threads,
            only_retried=only_retried,
        )

    def fit(self, concurrency: int) -> None:
        """Set the bounds for `concurrency` asking threads, also while other threads wait for room."""
        ahead = _ahead(concurrency)
        self.window.resize(2 * ahead)
        for queue, size in ((self.tasks, ahead), (self.judgments, 4 * ahead)):
            with queue.mutex:
                queue.maxsize = size
                queue.not_full.notify_all()

    def fail(self, error: BaseException) -> None:
        """Stop the run because of an error that concerns all of it. The run ends with the first such error."""
        if self.error is None:
            self.error = error
        self.stop.set(type(error).__name__)

    def leave_out(self, mailbox_id: int, error: FolderUnusable | FolderTroubled) -> None:
        """Claim nothing more from a mailbox in this run: its folder cannot be worked on. The others go on."""
        if mailbox_id not in self.left_out:
            logger.bind(job=self.job.id, run=self.run.uuid).warning("left out until the next run: {}", error)
            with self.asking_lock:
                self.left_out = {**self.left_out, mailbox_id: error}  # a new dict, since other threads read the old one

    def open_attempt(self, call: Call) -> int:
        """Let the writer open the attempt of a call. Waits; returns the attempt's number.

        Raises `Stopped` if no more calls are made, or the ledger's reason why this call must not be made.
        """
        opening = Opening(call)
        self.results.put(opening)
        if self.is_over:  # perhaps since before `put`: then the writer never takes the opening
            raise Stopped
        return opening.attempt.result()

    def close(self) -> None:
        """The writer takes no more results: refuse the openings for which threads wait."""
        self.is_over = True
        with suppress(Empty):
            while True:
                result = self.results.get_nowait()
                if isinstance(result, Opening):
                    result.refuse()

    def start(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """Run a stage in a daemon thread. An exception of the stage ends the run."""

        def carry() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - carried to the main thread, which raises it
                self.fail(error)

        thread = threading.Thread(target=carry, name=name, daemon=True)
        thread.start()
        return thread

    def hand(self, queue: Queue[T], thing: T) -> bool:
        """Put into a bounded queue. False: a stop came while it was full. Then the end of the run frees the item."""
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
    """How many mails to fetch ahead: twice the concurrency, and at least 50, so that a batch is worth its FETCH."""
    return max(2 * concurrency, 50)
