"""The summary as plain text, for a terminal and the log."""

from __future__ import annotations

from collections.abc import Sequence

from backfill import wording
from backfill.report.charts import CategoryBar, category_bars
from backfill.report.lines import figures, first_mails, headline, shortened, warnings
from backfill.summary import ScoreCounts, Summary
from backfill.verdict import HIGHEST, LOWEST

WIDTH = 64
BAR = 24  # characters of the longest bar
FIRST_MAILS = 10  # for each reason; the JSON form lists up to a hundred


def render_text(summary: Summary) -> str:
    """Plain lines, without colour, ending in a newline. Nothing in it can steer a terminal."""
    rows = figures(summary)
    column = max(len(label) for label, _ in rows) + 2
    lines = [
        "=" * WIDTH,
        headline(summary),
        "=" * WIDTH,
        f"Job {summary.job.id}, account {wording.printable(summary.job.account)}",
        "",
        *(f"{label + ':':<{column}}{value}" for label, value in rows),
    ]
    if len(summary.folders) > 1:
        lines += ["", "Folders", *_folders(summary)]
    if scores := [score for score in summary.scores if any(score.mails)]:
        lines += ["", "Scores, mails by value; | stands before the threshold", *_scores(scores)]
    if bars := category_bars(summary.categories):
        lines += ["", "Categories", *_categories(bars)]
    if summary.examples:
        lines += ["", "Reasons, as the model gave them", *_examples(summary)]
    if summary.failures:
        lines += ["", "Failed, by reason", *_failures(summary)]
    if notes := warnings(summary):
        lines += ["", *notes]
    return "\n".join([*lines, "=" * WIDTH, ""])


def _scores(scores: Sequence[ScoreCounts]) -> list[str]:
    """A table with a row for each score and a column for each value."""
    cells = [[wording.number(count) for count in score.mails] for score in scores]
    width = max(2, *(len(cell) for row in cells for cell in row))
    names = [shortened(score.name) for score in scores]
    column = max(map(len, names)) + 1
    heads = "".join(f"{value:>{width + 2}}" for value in range(LOWEST, HIGHEST + 1))
    marks = [each.score.threshold for each in scores]
    rows = (
        "".join(f"{'|' if value == mark else '':>2}{cell:>{width}}" for value, cell in enumerate(row, LOWEST))
        for mark, row in zip(marks, cells, strict=True)
    )
    return [f"  {'':<{column}}{heads}", *(f"  {name:<{column}}{row}" for name, row in zip(names, rows, strict=True))]


def _categories(bars: Sequence[CategoryBar]) -> list[str]:
    names = [shortened(bar.name) for bar in bars]
    column = max(map(len, names))
    most = max(len(wording.number(bar.count)) for bar in bars)
    return [
        f"  {name:<{column}}  {wording.number(bar.count):>{most}}  {'#' * round(bar.length / 1000 * BAR)}".rstrip()
        for name, bar in zip(names, bars, strict=True)
    ]


def _examples(summary: Summary) -> list[str]:
    return [
        f"  {shortened(example.label)}: {wording.printable(example.reason)} "
        f"({wording.printable(example.folder)} {example.uid})"
        for example in summary.examples
    ]


def _folders(summary: Summary) -> list[str]:
    return [
        f"  {wording.printable(folder.name)}: {wording.number(counts.done)} of {wording.number(counts.found)} done"
        f"{_if_any(counts.failed, 'failed')}{_if_any(counts.pending, 'pending')}"
        f"{'' if folder.cost_usd is None else f', ${folder.cost_usd:.4f}'}"
        for folder, counts in ((folder, folder.counts) for folder in summary.folders)
    ]


def _failures(summary: Summary) -> list[str]:
    return [
        f"  {wording.printable(failure.reason)}: {wording.number(failure.count)}"
        f"{' · ' if failure.mails else ''}{first_mails(failure, FIRST_MAILS)}"
        for failure in summary.failures
    ]


def _if_any(count: int, word: str) -> str:
    return f", {wording.number(count)} {word}" if count else ""
