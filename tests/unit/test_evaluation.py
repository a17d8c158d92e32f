"""How a classifier is measured: ranks, thresholds, labels, and what is left out aloud."""

from __future__ import annotations

from decimal import Decimal
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.errors import ConfigError
from backfill.evaluation.agreement import Judged, agreement, confusion, evaluate, roc_auc
from backfill.evaluation.labels import Truth, find_mails, read_labels
from backfill.evaluation.tables import as_dict, text
from backfill.rubric import Category, Rubric, Score
from backfill.verdict import Answer, Scores

SPAM, HAM = Truth.of(spam=True, importance=False), Truth.of(spam=False)
DEFAULT = Rubric.default()
OWN = Rubric(
    scores=(Score("tax", "the tax office wants it", 7, None), Score("spam", "nobody wants it", 5, None)),
    categories=tuple(Category(name, f"mail about {name}", None) for name in ("Invoice", "Receipt", "Other")),
)


@pytest.mark.parametrize(
    ("pairs", "auc"),
    [
        ([(1, False), (2, True)], 1.0),
        ([(2, False), (1, True)], 0.0),
        ([(5, False), (5, True)], 0.5),
        ([(0, False), (0, False), (0, True), (9, True)], 0.75),
        ([(1, True), (2, True)], None),
        ([], None),
    ],
)
def test_the_area_is_the_chance_that_the_right_one_scores_higher(pairs, auc):
    assert roc_auc(pairs) == auc


@given(st.lists(st.tuples(st.integers(0, 10), st.booleans()), max_size=40))
def test_ranks_give_what_comparing_every_pair_gives(pairs):
    positives, negatives = ([score for score, truth in pairs if truth is wanted] for wanted in (True, False))

    wins = [(a > b) + 0.5 * (a == b) for a, b in product(positives, negatives)]

    assert roc_auc(pairs) == (pytest.approx(sum(wins) / len(wins)) if wins else None)


