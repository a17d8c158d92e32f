"""How a classifier is measured: ranks, thresholds, labels, and what is left out aloud."""

from __future__ import annotations

from decimal import Decimal
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.errors import ConfigError
from backfill.evaluation.agreement import Judged, agreement, evaluate, roc_auc
from backfill.evaluation.labels import Truth, find_mails, read_labels
from backfill.rubric import Rubric, Score
from backfill.verdict import Answer, Scores

SPAM, HAM = Truth(True, False), Truth(False)


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
    found = agreement([(9, True), (5, True), (4, True), (7, False), (0, False), (10, None)], Score("spam", "", 5, None))

    assert (found.true_positives, found.false_negatives, found.false_positives, found.true_negatives) == (2, 1, 1, 1)
    assert (found.precision, found.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert found.mails == 5


def test_shares_of_nothing_are_not_known():
    found = agreement([(0, False)], Score("spam", "", 5, None))

    assert (found.auc, found.precision, found.recall) == (None, None, None)


@pytest.mark.parametrize(
    ("truth", "scores", "wrong"),
    [
        (SPAM, Scores.of(importance=0, spam=9), 0),
        (SPAM, Scores.of(importance=1, spam=0), 1),
        (HAM, Scores.of(importance=0, spam=9), 1),
        (HAM, Scores.of(importance=1, spam=0), 0),
        (Truth(is_spam=False, is_important=True), Scores.of(importance=1, spam=0), 1),
        (Truth(is_important=False), Scores.of(importance=1, spam=9), 0),
    ],
)
def test_what_the_gate_decides_otherwise_than_the_owner_is_counted(truth, scores, wrong):
    found = evaluate([Judged(truth, Answer(scores, "gate")), Judged(truth, Answer(scores, "chat"))], Rubric.default())

    assert (found.gated, found.gated_wrong) == (1, wrong)


def test_mails_without_an_answer_are_counted_and_their_cost_too():
    answers = [
        Judged(SPAM, Answer(Scores.of(importance=0, spam=9), "gate")),
        Judged(HAM, Answer(Scores.of(importance=8, spam=1), "chat"), was_called=True, cost_usd=Decimal("0.01")),
        Judged(HAM, None, was_called=True, cost_usd=Decimal("0.02")),
    ]

    found = evaluate(answers, Rubric.default())

    assert (found.mails, found.unanswered, found.calls, found.gated) == (3, 1, 2, 1)
    assert found.cost_usd == Decimal("0.03")
    assert (found.spam.true_positives, found.spam.true_negatives) == (1, 1)
    assert found.importance.mails == 1


def test_an_unknown_cost_stays_unknown():
    assert (
        evaluate([Judged(HAM, Answer(Scores.of(importance=1, spam=1), "chat"), True, None)], Rubric.default()).cost_usd
        is None
    )


# ── labels ───────────────────────────────────────────────────────────────────────────────────────────────


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"Subject: x\n\nHello\n")


def labels_in(folder: Path, labels: Path | None = None) -> dict[str, Truth]:
    return {path.relative_to(folder).as_posix(): truth for path, truth in find_mails(folder, labels).files}


def test_the_nearest_folder_with_a_telling_name_is_the_label(tmp_path):
    put(
        tmp_path, "spam/1.eml", "easy-ham-1/2.eml", "Junk-2/inner/3.eml", "not_spam/4", "other/important/5.eml", "6.eml"
    )

    assert labels_in(tmp_path) == {
        "spam/1.eml": SPAM,
        "easy-ham-1/2.eml": Truth(False, False),  # since there is important mail elsewhere
        "Junk-2/inner/3.eml": SPAM,
        "not_spam/4": Truth(False, False),
        "other/important/5.eml": Truth(False, True),
    }
    assert find_mails(tmp_path).unlabelled == 1


def test_ham_says_nothing_of_importance_where_nothing_is_important(tmp_path):
    put(tmp_path, "spam/1.eml", "ham/2.eml")

    assert labels_in(tmp_path)["ham/2.eml"] == HAM


def test_maildirs_are_read_and_what_lies_beside_the_mails_is_not(tmp_path):
    put(tmp_path, ".Spam/cur/1:2,S", ".Spam/new/2", ".Spam/tmp/3", ".Spam/dovecot-uidlist", ".Spam/maildirfolder")

    assert labels_in(tmp_path) == {".Spam/cur/1:2,S": SPAM, ".Spam/new/2": SPAM}


def test_one_folder_or_one_file_may_be_named_itself(tmp_path):
    put(tmp_path, "spam/1.eml")

    assert labels_in(tmp_path / "spam") == {"1.eml": SPAM}
    assert find_mails(tmp_path / "spam/1.eml").files == ((tmp_path / "spam/1.eml", SPAM),)


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
        ("file,spam\na,perhaps\n", "labels.csv:2: spam and important are yes, no or empty"),
        (b"file,label\n\xff,spam\n", "cannot be read"),
    ],
)
def test_a_table_with_a_mistake_says_where(tmp_path, table, said):
    path = tmp_path / "labels.csv"
    path.write_bytes(table if isinstance(table, bytes) else table.encode())

    with pytest.raises(ConfigError, match=said):
        read_labels(path)


@pytest.mark.parametrize(
    ("names", "said"), [((), "There is no mail"), (("a.eml",), "has a label"), (None, "There is no ")]
)
def test_a_place_without_labelled_mail_is_refused(tmp_path, names, said):
    place = tmp_path / "set"
    if names is not None:
        place.mkdir()
        put(place, *names)

    with pytest.raises(ConfigError, match=said):
        find_mails(place)
