"""What the charts of a report show: bars with their lengths, without a form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backfill.summary import ScoreCounts


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a histogram. `length`: in the chart's units, at least 2 when there is any mail."""

    score: int
    count: int
    length: float
    is_below: bool  # below the threshold


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many mails have each value of a score."""

    title: str
    label: str  # of the mails that reach the threshold
    bars: tuple[Bar, ...]
    reached: int  # mails from the threshold on
    begins: int  # the threshold


@dataclass(frozen=True, slots=True)
class CategoryBar:
    """One category's row. `length`: in thousandths of the widest, at least 4 when there is any mail."""

    name: str
    count: int
    length: float


def title(name: str) -> str:
    """With a capital letter in front; the others stay as they are."""
    return name[:1].upper() + name[1:]


def histogram(counts: ScoreCounts, longest: float) -> Histogram:
    """The widest bar is `longest` units long."""
    most, score = max(counts.mails) or 1, counts.score
    bars = tuple(
        Bar(
            value,
            count,
            max(2.0, round(longest * count / most, 1)) if count else 0.0,
            not score.is_reached(value),
        )
        for value, count in enumerate(counts.mails)
    )
    return Histogram(title(score.name), score.label, bars, counts.reached, score.threshold)


def category_bars(categories: Sequence[tuple[str, int]]) -> list[CategoryBar]:
    """In the order of the rubric; none at all where no mail has a category."""
    most = max((count for _, count in categories), default=0)
    if not most:
        return []
    return [
        CategoryBar(name, count, max(4.0, round(1000 * count / most, 1)) if count else 0.0)
        for name, count in categories
    ]
