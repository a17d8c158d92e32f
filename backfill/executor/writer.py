"""The writing stage: saves the results of the other stages, all that is ready in one transaction, and opens attempts.

It runs in the run's own thread. Only this thread commits verdicts and outcomes and opens attempts. One `match` here
decides by an error's disposition what becomes of its mail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from queue import Empty
from typing import TYPE_CHECKING, assert_never

from loguru import logger

from backfill.clock import Clock
from backfill.errors import (
    AnswersUnusable,
    AnswerUnusable,
    AskedElsewhere,
    BackfillError,
    ClaimLost,
    ClassifierError,
    LedgerUnusable,
    RateLimited,
    ServiceUnavailable,
    TurnedAway,
    TurnedAwayAtFirst,
    Unexpected,
    around_one_mail,
)
from backfill.executor.breaker import Befalls, Breaker
from backfill.executor.flow import Flow
from backfill.executor.observer import Show
from backfill.executor.results import Judgment, Opening, Result, Troubled, Unfinished
from backfill.executor.unsaved import Unsaved
from backfill.ledger import Ledger
from backfill.ledger.results import Committed, Finished, Needs, Recorded
from backfill.ledger.rows import Item
from backfill.ledger.verdicts import Answered, Reused
from backfill.lifecycle import Disposition
from backfill.metered import Blocked
from backfill.ports import Judged
from backfill.throttle.calls import Throttler
from backfill.verdict import Verdict

if TYPE_CHECKING:
    from loguru import Logger

# If another run asks the same question, look for its verdict after 5 s: about the time of one call.
ELSEWHERE = timedelta(seconds=5)
# The most results that are committed together. With one a commit, 500 mails took 1,072 commits instead of 117, at 46
# mails/s instead of 233. The groups of `Database` do not replace this: they join the work of several threads.
GROUP = 200


@dataclass(slots=True)
class Writer:
    """One run's writing stage."""

    flow: Flow
    ledger: Ledger
    throttler: Throttler | None
    needs: Needs
    clock: Clock
    show: Show | None = None  # gets each mail that is done with its verdict
    breaker: Breaker = field(default_factory=Breaker)
    unusable: LedgerUnusable | None = None  # the error since which the ledger takes nothing more; None: it works
    unsaved: Unsaved = field(default_factory=Unsaved)

    def save(self, seconds: float) -> None:
        """Save the results that are ready. Waits at most `seconds` for the first result, and not for more."""
        ready: list[Result] = []
        try:
            ready.append(self.flow.results.get(timeout=seconds))
            while len(ready) < GROUP:
                ready.append(self.flow.results.get_nowait())
        except Empty:
            pass
        if self.unusable is None:
            self._settle(ready)
        else:
            self._rescue(ready, self.unusable)

    def _settle(self, ready: Sequence[Result]) -> None:
        judged: list[Answered | Reused] = []
        finished: list[Finished] = []
        refused: list[Unfinished] = []
        openings: list[Opening] = []
        try:
            for result in ready:
                match result:
                    case Answered() | Reused():
                        judged.append(result)
                    case Finished():
                        finished.append(result)
                    case Unfinished():
                        refused.append(result)
                    case Opening():
                        openings.append(result)
                    case Troubled():
                        self._trouble(result)
                    case _:
                        assert_never(result)
            while judged or finished or openings:
                judged = self._commit(judged, finished, openings)
                finished, openings = [], []
            for each in refused:
                self._refused(each)
        except LedgerUnusable as error:
            self._rescue(ready, error)
            if self.flow.error is None:  # else the run ends with that one
                raise
        except BaseException as error:
            self._rescue(ready, error)
            raise

    def _rescue(self, ready: Sequence[Result], error: BaseException) -> None:
        """This error ends the run. Save the other answers that were ready with its cause: they were paid for.

        If the ledger has failed, keep them until the end of the run, and also the answers that come later.
        """
        for result in ready:
            match result:
                case Opening():
                    result.refuse()
                case Answered(item) | Troubled(item) if item.id in self.flow.calling:  # or it is saved already
                    self.unsaved.keep(result)
                    self.flow.calling.discard(item.id)
        if isinstance(error, LedgerUnusable):
            self.unusable = error
        elif isinstance(error, Exception):  # not at a KeyboardInterrupt: it ends the run at once
            self.unsaved.save(self.ledger, self.flow.run)

    def _commit(
        self, judged: Sequence[Answered | Reused], finished: Sequence[Finished], openings: Sequence[Opening]
    ) -> list[Answered | Reused]:
        """Save all of it, and wake the threads that wait for their attempts.

        Returns the mails that waited for the same answers; they must be saved next.
        """
        if self.flow.stop.is_set():
            for opening in openings:
                opening.refuse()
            openings = []
        try:
            committed = self._save(judged, finished, openings)
        except Unexpected as error:
            steps = [*judged, *finished, *openings]
            if len(steps) > 1:
                return self._commit_one_by_one(judged, finished, openings)
            if not steps:
                raise
            self._lose(steps[0], error)
            finished, judged, openings, committed = [], [], [], Committed([], [], [])
        for opening, answer in zip(openings, committed.opened, strict=True):
            opening.answer(answer)
        for result, is_ours in zip(finished, committed.done, strict=True):
            if is_ours:
                self._done(result.item, result.verdict, is_reused=result.is_reused)
        waiting: list[Answered | Reused] = []
        for one, record in zip(judged, committed.recorded, strict=True):
            waiting += self._recorded(one, record)
        return waiting

    def _save(
        self, judged: Sequence[Answered | Reused], finished: Sequence[Finished], openings: Sequence[Opening]
    ) -> Committed:
        """Save all of it. Raises `Unexpected` if one cannot be saved, e.g. a value that the database refuses."""
        with around_one_mail():
            return self.ledger.results.commit(
                self.flow.run,
                finished=finished,
                judged=judged,
                calls=[opening.call for opening in openings],
                needs=self.needs,
            )

    def _commit_one_by_one(
        self, judged: Sequence[Answered | Reused], finished: Sequence[Finished], openings: Sequence[Opening]
    ) -> list[Answered | Reused]:
        """Save each in a transaction of its own, because one of them cannot be saved."""
        waiting: list[Answered | Reused] = []
        for one in finished:
            self._commit([], [one], [])
        for answer in judged:
            waiting += self._commit([answer], [], [])
        for opening in openings:
            self._commit([], [], [opening])
        return waiting

    def _lose(self, result: Answered | Reused | Finished | Opening, error: Unexpected) -> None:
        """Count the error of a result that cannot be saved against its mail."""
        match result:
            case Answered(item, message):
                self._trouble(Troubled(item, error, message.key, was_asked=True))
            case Reused(item, message):
                self._trouble(Troubled(item, error, message.key))
            case Finished(item):
                self._dispose(item, error, is_inside=False)
            case Opening():
                result.answer(error)
            case _:
                assert_never(result)

    def _refused(self, result: Unfinished) -> None:
        """An effect refused the mail. Record the receipts of the other effects."""
        item, error = result.item, result.error
        try:
            with around_one_mail():
                self.ledger.receipts.keep(item, result.verdict, result.receipts)
        except Unexpected as odd:
            error = odd
        self._dispose(item, error, is_inside=False)

    def _recorded(self, result: Answered | Reused, record: Recorded) -> list[Reused]:
        """A verdict is saved: pass it on to the effects, if it needs any. Returns the mails that waited for it."""
        item, message = result.item, result.message
        with self.flow.asking_lock:
            waiting = [
                Reused(task.item, task.message, record.verdict) for task in self.flow.asking.pop(message.key, [])
            ]
        if isinstance(result, Answered):
            if result.attempt_id is not None:  # an answer without a call does not show that the service works
                self.breaker.succeeded()
            self.flow.calling.discard(item.id)
        is_reused = isinstance(result, Reused) or record.is_reused
        if record.is_done:
            self._done(item, record.verdict, is_reused=is_reused)
            if self.show is not None:
                labels = self.needs.rubric.labels(record.verdict)
                self.show(Judged(item.ref, record.verdict, labels, message.flags, message))
        elif record.is_ours:
            judgment = Judgment(item, message, record.verdict, record.flags_before, record.receipts, is_reused)
            self.flow.hand(self.flow.judgments, judgment)
        self.flow.window.leave()
        return waiting

    def _done(self, item: Item, verdict: Verdict, *, is_reused: bool) -> None:
        category = "" if verdict.category is None else f", {verdict.category}" if verdict.scores else verdict.category
        known = " (known)" if is_reused else ""
        self._log(item).info("done: {}{}{}", verdict.scores, category, known)
        self.flow.observer.record(processed=1, reused=int(is_reused))

    def _trouble(self, troubled: Troubled) -> None:
        error = self._befalling(troubled)
        if troubled.key is not None:
            with self.flow.asking_lock:
                waiting = self.flow.asking.pop(troubled.key, [])
            if waiting:
                self.ledger.items.release(self.flow.run, [task.item for task in waiting], self._due_again(error))
            for task in waiting:
                self.flow.cap.gives_back(task.item.id)
                self.flow.window.leave()
        self._dispose(troubled.item, error, is_inside=True)
        if troubled.was_asked:  # not earlier: `_drain` waits until this is committed
            self.flow.calling.discard(troubled.item.id)
        if isinstance(error, ServiceUnavailable) and self.breaker.failed(troubled.item.id):
            self.flow.fail(ServiceUnavailable(f"{error} No call gets through, so the run stops."))
        if isinstance(error, AnswerUnusable) and self.breaker.unusable(troubled.item.id):
            self.flow.fail(AnswersUnusable(reason=error.reason))
        if isinstance(error, Unexpected) and self._costs(troubled) and self.breaker.unexpected(troubled.item.id):
            self.flow.fail(Unexpected(f"{error} It occurs with one paid mail after another, so the run stops."))
        if isinstance(error, RateLimited) and not error.wait_s and self.throttler is not None:
            # All tries were refused and no time was named: block calls for 30 s, and each time twice as long, to 900 s.
            self.breaker.refusals += 1
            self.throttler.block(min(15.0 * 2**self.breaker.refusals, 900.0), error.reason, is_guess=True)

    def _costs(self, troubled: Troubled) -> bool:
        return troubled.was_asked and self.throttler is not None

    def _befalling(self, troubled: Troubled) -> BackfillError:
        """The error as it concerns this mail: perhaps the service refuses or fails only this mail."""
        error, item_id = troubled.error, troubled.item.id
        if not isinstance(error, ClassifierError) or error.http_status is None:
            return error
        if error.is_bare and error.http_status < 500 and error.disposition in (Disposition.HALT, Disposition.RELEASE):
            if isinstance(error, RateLimited) and error.wait_s:
                return error
            match self.breaker.turned_away(item_id):
                case Befalls.ONE:
                    return TurnedAway(f"{TurnedAway()} {error}")
                case Befalls.UNCLEAR:
                    return TurnedAwayAtFirst(f"{TurnedAwayAtFirst()} {error}")
                case Befalls.ALL:
                    self.flow.fail(error)  # a mail that failed alone still counts a failure: no other shows its cause
                    return TurnedAway(str(error)) if self.breaker.is_alone(item_id) else error
        elif isinstance(error, ServiceUnavailable) and self.breaker.answers_others(item_id):
            return TurnedAway(f"The API fails again and again with this mail, and answers about others. {error}")
        return error

    def _dispose(self, item: Item, error: BackfillError, *, is_inside: bool) -> None:
        """Do with the mail what the error's disposition says. Writes. `is_inside`: the mail counts in the window."""
        items, log = self.ledger.items, self._log(item)
        try:
            match error.disposition:
                case Disposition.RETRY if item.failures + 1 < self.flow.limits.retry_attempts:
                    delay = timedelta(seconds=self.flow.limits.retry_delay_s * 2.0**item.failures)
                    until = self.clock.now() + delay
                    items.postpone(self.flow.run, item, until, error.reason)
                    self.flow.cap.postpones(item.id, until)
                    log.warning("postponed ({}): {}", error.reason, error)
                case Disposition.RETRY | Disposition.FAIL:
                    items.fail(self.flow.run, item, error.reason)
                    self.flow.observer.record(failed=1)
                    log.error("failed ({}): {}", error.reason, error)
                case Disposition.RELEASE:
                    items.release(self.flow.run, [item], self._due_again(error))
                    self.flow.cap.gives_back(item.id)
                    level = "INFO" if isinstance(error, AskedElsewhere | Blocked) else "WARNING"
                    log.log(level, "given back ({}): {}", error.reason, error)
                case Disposition.LOSE:
                    has_failed = items.lose(self.flow.run, item, error.reason)
                    if has_failed:
                        self.flow.observer.record(failed=1)
                    else:
                        self.flow.cap.postpones(item.id, self.clock.now())
                    level, what = ("ERROR", "failed") if has_failed else ("WARNING", "lost, tried again last")
                    log.opt(exception=error).log(level, "{} ({}): {}", what, error.reason, error)
                case Disposition.SKIP:
                    items.skip(self.flow.run, item, error.reason)
                    self.flow.observer.record(skipped=1)
                    log.info("skipped: {}", error.reason)
                case Disposition.VANISH:
                    items.vanish(self.flow.run, item)
                    self.flow.observer.record(vanished=1)
                    log.info("vanished from the server")
                case Disposition.DROP:
                    self.flow.cap.gives_back(item.id)  # another run works on it
                    log.info("dropped: {}", error)
                case Disposition.HALT | Disposition.REPLAN:
                    self.flow.fail(error)
                case _:
                    assert_never(error.disposition)
        except ClaimLost as lost:
            log.info("dropped: {}", lost)
        if is_inside:
            self.flow.window.leave()

    def _due_again(self, error: BackfillError) -> datetime | None:
        """When a mail that is given back is due again (UTC); None: at once."""
        return self.clock.now() + ELSEWHERE if isinstance(error, AskedElsewhere | TurnedAwayAtFirst) else None

    def _log(self, item: Item) -> Logger:
        folder = item.ref.mailbox.folder
        return logger.bind(job=self.flow.job.id, run=self.flow.run.uuid, uid=item.ref.uid, folder=folder)
