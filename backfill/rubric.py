"""The rubric: which scores and categories are asked for, and the labels that follow from an answer.

Answers are stored, labels are derived: changed thresholds and keywords need no second call. What is asked is the
names, what they mean, and whether a reason is wanted. Only that is part of a classifier's fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol, Self

from backfill.verdict import Scores

#: What the two scores mean where the settings name no others.
IMPORTANCE: Final = """what the owner loses by never seeing it.
- 9-10: grave consequences: deadline, contract, court, tax, health, family
- 7-8: a person expects the owner's answer or decision; a real bill to pay
- 4-6: worth knowing: personal news, project talk, travel, receipts
- 2-3: routine notices, wanted newsletters
- 0-1: advertising, spam"""
SPAM: Final = """how unwanted or deceptive it is.
- 9-10: fraud, phishing, malware, forged sender
- 6-8: unsolicited advertising
- 3-5: doubtful
- 0-2: personal, transactional or subscribed mail"""


class Judged(Protocol):
    """What labels are derived from: an answer, or a verdict of the ledger."""

    @property
    def scores(self) -> Scores: ...
    @property
    def category(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Score:
    """A question that is answered with an integer from 0 to 10. `keyword` None: its label gets none."""

    name: str
    means: str
    threshold: int  # the lowest score at which the label holds
    keyword: str | None

    @property
    def label(self) -> str:
        """What mail is called that reaches the threshold. The score `importance` makes the label `important`."""
        return "important" if self.name == "importance" else self.name

    def is_reached(self, value: int) -> bool:
        """Does the label hold for this score?"""
        return value >= self.threshold


@dataclass(frozen=True, slots=True)
class Category:
    """One of the categories of which each mail gets one. Its name is its label."""

    name: str
    means: str
    keyword: str | None

    @property
    def label(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Rubric:
    """The questions about each mail. Scores and categories stand in the order in which they are shown to people."""

    scores: tuple[Score, ...]
    categories: tuple[Category, ...] = ()
    reason: bool = False

    @classmethod
    def default(
        cls,
        importance_threshold: int = 8,
        spam_threshold: int = 5,
        important_tag: str | None = "Important",
        spam_tag: str | None = "Spam",
    ) -> Self:
        """Importance and spam."""
        return cls(
            (
                Score("importance", IMPORTANCE, importance_threshold, important_tag),
                Score("spam", SPAM, spam_threshold, spam_tag),
            )
        )

    def labels(self, judged: Judged) -> tuple[str, ...]:
        """The labels that hold for these scores and this category, in the rubric's order.

        What was not asked makes no label. This is the only place where thresholds decide.
        """
        given = judged.scores
        reached = [each.label for each in self.scores if each.name in given and each.is_reached(given[each.name])]
        chosen = [each.label for each in self.categories if each.name == judged.category]
        return (*reached, *chosen)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Every label that a mail may get."""
        return tuple(each.label for each in self._labelled())

    @property
    def keywords(self) -> Mapping[str, str]:
        """The keyword of each label that has one."""
        every = [(each.label, each.keyword) for each in self._labelled()]
        return MappingProxyType({label: keyword for label, keyword in every if keyword is not None})

    def _labelled(self) -> tuple[Score | Category, ...]:
        return (*self.scores, *self.categories)

    def score(self, name: str) -> Score | None:
        """The score of this name; None: it is not asked for."""
        return next((each for each in self.scores if each.name == name), None)


#: A longer meaning is cut in what is told of it.
MOST_TOLD: Final = 60


def changes(before: Rubric, after: Rubric) -> list[str]:
    """What is asked otherwise in `after`, each as part of a sentence, with the old and the new words side by side.

    Thresholds and keywords are no part of a question, so they are not told.
    """
    return [
        *_renamed("score", before.scores, after.scores),
        *_renamed("category", before.categories, after.categories),
        *([f"reason: {_switch(before.reason)} -> {_switch(after.reason)}"] if before.reason != after.reason else []),
    ]


def _renamed(
    word: str, before: tuple[Score, ...] | tuple[Category, ...], after: tuple[Score, ...] | tuple[Category, ...]
) -> list[str]:
    old, new = {each.name: each.means for each in before}, {each.name: each.means for each in after}
    gone, come = [name for name in old if name not in new], [name for name in new if name not in old]
    told = []
    for name in list(gone):
        heir = next((other for other in come if new[other] == old[name]), None)
        if heir is not None:
            gone.remove(name)
            come.remove(heir)
            told.append(f"{word} {name} -> {heir}, with the same meaning")
    told += [f"{word} {name} is asked for no more" for name in gone]
    told += [f"{word} {name} is new" for name in come]
    told += [
        f"{word} {name} means {_side_by_side(means, new[name])}"
        for name, means in old.items()
        if name in new and new[name] != means
    ]
    if not told and list(old) != list(new):
        told.append(f"{'scores' if word == 'score' else 'categories'} in another order")
    return told


def _switch(is_on: bool) -> str:
    return "asked for" if is_on else "not asked for"


def _side_by_side(before: str, after: str) -> str:
    """Both on one line, each cut, so that the first difference is seen."""
    lines = [" ".join(means.split()) for means in (before, after)]
    if lines[0] == lines[1]:
        return "the same in other lines"
    same = next((place for place, (a, b) in enumerate(zip(*lines, strict=False)) if a != b), min(map(len, lines)))
    start = max(0, same - MOST_TOLD // 2) if max(map(len, lines)) > MOST_TOLD else 0
    shown = [f"{'…' if start else ''}{line[start : start + MOST_TOLD]}" for line in lines]
    cut = [f"{part}…" if len(line) > start + MOST_TOLD else part for part, line in zip(shown, lines, strict=True)]
    return " -> ".join(map(repr, cut))
