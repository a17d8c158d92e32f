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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from loguru import logger

import backfill.operations.run as operation
from backfill.analytics import AnalyticsFile
from backfill.clock import StopRequest, SystemClock
from backfill.effects.flags import FlagsEffect
from backfill.effects.notes import NotesEffect
from backfill.errors import (
    EffectRefused,
    MailError,
    MessageRefused,
    MessageUnreadable,
    RateLimited,
)
from backfill.fingerprint import Fingerprint
from backfill.ledger import Ledger
from backfill.ledger.parameters import RunParameters
from backfill.ledger.rows import Job, Run
from backfill.lifecycle import Disposition
from backfill.limits import GivenLimits, RunLimits
from backfill.message import Content, MailboxKey, Message, MessageRef
from backfill.operations.apply import apply
from backfill.operations.parts import Api, Audience, locked
from backfill.ports import (
    Effect,
    Judged,
    Lost,
    Price,
    Probe,
    Receipt,
    State,
    Unapplied,
    Undone,
    Unfetched,
)
from backfill.rubric import Rubric
from backfill.selection import Selection
from backfill.throttle.mail import AHEAD_BYTES, MailAllowance
from backfill.verdict import Announced, Scores
from backfill.wording import Deed
from tests.support.bench import INBOX, BenchClassifier, BenchMailbox, BenchParts
from tests.support.memory_marker import MemoryMarker

API = "calls:world"
PRICE = Price(Decimal("1e-9"), Decimal("1e-9"))
FINGERPRINT = Fingerprint.of("prompt", classifier="world")
NOTE = "{{ subject | quoted }}\n{{ labels | quoted }}\n{{ body | fenced }}\n"
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
    left_out: tuple[int, ...] = ()  # by a rule
    throttled: tuple[int, ...] = ()  # the API answers the first call about these with "too many calls"
    odd: tuple[int, ...] = ()  # reading fails with an unexpected error: always in a batch, and the first time alone
    unnotable: tuple[int, ...] = ()  # the first note about these fails
    applies: bool = False  # only `apply` what an earlier process has judged
    threshold: int = 8  # of importance
    tag: str = "Important"
    is_whole: bool = False  # work on it twice; the second time nothing is refused or gone

    def content(self, uid: int) -> Content:
        return Content(subject=f"mail {self.copies.get(uid, uid)}", sender="jo@example.com", body="Hello.")

    @property
    def questions(self) -> int:
        """How many calls a run without any trouble makes."""
        never_asked = {*self.unreadable, *self.left_out, *(() if self.is_whole else self.gone)}
        askable = set(range(1, self.mails + 1)) - never_asked - set(self.refused)
        return len({self.content(uid).subject for uid in askable}) + len(self.refused) + len(self.throttled)


class Steps:
    """Counts how often each step is reached, and ends the process at the given step."""

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


#: Every verb of the ledger that writes.
WRITES = {
    "jobs": ("open", "consent", "reopen", "settle"),
    "plans": ("open_mailbox", "freeze", "plan_window", "plan_again"),
    "runs": ("begin", "free_dead", "beat", "release_claims", "end"),
    "items": ("claim", "begin", "rest", "postpone", "release", "lose", "skip", "vanish", "fail", "retry", "revive"),
    "results": ("commit",),
    "receipts": ("intend", "keep", "reapply", "doubt"),
    "attempts": ("close",),
    "throttles": ("set_rate", "reserve", "reserve_both", "charge", "block", "lift_guess", "slow", "announce"),
    "outcomes": ("open_sink", "advance"),
    "audit": ("repair",),
    "secrets": ("get",),
    "applying": ("begin", "take_up"),
    "undoing": ("begin", "keep", "close", "settle"),
    "budgets": ("open", "open_day", "open_calls"),
    "steering": ("pause", "resume", "cancel", "set_pace", "note_waiting"),
}


def stepped_ledger(ledger: Ledger, steps: Steps) -> Ledger:
    """The same ledger with steps before and after each verb, also where one verb calls another."""
    parts = {part.name: getattr(ledger, part.name) for part in fields(Ledger)}
    return Ledger(**{name: _stepped(name, part, steps) if name in WRITES else part for name, part in parts.items()})


def _stepped(name: str, part: Any, steps: Steps) -> Any:
    def step(verb: str) -> Callable[..., Any]:
        def stepped(self: Any, *args: Any, **kwargs: Any) -> Any:
            steps.at(f"before {name}.{verb}")
            answer = getattr(type(part), verb)(self, *args, **kwargs)
            steps.at(f"after {name}.{verb}")
            return answer

        return stepped

    own = object.__new__(type(name, (type(part),), {verb: step(verb) for verb in WRITES[name]}))
    for held in fields(part):
        object.__setattr__(own, held.name, getattr(part, held.name))
    return own


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


class LeftOut(MailError):
    """A rule excludes the mail."""

    disposition = Disposition.SKIP
    reason = "left_out"


