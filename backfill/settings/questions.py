"""The section `rubric`: the user's own scores and categories. Its keys are names that the user chooses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final
from unicodedata import normalize

from pydantic import BeforeValidator, Field, model_validator

from backfill.rubric import IMPORTANCE, SPAM, Category, Rubric, Score
from backfill.settings.fields import Keyword, Section
from backfill.settings.fields import Score as Threshold

#: What a score means where the settings do not say it.
_KNOWN: Final = {"importance": IMPORTANCE, "spam": SPAM}
#: YAML reads a mapping as None when all its keys are commented out.
_OrEmpty: Final = BeforeValidator(lambda value: {} if value is None else value)

#: What a key of the section takes, by pydantic's word for the mistake.
KINDS: Final = {
    "string_type": "should be a text",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
}


class ScoreKeys(Section):
    """One score. `keyword` None: its label gets no keyword."""

    means: str = ""  # "": as always, for importance and spam
    threshold: Threshold
    keyword: Keyword | None = None


class CategoryKeys(Section):
    """One category."""

    means: str = ""
    keyword: Keyword | None = None


class RubricKeys(Section):
    """What is asked about each mail, in place of importance and spam."""

    scores: Annotated[dict[str, Annotated[ScoreKeys, _OrEmpty]], _OrEmpty] = Field(default_factory=dict)
    categories: Annotated[dict[str, Annotated[CategoryKeys, _OrEmpty]], _OrEmpty] = Field(default_factory=dict)
    reason: bool = False
    spam_category: str | None = None  # for classifier: gated

    @model_validator(mode="after")
    def _can_be_asked(self) -> RubricKeys:
        self.whole()
        return self

    @classmethod
    def of(cls, rubric: Rubric) -> RubricKeys:
        """The keys that describe a rubric."""
        return cls(
            scores={
                each.name: ScoreKeys(means=each.means, threshold=each.threshold, keyword=each.keyword)
                for each in rubric.scores
            },
            categories={each.name: CategoryKeys(means=each.means, keyword=each.keyword) for each in rubric.categories},
            reason=rubric.reason,
            spam_category=rubric.spam_category,
        )

    def whole(self) -> Rubric:
        """The rubric that these keys describe. Raises ValueError, with the place of the mistake."""
        return Rubric(
            tuple(
                Score(name, _lines(keys.means) or _KNOWN.get(name, ""), keys.threshold, keys.keyword)
                for name, keys in self.scores.items()
            ),
            tuple(Category(_spelt(name), _lines(keys.means), keys.keyword) for name, keys in self.categories.items()),
            self.reason,
            None if self.spam_category is None else _spelt(self.spam_category),
        )


def known_keys(place: tuple[str, ...]) -> str:
    """Which keys a part of the section may have, for people; "" where its keys are names.

    `place`: the keys that lead to it, e.g. rubric, scores, urgency.
    """
    kind = {1: RubricKeys, 3: ScoreKeys if place[1:2] == ("scores",) else CategoryKeys}.get(len(place))
    return ", ".join(kind.model_fields) if kind else ""


def should_hold(place: tuple[str, ...]) -> str:
    """What should stand at `place` in the section where a single word or a list stands."""
    if keys := known_keys(place):
        ready = "; `backfill init --rubric receipts-and-tax` writes a ready one" if len(place) == 1 else ""
        return f"should hold keys: {keys}{ready}"
    form = ", ".join(f"{key}: …" for key in known_keys((*place, "NAME")).split(", "))
    return f"should hold names, each with keys below it, in the form NAME: {{{form}}}"


def overridden(rubric: Any, winning: Mapping[str, Any]) -> Any:
    """The section with what variables say of it. Their names have no case, so each stands for a name in any case."""
    if not isinstance(rubric, dict):
        return dict(winning)
    known = {str(name).casefold(): name for name in rubric}
    merged = dict(rubric)
    for name, value in winning.items():
        place = known.get(name.casefold(), name)
        merged[place] = overridden(rubric.get(place), value) if isinstance(value, dict) else value
    return merged


def _spelt(name: str) -> str:
    """The name with each accent and its letter as one character: some editors and systems write them as two."""
    return normalize("NFC", name)


def _lines(means: str) -> str:
    """Without blanks at the ends of lines, and without empty lines at the ends: the same bytes on every machine.

    A blank that does not break, as French has it before a colon, becomes a blank: a model needs none.
    """
    return "\n".join(line.rstrip() for line in re.sub("[\u00a0\u202f]", " ", means).strip().splitlines())
