"""Every error, with what it means for the mail or the run: one module for each outside party.

`base` (what every error has) · `run` · `ledger` · `mail` · `http` · `classifier` · `effect`. Import them from here.

One branch per outside party, one leaf per *reaction*. A class's docstring is its default message, written to the
operator: what happened, what to do. Foreign exceptions are translated once, at the adapter's edge. No code decides by
the words of a message. `lifecycle.IllegalTransition` stands outside the tree on purpose: it is a bug.
"""

from backfill.errors.base import (
    AsksToWait,
    BackfillError,
    MachineExhausted,
    Unexpected,
    around_one_mail,
)
from backfill.errors.classifier import (
    AnswersUnusable,
    AnswerUnusable,
    ClassifierError,
    Concession,
    ConnectionMisconfigured,
    KeyRefused,
    MessageRefused,
    ModelUnknown,
    RateLimited,
    ServiceUnavailable,
    TurnedAway,
    TurnedAwayAtFirst,
)
from backfill.errors.effect import (
    EffectDenied,
    EffectError,
    EffectRefused,
    EffectRejected,
    EffectThrottled,
    EffectUnavailable,
    EffectUnreachable,
)
from backfill.errors.http import (
    EnvironmentUnusable,
    HostUnavailable,
    HttpError,
    ReplyTooLarge,
)
from backfill.errors.ledger import (
    AskedElsewhere,
    ClaimLost,
    LedgerError,
    LedgerHeld,
    LedgerUnusable,
    SchemaOutdated,
)
from backfill.errors.mail import (
    CredentialsRefused,
    FolderTroubled,
    FolderUnknown,
    FolderUnusable,
    KeywordRefused,
    MailboxChanged,
    MailError,
    MailThrottled,
    MarksMailRead,
    MessageGone,
    MessageUnreadable,
    ServerTroubled,
    ServerUnavailable,
    StoreUnavailable,
)
from backfill.errors.run import (
    BudgetReached,
    CallsUsedUp,
    ConfigError,
    Declined,
)

__all__ = [
    "AnswerUnusable",
    "AnswersUnusable",
    "AskedElsewhere",
    "AsksToWait",
    "BackfillError",
    "BudgetReached",
    "CallsUsedUp",
    "ClaimLost",
    "ClassifierError",
    "Concession",
    "ConfigError",
    "ConnectionMisconfigured",
    "CredentialsRefused",
    "Declined",
    "EffectDenied",
    "EffectError",
    "EffectRefused",
    "EffectRejected",
    "EffectThrottled",
    "EffectUnavailable",
    "EffectUnreachable",
    "EnvironmentUnusable",
    "FolderTroubled",
    "FolderUnknown",
    "FolderUnusable",
    "HostUnavailable",
    "HttpError",
    "KeyRefused",
    "KeywordRefused",
    "LedgerError",
    "LedgerHeld",
    "LedgerUnusable",
    "MachineExhausted",
    "MailError",
    "MailThrottled",
    "MailboxChanged",
    "MarksMailRead",
    "MessageGone",
    "MessageRefused",
    "MessageUnreadable",
    "ModelUnknown",
    "RateLimited",
    "ReplyTooLarge",
    "SchemaOutdated",
    "ServerTroubled",
    "ServerUnavailable",
    "ServiceUnavailable",
    "StoreUnavailable",
    "TurnedAway",
    "TurnedAwayAtFirst",
    "Unexpected",
    "around_one_mail",
]