def test_precision_and_recall_are_of_those_somebody_said_something_of():
    found = agreement([(9, True), (5, True), (4, True), (7, False), (0, False), (10, None)], DEFAULT.scores[1])

    assert (found.true_positives, found.false_negatives, found.false_positives, found.true_negatives) == (2, 1, 1, 1)
    assert (found.precision, found.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert found.mails == 5


def test_shares_of_nothing_are_not_known():
    found = agreement([(0, False)], DEFAULT.scores[1])

    assert (found.auc, found.precision, found.recall) == (None, None, None)


@pytest.mark.parametrize(
    ("truth", "scores", "wrong"),
    [
        (SPAM, Scores.of(importance=0, spam=9), 0),
        (SPAM, Scores.of(importance=1, spam=0), 1),
        (HAM, Scores.of(importance=0, spam=9), 1),
        (HAM, Scores.of(importance=1, spam=0), 0),
        (Truth.of(spam=False, importance=True), Scores.of(importance=1, spam=0), 1),
        (Truth.of(importance=False), Scores.of(importance=1, spam=9), 0),
    ],
)
def test_what_the_gate_decides_otherwise_than_the_owner_is_counted(truth, scores, wrong):
    found = evaluate([Judged(truth, Answer(scores, "gate")), Judged(truth, Answer(scores, "chat"))], DEFAULT)

    assert (found.gated, found.gated_wrong) == (1, wrong)


def test_mails_without_an_answer_are_counted_and_their_cost_too():
    answers = [
        Judged(SPAM, Answer(Scores.of(importance=0, spam=9), "gate")),
        Judged(HAM, Answer(Scores.of(importance=8, spam=1), "chat"), was_called=True, cost_usd=Decimal("0.01")),
        Judged(HAM, None, was_called=True, cost_usd=Decimal("0.02")),
    ]

    found = evaluate(answers, DEFAULT)

    assert (found.mails, found.unanswered, found.calls, found.gated) == (3, 1, 2, 1)
    assert found.cost_usd == Decimal("0.03")
    assert (found.scores[1].true_positives, found.scores[1].true_negatives) == (1, 1)
    assert found.scores[0].mails == 1


def test_an_unknown_cost_stays_unknown():
    assert (
        evaluate([Judged(HAM, Answer(Scores.of(importance=1, spam=1), "chat"), True, None)], DEFAULT).cost_usd is None
    )


def judged(*pairs: tuple[str | None, str]) -> list[tuple[Truth, Answer]]:
    """Mails with the category that they are labelled with and the one that was answered."""
    return [(Truth.of(told), Answer(Scores.of(tax=0, spam=0), "chat", category=said)) for told, said in pairs]


def test_every_score_of_a_rubric_has_its_own_figures():
    answers = [
        Judged(Truth.of(tax=True), Answer(Scores.of(tax=7, spam=9), "chat")),
        Judged(Truth.of(tax=False, spam=True), Answer(Scores.of(tax=6, spam=5), "chat")),
    ]

    tax, spam = evaluate(answers, OWN).scores

    assert (tax.label, tax.threshold, tax.mails, tax.auc, tax.recall, tax.true_negatives) == ("tax", 7, 2, 1.0, 1.0, 1)
    assert (spam.label, spam.threshold, spam.mails, spam.auc, spam.recall) == ("spam", 5, 1, None, 1.0)


@given(
    st.lists(st.tuples(st.sampled_from(["Invoice", "Receipt", "Other", None]), st.sampled_from(["Invoice", "Receipt"])))
)
def test_the_figures_of_a_category_are_what_counting_every_mail_gives(pairs):
    found = confusion(judged(*pairs), OWN)

    known = [(told, said) for told, said in pairs if told is not None]
    assert found.total == len(known)
    for each in found.each:
        labelled = [said for told, said in known if told == each.name]
        answered = [told for told, said in known if said == each.name]
        assert each.recall == (pytest.approx(labelled.count(each.name) / len(labelled)) if labelled else None)
        assert each.precision == (pytest.approx(answered.count(each.name) / len(answered)) if answered else None)
        assert dict(found.row(each.name)) == {said: labelled.count(said) for said in labelled}


def test_a_category_that_is_not_the_labelled_one_counts_against_the_gate():
    answer = Answer(Scores.of(tax=0, spam=9), "gate", category="Other")

    found = evaluate([Judged(Truth.of("Other"), answer), Judged(Truth.of("Invoice"), answer)], OWN)

    assert (found.gated, found.gated_wrong) == (2, 1)


def test_figures_are_shown_for_people_and_machines():
    mails = judged(("Invoice", "Invoice"), ("Invoice", "Receipt"), ("Receipt", "Receipt"), (None, "Other"))
    result = evaluate([Judged(truth, answer) for truth, answer in mails], OWN)

    shown, document = text("set\x1b[2J", "chat", result), as_dict(result)

    assert "\x1b" not in shown
    assert "tax, threshold 7: no mail has a label for it" in shown
    assert "categories: 3 mails, 0.667 of them as labelled" in shown
    assert [line.split() for line in shown.splitlines()[-2:]] == [
        ["Invoice", "2", "1.000", "0.500", "Invoice", "1,", "Receipt", "1"],
        ["Receipt", "1", "0.500", "1.000", "Receipt", "1"],
    ]
    assert list(document["scores"]) == ["tax", "spam"]
    assert (document["spam"], document["importance"]) == (document["scores"]["spam"], None)
    assert document["categories"]["confusion"] == {
        "Invoice": {"Invoice": 1, "Receipt": 1},
        "Receipt": {"Receipt": 1},
        "Other": {},
    }
    assert document["categories"]["each"]["Invoice"]["recall"] == 0.5


def test_the_default_rubric_has_no_categories_and_its_figures_under_their_known_names():
    document = as_dict(evaluate([Judged(SPAM, Answer(Scores.of(importance=0, spam=9), "chat"))], DEFAULT))

    assert document["categories"] is None
    assert document["spam"]["true_positives"] == 1
    assert document["importance"]["true_negatives"] == 1


# Labels.


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"Subject: x\n\nHello\n")


def labels_in(folder: Path, labels: Path | None = None, rubric: Rubric = DEFAULT) -> dict[str, Truth]:
    return {path.relative_to(folder).as_posix(): truth for path, truth in find_mails(folder, rubric, labels).files}


def test_the_nearest_folder_with_a_telling_name_is_the_label(tmp_path):
    put(
        tmp_path, "spam/1.eml", "easy-ham-1/2.eml", "Junk-2/inner/3.eml", "not_spam/4", "other/important/5.eml", "6.eml"
    )

    assert labels_in(tmp_path) == {
        "spam/1.eml": SPAM,
        "easy-ham-1/2.eml": Truth.of(spam=False, importance=False),  # since there is important mail elsewhere
        "Junk-2/inner/3.eml": SPAM,
        "not_spam/4": Truth.of(spam=False, importance=False),
        "other/important/5.eml": Truth.of(spam=False, importance=True),
    }
    assert find_mails(tmp_path, DEFAULT).unlabelled == 1


def test_ham_says_nothing_of_importance_where_nothing_is_important(tmp_path):
    put(tmp_path, "spam/1.eml", "ham/2.eml")

    assert labels_in(tmp_path)["ham/2.eml"] == HAM


def test_maildirs_are_read_and_what_lies_beside_the_mails_is_not(tmp_path):
    put(tmp_path, ".Spam/cur/1:2,S", ".Spam/new/2", ".Spam/tmp/3", ".Spam/dovecot-uidlist", ".Spam/maildirfolder")

    assert labels_in(tmp_path) == {".Spam/cur/1:2,S": SPAM, ".Spam/new/2": SPAM}


