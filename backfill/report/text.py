"""The summary as plain text, for a terminal and the log."""

from __future__ import annotations

from backfill import wording
from backfill.report.lines import figures, first_mails, headline, warnings
from backfill.summary import Summary

WIDTH = 64
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
    if summary.failures:
        lines += ["", "Failed, by reason", *_failures(summary)]
    if notes := warnings(summary):
        lines += ["", *notes]
    return "\n".join([*lines, "=" * WIDTH, ""])


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
