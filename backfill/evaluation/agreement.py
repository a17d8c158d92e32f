"""Figures of how far a classifier's scores agree with the labels. Without input or output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from backfill.evaluation.labels import Truth
from backfill.rubric import Rubric, Score
from backfill.verdict import Answer


@dataclass(frozen=True, slots=True)
class Judged:
    """A label with the classifier's answer. `answer` None: it gave none. `was_called`: a call was made."""

    truth: Truth
    answer: Answer | None
    was_called: bool = False
    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one of the two scores agrees with the labels. `precision` and `recall` are None where they have no mails."""

    threshold: int
    auc: float | None  # chance that a positive mail has a higher score than a negative one; ties count half
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def mails(self) -> int:
        return self.true_positives + self.false_positives + self.false_negatives + self.true_negatives

    @property
    def precision(self) -> float | None:
        """The share of mails that are labelled so, of those whose score reaches the threshold."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        """The share of mails whose score reaches the threshold, of those that are labelled so."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of one set of mails. `cost_usd` None: unknown, or no call that costs was made.

    `gated_wrong`: mails that the gate decided, without the model, against their labels.
    """

    mails: int
    unanswered: int
    calls: int
    gated: int
    gated_wrong: int
    cost_usd: Decimal | None
    spam: Agreement
    importance: Agreement


def evaluate(judged: Sequence[Judged], rubric: Rubric) -> Evaluation:
    """The figures of judged mails. A mail without an answer counts as unanswered and in no other figure."""
    spam, importance = rubric.score("spam"), rubric.score("importance")
    assert spam is not None, "the rubric asks for spam"
    assert importance is not None, "the rubric asks for importance"
    costs = [each.cost_usd for each in judged if each.cost_usd is not None]
    answered = [(each.truth, each.answer) for each in judged if each.answer is not None]
    return Evaluation(
        mails=len(judged),
        unanswered=len(judged) - len(answered),
        calls=sum(each.was_called for each in judged),
        gated=sum(answer.source == "gate" for _, answer in answered),
        gated_wrong=sum(
            answer.source == "gate" and _is_wrong(answer, truth, spam, importance) for truth, answer in answered
        ),
        cost_usd=sum(costs, Decimal(0)) if costs else None,
        spam=agreement([(a.scores["spam"], t.is_spam) for t, a in answered], spam),
        importance=agreement([(a.scores["importance"], t.is_important) for t, a in answered], importance),
    )


def _is_wrong(answer: Answer, truth: Truth, spam: Score, importance: Score) -> bool:
    """Does the answer contradict the label about spam, or miss important mail?"""
    is_spam = spam.is_reached(answer.scores[spam.name])
    is_missed = truth.is_important is True and not importance.is_reached(answer.scores[importance.name])
    return is_missed or (truth.is_spam is not None and is_spam is not truth.is_spam)


def agreement(pairs: Iterable[tuple[int, bool | None]], score: Score) -> Agreement:
    """Compares scores with labels; a mail without a label (None) is left out."""
    known = [(value, truth) for value, truth in pairs if truth is not None]

    def count(is_reached: bool, truth: bool) -> int:
        return sum(score.is_reached(value) is is_reached and told is truth for value, told in known)

    return Agreement(
        threshold=score.threshold,
        auc=roc_auc(known),
        true_positives=count(True, True),
        false_positives=count(True, False),
        false_negatives=count(False, True),
        true_negatives=count(False, False),
    )


def roc_auc(pairs: Iterable[tuple[float, bool]]) -> float | None:
    """Area under the ROC curve by ranks (Mann-Whitney), ties at their mean rank.

    None unless there are mails of both kinds.
    """
    ordered = sorted(pairs)
    positives = sum(truth for _, truth in ordered)
    negatives = len(ordered) - positives
    if not positives or not negatives:
        return None
    rank_sum, place = 0.0, 0
    while place < len(ordered):
        end = place
        while end < len(ordered) and ordered[end][0] == ordered[place][0]:
            end += 1
        rank_sum += (place + end + 1) / 2 * sum(truth for _, truth in ordered[place:end])
        place = end
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
