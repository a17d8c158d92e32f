"""Figures of how far a classifier's answers agree with the labels. Without input or output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
    """How one score agrees with the labels. `precision` and `recall` are None where they have no mails."""

    name: str
    label: str  # what mail is called whose score reaches the threshold
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
class CategoryAgreement:
    """How the answers with one category agree with the labels. `precision` and `recall` are None without mails."""

    name: str
    labelled: int
    answered: int
    right: int

    @property
    def precision(self) -> float | None:
        """The share of mails that are labelled so, of those that were answered so."""
        return _share(self.right, self.answered)

    @property
    def recall(self) -> float | None:
        """The share of mails that were answered so, of those that are labelled so."""
        return _share(self.right, self.labelled)


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many mails have each pair of a labelled and an answered category. A pair without mails is left out."""

    categories: tuple[str, ...]  # in the rubric's order
    mails: Mapping[tuple[str, str], int]

    @property
    def total(self) -> int:
        return sum(self.mails.values())

    @property
    def accuracy(self) -> float | None:
        """The share of mails whose category is the labelled one; None without mails."""
        return _share(sum(count for (told, said), count in self.mails.items() if told == said), self.total)

    @property
    def each(self) -> tuple[CategoryAgreement, ...]:
        """One for each category, in the rubric's order."""
        told: Counter[str] = Counter()
        said: Counter[str] = Counter()
        for (labelled, answered), count in self.mails.items():
            told[labelled] += count
            said[answered] += count
        return tuple(
            CategoryAgreement(name, told[name], said[name], self.mails.get((name, name), 0)) for name in self.categories
        )

    def row(self, labelled: str) -> tuple[tuple[str, int], ...]:
        """How often each category was answered for the mails of this one; the most frequent first."""
        counts = [(said, count) for (told, said), count in self.mails.items() if told == labelled]
        return tuple(sorted(counts, key=lambda each: (-each[1], self.categories.index(each[0]))))


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
    scores: tuple[Agreement, ...]  # in the rubric's order
    categories: Confusion | None  # None: the rubric asks for no category

    def score(self, name: str) -> Agreement | None:
        """None: it is not asked for."""
        return next((each for each in self.scores if each.name == name), None)


def evaluate(judged: Sequence[Judged], rubric: Rubric) -> Evaluation:
    """The figures of judged mails. A mail without an answer counts as unanswered and in no other figure."""
    costs = [each.cost_usd for each in judged if each.cost_usd is not None]
    answered = [(each.truth, each.answer) for each in judged if each.answer is not None]
    return Evaluation(
        mails=len(judged),
        unanswered=len(judged) - len(answered),
        calls=sum(each.was_called for each in judged),
        gated=sum(answer.source == "gate" for _, answer in answered),
        gated_wrong=sum(answer.source == "gate" and _is_wrong(answer, truth, rubric) for truth, answer in answered),
        cost_usd=sum(costs, Decimal(0)) if costs else None,
        scores=tuple(
            agreement([(a.scores[score.name], t.scores.get(score.name)) for t, a in answered], score)
            for score in rubric.scores
        ),
        categories=confusion(answered, rubric) if rubric.categories else None,
    )


def _is_wrong(answer: Answer, truth: Truth, rubric: Rubric) -> bool:
    """Does the answer contradict the label about spam or the category, or miss mail for which a score holds?"""
    if truth.category is not None and answer.category != truth.category:
        return True
    for name, holds in truth.scores.items():
        score = rubric.score(name)
        if score is not None and score.is_reached(answer.scores[name]) is not holds and (holds or name == "spam"):
            return True
    return False


def confusion(answered: Iterable[tuple[Truth, Answer]], rubric: Rubric) -> Confusion:
    """Compares categories with labels; a mail without a label is left out."""
    pairs = Counter(
        (truth.category, answer.category)
        for truth, answer in answered
        if truth.category is not None and answer.category is not None
    )
    return Confusion(tuple(category.name for category in rubric.categories), pairs)


def agreement(pairs: Iterable[tuple[int, bool | None]], score: Score) -> Agreement:
    """Compares scores with labels; a mail without a label (None) is left out."""
    known = [(value, truth) for value, truth in pairs if truth is not None]

    def count(is_reached: bool, truth: bool) -> int:
        return sum(score.is_reached(value) is is_reached and told is truth for value, told in known)

    return Agreement(
        name=score.name,
        label=score.label,
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
