"""A mailbox, an API and their observers that outlive a process, and a run that can be cut short at any step.

`python -m tests.support.world` is a process that forks a child for each run it is asked for: what a crash leaves
behind is on the disk, what happened in the world is in files that are appended to with one write each.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from loguru import logger

from backfill.clock import StopRequest, SystemClock
from backfill.effects.flags import FlagsEffect
from backfill.effects.notes import NotesEffect
from backfill.errors import Concession, MessageGone, MessageRefused, MessageUnreadable
from backfill.executor import Ended, Executor, Limits
from backfill.export import AnalyticsFile
from backfill.ledger import Ledger
from backfill.message import Content, MailboxKey, Message, MessageRef
from backfill.planner import Planner
from backfill.ports import Effect, Fingerprint, Folder, MailboxState, Receipt, Surveyed, Unapplied, Unfetched
from backfill.selection import Selection
from backfill.throttle import Throttler
from backfill.verdict import Answer, Scores, Thresholds, Usage

INBOX = MailboxKey("owner@example.org", "INBOX", 7)
NOTE = "{{ subject | quoted }}\n{{ body | fenced }}\n"
CONCURRENCY = 3
CUT = 137


@dataclass(frozen=True)
class World:
    """What there is to be processed. UIDs run from 1 to `mails`."""

    mails: int = 12
    copies: dict[int, int] = field(default_factory=dict)  # UID → UID whose content it has
    refused: tuple[int, ...] = ()
    unreadable: tuple[int, ...] = ()
    gone: tuple[int, ...] = ()

    def content(self, uid: int) -> Content:
        return Content(subject=f"mail {self.copies.get(uid, uid)}", sender="jo@example.com", body="Hello.")

    @property
    def questions(self) -> int:
        """How many calls it takes when nothing goes wrong."""
        askable = set(range(1, self.mails + 1)) - set(self.unreadable) - set(self.gone) - set(self.refused)
        return len({self.content(uid).subject for uid in askable}) + len(self.refused)


class Steps:
    """Counts how often each step is reached, and ends the process at the one it was told."""

    def __init__(self, cut: tuple[str, int] | None) -> None:
        self.reached: Counter[str] = Counter()
        self._cut = cut
        self._lock = threading.Lock()

    def at(self, step: str) -> None:
        with self._lock:
            self.reached[step] += 1
            if self._cut == (step, self.reached[step]):
                os._exit(CUT)


class Stepped:
    """An object whose methods are steps: one before each call, one after it."""

    def __init__(self, name: str, real: Any, steps: Steps, *methods: str) -> None:
        self._name, self._real, self._steps, self._methods = name, real, steps, methods

    def __getattr__(self, method: str) -> Any:
        real = getattr(self._real, method)
        if method not in self._methods:
            return real

        def stepped(*args: Any, **kwargs: Any) -> Any:
            self._steps.at(f"before {self._name}.{method}")
            answer = real(*args, **kwargs)
            if isinstance(answer, Iterator):
                answer = iter(list(answer))
            self._steps.at(f"after {self._name}.{method}")
            return answer

        return stepped


WRITES = {
    "jobs": ("open", "open_mailbox", "freeze", "plan_window", "settle"),
    "runs": ("begin", "end"),
    "items": ("claim", "begin", "postpone", "fail", "vanish", "release"),
    "verdicts": ("record", "finish"),
    "attempts": ("open", "close"),
    "throttle": ("reserve",),
    "outcomes": ("open_sink", "advance"),
}


def stepped_ledger(ledger: Ledger, steps: Steps) -> Ledger:
    parts = {
        part.name: Stepped(part.name, getattr(ledger, part.name), steps, *WRITES[part.name])
        if part.name in WRITES
        else getattr(ledger, part.name)
        for part in fields(Ledger)
    }
    return Ledger(**parts)


@dataclass(frozen=True)
class Diary:
    """What an outside observer saw, one JSON line each, appended with one write."""

    path: Path

    def note(self, **entry: Any) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, json.dumps(entry).encode() + b"\n")
        os.close(descriptor)

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []


@dataclass(frozen=True)
class WorldSource:
    """The world's mailbox, for reading."""

    world: World

    def list_folders(self) -> list[Folder]:
        return [Folder("INBOX")]

    def examine(self, folder: str) -> MailboxState:
        return MailboxState(INBOX, self.world.mails, self.world.mails + 1)

    def survey(self, mailbox: MailboxKey, low: int, high: int, selection: Selection) -> list[Surveyed]:
        return [Surveyed(uid) for uid in range(low, min(high, self.world.mails) + 1)]

    def fetch(self, mailbox: MailboxKey, uids: Sequence[int]) -> Iterator[Message | Unfetched]:
        for uid in uids:
            ref = MessageRef(mailbox, uid)
            if uid in self.world.gone:
                yield Unfetched(ref, MessageGone())
            elif uid in self.world.unreadable:
                yield Unfetched(ref, MessageUnreadable())
            else:
                yield Message(ref, self.world.content(uid), frozenset(), None, None, 100)

    def close(self) -> None:
        return


