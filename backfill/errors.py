"""Every error, with what it means for the mail or the run.

One branch per outside party, one leaf per *reaction*. A class's docstring is its default message, written to the
operator: what happened, what to do. Foreign exceptions are translated once, at the adapter's edge. No code decides by
the words of a message. `lifecycle.IllegalTransition` stands outside the tree on purpose: it is a bug.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import ClassVar, Self

from backfill.lifecycle import Disposition, ExitCode, IllegalTransition
from backfill.redaction import redacted
from backfill.shortages import shortage
from backfill.verdict import Announced, Usage


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
        text = redacted(message) if message else " ".join((inspect.getdoc(type(self)) or type(self).__name__).split())
        super().__init__(text)
        if reason is not None:
            self.reason = reason

    def add_asked_again(self, calls: int, sentence: str) -> None:
        """Say at the end of the message, too, that answers were not saved."""
        self.asked_again += calls
        self.args = (f"{self} {sentence}",)


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


class ConfigError(BackfillError):
    """The configuration or the command line does not make sense; nothing was started."""

    exit_code = ExitCode.USAGE
    reason = "config"


class Declined(ConfigError):
    """The question was answered with no, or nobody was there to answer it; nothing was started."""

    reason = "declined"


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


class LedgerError(BackfillError):
    """The ledger database cannot be used."""

    reason = "ledger"


class SchemaOutdated(LedgerError):
    """The ledger was written by another version of backfill; upgrade the older of the two."""

    exit_code = ExitCode.USAGE


class LedgerUnusable(LedgerError):
    """The ledger cannot be read or written: disk full, no permission, or damaged."""

    exit_code = ExitCode.UNUSABLE_DISK


class LedgerHeld(LedgerError):
    """Another backfill command is writing to this ledger; wait for it to end."""

    exit_code = ExitCode.HELD


class ClaimLost(LedgerError):
    """The item's claim was taken over by another run; this run's answer is late."""

    disposition = Disposition.DROP


class AskedElsewhere(LedgerError):
    """Another run is asking about a mail with the same content; its verdict will be used for this one, too."""

    disposition = Disposition.RELEASE
    reason = "asked_elsewhere"


class MailError(BackfillError):
    """The mail server did something that backfill cannot work with."""

    reason = "mail"


class CredentialsRefused(MailError):
    """The mail server refused the credentials; check username, password (or app password) and auth."""

    exit_code = ExitCode.REFUSED


class FolderUnusable(MailError):
    """The mail server does not open the folder so that it can be worked on; the other folders are worked on."""

    disposition = Disposition.RELEASE

    exit_code = ExitCode.USAGE
    reason = "folder_unusable"


class FolderUnknown(FolderUnusable):
    """The mail server has no such folder; `backfill folders` lists those it has."""

    reason = "folder_unknown"


class ServerUnavailable(MailError):
    """The mail server cannot be reached or asks for patience; run again later."""

    disposition = Disposition.RELEASE
    exit_code = ExitCode.UNREACHABLE
    reason = "server_unavailable"

    def __init__(self, message: str | None = None, *, wait_s: float | None = None) -> None:
        """`wait_s`: the wait that the server asked for, in seconds; None: it named no time."""
        super().__init__(message)
        self.wait_s = wait_s


class ServerTroubled(ServerUnavailable):
    """The mail server answers that it cannot do its work at the moment; run again later."""


class MailThrottled(ServerUnavailable):
    """The mail server asks for patience; run again when that time is over."""

    exit_code = ExitCode.STOPPED_EARLY
    reason = "mail_throttled"


class MarksMailRead(MailError):
    """The mail server marks mail as read although backfill only peeks at it; stopped before more mail is marked."""

    exit_code = ExitCode.REFUSED
    reason = "marks_mail_read"


class StoreUnavailable(MailError):
    """The mail account is full, so its server stores no keywords; make room, then run again: verdicts are kept."""

    exit_code = ExitCode.STOPPED_EARLY
    reason = "store_unavailable"


class KeywordRefused(MailError):
    """The mail server does not store this keyword in this folder, or on these mails, and will not do so later."""

    reason = "keyword_refused"

    def __init__(self, message: str, *, proved: frozenset[int] = frozenset()) -> None:
        """`proved`: the UIDs on which the keyword was stored or removed all the same."""
        super().__init__(message)
        self.proved = proved


class MailboxChanged(MailError):
    """The folder's UIDVALIDITY has changed: its UIDs name other mails now. It is planned anew."""

    disposition = Disposition.REPLAN
    exit_code = ExitCode.STOPPED_EARLY
    reason = "uidvalidity_changed"


class MessageGone(MailError):
    """The mail is gone from the server."""

    disposition = Disposition.VANISH
    reason = "vanished"


class MessageUnreadable(MailError):
    """The server lists the mail but does not send it, or the mail cannot be parsed."""

    disposition = Disposition.RETRY
    reason = "unreadable"


class Concession(StrEnum):
    """What is to be done differently in one more call about a mail."""

    SHORTER = "shorter"  # show half of the mail
    ROOMIER = "roomier"  # allow a longer answer
    RENAMED = "renamed"  # ask as before: the classifier has learnt the service's name of a parameter


class HttpError(BackfillError):
    """An HTTP call got no reply. An adapter says in its own errors what that means."""

    reason = "http"


class HostUnavailable(HttpError):
    """The host cannot be reached or does not answer in time."""

    disposition = Disposition.RELEASE
    exit_code = ExitCode.UNREACHABLE
    reason = "host_unavailable"


