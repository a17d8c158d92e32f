"""The summary as a Markdown page, for issues, wikis and mail."""

from __future__ import annotations

import re
from collections.abc import Sequence

from backfill import wording
from backfill.report.lines import figures, first_mails, headline, warnings
from backfill.summary import Summary

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
    if any(any(score.mails) for score in summary.scores):
        columns = zip(*(score.mails for score in summary.scores), strict=True)
        counts = [(str(value), *map(wording.number, mails)) for value, mails in enumerate(columns)]
        names = (_escaped(score.name.capitalize()) for score in summary.scores)
        lines += ["", "## Scores", "", *_table(("Score", *names), counts)]
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


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heads, ("---",) * len(heads), *rows)]


def _escaped(text: str) -> str:
    """Backslash escapes (CommonMark §2.4). `://` is broken up as well, since GitHub links bare URLs."""
    shown = re.sub(r"([\\`*_{}\[\]<>#!|~$^&@])", r"\\\1", wording.printable(text))
    return shown.replace("://", ":\\//")