@dataclass(kw_only=True)
class WorldMailbox(BenchMailbox):
    """The world's mailbox, for reading. Some mails cannot be read at all, some not at the first try."""

    world: World
    allowance: MailAllowance | None  # None: nothing limits what is read
    oddities: Diary

    @classmethod
    def of(cls, world: World, allowance: MailAllowance | None, oddities: Diary, *, is_first: bool) -> WorldMailbox:
        """The mailbox that a command reads. `is_first`: some mails are gone."""
        mailbox = cls(world=world, allowance=allowance, oddities=oddities, gone={*world.gone} if is_first else set())
        mailbox.holds(*range(1, world.mails + 1))
        for uids, error in ((world.left_out, LeftOut()), (world.unreadable, MessageUnreadable())):
            for uid in uids:
                mailbox.odd[uid] = partial(Unfetched, MessageRef(INBOX, uid), error)
        return mailbox

    def fetch(self, mailbox: MailboxKey, uids: Sequence[int]) -> Iterator[Message | Unfetched]:
        if self.allowance is not None:
            self.allowance.read(AHEAD_BYTES)
        if not self.oddities.entries() and {*uids} & {*self.world.odd}:
            if len(uids) == 1:
                self.oddities.note(uid=uids[0])
            raise ArithmeticError
        for read in super().fetch(mailbox, uids):
            yield replace(read, content=self.world.content(read.ref.uid)) if isinstance(read, Message) else read


def world_classifier(world: World, folder: Path, *, is_first: bool) -> BenchClassifier:
    """A metered classifier whose calls are written down. `is_first`: it refuses some mails."""
    calls, throttled = Diary(folder / "calls.jsonl"), Diary(folder / "throttled.jsonl")

    def answer(message: Message) -> Scores:
        calls.note(subject=message.content.subject)
        if message.ref.uid in world.throttled and not throttled.entries():
            throttled.note(uid=message.ref.uid)
            raise RateLimited(wait_s=0.01)
        if is_first and message.ref.uid in world.refused:
            raise MessageRefused
        return Scores.of(importance=9, spam=1)

    return BenchClassifier(answer, announced=Announced(calls_per_minute=50_000), fingerprint=FINGERPRINT)


