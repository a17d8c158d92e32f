"""What a note tells of its mail's verdict: scores, category, reason, tags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backfill.message import Content, MailboxKey, Message, MessageRef
from backfill.names import is_mark
from backfill.ports import Judged
from backfill.rubric import Rubric
from backfill.verdict import LOWEST, Scores, Verdict


def facts_of(verdict: Verdict, labels: tuple[str, ...]) -> dict[str, Any]:
    """Names and values for the template. `importance_score` and `spam_score` are None where they are not asked for."""
    return {
        "scores": dict(verdict.scores),
        "importance_score": verdict.scores.get("importance"),
        "spam_score": verdict.scores.get("spam"),
        "category": verdict.category,
        "reason": verdict.reason,
        "labels": list(labels),
        "tags": tags(labels),
        "source": verdict.source,
        "model": verdict.model or "",
        "explanation": verdict.explanation,
    }


def tags(labels: Iterable[str]) -> list[str]:
    """The labels as tags of letters, digits, `_`, `-` and `/`.

    Obsidian ignores the case of tags, and takes none of digits alone.
    """
    found: dict[str, str] = {}
    for label in labels:
        blanked = "".join(char if char.isalnum() or char in "_/-" or is_mark(char) else " " for char in label)
        tag = "-".join(blanked.split()).strip("-/")
        tag = f"_{tag}" if tag and not any(char.isalpha() or char in "_-/" for char in tag) else tag
        if tag:
            found.setdefault(tag.casefold(), tag)
    return list(found.values())


def specimen(rubric: Rubric) -> Judged:
    """A mail with an answer to every question of the rubric, to try a template with."""
    ref = MessageRef(MailboxKey("account", "INBOX", 1), 1)
    scores = Scores({score.name: LOWEST for score in rubric.scores})
    category = rubric.categories[0].name if rubric.categories else None
    verdict = Verdict(0, "", scores, "specimen", None, "", False, category, "A reason." if rubric.reason else "")
    return Judged(ref, verdict, (), frozenset(), Message(ref, Content(), frozenset(), None, None, 0))
