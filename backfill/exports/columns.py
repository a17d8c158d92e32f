"""What a row of an export holds: one table of columns, from which every form makes its own.

The values, their names and their order are those of an analytics line. An export adds what is known of the mail
(`sender`, `list_id`, `size`) and `superseded`. In tables each score has a column of its own, `<name>_score`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto
from typing import Final

from backfill.ledger.budgets import usd
from backfill.ledger.rows import ExportRow

Value = str | int | float | bool | Decimal | datetime | tuple[str, ...] | None


class Kind(Enum):
    """What the values of a column are. All of them may be missing."""

    TEXT = auto()
    WORDS = auto()  # several texts
    NUMBER = auto()
    SCORE = auto()  # from 0 to 10
    MONEY = auto()  # US dollars, exact to the billionth
    SECONDS = auto()
    TIME = auto()  # UTC
    TRUTH = auto()


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, and how its value is found."""

    name: str
    kind: Kind
    value: Callable[[ExportRow], Value]


_BEFORE: Final = (
    Column("job", Kind.NUMBER, lambda row: row.outcome.job_id),
    Column("account", Kind.TEXT, lambda row: row.outcome.ref.mailbox.account),
    Column("folder", Kind.TEXT, lambda row: row.outcome.ref.mailbox.folder),
    Column("uidvalidity", Kind.NUMBER, lambda row: row.outcome.ref.mailbox.uidvalidity),
    Column("uid", Kind.NUMBER, lambda row: row.outcome.ref.uid),
    Column("message_key", Kind.TEXT, lambda row: row.outcome.message_key),
    Column("status", Kind.TEXT, lambda row: row.outcome.status),
)
_AFTER: Final = (
    Column("category", Kind.TEXT, lambda row: row.outcome.category),
    Column("reason", Kind.TEXT, lambda row: row.outcome.why or None),
    Column("labels", Kind.WORDS, lambda row: row.outcome.labels),
    Column("model", Kind.TEXT, lambda row: row.outcome.model),
    Column("tokens", Kind.NUMBER, lambda row: row.outcome.tokens),
    Column("cost_usd", Kind.MONEY, lambda row: usd(row.outcome.cost_nano)),
    Column("latency_s", Kind.SECONDS, lambda row: _seconds(row.outcome.latency_us)),
    Column("error", Kind.TEXT, lambda row: row.outcome.reason),
    Column("run", Kind.TEXT, lambda row: row.outcome.run_uuid),
    Column("processed_at", Kind.TIME, lambda row: row.outcome.at),
    Column("sent_at", Kind.TIME, lambda row: row.outcome.sent_at),
    Column("received_at", Kind.TIME, lambda row: row.outcome.received_at),
    Column("supersedes", Kind.TRUTH, lambda row: row.outcome.supersedes),
    Column("superseded", Kind.TRUTH, lambda row: row.superseded),
    Column("sender", Kind.TEXT, lambda row: row.sender),
    Column("list_id", Kind.TEXT, lambda row: row.list_id),
    Column("size", Kind.NUMBER, lambda row: row.size),
)


def columns(scores: Sequence[str]) -> tuple[Column, ...]:
    """The columns of a table, when these scores were asked for."""
    return (*_BEFORE, *map(_score, scores), *_AFTER)


def _score(name: str) -> Column:
    return Column(f"{name}_score", Kind.SCORE, lambda row: row.outcome.scores.get(name))


def _seconds(micros: int | None) -> float | None:
    return None if micros is None else round(micros / 1e6, 3)