class WorldMarker(MemoryMarker):
    """The world's mailbox, for keywords. Keeps those of earlier processes; writes down each that is set."""

    def __init__(self, world: World, stores: Diary) -> None:
        super().__init__(INBOX)
        self.holds(*range(1, world.mails + 1))
        self._stores = stores
        for entry in stores.entries():
            act = super().remove if entry.get("is_removal") else super().add
            act(INBOX, entry["keyword"], entry["uids"])

    def add(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        self._stores.note(keyword=keyword, uids=list(uids))
        return super().add(mailbox, keyword, uids)

    def remove(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        self._stores.note(keyword=keyword, uids=list(uids), is_removal=True)
        return super().remove(mailbox, keyword, uids)


class ShiftedClock(SystemClock):
    """The machine's clock, set forward by the time that seems to have passed since the earlier run died."""

    def __init__(self, seconds: float) -> None:
        self._shift = timedelta(seconds=seconds)

    def now(self) -> datetime:
        return super().now() + self._shift


class Nobody:
    """An observer that ignores everything."""

    def begins(self, total: int) -> None: ...

    def record(self, **_: int) -> None: ...

    def waiting(self, reason: str | None) -> None: ...

    def limited_by(self, limit: str | None, ends_at: datetime | None = None) -> None: ...


class SteppedEffect(Stepped):
    """An effect whose every answer is a step of its own."""

    def apply(self, mails: Sequence[Any]) -> Iterator[Receipt | Unapplied]:
        self._steps.at(f"before {self._name}.apply")
        for answer in self._real.apply(mails):
            self._steps.at(f"within {self._name}.apply")
            yield answer


@dataclass(frozen=True)
class RefusingOnce:
    """An effect that refuses some mails once."""

    real: NotesEffect
    uids: tuple[int, ...]
    refusals: Diary
    name = "notes"
    needs_message = True

    def holds(self, detail: Mapping[str, Any], labels: Sequence[str]) -> bool:
        return self.real.holds(detail, labels)

    def apply(self, mails: Sequence[Judged]) -> Iterator[Receipt | Unapplied]:
        for mail in mails:
            if mail.ref.uid in self.uids and not self.refusals.entries():
                self.refusals.note(uid=mail.ref.uid)
                yield Unapplied(mail.ref, self.name, EffectRefused())
            else:
                yield from self.real.apply([mail])

    def lost(self, receipts: Sequence[Receipt]) -> Iterator[Lost]:
        return self.real.lost(receipts)

    def presumed(self, mails: Sequence[Judged]) -> Iterator[Receipt]:
        return self.real.presumed(mails)

    def undo(self, receipts: Sequence[Receipt]) -> Iterator[Undone | Unapplied]:
        return self.real.undo(receipts)

    def traces(self, receipt: Receipt) -> tuple[str, ...]:
        return self.real.traces(receipt)

    def foreseen(self, labels: Sequence[str]) -> tuple[Deed, ...]:
        return self.real.foreseen(labels)

    def probe(self, inbox: MailboxKey | None) -> Iterator[Probe]:
        yield Probe(self.name, State.OK, "It works.")

    def close(self) -> None:
        return


@dataclass(frozen=True)
class Command:
    """One process's ledger and what it works with."""

    folder: Path
    world: World
    ledger: Ledger
    clock: SystemClock
    steps: Steps

    def execute(self) -> None:
        """Everything from taking the lock to the end, as the processor does it."""
        ledger = self.ledger
        if self.world.applies:
            apply(self._parts(is_first=False), self._audience(), None)
            return
        ledger.secrets.get("prompt")
        with locked(ledger) as lock:
            job = ledger.jobs.open(INBOX.account, Selection(), FINGERPRINT, dry_run=False)
            ledger.jobs.reopen(job.id)
            ledger.jobs.consent(job.id)
            operation.work(self._parts(is_first=True), self._audience(), job, "run", GivenLimits(), lock)
        if self.world.is_whole:
            parts = self._parts(is_first=False)
            with locked(ledger) as lock:
                run = ledger.runs.begin(lock, job.id, "retry", "0", RunParameters(parts.limits, API))
                self._change_ones_mind(job, run)
                ended = operation.work_off(parts, self._audience(), job, run, parts.limits)
                ledger.runs.end(run, ended.outcome, ended.reason, 0)
                ledger.jobs.settle(job.id)

    def _change_ones_mind(self, job: Job, run: Run) -> None:
        """Retry, repair, undo and apply, pause, resume, cancel and take up again."""
        ledger = self.ledger
        ledger.items.retry(run, ["refused"])
        ledger.audit.repair(job.id)
        for mailbox_id in ledger.plans.mailbox_keys(job.id):
            ledger.items.revive(job.id, mailbox_id, self.world.gone)
        ledger.plans.plan_again(job.id)
        ledger.receipts.doubt(ledger.receipts.standing(job.id))
        ledger.undoing.begin(run)
        ledger.undoing.keep([])
        ledger.undoing.close([each.id for each in ledger.undoing.written(job.id)])
        ledger.undoing.settle(run)
        ledger.applying.begin(run)
        ledger.applying.take_up(run, [each.item for each in ledger.applying.page(job.id)])
        ledger.receipts.reapply(job.id, ["flags", "notes"])
        ledger.steering.pause(job.id, "lunch")
        ledger.steering.note_waiting(run, "lunch")
        ledger.steering.resume(job.id)
        ledger.steering.note_waiting(run, None)
        ledger.steering.set_pace(job.id, 60_000)
        ledger.steering.cancel(job.id, "enough")
        ledger.jobs.reopen(job.id)
        ledger.items.claim(run, 3)
        ledger.runs.release_claims(run)

    def _audience(self) -> Audience:
        return Audience(self.clock, StopRequest(), Nobody(), None, lambda sentence: None)

    def _parts(self, *, is_first: bool) -> BenchParts:
        ledger, clock, folder = self.ledger, self.clock, self.folder
        allowance = MailAllowance(ledger, clock, INBOX.account, 10**15)
        oddities = Diary(folder / "oddities.jsonl")
        source: Any = Stepped(
            "source", WorldMailbox.of(self.world, allowance, oddities, is_first=is_first), self.steps, "fetch"
        )
        classifier: Any = Stepped(
            "api", world_classifier(self.world, folder, is_first=is_first), self.steps, "classify"
        )
        limits = RunLimits(
            calls_per_minute=60_000,
            tokens_per_minute=None if is_first else 10**9,
            concurrency=CONCURRENCY,
            max_cost_usd=Decimal(1),
            max_cost_usd_per_day=Decimal(1),
            max_per_day=10**6,
            retry_attempts=2,
            retry_delay_s=0.01,
        )
        return BenchParts(
            ledger=ledger,
            source=source,
            classifier=classifier,
            outputs=self._effects,
            analytics_file=AnalyticsFile(ledger, folder / "analytics.jsonl"),
            listed=PRICE,
            limits=limits,
            api=Api(API, "world/model", "memory:", max_answer_tokens=2),
            allowance=allowance,
            rubric=self._rubric,
            effect_names=("notes", "flags"),
        )

    @property
    def _rubric(self) -> Rubric:
        return Rubric.default(self.world.threshold, important_tag=self.world.tag)

    def _effects(self) -> tuple[Effect, ...]:
        notes: Any = RefusingOnce(
            NotesEffect(self.folder / "notes", NOTE), self.world.unnotable, Diary(self.folder / "refusals.jsonl")
        )
        marker: Any = Stepped(
            "server", WorldMarker(self.world, Diary(self.folder / "stores.jsonl")), self.steps, "add", "remove"
        )
        flags = FlagsEffect(marker, processed_tag="AIProcessed", keywords=self._rubric.keywords)
        return SteppedEffect("notes", notes, self.steps), flags  # type: ignore[return-value]


def work(folder: Path, url: str, world: World, cut: tuple[str, int] | None = None, shift_s: float = 0.0) -> Steps:
    """One process's work on the world, from opening the ledger to the end."""
    steps, clock = Steps(cut), ShiftedClock(shift_s)
    ledger = stepped_ledger(Ledger.open(url, clock), steps)
    Command(folder, world, ledger, clock, steps).execute()
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
