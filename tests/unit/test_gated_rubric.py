"""The gate with the owner's own questions: it answers all of them for a mail, or leaves the mail to the model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backfill.classifiers.gated import CERTAINTIES, REASONS, GatedClassifier, cannot_gate
from backfill.classifiers.heuristic import HeuristicClassifier
from backfill.message import Message
from backfill.rubric import Category, Rubric, Score
from backfill.verdict import Answer
from tests.unit.test_gated import LETTER, SCAM, Model, mail

IMPORTANCE, SPAM = Rubric.default().scores
CATEGORIES = tuple(Category(name, f"mail about {name}", None) for name in ("Invoice", "Junk", "Other"))


def decided(rubric: Rubric, message: Message, spam_category: str | None = None) -> Answer | None:
    return GatedClassifier(HeuristicClassifier(max_body_chars=4000), Model(), rubric, spam_category).decide_free(
        message
    )


def test_a_rubric_with_categories_gets_the_named_one_for_what_is_certainly_spam():
    answer = decided(Rubric((SPAM,), CATEGORIES), mail(SCAM), "Junk")

    assert answer is not None
    assert (dict(answer.scores).keys(), answer.category, answer.reason) == ({"spam"}, "Junk", "")
    assert answer.scores["spam"] >= 9


def test_mail_whose_category_the_rules_do_not_know_is_left_to_the_model():
    assert decided(Rubric((SPAM,)), mail(LETTER)) is not None
    assert decided(Rubric((SPAM,), CATEGORIES), mail(LETTER), "Junk") is None


def test_a_rubric_without_scores_can_be_gated_too():
    answer = decided(Rubric((), CATEGORIES), mail(SCAM), "Junk")

    assert answer is not None
    assert (len(answer.scores), answer.category) == (0, "Junk")


def test_a_reason_that_is_asked_for_is_given_on_one_short_line():
    answer = decided(Rubric((IMPORTANCE, SPAM), reason=True), mail(LETTER))

    assert answer is not None
    assert answer.reason == REASONS["vouched-mass-mail"]
    assert REASONS.keys() == {each.name for each in CERTAINTIES}
    assert all(len(reason) <= 200 and reason.isprintable() for reason in REASONS.values())


TAX, REPLY = Score("tax", "the tax office wants it", 7, None), Score("reply", "somebody waits", 7, None)
NO_CATEGORY = "a category: name the one for mail that is certainly spam as rubric.spam_category"


@pytest.mark.parametrize(
    ("rubric", "spam_category", "said"),
    [
        (Rubric.default(), None, None),
        (Rubric((SPAM,), CATEGORIES), "Junk", None),
        (Rubric((replace(SPAM, threshold=9, keyword=None),)), None, None),
        (Rubric((SPAM,), CATEGORIES), None, NO_CATEGORY),
        (Rubric((SPAM, TAX)), None, "the score tax"),
        (Rubric((TAX, REPLY), CATEGORIES), "Junk", "the scores tax, reply"),
    ],
)
def test_what_the_rules_cannot_answer_is_named(rubric, spam_category, said):
    assert cannot_gate(rubric, spam_category) == said


def test_the_fingerprint_of_the_default_rubric_is_as_it_was_and_another_category_makes_another_one():
    def fingerprint(*rubric: object) -> str:
        return GatedClassifier(HeuristicClassifier(max_body_chars=4000), Model(), *rubric).fingerprint.canonical

    own = Rubric((SPAM,), CATEGORIES)
    assert fingerprint() == fingerprint(Rubric.default())
    assert "spam_category" not in fingerprint()
    assert fingerprint(own, "Junk") != fingerprint(own, "Other")
