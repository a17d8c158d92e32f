"""The `heuristic` classifier: judges mail by rules, offline and free of charge. The same mail gets the same scores.

The rules are data (`heuristic_rules`, `heuristic_phrases`). `heuristic_signs` finds the signs in a mail that the rules
name. An answer's explanation lists the rules that applied. A mail cannot raise its importance by naming scores: such
text counts as spam.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Final

from backfill.classifiers.heuristic_names import NAMES
from backfill.classifiers.heuristic_phrases import PHRASES
from backfill.classifiers.heuristic_rules import BASE_IMPORTANCE, BASE_SPAM, RULES, TOLERATED_SPAM, UMBRELLAS, Rule
from backfill.classifiers.heuristic_signs import Reading, signs_of
from backfill.errors import Concession
from backfill.fingerprint import Fingerprint
from backfill.message import Content, Message
from backfill.verdict import HIGHEST, LOWEST, Answer, Scores

#: Part of the fingerprint. Raise it when `heuristic_signs` or the sum in `judge` changes.
READING: Final = 3

#: Each rule with the signs that must be present, and those that must be absent.
_RULES: Final = tuple(
    (
        rule,
        frozenset(sign for sign in rule.when if not sign.startswith("not ")),
        frozenset(sign.removeprefix("not ") for sign in rule.when if sign.startswith("not ")),
    )
    for rule in RULES
)


class HeuristicClassifier:
    """Judges mail by rules. Thread-safe. Never raises: every mail gets a verdict."""

    is_metered: Final = False

    def __init__(self, *, max_body_chars: int) -> None:
        self._max_body_chars = max_body_chars
        self._fingerprint = Fingerprint.of(classifier="heuristic", rules=rules_digest(), max_body_chars=max_body_chars)

    @property
    def fingerprint(self) -> Fingerprint:
        return self._fingerprint

    def decide_free(self, message: Message) -> Answer:
        """The same as `classify`, since rules cost nothing."""
        return self.classify(message)

    def classify(self, message: Message, concession: Concession | None = None) -> Answer:
        """The scores, with the names of the rules that applied."""
        scores, rules = judge(message.content, self._max_body_chars)
        return Answer(scores, source="heuristic", explanation=", ".join(rules))

    def signs(self, message: Message) -> frozenset[str]:
        """The mail's signs: the phrase groups that occur in it and the facts that hold."""
        return signs_of(Reading.of(message.content, self._max_body_chars))

    def estimate_tokens(self, message: Message) -> int:
        """0: nothing is sent."""
        return 0

    def close(self) -> None:
        """Nothing is open."""


def judge(content: Content, max_body_chars: int) -> tuple[Scores, tuple[str, ...]]:
    """The scores, and the names of the rules that applied, in the table's order."""
    signs = signs_of(Reading.of(content, max_body_chars))
    applied = [rule for rule, present, absent in _RULES if present <= signs and absent.isdisjoint(signs)]
    spam = _bounded(BASE_SPAM + sum(rule.spam for rule in applied))
    importance = BASE_IMPORTANCE + sum(rule.importance for rule in applied) - max(0, spam - TOLERATED_SPAM)
    return Scores.of(importance=_bounded(importance), spam=spam), tuple(rule.name for rule in applied)


def rules_digest(rules: Iterable[Rule] = RULES) -> str:
    """SHA-256 (hex) of the tables. Any changed rule, phrase or amount makes another classifier."""
    table = [asdict(rule) for rule in rules]
    tables = [READING, BASE_IMPORTANCE, BASE_SPAM, TOLERATED_SPAM, table, UMBRELLAS, PHRASES, NAMES]
    return hashlib.sha256(json.dumps(tables, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _bounded(score: int) -> int:
    return min(max(score, LOWEST), HIGHEST)
