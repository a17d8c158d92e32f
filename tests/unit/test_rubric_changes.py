"""A changed rubric is explained by the names of its scores and categories."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backfill.rubric import Category, Rubric, Score, changes

TAX, REPLY = Score("tax", "the tax office wants it", 7, None), Score("reply", "somebody waits", 7, "Reply")
BILL, OTHER = Category("Bill", "asks for money", None), Category("Other", "all else", None)
BEFORE = Rubric((TAX, REPLY), (BILL, OTHER))


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (BEFORE, []),
        (replace(BEFORE, scores=(replace(TAX, threshold=3, keyword="Tax"), REPLY)), []),
        (replace(BEFORE, scores=(replace(TAX, name="fisc"), REPLY)), ["score tax -> fisc, with the same meaning"]),
        (replace(BEFORE, scores=(TAX,)), ["score reply is asked for no more"]),
        (replace(BEFORE, scores=(TAX, REPLY, Score("spam", "x", 5, None))), ["score spam is new"]),
        (
            replace(BEFORE, scores=(replace(TAX, means="my adviser\n wants it"), REPLY)),
            ["score tax means 'the tax office wants it' -> 'my adviser wants it'"],
        ),
        (
            replace(BEFORE, categories=(replace(BILL, name="Invoice"), OTHER)),
            ["category Bill -> Invoice, with the same meaning"],
        ),
        (replace(BEFORE, categories=(OTHER, BILL)), ["categories in another order"]),
        (replace(BEFORE, categories=()), ["category Bill is asked for no more", "category Other is asked for no more"]),
        (replace(BEFORE, reason=True), ["reason: not asked for -> asked for"]),
    ],
)
def test_what_is_asked_otherwise_is_told_by_name(after, told):
    assert changes(BEFORE, after) == told


def test_of_long_meanings_the_place_is_shown_where_they_differ():
    before = replace(BEFORE, scores=(replace(TAX, means="word " * 100 + "for my adviser"), REPLY))
    after = replace(
        BEFORE, scores=(replace(TAX, means="word " * 100 + "for my lawyer, perhaps also for my notary"), REPLY)
    )

    (told,) = changes(before, after)

    assert "word for my adviser' -> '…" in told
    assert "word for my lawyer, perhaps" in told
    assert len(told) < 170


def test_another_layout_of_the_same_words_is_told_as_that():
    after = replace(BEFORE, scores=(replace(TAX, means="the tax office\nwants it"), REPLY))

    assert changes(BEFORE, after) == ["score tax means the same in other lines"]


def test_a_job_takes_todays_thresholds_and_keywords_for_the_names_that_it_asks_for():
    today = Rubric((replace(TAX, threshold=2, keyword="Tax", means="other"), Score("new", "x", 1, "New")), (OTHER,))

    assert BEFORE.having(today) == Rubric((replace(TAX, threshold=2, keyword="Tax"), REPLY), (BILL, OTHER))


def test_a_keyword_that_today_belongs_to_another_name_is_not_given_twice():
    before = Rubric((replace(TAX, keyword="X"), replace(REPLY, keyword="Y")))
    today = Rubric((replace(TAX, keyword="y"),))

    assert dict(before.having(today).keywords) == {"tax": "y"}
