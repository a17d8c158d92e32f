"""Paid answers that were not saved: kept until the run ends, then saved, or counted if they cannot be saved.

The next run asks again for those that are lost. The error that ends this run says how many.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from backfill.errors import BackfillError, LedgerUnusable, MessageRefused
from backfill.executor.results import Troubled
from backfill.ledger import Ledger
from backfill.ledger.rows import Run
from backfill.ledger.verdicts import Answered


@dataclass(slots=True)
class Unsaved:
    """The paid answers of a run that are not saved. Used only by the writer's thread."""

    answers: list[Answered] = field(default_factory=list)
    refusals: int = 0  # mails that the API refused to judge: such an answer was paid for, too

    def keep(self, result: Answered | Troubled) -> None:
        """Keep an answer until the run ends. An answer that took no call is not kept: to ask again costs nothing."""
        match result:
            case Answered(attempt_id=None):
                return
            case Answered():
                self.answers.append(result)
            case Troubled(error=MessageRefused()):
                self.refusals += 1

    def save(self, ledger: Ledger, run: Run) -> int:
        """Save each answer in its own transaction, as one may fit on a disk where many do not; how many are left."""
        try:
            while self.answers:
                ledger.results.commit(run, judged=self.answers[:1])
                del self.answers[0]
        except LedgerUnusable:
            pass
        return len(self.answers) + self.refusals


def add_asked_again(error: BaseException, unsaved: int, late: int) -> None:
    """Add to the error that ends a run how many answers were not saved, and how many did not come in time."""
    if not isinstance(error, BackfillError):
        return
    if unsaved:
        paid = "1 answer that was paid for" if unsaved == 1 else f"{unsaved} answers that were paid for"
        error.add_asked_again(unsaved, f"{paid} could not be saved and will be asked for again.")
    if late:
        error.add_asked_again(late, f"{late_answers(late)}.")


def late_answers(count: int) -> str:
    """The words for calls whose answers did not come before the run ended."""
    answers = "1 answer" if count == 1 else f"{count} answers"
    return f"{answers} did not come in time and will be asked for again"
