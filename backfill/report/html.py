"""The summary as one HTML page that can be kept, mailed and printed: no script, nothing loaded from anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from backfill import wording
from backfill.report.charts import category_bars, histogram
from backfill.report.lines import figures, first_mails, headline, warnings
from backfill.summary import Summary

FIRST_MAILS = 100  # per reason
LONGEST_BAR = 240.0  # in the chart's own units; the chart is 340 units wide, and 100 of them are for the figures


@dataclass(frozen=True, slots=True)
class Share:
    """One status's part of the bar that stands for all mails. `start` and `width`: in thousandths of the bar."""

    name: str
    count: int
    start: float
    width: float


def render_html(summary: Summary) -> str:
    """A whole document. Every text in it is escaped; control characters are written out, e.g. as \\x1b."""
    from jinja2 import Environment, StrictUndefined  # start-up: the other formats do without it

    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=_finalize, trim_blocks=True)
    environment.filters["number"] = wording.number
    source = resources.files("backfill.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        job=summary.job,
        headline=headline(summary),
        figures=figures(summary),
        warnings=warnings(summary),
        shares=_shares(summary),
        charts=[histogram(score, LONGEST_BAR) for score in summary.scores if any(score.mails)],
        categories=category_bars(summary.categories),
        examples=summary.examples,
        folders=summary.folders,
        failures=[(failure.reason, failure.count, first_mails(failure, FIRST_MAILS)) for failure in summary.failures],
    )


def _finalize(value: object) -> object:
    is_markup = hasattr(value, "__html__")
    return wording.printable(value) if isinstance(value, str) and not is_markup else value


def _shares(summary: Summary) -> list[Share]:
    counts, start, shares = summary.counts, 0.0, []
    for name in ("done", "failed", "skipped", "vanished", "pending"):
        count = getattr(counts, name)
        if count:
            width = round(1000 * count / max(counts.found, 1), 1)
            shares.append(Share(name, count, round(start, 1), width))
            start += width
    return shares
