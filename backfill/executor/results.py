"""The values that the stages of a run hand to each other. They flow one way and are never filled in later."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

from backfill.errors import BackfillError
from backfill.ledger.attempts import Call
from backfill.ledger.rows import Item
from backfill.ledger.verdicts import Answered, Reused
from backfill.message import Message
from backfill.metered import Stopped
from backfill.ports import Receipt, Unapplied
from backfill.verdict import Label, Verdict


@dataclass(frozen=True, slots=True)
class Task:
    """A mail to be judged."""

    item: Item
    message: Message


@dataclass(frozen=True, slots=True)
class Troubled:
    """An item that an error befell. `was_asked`: by an asking thread, which counted it among those in its hands."""

    item: Item
    error: BackfillError
    key: str | None = None
    was_asked: bool = False


@dataclass(frozen=True, slots=True)
class Judgment:
    """A committed verdict on its way to the effects. `receipts`: effect → verdict number it was made from."""

    item: Item
    message: Message | None
    verdict: Verdict
    flags_before: frozenset[str]
    receipts: dict[str, int]
    is_reused: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """What the effects made of a judgment."""

    judgment: Judgment
    labels: tuple[Label, ...]
    receipts: tuple[Receipt, ...]
    refusals: tuple[Unapplied, ...]


@dataclass(frozen=True, slots=True)
class Opening:
    """A call that is about to be made. Its thread waits for the number of the attempt."""

    call: Call
    attempt: Future[int] = field(default_factory=Future)

    def answer(self, answer: int | BackfillError) -> None:
        """It is committed, or is not to be made."""
        if isinstance(answer, BackfillError):
            self.attempt.set_exception(answer)
        else:
            self.attempt.set_result(answer)

    def refuse(self) -> None:
        """No more calls are made, unless it was answered already."""
        if not self.attempt.done():
            self.attempt.set_exception(Stopped())


#: What the writer is handed. A thread's answer comes before its next opening, and so it is saved before the next call.
Result = Answered | Reused | Troubled | Applied | Opening
