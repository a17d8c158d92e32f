"""What an `apply` would change: by label, by output and by mail. Reads the ledger; asks neither server nor model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from backfill.ledger import Ledger
from backfill.ledger.applying import Judged
from backfill.ledger.rows import Job
from backfill.lifecycle import ItemStatus
from backfill.message import MessageRef
from backfill.ports import Effect, Receipt, ReceiptState
from backfill.ports import Judged as Mail
from backfill.rubric import Rubric
from backfill.verdict import Verdict

PAGE: Final = 1000
EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class Change:
    """A mail of which something differs from what its verdict derives today."""

    judged: Judged
    gained: tuple[tuple[str, str], ...]  # labels, after "", and keywords, after their output's name
    lost: tuple[tuple[str, str], ...]
    outputs: tuple[str, ...]  # those that have to be brought about again


@dataclass(frozen=True, slots=True)
class Turn:
    """How many mails gain and lose something: a label, or a keyword of an output. `output` "": it is a label."""

    output: str
    what: str
    gain: int
    lose: int


@dataclass(frozen=True, slots=True)
class Example:
    """A mail that changes."""

    ref: MessageRef
    date: str  # the day it was sent, or ""
    sender: str
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expected:
    """What an `apply` changes. `outputs`: for each output, how many mails it is brought about on."""

    mails: int = 0
    turns: tuple[Turn, ...] = ()
    outputs: tuple[tuple[str, int], ...] = ()
    superseded: tuple[tuple[int, int], ...] = ()  # mails that are left to a newer job, by its number
    gone: int = 0  # mails in folders that are no longer on the server
    examples: tuple[Example, ...] = ()

    @property
    def left(self) -> int:
        return sum(mails for _, mails in self.superseded)


@dataclass(slots=True)
class Tally:
    """Counts changes one by one."""

    mails: int = 0
    gone: int = 0  # mails in folders that are no longer on the server
    taken: int = 0
    gains: Counter[tuple[str, str]] = field(default_factory=Counter)
    losses: Counter[tuple[str, str]] = field(default_factory=Counter)
    outputs: Counter[str] = field(default_factory=Counter)
    superseded: Counter[int] = field(default_factory=Counter)
    first: list[Change] = field(default_factory=list)

    def count(self, page: Iterable[Judged], changes: Sequence[Change]) -> None:
        """Add one page, and its changes."""
        self.superseded.update(each.newer_job for each in page if each.newer_job is not None)
        self.first += changes[: EXAMPLES - len(self.first)]
        self.mails += len(changes)
        for change in changes:
            self.gains.update(change.gained)
            self.losses.update(change.lost)
            self.outputs.update(change.outputs)

    def expected(self, ledger: Ledger) -> Expected:
        """The sums, with what the ledger knows of the first mails."""
        turns = [Turn(*what, self.gains[what], self.losses[what]) for what in sorted({*self.gains, *self.losses})]
        senders = ledger.undoing.senders({each.judged.message_key for each in self.first if each.judged.message_key})
        examples = []
        for each in self.first:
            sender = senders.get(each.judged.message_key or "")
            day = sender.sent_at.date().isoformat() if sender and sender.sent_at else ""
            address = sender.address if sender else ""
            gained, lost = (tuple(dict.fromkeys(what for _, what in turn)) for turn in (each.gained, each.lost))
            examples.append(Example(each.judged.item.ref, day, address, gained, lost, each.outputs))
        superseded = tuple(sorted(self.superseded.items()))
        return Expected(
            self.mails, tuple(turns), tuple(sorted(self.outputs.items())), superseded, self.gone, tuple(examples)
        )


def expect(ledger: Ledger, effects: Sequence[Effect], rubric: Rubric, job: Job) -> Expected:
    """What an `apply` of the job would change. Reads all its judged items, a page at a time."""
    tally = Tally()
    for page, changes in changing(ledger, effects, rubric, job):
        tally.count(page, changes)
    return tally.expected(ledger)


def changing(
    ledger: Ledger, effects: Sequence[Effect], rubric: Rubric, job: Job
) -> Iterator[tuple[list[Judged], list[Change]]]:
    """Every page of the job's judged items, and those of them that differ from what their verdicts derive."""
    page: list[Judged] = []
    while page := ledger.applying.page(job.id, page[-1].item if page else None, PAGE):
        yield page, [change for each in page if (change := _change(each, effects, rubric)) is not None]


def _change(judged: Judged, effects: Sequence[Effect], rubric: Rubric) -> Change | None:
    verdict = judged.item.verdict
    if judged.newer_job is not None or verdict is None:
        return None
    labels = rubric.labels(verdict)
    outstanding = []
    for effect in effects:
        kept = judged.kept.get(effect.name)
        if kept is None or not kept.is_current(effect, verdict, labels):
            outstanding.append(effect)
    before = judged.labels or ()
    if not outstanding and judged.item.status is ItemStatus.DONE and before == labels:
        return None
    gained = [("", label) for label in labels if label not in before]
    lost = [("", label) for label in before if label not in labels]
    for effect in outstanding:
        if not effect.needs_message:
            will, has = _traces(effect, judged, verdict, labels)
            gained += [(effect.name, what) for what in will if what not in has]
            lost += [(effect.name, what) for what in has if what not in will]
    return Change(judged, tuple(gained), tuple(lost), tuple(effect.name for effect in outstanding))


def _traces(
    effect: Effect, judged: Judged, verdict: Verdict, labels: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What will be ours on the mail by this effect, and what is, in words."""
    ref, kept = judged.item.ref, judged.kept.get(effect.name)
    mail = Mail(ref, verdict, labels, judged.item.flags_before, None)
    will = tuple(what for receipt in effect.presumed([mail]) for what in effect.traces(receipt))
    has = () if kept is None else effect.traces(Receipt(ref, effect.name, ReceiptState.APPLIED, dict(kept.detail)))
    return will, has
