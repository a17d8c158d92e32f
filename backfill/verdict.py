"""What a classifier says of a mail, and what the ledger keeps of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Self

LOWEST, HIGHEST = 0, 10


@dataclass(frozen=True, slots=True)
class Scores(Mapping[str, int]):
    """A classifier's scores by name: integers from 0 to 10. Raises ValueError for anything else; nothing is clamped."""

    by_name: Mapping[str, int]

    def __post_init__(self) -> None:
        for name, value in self.by_name.items():
            if type(value) is not int or not LOWEST <= value <= HIGHEST:  # bool is an int, but no score
                raise ValueError(f"{name} must be an integer from {LOWEST} to {HIGHEST}, not {value!r:.40}")
        object.__setattr__(self, "by_name", MappingProxyType(dict(self.by_name)))

    @classmethod
    def of(cls, **scores: int) -> Self:
        return cls(scores)

    def __getitem__(self, name: str) -> int:
        return self.by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_name)

    def __len__(self) -> int:
        return len(self.by_name)

    def __hash__(self) -> int:
        return hash(frozenset(self.by_name.items()))

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.by_name.items())


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
    explanation: str = ""  # the rules that decided, for `heuristic`; never a model's own words
    usage: Usage = field(default_factory=Usage)
    truncated: bool = False  # the classifier was shown only a part of the content
    category: str | None = None  # one of the rubric's; None: it asks for none
    reason: str = ""  # the model's own words, cleaned; "": none was asked for


@dataclass(frozen=True, slots=True)
class Verdict:
    """A recorded answer, as the ledger has it."""

    id: int
    message_key: str
    scores: Scores
    source: str
    model: str | None
    explanation: str
    truncated: bool
    category: str | None = None
    reason: str = ""