def test_a_folder_may_have_the_name_of_a_category_or_a_score(tmp_path):
    put(tmp_path, "invoice/1.eml", ".Archive.Receipt/cur/2", "Other/3.eml", "tax/4.eml", "spam/5.eml", "Letters/6.eml")

    assert labels_in(tmp_path, rubric=OWN) == {
        "invoice/1.eml": Truth.of("Invoice", tax=False, spam=False),
        ".Archive.Receipt/cur/2": Truth.of("Receipt", tax=False, spam=False),
        "Other/3.eml": Truth.of("Other", tax=False, spam=False),
        "tax/4.eml": Truth.of(tax=True, spam=False),
        "spam/5.eml": Truth.of(tax=False, spam=True),
    }


def test_a_word_says_nothing_of_what_the_rubric_does_not_ask_for(tmp_path):
    rubric = Rubric((Score("tax", "the tax office wants it", 7, None),))
    put(tmp_path, "tax/spam/1.eml", "spam/2.eml")

    assert labels_in(tmp_path, rubric=rubric) == {"tax/spam/1.eml": Truth.of(tax=True)}


def test_a_table_may_have_a_column_for_each_score_and_the_category(tmp_path):
    put(tmp_path, "a.eml", "b.eml", "c.eml")
    table = tmp_path / "labels.csv"
    table.write_text("Subject,File,Category,TAX,spam\nx,a.eml,invoice,yes,\nx,b.eml,Other,,0\nx,c.eml,,,\n")

    assert labels_in(tmp_path, table, OWN) == {
        "a.eml": Truth.of("Invoice", tax=True),
        "b.eml": Truth.of("Other", spam=False),
    }


def test_a_score_may_be_named_like_a_column_of_the_table(tmp_path):
    rubric = Rubric((Score("file", "to be filed", 7, None), Score("label", "has a label", 7, None)))
    put(tmp_path, "a.eml")
    table = tmp_path / "labels.csv"
    table.write_text("file,label\na.eml,file\n")

    assert labels_in(tmp_path, table, rubric) == {"a.eml": Truth.of(file=True)}


def test_an_accent_may_be_written_in_two_ways(tmp_path):
    rubric = Rubric((), (Category("\u00dcber uns", "news", None), Category("Other", "all else", None)))
    put(tmp_path, "U\u0308ber uns/1.eml")

    assert labels_in(tmp_path, rubric=rubric) == {"U\u0308ber uns/1.eml": Truth.of("\u00dcber uns")}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("file,category\na,Bills\n", "labels.csv:2: a category is one of Invoice, Receipt, Other"),
        ("file,tax\na,9\n", "labels.csv:2: tax is yes, no or empty"),
        ("file,label\na,Bills\n", "labels.csv:2: a label is one of Invoice, Receipt, Other, tax, spam"),
        ("file,importance\na,yes\n", "first line with file and at least one of category, label, spam, tax"),
    ],
)
def test_a_table_that_does_not_fit_the_rubric_says_where(tmp_path, table, said):
    path = tmp_path / "labels.csv"
    path.write_text(table)

    with pytest.raises(ConfigError, match=said):
        read_labels(path, OWN)


def test_one_folder_or_one_file_may_be_named_itself(tmp_path):
    put(tmp_path, "spam/1.eml")

    assert labels_in(tmp_path / "spam") == {"1.eml": SPAM}
    assert find_mails(tmp_path / "spam/1.eml", DEFAULT).files == ((tmp_path / "spam/1.eml", SPAM),)


@pytest.mark.parametrize(
    "table", ["file,label\na.eml,spam\nb.eml,ham\n", "\ufefffile,spam,important\na.eml,yes,no\nb.eml,0,\n"]
)
def test_a_table_may_say_it_instead(tmp_path, table):
    put(tmp_path, "a.eml", "b.eml", "c.eml")
    (tmp_path / "labels.csv").write_text(table, encoding="utf-8")

    assert labels_in(tmp_path, tmp_path / "labels.csv") == {"a.eml": SPAM, "b.eml": HAM}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("name,label\n", "needs a first line"),
        ("file,label\na,spam\nb,rubbish\n", "labels.csv:3: a label is one of"),
        ("file,spam\na,perhaps\n", "labels.csv:2: spam is yes, no or empty"),
        (b"file,label\n\xff,spam\n", "cannot be read"),
    ],
)
def test_a_table_with_a_mistake_says_where(tmp_path, table, said):
    path = tmp_path / "labels.csv"
    path.write_bytes(table if isinstance(table, bytes) else table.encode())

    with pytest.raises(ConfigError, match=said):
        read_labels(path, DEFAULT)


@pytest.mark.parametrize(
    ("names", "said"), [((), "There is no mail"), (("a.eml",), "has a label"), (None, "There is no ")]
)
def test_a_place_without_labelled_mail_is_refused(tmp_path, names, said):
    place = tmp_path / "set"
    if names is not None:
        place.mkdir()
        put(place, *names)

    with pytest.raises(ConfigError, match=said):
        find_mails(place, DEFAULT)
