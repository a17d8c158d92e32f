"""`backfill undo`: take back what the receipts of a job say was written, and nothing else.

Without the job, another job's verdict may count for a mail: then the mail gets what that verdict calls for, and loses
the rest. Where no verdict counts, the effect takes everything back. `only` takes back some effects: the job keeps its
state and its verdicts, and a later run does not bring those effects back; `apply` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby

from loguru import logger

from backfill import __version__
from backfill.errors import (
    BackfillError,
    ConfigError,
    Declined,
    MailboxChanged,
    MessageGone,
)
from backfill.ledger.parameters import RunParameters
from backfill.ledger.rows import Item, Job, Run
from backfill.ledger.undoing import Written
from backfill.lifecycle import RunOutcome
from backfill.message import MailboxKey, MessageRef
from backfill.operations.outputs import Outputs
from backfill.operations.parts import Audience, Parts, locked
from backfill.operations.request import insist_on_account, known_job
from backfill.operations.run import catch_up
from backfill.operations.undo_preview import Expected, Fate, Trace, expect, fates
from backfill.ports import Effect, Receipt, Unapplied
from backfill.wording import counted, number


@dataclass(frozen=True, slots=True)
class Refused:
    """What could not be taken back, with the reason, the number of mails and the first of them."""

    reason: str
    mails: int
    first: MessageRef


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What an undo did. `stopped`: why it ended before its end; None: it came to its end, or was only a preview."""

    job: Job
    only: tuple[str, ...]
    expected: Expected
    is_preview: bool = False
    taken: tuple[Trace, ...] = ()
    handed_over: int = 0
    gone: int = 0  # receipts of mails that are no longer on the server
    kept: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()
    stopped: str | None = None

    @property
    def again(self) -> str:
        """The command that goes on."""
        return go_on(self.job, self.only)


def go_on(job: Job, only: Sequence[str]) -> str:
    """The command that goes on with an undo."""
    return " ".join(["backfill undo", str(job.id), *(f"--only {name}" for name in only)])


def undo(
    parts: Parts, audience: Audience, job_id: int | None, only: Sequence[str] = (), *, preview: bool = False
) -> TakenBack:
    """Take a job back; without a number, the job of the latest run. `only`: the names of effects; empty: all.

    Asks before it writes. Raises `Declined`, `LedgerHeld`, and what the effects raise about all mails; then the same
    command goes on.
    """
    only = tuple(dict.fromkeys(only))
    with ExitStack() as opened:
        outputs = Outputs(parts, audience, opened)
        for name in only:
            outputs.get(name)
        job = known_job(parts.ledger, job_id)
        if job.dry_run:
            raise ConfigError(f"Job {job.id} is a dry run: it wrote nothing that could be taken back.")
        insist_on_account(parts.account, job)
        if preview:
            return TakenBack(job, only, expect(parts, outputs, job, only), is_preview=True)
        lock = opened.enter_context(locked(parts.ledger))
        expected = expect(parts, outputs, job, only)
        if expected.receipts and audience.confirm is not None and not audience.confirm(question(job, only, expected)):
            raise Declined("Nothing was taken back.")
        parameters = RunParameters(parts.limits)
        run = parts.ledger.runs.begin(lock, job.id, "undo", __version__, parameters)
        return _Undo(parts, audience, job, run, only, outputs).work(expected)


def question(job: Job, only: Sequence[str], expected: Expected) -> str:
    """What the operator is asked."""
    what = ", ".join(f"{trace.what} of {counted(trace.mails, 'mail')}" for trace in expected.traces)
    handed = sum(receipts for _, receipts in expected.handed_over)
    others = ""
    if handed:
        jobs = ", ".join(f"job {other}" for other, _ in expected.handed_over)
        others = f" {number(handed)} outputs get what {jobs} called for."
    scope = f"{', '.join(only)} of " if only else ""
    return f"Undo {scope}job {job.id}: {what or 'nothing'} will be taken back.{others}"


