"""What a job will take: calls, tokens, money and hours, estimated from a sample of its mails.

The classifier is not called. A mail whose verdict is known, or that the classifier decides for free, costs no call.
An unknown figure, such as the price of a local model, is None and never 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from math import ceil
from typing import Final

from backfill.errors import FolderTroubled, FolderUnusable, Unexpected, around_one_mail
from backfill.ledger import Ledger
from backfill.ledger.rows import Job
from backfill.limits import RunLimits
from backfill.message import MailboxKey, Message
from backfill.ports import Classifier, MailSource, Price, Unfetched
from backfill.rubric import Rubric

SAMPLE: Final = 50
#: An answer is one short JSON object: 30 tokens for importance and spam. A reasoning model takes more; only a run shows
#: how many. A reason is one short sentence of about 100 characters.
FRAME_TOKENS: Final = 10
SCORE_TOKENS: Final = 10
CATEGORY_TOKENS: Final = 12
REASON_TOKENS: Final = 35


IMPORTANCE_AND_SPAM: Final = Rubric.default()


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the mails that are not final will take."""

    mails: int
    sampled: int
    calls: int | None  # for the mails that are neither known nor free; None: no mail of the sample could be read
    tokens_in: int | None  # None, here and below: `calls` is None
    tokens_out: int | None
    cost_usd: Decimal | None  # None also if the price is not known
    hours: float | None  # at the pace that is allowed
    binding_limit: str  # what limits its speed, or ends it early

    def sentence(self) -> str:
        """The forecast in words, for people."""
        if self.calls is None or self.hours is None:
            return (
                f"{_counted(self.mails, 'mail')} to do. What they will take is not known: none of those that were tried"
                f" as a sample could be read. Bound by {self.binding_limit}."
            )
        cost = "at an unknown price" if self.cost_usd is None else f"for about ${self.cost_usd:.4f}"
        time = _counted(round(self.hours * 60), "minute") if self.hours < 2 else f"{self.hours:.1f} hours"
        return (
            f"{_counted(self.mails, 'mail')} to do: about {_counted(self.calls, 'call')} with "
            f"{self.tokens_in:,} tokens in and {self.tokens_out:,} out {cost}, in {time}; "
            f"bound by {self.binding_limit}. "
            f"(Reckoned from {_counted(self.sampled, 'mail')}; tokens as characters / 4.)"
        )


@dataclass(frozen=True, slots=True)
class Forecaster:
    """Makes forecasts from a sample of a job's mails. Reads the ledger and the mail server; writes nothing."""

    ledger: Ledger
    source: MailSource
    classifier: Classifier
    price: Price | None
    limits: RunLimits
    rubric: Rubric = IMPORTANCE_AND_SPAM

    def forecast(self, job: Job, max_emails: int | None = None) -> Forecast:
        """Estimate what is left, or the next `max_emails` mails of it. Raises what the mail source raises."""
        left = self.ledger.open_items.count(job.id)
        mails = left if max_emails is None else min(left, max_emails)
        sample = list(self._sample(job))
        known = self.ledger.verdicts.known(job.fingerprint, job.generation, [message.key for message in sample])
        asked = [message for message in sample if message.key not in known and self._is_asked(message)]
        if mails and not sample:
            return Forecast(mails, 0, None, None, None, None, None, self._binding_limit(mails))
        calls = round(mails * len(asked) / len(sample)) if sample else 0
        tokens = [self._tokens(message) for message in asked]
        tokens_in = round(calls * sum(tokens) / len(tokens)) if tokens else 0
        tokens_out = calls * answer_tokens(self.rubric)
        cost = self._cost(calls, tokens_in, tokens_out)
        most = self.limits.max_cost_usd
        is_too_dear = cost is not None and most is not None and cost > most
        return Forecast(
            mails=mails,
            sampled=len(sample),
            calls=calls,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost_usd=cost,
            hours=self._elapsed_hours(calls),
            binding_limit=f"the budget of ${most}" if is_too_dear else self._binding_limit(calls),
        )

    def _per_day(self) -> float:
        """The calls that the pace allows on one day, within the run's hours."""
        hours = self.limits.between
        return self.limits.calls_per_minute * 60 * (24 if hours is None else hours.per_day)

    def _elapsed_hours(self, calls: int) -> float:
        most = self.limits.max_per_day
        per_day = self._per_day() if most is None else min(self._per_day(), most)
        return elapsed_hours(calls, self.limits.calls_per_minute, per_day)

    def _binding_limit(self, calls: int) -> str:
        limits = self.limits
        if limits.max_per_day is not None and limits.max_per_day < min(calls, self._per_day()):
            return f"{limits.max_per_day:,} calls a day"
        pace = f"{limits.calls_per_minute:g} calls a minute"
        return pace if limits.between is None else f"{pace} between {limits.between}"

    def _cost(self, calls: int, tokens_in: int, tokens_out: int) -> Decimal | None:
        return None if self.price is None else self.price.cost(tokens_in, tokens_out, calls=calls)

    def _sample(self, job: Job) -> Iterable[Message]:
        refs = self.ledger.open_items.sample(job.id, SAMPLE)
        for mailbox, of_mailbox in groupby(refs, key=lambda ref: ref.mailbox):
            for fetched in self._fetched(mailbox, [ref.uid for ref in of_mailbox]):
                if not isinstance(fetched, Unfetched):
                    yield fetched

    def _fetched(self, mailbox: MailboxKey, uids: list[int]) -> list[Message | Unfetched]:
        """The mails, without those that raise an unexpected error, and none of a folder that does not open.

        The run reports both.
        """
        try:
            with around_one_mail():
                return list(self.source.fetch(mailbox, uids))
        except (FolderUnusable, FolderTroubled):
            return []
        except Unexpected:
            if len(uids) == 1:
                return []
        middle = len(uids) // 2
        return self._fetched(mailbox, uids[:middle]) + self._fetched(mailbox, uids[middle:])

    def _is_asked(self, message: Message) -> bool:
        with suppress(Unexpected), around_one_mail():
            return self.classifier.decide_free(message) is None
        return False

    def _tokens(self, message: Message) -> int:
        with suppress(Unexpected), around_one_mail():
            return self.classifier.estimate_tokens(message)
        return 0


def answer_tokens(rubric: Rubric) -> int:
    """About how many tokens an answer takes."""
    return (
        FRAME_TOKENS
        + SCORE_TOKENS * len(rubric.scores)
        + (CATEGORY_TOKENS if rubric.categories else 0)
        + (REASON_TOKENS if rubric.reason else 0)
    )


def elapsed_hours(calls: float, per_minute: float, per_day: float) -> float:
    """Hours from the first call to the last: full days of `per_day` calls, then the rest at the pace."""
    days = max(0, ceil(calls / per_day) - 1)
    return days * 24 + (calls - days * per_day) / per_minute / 60


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
