"""The effects stage: applies the effects of committed verdicts, mailbox by mailbox, in batches.

It waits a moment for more verdicts. So keywords are stored for a hundred mails at a time when verdicts come quickly,
and at once when they come slowly. Before a batch, it records what the batch may leave on the mails; the writer records
the receipts. A mail for which a newer job's verdict counts gets no effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from queue import Empty
from typing import Any

from loguru import logger

from backfill.clock import Clock, micros
from backfill.errors import (
    BackfillError,
    EffectThrottled,
    EffectUnreachable,
    FolderTroubled,
    FolderUnusable,
    ServerUnavailable,
    Unexpected,
    around_one_mail,
)
from backfill.executor.flow import Flow
from backfill.executor.reader import LONGEST_WAIT_S
from backfill.executor.results import Judgment, Unfinished
from backfill.ledger import Ledger
from backfill.ledger.results import Finished, Needs
from backfill.message import MessageRef
from backfill.ports import Effect, Judged, Receipt, Unapplied

BATCH = 100
# A batch waits up to 0.5 s for more verdicts. At one call a second this halves the IMAP commands; at 100 calls a second
# it costs no time.
GATHER_S = 0.5
LOOK_S = 0.05
ANY_RATE = 60.0  # calls a minute
PAUSES_S = (2.0, 5.0, 15.0, 60.0, 120.0)


class _LeftOff(Exception):
    """A stop came while a server was away."""


@dataclass(frozen=True, slots=True)
class Effecter:
    """One run's effects stage."""

    flow: Flow
    ledger: Ledger
    needs: Needs
    clock: Clock
    asked_to_wait: set[str] = field(default_factory=set)  # outputs whose remembered wait was looked up

    def apply_all(self) -> None:
        """Apply effects until the judgments end. After a stop, the next run applies the rest."""
        is_last = False
        while not is_last:
            batch, is_last = self._gather()
            batch.sort(key=lambda judgment: judgment.item.ref)
            for _, of_mailbox in groupby(batch, key=lambda judgment: judgment.item.mailbox_id):
                with suppress(_LeftOff):
                    for result in self._apply(list(of_mailbox)):
                        self.flow.results.put(result)

    def _gather(self) -> tuple[list[Judgment], bool]:
        batch: list[Judgment] = []
        first = self.flow.judgments.get()
        if first is None:
            return batch, True
        batch.append(first)
        until = self.clock.monotonic() + GATHER_S
        while len(batch) < BATCH:
            try:
                judgment = self.flow.judgments.get(timeout=LOOK_S)
            except Empty:
                if self.flow.window.inside and self.clock.monotonic() < until:
                    continue
                break  # no item is under way, or the wait is over
            if judgment is None:
                return batch, True
            batch.append(judgment)
        return batch, False

    def _apply(self, batch: Sequence[Judgment]) -> list[Finished | Unfinished]:
        superseded = self.ledger.current.superseded([each.item for each in batch]) if self.needs.effects else ()
        receipts: dict[MessageRef, list[Receipt]] = {judgment.item.ref: [] for judgment in batch}
        refusals: dict[MessageRef, list[Unapplied]] = {judgment.item.ref: [] for judgment in batch}
        for effect in self.needs.effects:
            outstanding = [each for each in batch if each.item.id not in superseded and self._lacks(each, effect)]
            if outstanding:
                threads = self._threads(outstanding, effect)
                mails = [self._judged(judgment, effect, threads) for judgment in outstanding]
                self._intend(effect, outstanding, mails)
                for answer in self._answers(effect, mails, batch[0].item.mailbox_id):
                    kept = receipts if isinstance(answer, Receipt) else refusals
                    kept[answer.ref].append(answer)  # type: ignore[arg-type]  # the pair matches by the line above
        return [self._result(each, receipts[each.item.ref], refusals[each.item.ref]) for each in batch]

    def _result(
        self, judgment: Judgment, receipts: Sequence[Receipt], refusals: Sequence[Unapplied]
    ) -> Finished | Unfinished:
        item, verdict = judgment.item, judgment.verdict
        if refusals:
            return Unfinished(item, verdict, tuple(receipts), refusals[0].error)
        labels = self.needs.rubric.labels(verdict)
        return Finished(item, verdict, labels, tuple(receipts), judgment.is_reused)

    def _lacks(self, judgment: Judgment, effect: Effect) -> bool:
        return effect in self.needs.outstanding(judgment.verdict, judgment.receipts)

    def _threads(self, judgments: Sequence[Judgment], effect: Effect) -> dict[str, dict[str, Any]]:
        """By Message-ID, the effect's receipts on earlier mails of these mails' threads."""
        if not effect.needs_message:
            return {}
        named = {each for judgment in judgments for each in _ancestors(judgment)}
        account = judgments[0].item.ref.mailbox.account
        return self.ledger.receipts.in_threads(account, effect.name, named) if named else {}

    def _judged(self, judgment: Judgment, effect: Effect, threads: Mapping[str, dict[str, Any]]) -> Judged:
        kept = judgment.receipts.get(effect.name)
        return Judged(
            ref=judgment.item.ref,
            verdict=judgment.verdict,
            labels=self.needs.rubric.labels(judgment.verdict),
            flags_before=judgment.flags_before,
            message=judgment.message,
            previous=None if kept is None else kept.detail,
            job_id=self.flow.job.id,
            thread={each: threads[each] for each in _ancestors(judgment) if each in threads},
        )

    def _intend(self, effect: Effect, judgments: Sequence[Judgment], mails: Sequence[Judged]) -> None:
        """Record what the effect is about to leave on the mails. Skips a mail for which that is not to be told."""
        by_ref = {judgment.item.ref: judgment for judgment in judgments}
        receipts: list[Receipt] = []
        try:
            with around_one_mail():
                receipts = list(effect.presumed(mails))
        except Unexpected:
            for mail in mails:
                with suppress(Unexpected), around_one_mail():
                    receipts += effect.presumed([mail])
        held = [(by_ref[receipt.ref], receipt) for receipt in receipts]
        self.ledger.receipts.intend([(each.item, each.verdict, [receipt]) for each, receipt in held])

    def _answers(self, effect: Effect, mails: list[Judged], mailbox_id: int) -> list[Receipt | Unapplied]:
        """One answer for each mail. After an unexpected error, halve the batch until the mail at fault is alone."""
        try:
            return self._patiently(effect, mails)
        except (FolderUnusable, FolderTroubled) as error:  # given back; the next run applies the effect
            self.flow.leave_out(mailbox_id, error)
            return [Unapplied(mail.ref, effect.name, error) for mail in mails]
        except Unexpected as error:
            if len(mails) == 1:
                return [Unapplied(mails[0].ref, effect.name, error)]
        middle = len(mails) // 2
        halves = mails[:middle], mails[middle:]
        return [answer for half in halves for answer in self._answers(effect, half, mailbox_id)]

    def _patiently(self, effect: Effect, mails: list[Judged]) -> list[Receipt | Unapplied]:
        """Apply, and try again after a pause while the mail server, or the output's own, is away.

        Applying a batch twice is harmless. If the output's server stays away, the run ends; what it has taken counts.
        """
        answered: list[Receipt | Unapplied] = []
        pauses = iter(PAUSES_S)
        while True:
            try:
                answers = self._blocked(effect, mails) or _applied(effect, mails)
            except ServerUnavailable as error:
                if not self._rests(effect, "mail server", error, error.wait_s, next(pauses, None)):
                    raise
                continue
            away = {answer.ref: answer for answer in answers if isinstance(answer, Unapplied) and _is_away(answer)}
            answered += [answer for answer in answers if answer.ref not in away]
            if not away:
                return answered
            if len(away) < len(mails):
                pauses = iter(PAUSES_S)  # some got through
            mails = [mail for mail in mails if mail.ref in away]
            try:
                if self._waits_for(effect, away[mails[-1].ref].error, next(pauses, None)):
                    continue
            except _LeftOff:
                pass
            return [*answered, *away.values()]

    def _waits_for(self, effect: Effect, error: BackfillError, pause: float | None) -> bool:
        """Pause while an output's server is away. A wait that it has named is remembered. False: the run ends."""
        wait_s = error.wait_s if isinstance(error, EffectUnreachable) else None
        if wait_s is not None:
            until = micros(self.clock.now() + timedelta(seconds=wait_s))
            self.ledger.throttles.set_rate(_throttle(effect), ANY_RATE)  # makes the row; only its block is used
            self.ledger.throttles.block(_throttle(effect), until, str(error).rstrip("."))
        if self._rests(effect, "its server", error, wait_s, pause):
            return True
        self.flow.fail(error)
        return False

    def _blocked(self, effect: Effect, mails: Sequence[Judged]) -> list[Unapplied]:
        """What an earlier run was told to wait for, once: all of `mails` are to wait. []: nothing."""
        if effect.name in self.asked_to_wait:
            return []
        self.asked_to_wait.add(effect.name)
        block = self.ledger.throttles.blocked(_throttle(effect))
        wait_s = (block.until_us - micros(self.clock.now())) / 1e6
        if wait_s <= 0:
            return []
        error = EffectThrottled(f"{block}.", wait_s=wait_s)
        return [Unapplied(mail.ref, effect.name, error) for mail in mails]

    def _rests(
        self, effect: Effect, whose: str, error: BackfillError, wait_s: float | None, pause: float | None
    ) -> bool:
        """Pause before the next try. False: no pause is left, or the server named too long a wait.

        Raises `_LeftOff` if a stop comes meanwhile.
        """
        wait = wait_s or pause
        if pause is None or wait is None or wait > LONGEST_WAIT_S:
            return False
        logger.warning("{}: {} unavailable, trying again in {:.0f} s: {}", effect.name, whose, wait, error)
        self.flow.observer.waiting(f"{effect.name}: {whose} unavailable, trying again in {wait:.0f} s")
        self.clock.sleep(wait, self.flow.stop)
        self.flow.observer.waiting(None)
        if self.flow.stop.is_set():
            raise _LeftOff from error
        return True


def _ancestors(judgment: Judgment) -> tuple[str, ...]:
    return () if judgment.message is None else judgment.message.ancestors


def _is_away(answer: Unapplied) -> bool:
    return isinstance(answer.error, EffectUnreachable)


def _throttle(effect: Effect) -> str:
    """The name under which the ledger keeps the time before which an output's server wants nothing."""
    return f"effect:{effect.name}"


def _applied(effect: Effect, mails: list[Judged]) -> list[Receipt | Unapplied]:
    with around_one_mail():
        answers = list(effect.apply(mails))
        if sorted(answer.ref for answer in answers) != sorted(mail.ref for mail in mails):
            raise LookupError("not every mail was answered exactly once")
        return answers
