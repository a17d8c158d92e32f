"""What every error has, and the errors that a bug or this machine causes. `around_one_mail` turns bugs into errors."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Self

from backfill.lifecycle import Disposition, ExitCode, IllegalTransition
from backfill.redaction import redacted_own
from backfill.shortages import shortage


class BackfillError(Exception):
    """Something went wrong that backfill knows how to name."""

    disposition: ClassVar[Disposition] = Disposition.HALT
    exit_code: ClassVar[ExitCode] = ExitCode.BUG
    #: The word for an item's `reason` column and the report, e.g. "unreadable". An instance may have a more exact one.
    reason: str = "error"
    #: Calls of the run that this ended whose answers were not saved: the next run makes them again.
    asked_again: int = 0

    def __init__(self, message: str | None = None, *, reason: str | None = None) -> None:
        # A server may quote the secret that it was sent, and an error is stored, logged, printed and given to callers.
        default = " ".join((inspect.getdoc(type(self)) or type(self).__name__).split())
        super().__init__(redacted_own(message) if message else default)
        if reason is not None:
            self.reason = reason

    def add_asked_again(self, calls: int, sentence: str) -> None:
        """Say at the end of the message, too, that answers were not saved."""
        self.asked_again += calls
        self.args = (f"{self} {sentence}",)


class AsksToWait(BackfillError):
    """A server or a service asks for patience; run again later."""

    def __init__(self, message: str | None = None, *, wait_s: float | None = None) -> None:
        """`wait_s`: the seconds that it asked for; None: it named no time."""
        super().__init__(message)
        self.wait_s = wait_s


class Unexpected(BackfillError):
    """An unexpected error occurred with this mail; the other mails go on."""

    disposition = Disposition.LOSE
    reason = "unexpected"

    @classmethod
    def of(cls, error: Exception) -> Self:
        """With the trace of `error` and the name of its class. Its message is left out: it may hold the mail's text."""
        kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        return cls(f"An unexpected error occurred: {kind}.").with_traceback(error.__traceback__)


@contextmanager
def around_one_mail() -> Iterator[None]:
    """For work on one mail, or on a batch that can be halved: raises `Unexpected` for a bug's exception.

    `MachineExhausted` where the machine gives no more memory, threads, files or room: that is no mail's fault.
    """
    try:
        yield
    except (BackfillError, IllegalTransition):
        raise
    # Whatever error one odd mail causes in parsers, classifiers or effects, the others must be worked on.
    except Exception as error:
        if (scarce := shortage(error)) is not None:
            raise MachineExhausted.of(scarce) from error
        raise Unexpected.of(error) from None


class MachineExhausted(BackfillError):
    """This machine gives no more memory, threads or open files; raise the limit, then run again."""

    exit_code = ExitCode.UNUSABLE_DISK
    reason = "machine_exhausted"

    @classmethod
    def of(cls, what: str) -> MachineExhausted:
        """`what`: the resource that ran short, with the limit that the operator can raise."""
        return cls(
            f"This machine gives no more {what}. Nothing committed is lost; raise that limit, or lower "
            "processing.concurrency, then run again."
        )
