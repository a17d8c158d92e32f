"""Errors of the classifier: of its service, of its settings, and of one mail."""

from __future__ import annotations

from enum import StrEnum

from backfill.errors.base import AsksToWait, BackfillError
from backfill.lifecycle import Disposition, ExitCode
from backfill.verdict import Announced, Usage


class Concession(StrEnum):
    """What is to be done differently in one more call about a mail."""

    SHORTER = "shorter"  # show half of the mail
    ROOMIER = "roomier"  # allow a longer answer
    RENAMED = "renamed"  # ask as before: the classifier has learnt the service's name of a parameter
    REMINDED = "reminded"  # say again which answers are possible


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


class RateLimited(ClassifierError, AsksToWait):
    """The API asks for patience (429); the wait is shared by all calls."""

    disposition = Disposition.RELEASE
    exit_code = ExitCode.STOPPED_EARLY
    reason = "rate_limited"


class ServiceUnavailable(ClassifierError, AsksToWait):
    """The API cannot be reached or is failing; run again later."""

    disposition = Disposition.RELEASE
    exit_code = ExitCode.UNREACHABLE
    reason = "service_unavailable"


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
