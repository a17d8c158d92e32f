"""What a command works with: its ledger and sockets, and the people it works for.

`wiring` makes the real parts, each when it is first needed. A test's bench makes its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # start-up: `status` and `report` work with parts, and need neither the executor nor an output
    from backfill.analytics import AnalyticsFile
    from backfill.clock import Clock, StopRequest
    from backfill.executor import Observer, Show
    from backfill.ledger import Ledger
    from backfill.ledger.locks import RunLock
    from backfill.ledger.rows import Job
    from backfill.limits import RunLimits
    from backfill.ports import Classifier, Effect, MailSource, Price
    from backfill.rubric import Rubric
    from backfill.selection import Selection
    from backfill.throttle.mail import MailAllowance


@dataclass(frozen=True, slots=True)
class Audience:
    """The people that a command works for. `confirm` None: nothing is asked. `tell` gets sentences for them.

    `show` gets each mail that a dry run judges; None: nobody looks.
    """

    clock: Clock
    stop: StopRequest
    observer: Observer
    confirm: Callable[[str], bool] | None
    tell: Callable[[str], None]
    show: Show | None = None


@dataclass(frozen=True, slots=True)
class Api:
    """The service that a metered classifier asks."""

    throttle: str  # the name under which the ledger keeps its pace, and the number of a day's calls
    model: str
    url: str
    max_answer_tokens: int
    asks_about_all: bool = True  # False: a gate decides some mails without a call


class Parts(Protocol):
    """The parts of one command. `source` and `classifier` stay the same object until they are closed."""

    @property
    def ledger(self) -> Ledger: ...
    @property
    def account(self) -> str:
        """The name of the mail account."""
        ...

    @property
    def default(self) -> Selection:
        """The selection where the operator gave none."""
        ...

    @property
    def limits(self) -> RunLimits:
        """What a run may do by the settings alone."""
        ...

    @property
    def rubric(self) -> Rubric:
        """What is asked about each mail, and the labels that follow."""
        ...

    @property
    def effect_names(self) -> tuple[str, ...]: ...
    @property
    def api(self) -> Api: ...
    @property
    def allowance(self) -> MailAllowance | None: ...
    @property
    def source(self) -> MailSource: ...
    @property
    def classifier(self) -> Classifier: ...
    def hang_up(self) -> None:
        """Close the mail source; the next one has a connection of its own."""
        ...

    def as_planned(self, job: Job) -> None:
        """From now on, read mail and ask the model as the job was planned.

        Raises `ConfigError` where this version cannot.
        """
        ...

    def go_by(self, job: Job) -> None:
        """From now on, labels and outputs follow from what this job asks, with today's thresholds and keywords."""
        ...

    def allow_writing(self) -> None:
        """From now on the mail source may take back a \\Seen that the server set; a dry run may not."""
        ...

    def effects(self) -> tuple[Effect, ...]:
        """The outputs, new ones at each call; the caller closes them."""
        ...

    def rubric_of(self, job: Job) -> Rubric:
        """What this job asks, with today's thresholds and keywords for the names that today's rubric has, too."""
        ...

    def output(self, name: str, job: Job | None = None) -> Effect | None:
        """The output of this name, configured or not; the caller closes it. None: there is none.

        `job`: for what this job asks, in the place of today's rubric.
        """
        ...

    def analytics(self) -> AnalyticsFile | None: ...
    def price(self) -> Price | None:
        """What a call costs by the service's list; None when it is not known. Raises `ClassifierError`."""
        ...


@contextmanager
def locked(ledger: Ledger) -> Iterator[RunLock]:
    """The ledger's lock, held until the command ends. Raises `LedgerHeld` when another command has it."""
    lock = ledger.runs.lock()
    ledger.runs.take(lock)
    try:
        yield lock
    finally:
        lock.drop()
