"""The figures of an evaluation as text for people and as JSON for machines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from backfill.evaluation.agreement import Agreement, Confusion, Evaluation
from backfill.wording import dollars, number, printable

#: Names in tables are cut to this length; JSON has them whole.
MOST_NAME = 32


def as_dict(result: Evaluation) -> dict[str, Any]:
    """The form for other programs; keys are only ever added.

    `spam` and `importance` are also in `scores`; they are null where the rubric does not ask for them.
    """
    scores = {each.name: _score(each) for each in result.scores}
    return {
        "mails": result.mails,
        "unanswered": result.unanswered,
        "calls": result.calls,
        "gated": result.gated,
        "gated_wrong": result.gated_wrong,
        "cost_usd": None if result.cost_usd is None else float(result.cost_usd),
        "spam": scores.get("spam"),
        "importance": scores.get("importance"),
        "scores": scores,
        "categories": None if result.categories is None else _categories(result.categories),
    }


def text(name: str, classifier: str, result: Evaluation, note: str = "") -> str:
    """Plain lines. Nothing in them can steer a terminal. `note`: what a reader of the set's figures must know."""
    lines = [f"{printable(name)}: {result.mails} mails, classifier {classifier}{f' ({note})' if note else ''}"]
    if result.unanswered:
        lines += [f"  without an answer: {result.unanswered}"]
    if result.gated:
        lines += [f"  decided by the gate, without a call: {result.gated}, {result.gated_wrong} of them wrongly"]
    if result.calls:
        cost = "unknown" if result.cost_usd is None else dollars(result.cost_usd)
        lines += [f"  calls: {result.calls}, cost: {cost}"]
    for each in sorted(result.scores, key=lambda score: score.name != "spam"):  # spam has always been the first
        lines += ["", *_score_table(each)]
    if result.categories is not None:
        lines += ["", *_category_table(result.categories)]
    return "\n".join(lines)


def _score(measured: Agreement) -> dict[str, Any]:
    figures = {key: value for key, value in asdict(measured).items() if key not in ("name", "label")}
    return figures | {"mails": measured.mails, "precision": measured.precision, "recall": measured.recall}


def _categories(measured: Confusion) -> dict[str, Any]:
    return {
        "mails": measured.total,
        "accuracy": measured.accuracy,
        "each": {
            category.name: {
                "labelled": category.labelled,
                "answered": category.answered,
                "right": category.right,
                "precision": category.precision,
                "recall": category.recall,
            }
            for category in measured.each
        },
        "confusion": {name: dict(measured.row(name)) for name in measured.categories},
    }


def _score_table(measured: Agreement) -> list[str]:
    word = _name(measured.label)
    head = (
        f"  {word}, threshold {measured.threshold}: AUC {_figure(measured.auc)}, "
        f"precision {_figure(measured.precision)}, recall {_figure(measured.recall)}"
    )
    if not measured.mails:
        return [f"  {word}, threshold {measured.threshold}: no mail has a label for it"]
    rows = (
        (f"labelled {word}", measured.true_positives, measured.false_negatives),
        ("labelled not", measured.false_positives, measured.true_negatives),
    )
    width = max(20, len(rows[0][0]) + 1)
    return [
        head,
        f"    {'':<{width}}{f'said {word}':>16}{'said not':>12}",
        *(f"    {name:<{width}}{first:>{max(16, len(word) + 5)},}{second:>12,}" for name, first, second in rows),
    ]


def _category_table(measured: Confusion) -> Iterator[str]:
    """A line for each category: a whole table of 40 by 40 would fit no terminal."""
    if not measured.total:
        yield "  categories: no mail has a label for it"
        return
    yield f"  categories: {number(measured.total)} mails, {_figure(measured.accuracy)} of them as labelled"
    width = max(20, *(len(_name(name)) + 1 for name in measured.categories))
    yield f"    {'':<{width}}{'labelled':>10}{'precision':>11}{'recall':>8}  answered"
    for category in measured.each:
        if category.labelled or category.answered:
            row = ", ".join(f"{_name(said)} {number(count)}" for said, count in measured.row(category.name))
            figures = f"{category.labelled:>10,}{_figure(category.precision):>11}{_figure(category.recall):>8}"
            yield f"    {_name(category.name):<{width}}{figures}  {row}".rstrip()


def _name(name: str) -> str:
    shown = printable(name)
    return shown if len(shown) <= MOST_NAME else f"{shown[: MOST_NAME - 1]}…"


def _figure(share: float | None) -> str:
    return "n/a" if share is None else f"{share:.3f}"
