"""The summary as a Markdown page, for issues, wikis and mail."""

from __future__ import annotations

import re
from collections.abc import Sequence

from backfill import wording
from backfill.report.charts import category_bars, title
from backfill.report.lines import figures, first_mails, headline, warnings
from backfill.summary import Summary
from backfill.verdict import HIGHEST, LOWEST

FIRST_MAILS = 20  # per reason


def render_markdown(summary: Summary) -> str:
    """GitHub-flavoured Markdown. Folder names and reasons are escaped, so that they are shown as they are."""
    lines = [
        f"# {headline(summary)}",
        "",
        f"Job {summary.job.id}, account {_escaped(summary.job.account)}",
        "",
        *_table(("", ""), [(label, _escaped(value)) for label, value in figures(summary)]),
    ]
    if notes := warnings(summary):
        lines += ["", *(f"> {_escaped(note)}  " for note in notes)]
    if summary.folders:
        rows = [
            (_escaped(name), *map(wording.number, (counts.found, counts.done, counts.failed, counts.pending)))
            for name, counts in ((folder.name, folder.counts) for folder in summary.folders)
        ]
        lines += ["", "## Folders", "", *_table(("Folder", "Found", "Done", "Failed", "Pending"), rows)]
    if scores := [score for score in summary.scores if any(score.mails)]:
        rows = [
            (str(value), *(_marked(each.mails[value], is_bold=each.score.is_reached(value)) for each in scores))
            for value in range(LOWEST, HIGHEST + 1)
        ]
        names = (_escaped(title(score.name)) for score in scores)
        lines += ["", "## Scores", "", *_table(("Score", *names), rows)]
        lines += ["", "Mails that reach the threshold are bold."]
    if bars := category_bars(summary.categories):
        rows = [(_escaped(bar.name), wording.number(bar.count), "█" * round(bar.length / 50)) for bar in bars]
        lines += ["", "## Categories", "", *_table(("Category", "Mails", ""), rows)]
    if summary.examples:
        rows = [
            (_escaped(each.label), _escaped(each.reason), _escaped(f"{each.folder} {each.uid}"))
            for each in summary.examples
        ]
        lines += ["", "## Reasons, as the model gave them", "", *_table(("Label", "Reason", "Mail"), rows)]
    if summary.failures:
        failed = [
            (
                _escaped(failure.reason),
                wording.number(failure.count),
                _escaped(first_mails(failure, FIRST_MAILS)),
            )
            for failure in summary.failures
        ]
        lines += ["", "## Failures", "", *_table(("Reason", "Mails", "First of them"), failed)]
    return "\n".join([*lines, ""])


def _marked(count: int, *, is_bold: bool) -> str:
    return f"**{wording.number(count)}**" if is_bold else wording.number(count)


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heads, ("---",) * len(heads), *rows)]


def _escaped(text: str) -> str:
    """Backslash escapes (CommonMark §2.4). `://` is broken up as well, since GitHub links bare URLs."""
    shown = re.sub(r"([\\`*_{}\[\]<>#!|~$^&@])", r"\\\1", wording.printable(text))
    return shown.replace("://", ":\\//")