@dataclass(frozen=True)
class WorldClassifier:
    """A metered classifier whose calls an observer counts."""

    world: World
    calls: Diary
    is_metered = True
    fingerprint = Fingerprint({"classifier": "world"}, "prompt")

    def decide_free(self, message: Message) -> Answer | None:
        return None

    def classify(self, message: Message, concession: Concession | None = None) -> Answer:
        self.calls.note(subject=message.content.subject)
        if message.ref.uid in self.world.refused:
            raise MessageRefused
        return Answer(Scores(9, 1), "world", usage=Usage(tokens_in=10, tokens_out=2))

    def estimate_tokens(self, message: Message) -> int:
        return 10

    def close(self) -> None:
        return


@dataclass(frozen=True)
class WorldMarker:
    """The world's mailbox, for keywords."""

    stores: Diary

    def permitted(self, mailbox: MailboxKey, keywords: Iterable[str]) -> frozenset[str]:
        return frozenset(keywords)

    def add(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        self.stores.note(keyword=keyword, uids=list(uids))
        return frozenset(uids)

    def remove(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        return frozenset(uids)

    def present(self, mailbox: MailboxKey, uids: Iterable[int]) -> frozenset[int]:
        return frozenset(uids)

    def close(self) -> None:
        return


class ShiftedClock(SystemClock):
    """The machine's clock, set forward: so long ago does the run before seem to have died."""

    def __init__(self, seconds: float) -> None:
        self._shift = timedelta(seconds=seconds)

    def now(self) -> datetime:
        return super().now() + self._shift


class Nobody:
    """An observer that does not look."""

    def begins(self, total: int) -> None: ...

    def record(self, **_: int) -> None: ...

    def waiting(self, reason: str | None) -> None: ...


class SteppedEffect(Stepped):
    """An effect whose every answer is a step of its own."""

    def apply(self, mails: Sequence[Any]) -> Iterator[Receipt | Unapplied]:
        self._steps.at(f"before {self._name}.apply")
        for answer in self._real.apply(mails):
            self._steps.at(f"within {self._name}.apply")
            yield answer


def work(folder: Path, url: str, world: World, cut: tuple[str, int] | None = None, shift_s: float = 0.0) -> Steps:
    """One run over the world, from opening the ledger to the end, as the processor does it."""
    steps, clock, stop = Steps(cut), ShiftedClock(shift_s), StopRequest()
    ledger = stepped_ledger(Ledger.open(url, clock), steps)
    source: Any = Stepped("source", WorldSource(world), steps, "fetch")
    classifier: Any = Stepped("api", WorldClassifier(world, Diary(folder / "calls.jsonl")), steps, "classify")
    marker: Any = Stepped("server", WorldMarker(Diary(folder / "stores.jsonl")), steps, "add")
    flags = FlagsEffect(marker, processed_tag="AIProcessed", important_tag="Important", spam_tag="Spam")
    effects: tuple[Effect, ...] = (SteppedEffect("notes", NotesEffect(folder / "notes", NOTE), steps), flags)  # type: ignore[assignment]
    lock = ledger.runs.lock()
    ledger.runs.take(lock)
    job = ledger.jobs.open(INBOX.account, Selection(), classifier.fingerprint, dry_run=False)
    run = ledger.runs.begin(lock, job.id, "run", "0", {})
    Planner(ledger, source, stop).plan(job)
    executor = Executor(
        ledger=ledger,
        source=source,
        classifier=classifier,
        effects=effects,
        throttler=Throttler(ledger, clock, "calls:world", 60_000),
        thresholds=Thresholds(),
        analytics=AnalyticsFile(ledger, folder / "analytics.jsonl"),
        clock=clock,
        stop=stop,
        observer=Nobody(),
    )
    ended: Ended = executor.work(job, run, Limits(concurrency=CONCURRENCY, retry_attempts=2, retry_delay_s=0.01))
    ledger.runs.end(run, ended.outcome, ended.reason, executor.running_us())
    ledger.jobs.settle(job.id)
    lock.drop()
    ledger.close()
    return steps


def serve() -> None:
    """Fork a run for each JSON line on standard input; answer with its exit code and the steps it reached."""
    logger.remove()
    for line in sys.stdin:
        asked = json.loads(line)
        world = asked["world"]
        world["copies"] = {int(uid): of for uid, of in world["copies"].items()}
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            cut = tuple(asked["cut"]) if asked["cut"] else None
            steps = work(Path(asked["folder"]), asked["url"], World(**world), cut, asked["shift_s"])
            os.write(writing, json.dumps(steps.reached).encode())
            os._exit(0)
        os.close(writing)
        with open(reading, "rb") as pipe:
            reached = pipe.read()
        _, status = os.waitpid(child, 0)
        answer = {"code": os.waitstatus_to_exitcode(status), "reached": json.loads(reached or b"{}")}
        print(json.dumps(answer), flush=True)


def request(folder: Path, url: str, world: World, cut: tuple[str, int] | None, shift_s: float) -> str:
    return json.dumps({"folder": str(folder), "url": url, "world": asdict(world), "cut": cut, "shift_s": shift_s})


if __name__ == "__main__":
    serve()
