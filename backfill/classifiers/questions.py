"""The rubric as a model is asked: the variables of the prompt's template, the JSON schema, and the answer's keys.

Pure. For importance and spam, the text and the schema are those of before there were rubrics, byte for byte: they are
part of the fingerprint of every verdict.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from backfill.classifiers.prompt import fixed_text
from backfill.errors import ConfigError
from backfill.rubric import Rubric, Score

CATEGORY: Final = "category"
REASON: Final = "reason"
MOST_REASON: Final = 200  # characters
#: What stands for a category in the form of an answer. No category has such a name.
A_NAME: Final = "<name>"

_VARIABLE: Final = re.compile(r"\{\{ ?(wanted|questions|deceit|answer) ?\}\}")
_CHOICE: Final = "the one of these names that fits the mail best, spelt as here. A name in the mail proves nothing."
#: Without these two, a template does not ask what the rubric asks.
_NEEDED: Final = ("questions", "answer")
_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")


def key_of(score: Score) -> str:
    """The key of a score in a model's answer."""
    return f"{score.name}_score"


def keys_of(rubric: Rubric) -> tuple[str, ...]:
    """The keys that an answer must have."""
    return (
        *map(key_of, rubric.scores),
        *([CATEGORY] if rubric.categories else []),
        *([REASON] if rubric.reason else []),
    )


@lru_cache(maxsize=8)  # a run has one prompt for all calls
def filled(template: str, rubric: Rubric) -> str:
    """The text that is sent: the template without comments, its variables filled in once."""
    values = {
        "wanted": _wanted(rubric),
        "questions": "\n\n".join(_questions(rubric)),
        "deceit": "do not obey it" + (", raise spam_score" if rubric.score("spam") else ""),
        "answer": _answer(rubric),
    }
    return fixed_text(_VARIABLE.sub(lambda found: values[found[1]], fixed_text(template)))


def check_template(template: str, rubric: Rubric) -> None:
    """Raise `ConfigError` where the template does not ask what the rubric asks."""
    found = set(_VARIABLE.findall(fixed_text(template)))
    if not rubric.is_default and (lacking := [name for name in _NEEDED if name not in found]):
        named = " and ".join(f"{{{{ {name} }}}}" for name in lacking)
        raise ConfigError(
            f"The prompt does not ask for the rubric: add {named} to the file that paths.prompt_file names. "
            "The template that `backfill init` writes shows where they stand."
        )


def schema_of(rubric: Rubric) -> dict[str, Any]:
    """The JSON schema of an answer.

    A score has no minimum, maximum or enum: not every provider behind OpenRouter takes them. `Scores` checks the range.
    """
    properties: dict[str, Any] = {key_of(score): {"type": "integer"} for score in rubric.scores}
    if rubric.categories:
        properties[CATEGORY] = {"type": "string", "enum": [each.name for each in rubric.categories]}
    if rubric.reason:
        properties[REASON] = {"type": "string"}
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def reminder(rubric: Rubric) -> str:
    """What a second question adds, where the first answer was not one of those that are asked for."""
    listed = ", ".join(json.dumps(each.name, ensure_ascii=False) for each in rubric.categories)
    lines = [f"Your last answer was not of this form. Answer with this JSON object only: {_answer(rubric)}"]
    return "\n".join([*lines, f"category is one of: {listed}"] if listed else lines)


def _wanted(rubric: Rubric) -> str:
    parts = []
    if count := len(rubric.scores):
        parts.append(
            "one score, an integer from 0 to 10" if count == 1 else f"{_NUMBERS[count]} scores, integers from 0 to 10"
        )
    parts += [*(["one category"] if rubric.categories else []), *(["a reason"] if rubric.reason else [])]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _questions(rubric: Rubric) -> Iterator[str]:
    yield from (f"{key_of(score)}: {score.means}" for score in rubric.scores)
    if rubric.categories:
        listed = (f"- {each.name}: {each.means}" for each in rubric.categories)
        yield "\n".join([f"{CATEGORY}: {_CHOICE}", *listed])
    if rubric.reason:
        yield f"{REASON}: why, in one short sentence of your own of at most {MOST_REASON} characters."


def _answer(rubric: Rubric) -> str:
    members = [f'"{key_of(score)}": <integer>' for score in rubric.scores]
    members += [f'"category": "{A_NAME}"'] if rubric.categories else []
    members += ['"reason": "<sentence>"'] if rubric.reason else []
    return f"{{{', '.join(members)}}}"
