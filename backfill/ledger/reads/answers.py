"""What was answered about a job's mails: values of scores, categories, the labels that follow, examples of reasons.

Labels are derived here from the stored answers, by the rubric that is given: they follow a changed threshold at once.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from backfill.rubric import Rubric
from backfill.summary import Example, ScoreCounts
from backfill.verdict import HIGHEST, LOWEST, Answer, Scores

#: Of each label. The newest mails are looked at, so that a rare label costs no reading of all mails.
MOST_EXAMPLES: Final = 2
LOOKED_AT: Final = 500

VALUES: Final = HIGHEST - LOWEST + 1

# One row for each combination of answers; importance and spam alone have at most 121 with each status.
ANSWERS = """SELECT v.scores, v.category, CASE WHEN i.status = 'done' THEN 1 ELSE 0 END AS is_done, COUNT(*)
      FROM item i JOIN verdict v ON v.id = i.verdict_id
     WHERE i.job_id = :job GROUP BY 1, 2, 3"""
EXAMPLES = """SELECT m.folder, i.uid, v.scores, v.category, v.reason
      FROM item i JOIN verdict v ON v.id = i.verdict_id JOIN mailbox m ON m.id = i.mailbox_id
     WHERE i.job_id = :job AND i.status = 'done' AND v.reason <> '' ORDER BY i.id DESC LIMIT :limit"""


@dataclass(frozen=True, slots=True)
class Answers:
    """Mails by answer, also of mails that are not done; `labels` counts those that are done."""

    scores: tuple[ScoreCounts, ...]
    categories: tuple[tuple[str, int], ...]
    labels: tuple[tuple[str, int], ...]


def answers_of(connection: Connection, job_id: int, rubric: Rubric) -> Answers:
    """Counts all answers of a job, in one pass over its items."""
    every: dict[str, list[int]] = {score.name: [0] * VALUES for score in rubric.scores}
    of_done: dict[str, list[int]] = {score.name: [0] * VALUES for score in rubric.scores}
    chosen: Counter[str] = Counter()
    chosen_done: Counter[str] = Counter()
    for scores, category, is_done, mails in connection.execute(text(ANSWERS), {"job": job_id}):
        for name, value in json.loads(scores).items():  # without `Scores`: a million times, it takes a minute
            if name in every:
                every[name][value - LOWEST] += mails
                of_done[name][value - LOWEST] += mails * is_done
        if category is not None:
            chosen[category] += mails
            chosen_done[category] += mails * is_done
    reached = [(score.label, ScoreCounts(score, tuple(of_done[score.name])).reached) for score in rubric.scores]
    return Answers(
        scores=tuple(ScoreCounts(score, tuple(every[score.name])) for score in rubric.scores),
        categories=tuple((category.name, chosen[category.name]) for category in rubric.categories),
        labels=(*reached, *((category.label, chosen_done[category.name]) for category in rubric.categories)),
    )


def examples_of(connection: Connection, job_id: int, rubric: Rubric) -> tuple[Example, ...]:
    """Reasons of the newest mails with each label; none where the rubric asks for none."""
    if not rubric.reason:
        return ()
    found: dict[str, list[Example]] = {label: [] for label in rubric.label_names}
    rows = connection.execute(text(EXAMPLES), {"job": job_id, "limit": LOOKED_AT})
    for folder, uid, scores, category, reason in rows:
        for label in rubric.labels(_answer(scores, category)):
            if len(found[label]) < MOST_EXAMPLES:
                found[label].append(Example(label, folder, uid, reason))
    return tuple(example for examples in found.values() for example in examples)


def _answer(scores: str, category: str | None) -> Answer:
    return Answer(Scores(json.loads(scores)), "", category=category)