class EnvironmentUnusable(HttpError):
    """The proxy or the CA bundle that the environment names cannot be used; correct or unset the variable."""

    exit_code = ExitCode.USAGE
    reason = "proxy"


class ReplyTooLarge(HttpError):
    """The reply is larger than any useful one."""

    reason = "reply_too_large"

    def __init__(self, *, http_status: int) -> None:
        super().__init__()
        self.http_status = http_status


class ClassifierError(BackfillError):
    """The classifier gave no verdict."""

    reason = "classifier"

    #: HTTP status of the answer; None: there was no answer.
    http_status: int | None = None
    #: What the failed call cost by the API's word; None: it did not say, so the cost is unknown.
    usage: Usage | None = None
    #: What the API announced of its limits in the same reply; None: nothing.
    announced: Announced | None = None
    #: Did the reply hold nothing in the API's own format? A proxy or firewall may have answered, for this mail only.
    is_bare: bool = False
    #: The change with which one more call about this mail may succeed now; None: there is no such change.
    concession: Concession | None = None


class KeyRefused(ClassifierError):
    """The API refused the key, or the account has no credit left; check the key and the account."""

    exit_code = ExitCode.REFUSED
    reason = "key_refused"


class ConnectionMisconfigured(ClassifierError):
    """llm.api_url, or the environment's proxy or CA bundle, does not lead to a chat-completions API; correct it."""

    exit_code = ExitCode.USAGE
    reason = "address_wrong"


class ModelUnknown(ClassifierError):
    """The API does not know the model (llm.model), or offers no endpoint for it under llm.zdr, llm.data_collection."""

    exit_code = ExitCode.REFUSED
    reason = "model_unknown"


class RateLimited(ClassifierError):
    """The API asks for patience (429); the wait is shared by all calls."""

    disposition = Disposition.RELEASE
    exit_code = ExitCode.STOPPED_EARLY
    reason = "rate_limited"

    def __init__(self, message: str | None = None, *, wait_s: float | None = None) -> None:
        """`wait_s`: the provider's Retry-After in seconds; None when it named no time."""
        super().__init__(message)
        self.wait_s = wait_s


class ServiceUnavailable(ClassifierError):
    """The API cannot be reached or is failing; run again later."""

    disposition = Disposition.RELEASE
    exit_code = ExitCode.UNREACHABLE
    reason = "service_unavailable"

    def __init__(self, message: str | None = None, *, wait_s: float | None = None) -> None:
        """`wait_s`: the provider's Retry-After in seconds; None when it named no time."""
        super().__init__(message)
        self.wait_s = wait_s


class AnswerUnusable(ClassifierError):
    """The API answered, but not with a valid verdict."""

    disposition = Disposition.RETRY
    reason = "answer_unusable"


class AnswersUnusable(ClassifierError):
    """The API answers, but mail after mail gets no verdict. `backfill check` looks for the cause:
    llm.model, llm.response_format or llm.max_output_tokens may not suit each other."""

    exit_code = ExitCode.REFUSED
    reason = "answers_unusable"


class MessageRefused(ClassifierError):
    """The API will not judge this mail."""

    disposition = Disposition.FAIL
    reason = "refused"


class TurnedAway(ClassifierError):
    """Something in front of the API turned this mail away and let others pass: its text may look like an attack to a
    firewall."""

    disposition = Disposition.RETRY
    reason = "turned_away"


class TurnedAwayAtFirst(TurnedAway):
    """Something in front of the API turned this mail away; other mails are tried before it is blamed on this one."""

    disposition = Disposition.RELEASE


class BudgetReached(BackfillError):
    """The budget is spent; raise it, or run again when it is renewed."""

    exit_code = ExitCode.BUDGET
    reason = "budget"


class CallsUsedUp(BackfillError):
    """The calls that are allowed on this day (UTC) are used up; the run goes on the next day."""

    disposition = Disposition.RELEASE
    exit_code = ExitCode.STOPPED_EARLY
    reason = "calls_used_up"


class EffectError(BackfillError):
    """An output could not be written."""

    reason = "effect"


class EffectUnavailable(EffectError):
    """An output cannot be written at all (disk full, no permission); verdicts are safe, run again."""

    exit_code = ExitCode.UNUSABLE_DISK


class EffectUnreachable(EffectError):
    """An output's server cannot be reached or is failing; verdicts are safe, run again later."""

    disposition = Disposition.RELEASE
    exit_code = ExitCode.UNREACHABLE
    reason = "effect_unreachable"
    #: Does it concern every mail? Else the next mail may get through.
    concerns_all: ClassVar[bool] = False

    def __init__(self, message: str | None = None, *, wait_s: float | None = None) -> None:
        """`wait_s`: the wait that the server asked for, in seconds; None: it named no time."""
        super().__init__(message)
        self.wait_s = wait_s


class EffectThrottled(EffectUnreachable):
    """An output's server asks for patience; verdicts are safe, run again when that time is over."""

    exit_code = ExitCode.STOPPED_EARLY
    reason = "effect_throttled"
    concerns_all = True


class EffectDenied(EffectError):
    """An output's server refuses every mail; check its address and its secret. Verdicts are safe."""

    exit_code = ExitCode.REFUSED
    reason = "effect_denied"


class EffectRefused(EffectError):
    """An output refuses this mail."""

    disposition = Disposition.RETRY
    reason = "effect_refused"


class EffectRejected(EffectRefused):
    """An output refuses this mail for good."""

    disposition = Disposition.FAIL
