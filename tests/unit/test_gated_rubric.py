"""The gate with the owner's own questions: it answers all of them for a mail, or leaves the mail to the model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backfill.classifiers.gated import CERTAINTIES, REASONS, GatedClassifier
from backfill.classifiers.heuristic import HeuristicClassifier
from backfill.message import Message
from backfill.rubric import Category, Rubric, Score
from backfill.verdict import Answer
from tests.unit.test_gated import LETTER, SCAM, Model, mail

IMPORTANCE, SPAM = Rubric.default().scores
CATEGORIES = tuple(Category(name, f"mail about {name}", None) for name in ("Invoice", "Junk", "Other"))


def decided(rubric: Rubric, message: Message) -> Answer | None:
    return GatedClassifier(HeuristicClassifier(max_body_chars=4000), Model(), rubric).decide_free(message)


def test_a_rubric_with_categories_gets_the_named_one_for_what_is_certainly_spam():
    answer = decided(Rubric((SPAM,), CATEGORIES, spam_category="Junk"), mail(SCAM))

    assert answer is not None
    assert (dict(answer.scores).keys(), answer.category, answer.reason) == ({"spam"}, "Junk", "")
    assert answer.scores["spam"] >= 9


def test_mail_whose_category_the_rules_do_not_know_is_left_to_the_model():
    assert decided(Rubric((SPAM,)), mail(LETTER)) is not None
    assert decided(Rubric((SPAM,), CATEGORIES, spam_category="Junk"), mail(LETTER)) is None


def test_a_rubric_without_scores_can_be_gated_too():
    answer = decided(Rubric((), CATEGORIES, spam_category="Junk"), mail(SCAM))

    assert answer is not None
    assert (len(answer.scores), answer.category) == (0, "Junk")


def test_a_reason_that_is_asked_for_is_given_on_one_short_line():
    answer = decided(Rubric((IMPORTANCE, SPAM), reason=True), mail(LETTER))

    assert answer is not None
    assert answer.reason == REASONS["vouched-mass-mail"]
    assert REASONS.keys() == {each.name for each in CERTAINTIES}
    assert all(len(reason) <= 200 and reason.isprintable() for reason in REASONS.values())


TAX, REPLY = Score("tax", "the tax office wants it", 7, None), Score("reply", "somebody waits", 7, None)


@pytest.mark.parametrize(
    ("rubric", "said"),
    [
        (Rubric.default(), None),
        (Rubric((SPAM,), CATEGORIES, spam_category="Junk"), None),
        (Rubric((replace(SPAM, threshold=9, keyword=None),), reason=True), None),
        (Rubric((SPAM,), CATEGORIES), "a category, unless rubric.spam_category names the one"),
        (Rubric((SPAM, TAX)), "the score tax"),
        (Rubric((TAX, REPLY), CATEGORIES, spam_category="Junk"), "the scores tax, reply"),
        (Rubric((replace(SPAM, means="what my wife calls spam"),)), "the score spam"),
    ],
)
def test_what_the_rules_cannot_answer_is_named(rubric, said):
    named = rubric.beyond_the_rules

    assert named is None if said is None else (named or "").startswith(said)


def test_the_fingerprint_of_the_default_rubric_is_as_it_was_and_another_category_makes_another_one():
    def fingerprint(*rubric: Rubric) -> str:
        return GatedClassifier(HeuristicClassifier(max_body_chars=4000), Model(), *rubric).fingerprint.canonical

    own = Rubric((SPAM,), CATEGORIES, spam_category="Junk")
    assert fingerprint() == fingerprint(Rubric.default())
    assert "spam_category" not in fingerprint()
    assert fingerprint(own) != fingerprint(replace(own, spam_category="Other"))


def test_the_category_for_spam_is_kept_with_the_job():
    own = Rubric((SPAM,), CATEGORIES, spam_category="Junk")

    assert Rubric.from_canonical(own.canonical()) == own
    assert own.having(Rubric.default()).spam_category == "Junk"
