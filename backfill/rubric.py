"""The rubric: which scores and categories are asked for, and the labels that follow from an answer.

Answers are stored, labels are derived: changed thresholds and keywords need no second call. What is asked is the
names, what they mean, and whether a reason is wanted. Only that is part of a classifier's fingerprint.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Protocol, Self

from backfill import names
from backfill.keywords import RULE as KEYWORD_RULE
from backfill.keywords import is_keyword
from backfill.names import folded
from backfill.verdict import HIGHEST, LOWEST, Scores

#: More questions make a model's answers worse, and every mail's answer dearer.
MOST_SCORES: Final = 8
MOST_CATEGORIES: Final = 40
#: Of all names and meanings together: about 3,000 tokens, which are paid for with every mail.
MOST_CHARS: Final = 12_000

#: Keys of an answer, of a line of analytics or of a note.
_RESERVED: Final = frozenset({"category", "reason", "scores", "labels"})
#: What a model could take for the delimiter around the mail, a chat template's token, a comment or a variable.
_MARKUP: Final = re.compile(r"[<＜]\s*[/|｜!<a-zA-Z]|\[/?INST|\{\{|\}\}|-->", re.IGNORECASE)

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


class Opinion(Protocol):
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
    """The questions about each mail, in the order in which they are asked and shown.

    Raises ValueError for what cannot be asked; the sentence begins with the place, as `rubric.scores.NAME`.
    """

    scores: tuple[Score, ...]
    categories: tuple[Category, ...] = ()
    reason: bool = False
    spam_category: str | None = None  # what the gate's rules may give to mail that is certainly spam; None: nothing

    def __post_init__(self) -> None:
        for mistake in _mistakes(self):
            raise ValueError(mistake)

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

    def labels(self, judged: Opinion) -> tuple[str, ...]:
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

    def category(self, name: str) -> Category | None:
        """The category of this name, also in other case; None: it is not in the list."""
        return next((each for each in self.categories if folded(each.name) == folded(name.strip())), None)

    @property
    def is_default(self) -> bool:
        """Are importance and spam asked for, with their usual meanings, and nothing else?"""
        return self.asked() == Rubric.default().asked()

    @property
    def answer_tokens(self) -> int:
        """The most tokens that an answer takes, with some room. Other alphabets have a token for each letter."""
        named = 15 * len(self.scores) + (30 if self.categories else 0) + (230 if self.reason else 0)
        return max(200, 60 + named)

    def asked(self) -> dict[str, Any]:
        """What is asked, as JSON: the part of a fingerprint. Without thresholds and keywords.

        A list each, because the order may change a model's answer.
        """
        return {
            "scores": [[each.name, each.means] for each in self.scores],
            "categories": [[each.name, each.means] for each in self.categories],
            "reason": self.reason,
        }

    def canonical(self) -> str:
        """All of it as JSON, as the ledger keeps it with a job."""
        return json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=True)

    @classmethod
    def from_canonical(cls, text: str) -> Self:
        """The rubric that `canonical` wrote."""
        parts = json.loads(text)
        scores = tuple(Score(**each) for each in parts["scores"])
        categories = tuple(Category(**each) for each in parts["categories"])
        return cls(scores, categories, parts["reason"], parts.get("spam_category"))

    def having(self, other: Rubric) -> Rubric:
        """These questions with the thresholds and keywords of `other`, where it has a score or category of the name.

        A name that `other` lacks keeps its own, but no keyword that `other` has given to one of these names.
        """
        theirs: dict[str, Score | Category] = {each.name: each for each in other._labelled()}
        given = {theirs[each.name].keyword for each in self._labelled() if each.name in theirs}
        taken = {keyword.casefold() for keyword in given if keyword is not None}

        def keyword_of(each: Score | Category) -> str | None:
            if each.name in theirs:
                return theirs[each.name].keyword
            return None if each.keyword is None or each.keyword.casefold() in taken else each.keyword

        thresholds = {each.name: each.threshold for each in other.scores}
        return replace(
            self,
            scores=tuple(
                replace(each, threshold=thresholds.get(each.name, each.threshold), keyword=keyword_of(each))
                for each in self.scores
            ),
            categories=tuple(replace(each, keyword=keyword_of(each)) for each in self.categories),
        )

    @property
    def beyond_the_rules(self) -> str | None:
        """What the gate's rules cannot answer, as part of a sentence; None: they can answer everything.

        They know importance and spam with their usual meanings, and the category that is named for spam.
        """
        usual = {each.name: each.means for each in Rubric.default().scores}
        if unknown := [each.name for each in self.scores if each.means != usual.get(each.name)]:
            return f"the score{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}"
        if self.categories and self.spam_category is None:
            return "a category, unless rubric.spam_category names the one for mail that is certainly spam"
        return None


def _mistakes(rubric: Rubric) -> Iterator[str]:
    """What is wrong with a rubric, each with its place and what to do."""
    if not rubric.scores and not rubric.categories:
        yield "rubric asks nothing; name a score or a category, or leave the rubric out for importance and spam"
    for what, given, most in (
        ("scores", len(rubric.scores), MOST_SCORES),
        ("categories", len(rubric.categories), MOST_CATEGORIES),
    ):
        if given > most:
            yield f"rubric.{what} has {given} entries; {most} are the most, so leave some out"
    yield from _mistakes_of_names(rubric)
    for place, each in _places(rubric):
        yield from _mistakes_of_meaning(place, each)
        if each.keyword is not None and not is_keyword(each.keyword):
            yield f"{place}.keyword should be {KEYWORD_RULE}, or null for none"
        if isinstance(each, Score) and not LOWEST <= each.threshold <= HIGHEST:
            yield f"{place}.threshold should be an integer from {LOWEST} to {HIGHEST}"
    if rubric.spam_category is not None and all(each.name != rubric.spam_category for each in rubric.categories):
        yield "rubric.spam_category should be one of rubric.categories, spelt as there, or null"
    chars = sum(len(each.name) + len(each.means) for _, each in _places(rubric))
    if chars > MOST_CHARS:
        yield f"rubric has {chars} characters of names and meanings; shorten them to {MOST_CHARS} or fewer"


def _mistakes_of_names(rubric: Rubric) -> Iterator[str]:
    seen: dict[str, str] = {}
    keywords: dict[str, str] = {}
    for place, each in _places(rubric):
        is_score = isinstance(each, Score)
        if not (names.is_score(each.name) if is_score else names.is_category(each.name)):
            where = "rubric.scores" if is_score else "rubric.categories"
            rule = names.SCORE_RULE if is_score else names.CATEGORY_RULE
            shown = each.name if len(each.name) <= names.MOST_CHARS else f"{each.name[: names.MOST_CHARS - 1]}…"
            yield f"{where}: the name {shown!r} should be {rule}"
        elif folded(each.name) in _RESERVED:
            yield f"{place}: this name is taken by backfill itself; choose another"
        # The label `important` belongs to the score `importance`, so both names are taken.
        for name in {folded(each.name), folded(each.label)}:
            if (other := seen.setdefault(name, place)) != place:
                yield f"{place} and {other}: two names should differ in more than case; rename one"
        if each.keyword is not None and (other := keywords.setdefault(each.keyword.casefold(), place)) != place:
            yield f"{place}.keyword and {other}.keyword are alike; servers ignore case, so change or remove one"


def _mistakes_of_meaning(place: str, each: Score | Category) -> Iterator[str]:
    if not each.means.strip():
        yield f"{place}.means is missing; say in a few words what it means, for the model"
    elif odd := next((char for char in each.means if not char.isprintable() and char != "\n"), ""):
        yield f"{place}.means holds the character U+{ord(odd):04X}, which is not seen; remove it"
    elif isinstance(each, Category) and "\n" in each.means:
        yield f"{place}.means should be one line"
    elif _MARKUP.search(each.means):
        yield f"{place}.means should be plain text, without tags such as <mail>, comments and {{{{ }}}}"


def _places(rubric: Rubric) -> Iterator[tuple[str, Score | Category]]:
    yield from ((f"rubric.scores.{each.name}", each) for each in rubric.scores)
    yield from ((f"rubric.categories.{each.name}", each) for each in rubric.categories)


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
