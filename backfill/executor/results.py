"""The values that the stages of a run pass to each other. They flow one way, and no stage changes them."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from backfill.errors import BackfillError
from backfill.ledger.attempts import Call
from backfill.ledger.receipts import Kept
from backfill.ledger.results import Finished
from backfill.ledger.rows import Item
from backfill.ledger.verdicts import Answered, Reused
from backfill.message import Message
from backfill.metered import Stopped
from backfill.ports import Receipt
from backfill.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Task:
    """A mail that must be judged."""

    item: Item
    message: Message


@dataclass(frozen=True, slots=True)
class Troubled:
    """An item, and the error that occurred with it."""

    item: Item
    error: BackfillError
    key: str | None = None  # the mail's message_key; None: the mail was not fetched
    was_asked: bool = False  # the error is from an asking thread, and the item is in `Flow.calling`


@dataclass(frozen=True, slots=True)
class Judgment:
    """A committed verdict on its way to the effects.

    `receipts`: by effect, those that are not undone. `message` None: no effect needs it.
    """

    item: Item
    message: Message | None
    verdict: Verdict
    flags_before: frozenset[str]
    receipts: Mapping[str, Kept]
    is_reused: bool = False


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A judged mail of which an effect could not be applied. `receipts`: those of the other effects."""

    item: Item
    verdict: Verdict
    receipts: tuple[Receipt, ...]
    error: BackfillError


@dataclass(frozen=True, slots=True)
class Opening:
    """A call that is about to be made. Its thread waits for the number of its attempt."""

    call: Call
    attempt: Future[int] = field(default_factory=Future)

    def answer(self, answer: int | BackfillError) -> None:
        """Give the waiting thread the attempt's number, or the reason why the call must not be made."""
        if isinstance(answer, BackfillError):
            self.attempt.set_exception(answer)
        else:
            self.attempt.set_result(answer)

    def refuse(self) -> None:
        """Tell the waiting thread that no more calls are made. Does nothing if it has its answer."""
        if not self.attempt.done():
            self.attempt.set_exception(Stopped())


#: What the writer gets. A thread puts its answer before its next opening, so the answer is saved before the next call.
Result = Answered | Reused | Troubled | Finished | Unfinished | Opening
