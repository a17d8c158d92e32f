"""The sockets: everything that planner and executor need from mail servers, classifiers and outputs, on one page.

Each is a Protocol with a contract suite in `tests/contract/`. A fake may take the place of the real thing in a test
only if it passes the same suite. The ledger has no socket: tests use the real one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Protocol

from backfill.errors import BackfillError, Concession, MailError
from backfill.fingerprint import Fingerprint
from backfill.lifecycle import ExitCode
from backfill.message import MailboxKey, Message, MessageRef
from backfill.selection import Selection
from backfill.verdict import Answer, Verdict
from backfill.wording import Deed


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder as the server lists it. `name` is decoded (not modified UTF-7)."""

    name: str
    special_use: frozenset[str] = frozenset()  # RFC 6154, e.g. {"\\All"}
    is_selectable: bool = True


@dataclass(frozen=True, slots=True)
class MailboxState:
    """A folder's state, as EXAMINE returns it."""

    key: MailboxKey
    exists: int
    uid_next: int


@dataclass(frozen=True, slots=True)
class UidWindow:
    """A range of a folder's UIDs, low <= UID <= high. `mails`: how many the server counts in it; None: not known."""

    low: int
    high: int
    mails: int | None = None


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A mail of the selection. `skip_rule`: the rule that excludes it from processing; None: it is processed."""

    uid: int
    skip_rule: str | None = None


@dataclass(frozen=True, slots=True)
class Unfetched:
    """A mail that was asked for and could not be read, with the error that says why and what to do."""

    ref: MessageRef
    error: MailError


class MailSource(Protocol):
    """Reads mail and changes nothing: EXAMINE, BODY.PEEK. One connection, used by one thread.

    Every method may raise `ServerUnavailable`, `CredentialsRefused`; those that take a mailbox also
    `MailboxChanged` and `FolderUnknown`. A broken connection is renewed by the next call.
    """

    def list_folders(self) -> list[Folder]: ...

    def examine(self, folder: str) -> MailboxState: ...

    def windows(self, mailbox: MailboxKey, low: int, high: int) -> list[UidWindow]:
        """The UIDs from `low` to `high` in pieces of at most about 5,000 mails, in order and without a gap."""
        ...

    def survey(self, mailbox: MailboxKey, window: UidWindow, selection: Selection) -> list[Surveyed]:
        """The mails of the selection in the window, sorted by UID, each once.

        Raises `FolderUnusable` if the server counts mails there and its SEARCH lists none.
        """
        ...

    def fetch(self, mailbox: MailboxKey, uids: Sequence[int]) -> Iterator[Message | Unfetched]:
        """Each of `uids` exactly once, in any order. A mail that does not come is an `Unfetched`."""
        ...

    def close(self) -> None: ...


class MailMarker(Protocol):
    """Sets and removes keywords, on a connection of its own. Compares UIDVALIDITY before every STORE.

    `add` and `remove` may raise `KeywordRefused` where the server will never store the keyword, and `StoreUnavailable`
    where it has no room.
    """

    def permitted(self, mailbox: MailboxKey, keywords: Iterable[str]) -> frozenset[str]:
        """Those of `keywords` that PERMANENTFLAGS allows a client to store (RFC 9051 §7.1)."""
        ...

    def add(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        """STORE +FLAGS.SILENT; returns the UIDs on which a SEARCH afterwards finds the keyword."""
        ...

    def remove(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        """STORE -FLAGS.SILENT; returns the UIDs on which a SEARCH afterwards does not find the keyword."""
        ...

    def bearing(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        """Those of `uids` that have the keyword, asked in a fresh session. Writes nothing."""
        ...

    def present(self, mailbox: MailboxKey, uids: Iterable[int]) -> frozenset[int]:
        """Those of `uids` that a SEARCH in a fresh session finds: an old session may still show expunged mail."""
        ...

    def close(self) -> None: ...


class Classifier(Protocol):
    """Judges one mail. Thread-safe."""

    @property
    def fingerprint(self) -> Fingerprint: ...

    @property
    def is_metered(self) -> bool:
        """Do its calls cost? Only a metered classifier needs throttle slots, attempts, a budget and consent to pay."""
        ...

    def decide_free(self, message: Message) -> Answer | None:
        """The answer where it costs nothing; None: `classify` has to be called. Called before a slot is taken."""
        ...

    def classify(self, message: Message, concession: Concession | None = None) -> Answer:
        """Judge a mail. A metered classifier makes exactly one request; its caller does the retries.

        `concession`: the change that the error of an earlier call proposed for one more call about this mail. Raises a
        `ClassifierError`; its class says what happens next.
        """
        ...

    def estimate_tokens(self, message: Message) -> int:
        """About how many tokens `classify` would send; 0 for a classifier that sends nothing."""
        ...

    def close(self) -> None: ...


#: With `Concession.ROOMIER` an answer may take this many times `max_output_tokens`: reasoning takes about a page.
ROOMIER: Final = 5


@dataclass(frozen=True, slots=True)
class Price:
    """A model's list price in USD, per token and per request. What a call really cost is in `Usage`."""

    prompt: Decimal
    completion: Decimal
    request: Decimal = Decimal(0)

    def cost(self, prompt_tokens: int, completion_tokens: int, *, calls: int = 1) -> Decimal:
        """USD for `calls` calls that take these tokens together."""
        return self.prompt * prompt_tokens + self.completion * completion_tokens + self.request * calls


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as its service lists it. A field is None if the list does not say."""

    name: str
    price: Price | None = None
    parameters: frozenset[str] | None = None  # the request parameters that it supports


@dataclass(frozen=True, slots=True)
class Credit:
    """What is left of the key's own limit, in USD; None: the key has no limit, or the service does not say."""

    remaining_usd: Decimal | None = None