@dataclass(slots=True)
class _Undo:
    """One undo at work."""

    parts: Parts
    audience: Audience
    job: Job
    run: Run
    only: tuple[str, ...]
    outputs: Outputs
    taken: Counter[tuple[str, str]] = field(default_factory=Counter)
    handed_over: int = 0
    gone: int = 0
    kept: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    first: dict[str, MessageRef] = field(default_factory=dict)
    began: float = 0.0

    def work(self, expected: Expected) -> TakenBack:
        """From the run's first row to its last."""
        ledger, clock, stop = self.parts.ledger, self.audience.clock, self.audience.stop
        self.began = clock.monotonic()
        outcome, reason = RunOutcome.HALTED, ""
        try:
            if not self.only:
                ledger.undoing.begin(self.run)
            self.audience.observer.begins(expected.receipts)
            is_complete = self._take_back()
            if not self.only:
                ledger.undoing.settle(self.run)
                catch_up(self.parts, self.job)
            outcome, reason = (RunOutcome.FINISHED, "") if is_complete else (RunOutcome.INTERRUPTED, stop.reason)
            return self._result(expected, None if is_complete else reason)
        except BackfillError as error:
            reason = f"{error.reason}: {error}"
            self.audience.tell(
                f"What was taken back stays so; when it is put right, go on with: {go_on(self.job, self.only)}"
            )
            raise
        except BaseException as ending:
            reason = type(ending).__name__
            raise
        finally:
            ledger.runs.end(self.run, outcome, reason, round((clock.monotonic() - self.began) * 1e6))

    def _take_back(self) -> bool:
        """Take back page by page. False: a stop was requested before the end."""
        for page in fates(self.parts, self.job, self.only):
            for (name, _, fate, other), written in _batches(page):
                if self.audience.stop.is_set():
                    return False
                self._beat()
                heir = self.parts.ledger.jobs.get(other) if fate is Fate.HANDED_OVER else None
                try:
                    effect = self.outputs.get(name, heir)
                except ConfigError as error:
                    self._close([], [Unapplied(each.receipt.ref, name, error) for each in written], written)
                    continue
                if heir is None:
                    self._undo(effect, written)
                else:
                    self._hand_over(effect, heir, written)
                self.audience.observer.record(processed=len(written))
        return not self.audience.stop.is_set()

    def _beat(self) -> None:
        running_us = round((self.audience.clock.monotonic() - self.began) * 1e6)
        self.parts.ledger.runs.beat(self.run, running_us)

    def _undo(self, effect: Effect, batch: Sequence[Written]) -> None:
        answers = self.outputs.answers(effect.name, [each.receipt for each in batch], effect.undo)
        of = {each.receipt.ref: each for each in batch}
        closed, refused = [], []
        for answer in answers:
            each = of[answer.ref]
            if isinstance(answer, Unapplied):
                refused.append(answer)
                continue
            closed.append(each.id)
            if answer.kept:
                self.kept.append(answer.kept)
            else:
                self.taken.update((effect.name, what) for what in effect.traces(each.receipt))
        self._close(closed, refused, batch)

    def _hand_over(self, effect: Effect, heir: Job, batch: Sequence[Written]) -> None:
        """Give the mails what the verdicts of another job call for, which removes what those do not call for.

        The other job may have asked other questions: `effect` and labels are for those.
        """
        of = {each.receipt.ref: each for each in batch}
        given = [(each.other, each.receipt.detail) for each in batch if each.other is not None]
        judged, refused = self.outputs.judged(effect, heir, given)
        # Recorded first: after a crash, an undo of the other job knows from it what is ours.
        presumed = self.outputs.answers(effect.name, judged, effect.presumed)
        intended = [each for each in presumed if isinstance(each, Receipt)]
        self.parts.ledger.undoing.intend(_with_items(of, intended))
        kept: list[Receipt] = []
        for answer in self.outputs.answers(effect.name, judged, effect.apply):
            if isinstance(answer, Unapplied):
                refused.append(answer)
            else:
                kept.append(answer)
        self.parts.ledger.undoing.keep(_with_items(of, kept))
        self.handed_over += len(kept)
        gone = {each.ref for each in refused if isinstance(each.error, MessageGone | MailboxChanged)}
        self._close([], [each for each in refused if each.ref not in gone], batch)
        if gone:  # nothing can be made of a mail that is gone; a note about it would stay for ever
            self._undo(effect, [each for each in batch if each.receipt.ref in gone])

    def _close(self, closed: list[int], refused: Sequence[Unapplied], batch: Sequence[Written]) -> None:
        """Close these receipts, and those of mails that are gone: nothing of ours is left on them."""
        numbers = {each.receipt.ref: each.id for each in batch}
        for answer in refused:
            if isinstance(answer.error, MessageGone | MailboxChanged):
                closed.append(numbers[answer.ref])
                self.gone += 1
                continue
            sentence = str(answer.error)
            self.refused[sentence] += 1
            self.first.setdefault(sentence, answer.ref)
            logger.bind(job=self.job.id, uid=answer.ref.uid).warning("{} not undone: {}", answer.effect, sentence)
        self.parts.ledger.undoing.close(closed)

    def _result(self, expected: Expected, stopped: str | None) -> TakenBack:
        job = self.parts.ledger.jobs.get(self.job.id)
        assert job is not None
        return TakenBack(
            job,
            self.only,
            expected,
            taken=tuple(Trace(effect, what, mails) for (effect, what), mails in sorted(self.taken.items())),
            handed_over=self.handed_over,
            gone=self.gone,
            kept=tuple(self.kept),
            refused=tuple(Refused(why, mails, self.first[why]) for why, mails in self.refused.most_common()),
            stopped=stopped,
        )


def _with_items(of: Mapping[MessageRef, Written], receipts: Iterable[Receipt]) -> list[tuple[Item, Receipt]]:
    pairs = [(of[receipt.ref].other, receipt) for receipt in receipts]
    return [(other, receipt) for other, receipt in pairs if other is not None]


def _batches(page: Sequence[tuple[Written, Fate]]) -> Iterator[tuple[tuple[str, MailboxKey, Fate, int], list[Written]]]:
    """What is done alike, in one mailbox, by effect and by the job that gets it; without what is left."""

    def alike(pair: tuple[Written, Fate]) -> tuple[str, MailboxKey, Fate, int]:
        written, fate = pair
        heir = written.other_job or 0 if fate is Fate.HANDED_OVER else 0
        return written.receipt.effect, written.receipt.ref.mailbox, fate, heir

    work = sorted((pair for pair in page if pair[1] is not Fate.LEFT), key=alike)
    for key, pairs in groupby(work, key=alike):
        yield key, [written for written, _ in pairs]
