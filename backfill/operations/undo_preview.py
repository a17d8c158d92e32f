"""What an undo would do: which receipts are taken back, which are left, and examples for people. Writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from backfill.ledger.rows import Job
from backfill.ledger.undoing import Written
from backfill.lifecycle import JobState
from backfill.message import MessageRef
from backfill.operations.outputs import Outputs
from backfill.operations.parts import Parts

PAGE: Final = 500
EXAMPLES: Final = 5


class Fate(StrEnum):
    """What an undo does about a receipt."""

    TAKEN_BACK = "taken back"  # no other job's verdict counts for the mail
    HANDED_OVER = "handed over"  # another verdict counts, and the mail gets what that one calls for
    LEFT = "left"  # it belongs to another job's verdict, which counts


@dataclass(frozen=True, slots=True)
class Trace:
    """Something to be taken back, with the number of its mails: e.g. a keyword."""

    effect: str
    what: str
    mails: int


@dataclass(frozen=True, slots=True)
class Example:
    """A mail of which something is taken back."""

    ref: MessageRef
    date: str  # the day it was sent, or ""
    sender: str
    traces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expected:
    """What an undo would do. A number of receipts may concern the same mail."""

    traces: tuple[Trace, ...]
    receipts: int  # those that are taken back or handed over
    handed_over: tuple[tuple[int, int], ...]  # the other job, and how many receipts it gets
    left: int  # the receipts that belong to other jobs already
    examples: tuple[Example, ...]


def expect(parts: Parts, outputs: Outputs, job: Job, only: Sequence[str]) -> Expected:
    """What an undo of the job would do. `only`: as for `undo`."""
    traces: Counter[tuple[str, str]] = Counter()
    handed: Counter[int] = Counter()
    examples: dict[MessageRef, tuple[Written, list[str]]] = {}
    receipts = left = 0
    for each, fate in (pair for page in fates(parts, job, only) for pair in page):
        if fate is Fate.LEFT:
            left += 1
            continue
        receipts += 1
        if fate is Fate.HANDED_OVER:
            assert each.other_job is not None
            handed[each.other_job] += 1
            continue
        found = outputs.traces(each.receipt)
        traces.update((each.receipt.effect, what) for what in found)
        if found and (each.receipt.ref in examples or len(examples) < EXAMPLES):
            examples.setdefault(each.receipt.ref, (each, []))[1].extend(found)
    counts = tuple(Trace(effect, what, mails) for (effect, what), mails in sorted(traces.items()))
    return Expected(counts, receipts, tuple(sorted(handed.items())), left, _examples(parts, examples))


def _examples(parts: Parts, found: dict[MessageRef, tuple[Written, list[str]]]) -> tuple[Example, ...]:
    senders = parts.ledger.undoing.senders({each.message_key for each, _ in found.values() if each.message_key})
    examples = []
    for ref, (each, traces) in found.items():
        sender = senders.get(each.message_key or "")
        day = sender.sent_at.date().isoformat() if sender and sender.sent_at else ""
        examples.append(Example(ref, day, sender.address if sender else "", tuple(traces)))
    return tuple(examples)


def fates(parts: Parts, job: Job, only: Sequence[str]) -> Iterator[list[tuple[Written, Fate]]]:
    """Every standing receipt of the job's mails, with what is done about it, a page at a time."""
    keeps_counting = bool(only) and job.state is not JobState.UNDONE
    after = 0
    while page := parts.ledger.undoing.written(job.id, after, PAGE):
        after = page[-1].id
        yield [
            (each, _fate(each, job, parts.effect_names, keeps_counting=keeps_counting))
            for each in page
            if not only or each.receipt.effect in only
        ]


def _fate(each: Written, job: Job, configured: Collection[str], *, keeps_counting: bool) -> Fate:
    if keeps_counting:
        # None: a cancelled job's mail that was not done, so that no job's verdict counts.
        return Fate.TAKEN_BACK if each.counting_job in (job.id, None) else Fate.LEFT
    if each.other is None or each.other.verdict is None:
        return Fate.TAKEN_BACK
    if each.other.verdict.id == each.verdict_id and not each.is_stale:
        return Fate.LEFT
    # The other job has no such output by today's configuration, or can do nothing about a mail of a closed epoch.
    is_undone = each.receipt.effect not in configured or each.is_closed
    return Fate.TAKEN_BACK if is_undone else Fate.HANDED_OVER