class Service(Protocol):
    """What the API behind a metered classifier says about itself, without a call that costs. Thread-safe.

    Every method may raise `ServiceUnavailable`, `RateLimited`, `KeyRefused`.
    """

    def models(self) -> tuple[ModelInfo, ...] | None:
        """All models; None: the service has no list. The service is asked once."""

    def model(self, name: str) -> ModelInfo | None:
        """The model of exactly this name; None: it is not listed, or there is no list."""

    def price_of(self, model: str) -> Price | None:
        """The model's list price; None: it is not known, which does not mean free."""

    def credit(self) -> Credit | None:
        """What is left of the key's limit; None: the service does not say. Raises `KeyRefused` for a bad key."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Judged:
    """A mail with its committed verdict, as it is given to an effect."""

    ref: MessageRef
    verdict: Verdict
    labels: tuple[str, ...]
    flags_before: frozenset[str]
    message: Message | None  # None unless the effect says `needs_message`
    #: The detail of this effect's last receipt that is not undone, by which the effect knows its own work; None: none.
    previous: Mapping[str, Any] | None = field(default=None, hash=False)
    job_id: int | None = None  # None: there is no job, as for a specimen
    #: The details of this effect's receipts on earlier mails of the thread, by Message-ID, where there are any.
    thread: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)


class ReceiptState(StrEnum):
    """What an effect's receipt says."""

    APPLIED = "applied"
    NOT_APPLICABLE = "not_applicable"  # the server does not offer it (PERMANENTFLAGS); the detail says why
    FOREIGN = "foreign"  # a file with other bytes than ours stood there and was left alone


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that an effect was applied, and what undoing it needs. `detail` is small JSON."""

    ref: MessageRef
    effect: str
    state: ReceiptState
    detail: dict[str, Any] = field(default_factory=dict, hash=False)
    #: The mail's Message-ID, if later mails of the thread are to find this receipt; None: they are not.
    message_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Unapplied:
    """An effect that could not be applied to one mail, with the error that says what to do."""

    ref: MessageRef
    effect: str
    error: BackfillError


@dataclass(frozen=True, slots=True)
class Lost:
    """What a receipt names and is not there, in words, e.g. "the keyword Spam"."""

    ref: MessageRef
    what: str
    is_edited: bool = False  # it is there with other content, as its owner may have wished, and is left alone


@dataclass(frozen=True, slots=True)
class Undone:
    """An effect that was taken back. Nothing of ours is left, except for what `kept` names.

    `kept`: a sentence about what was left on purpose, e.g. a note that its owner has edited; "": nothing was left.
    """

    ref: MessageRef
    effect: str
    kept: str = ""


class State(StrEnum):
    """How a probe of `check` went."""

    OK = "ok"
    WARN = "warn"  # a run would work, but something of it would not
    FAIL = "fail"  # a run would stop
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Probe:
    """What `check` found. `remedy` is "" where there is nothing to do; `exit_code` is OK unless it failed."""

    name: str
    state: State
    detail: str
    remedy: str = ""
    exit_code: ExitCode = ExitCode.OK


class Effect(Protocol):
    """One output. Applying it twice leaves the same keyword, or the same file with the same bytes, as once."""

    @property
    def name(self) -> str: ...

    @property
    def needs_message(self) -> bool: ...

    def holds(self, detail: Mapping[str, Any], labels: Sequence[str]) -> bool:
        """Would `apply` bring about the same again, by the configuration? Asks nothing of the world.

        `detail`: of a receipt for the same verdict. `labels`: those that hold by today's thresholds.
        """

    def apply(self, mails: Sequence[Judged]) -> Iterator[Receipt | Unapplied]:
        """Apply the effect; each of `mails` gets exactly one answer. All lie in one mailbox.

        Raises an error that concerns all of them: `EffectUnavailable`, `ServerUnavailable`, `MailboxChanged`.
        """

    def lost(self, receipts: Sequence[Receipt]) -> Iterator[Lost]:
        """What these receipts name and is not there any more; at most one answer each. Raises as `apply` does.

        All lie in one mailbox. A mail that is gone has lost nothing, nor has an output that cannot be looked at.
        """

    def presumed(self, mails: Sequence[Judged]) -> Iterator[Receipt]:
        """What `apply` may leave of ours on these mails if it crashes, as receipts. They are recorded before.

        A receipt covers `Judged.previous`, too. A mail to which nothing can be written gets none.
        """

    def undo(self, receipts: Sequence[Receipt]) -> Iterator[Undone | Unapplied]:
        """Take back what receipts say, and no more; each gets exactly one answer. All lie in one mailbox.

        Undoing twice is as once, and `apply` afterwards brings the effect about again. `Undone` also if nothing of it
        is there any more. `Unapplied`: it still stands; with `MessageGone` if the mail itself is gone. Raises as
        `apply` does, and an error that concerns the whole folder.
        """

    def traces(self, receipt: Receipt) -> tuple[str, ...]:
        """What `undo` is to take back by this receipt, in words to be counted, e.g. the keywords, or "note"."""

    def foreseen(self, labels: Sequence[str]) -> tuple[Deed, ...]:
        """What `apply` would do to a mail with these labels. Asks nothing of the world."""
        ...

    def probe(self, inbox: MailboxKey | None) -> Iterator[Probe]:
        """What of this output works, for `check`. Changes nothing. `inbox` None: the mail server cannot be asked.

        Raises an `EffectError` or a `MailError` for what keeps the output from being looked at.
        """

    def close(self) -> None: ...
