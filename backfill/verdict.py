"""Scores as a classifier gives them, and the labels that follow from them by thresholds.

Scores are stored and labels are derived from them, so changed thresholds need no second call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

LOWEST, HIGHEST = 0, 10


class Label(StrEnum):
    """What a threshold makes of a score."""

    IMPORTANT = "important"
    SPAM = "spam"


@dataclass(frozen=True, slots=True)
class Scores:
    """A classifier's scores: integers from 0 to 10. Raises ValueError for anything else; nothing is clamped."""

    importance: int
    spam: int

    def __post_init__(self) -> None:
        for name in ("importance", "spam"):
            value = getattr(self, name)
            if type(value) is not int or not LOWEST <= value <= HIGHEST:  # bool is an int, but no score
                raise ValueError(f"{name} must be an integer from {LOWEST} to {HIGHEST}, not {value!r:.40}")


@dataclass(frozen=True, slots=True)
class Announced:
    """What a service announced of its limits with an answer. None: it announced no such limit."""

    calls_per_minute: float | None = None
    tokens_per_minute: float | None = None
    wait_s: float = 0.0  # seconds until a limit that is used up is renewed; 0: none is used up


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call cost. None: not known, which does not mean 0."""

    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None
    cost_usd: Decimal | None = None
    request_id: str | None = None
    http_status: int | None = None
    announced: Announced | None = None  # None: nothing


@dataclass(frozen=True, slots=True)
class Answer:
    """What a classifier returns for one mail."""

    scores: Scores
    source: str  # what decided: "chat", "heuristic", …
    model: str | None = None  # the model that answered, as the service names it
    explanation: str = ""  # the rules that decided, for `heuristic`; never free text of a model
    usage: Usage = field(default_factory=Usage)
    truncated: bool = False  # the classifier was shown only a part of the content


@dataclass(frozen=True, slots=True)
class Verdict:
    """Recorded scores, as the ledger has them."""

    id: int
    message_key: str
    scores: Scores
    source: str
    model: str | None
    explanation: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The lowest score at which each label holds."""

    importance: int = 8
    spam: int = 5

    def labels(self, scores: Scores) -> tuple[Label, ...]:
        """The labels that hold for these scores, in a fixed order."""
        reached = (
            (Label.IMPORTANT, scores.importance >= self.importance),
            (Label.SPAM, scores.spam >= self.spam),
        )
        return tuple(label for label, holds in reached if holds)
