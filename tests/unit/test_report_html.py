"""The HTML page: whole, self-contained, readable by machines that read aloud, and deaf to hostile names."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from backfill.report.html import render_html
from tests.support.summaries import COMPLETE, HOSTILE, INTERRUPTED, OWN_RUBRIC, UNTOUCHED, WITH_HOSTILE_NAMES

VOID = {"meta", "br", "rect", "line", "link", "img"}


class Page(HTMLParser):
    """Every tag with its attributes, the text, and whether all that was opened was closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize("summary", [COMPLETE, INTERRUPTED, UNTOUCHED, WITH_HOSTILE_NAMES, OWN_RUBRIC])
def test_the_page_is_whole_and_loads_and_runs_nothing(summary):
    page = Page(render_html(summary))

    assert page.open == []
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    names = {name for _, attributes in page.tags for name in attributes}
    assert not names & {"src", "href", "style", "srcset", "action"}
    assert not {name for name in names if name.startswith("on")}
    assert any("default-src 'none'" in (meta.get("content") or "") for meta in page.named("meta"))


def test_the_page_has_the_figures():
    page = Page(render_html(COMPLETE))

    assert "BACKFILL OPERATION COMPLETE" in page.text
    for text in ["Total emails found", "✓ Successfully processed", "$0.0123", "INBOX 17, 4", "backfill retry --job 3"]:
        assert text in page.text


def test_hostile_names_are_shown_as_text():
    page = Page(render_html(WITH_HOSTILE_NAMES))

    assert "<script>alert(1)</script>" in page.text
    assert page.text.replace("\n", "").isprintable()
    assert HOSTILE not in page.text


def test_every_score_has_its_threshold_and_every_category_its_bar():
    page = Page(render_html(OWN_RUBRIC))

    spoken = [svg["aria-label"] or "" for svg in page.named("svg") if svg.get("role") == "img"]
    assert [label.rpartition("; ")[2] for label in spoken] == [
        f"threshold {each.score.threshold}" for each in OWN_RUBRIC.scores
    ]
    assert len([line for line in page.named("line") if line.get("class") == "threshold"]) == 8
    assert len([rect for rect in page.named("rect") if rect.get("height") == "12" and "rx" not in rect]) == 40
    assert "领收书 from 5 on" in page.text
    assert "Because of 2024-01-01" in page.text
    assert HOSTILE not in page.text


def test_the_page_can_be_read_aloud():
    page = Page(render_html(COMPLETE))

    assert page.named("html") == [{"lang": "en"}]
    assert len(page.named("h1")) == 1
    assert all(svg.get("aria-hidden") == "true" or svg.get("aria-label") for svg in page.named("svg"))
    assert all("scope" in head for head in page.named("th"))
    spoken = [svg["aria-label"] for svg in page.named("svg") if svg.get("role") == "img"]
    assert (
        spoken[1]
        == "Spam, mails by score: 0: 80; 1: 0; 2: 0; 3: 0; 4: 0; 5: 0; 6: 0; 7: 0; 8: 0; 9: 0; 10: 10; threshold 5"
    )


def test_the_tallest_bar_fills_the_chart_and_a_single_mail_can_be_seen():
    page = Page(render_html(COMPLETE))

    widths = [float(rect["width"] or 0) for rect in page.named("rect") if (rect.get("class") or "").startswith("bar")]
    assert len(widths) == 22
    assert max(widths) == 240.0
    assert min(width for width in widths if width) >= 2.0


def test_the_bar_of_all_mails_adds_up():
    page = Page(render_html(COMPLETE))

    stretches = [rect for rect in page.named("rect") if rect.get("height") == "20"]
    assert [rect["class"] for rect in stretches] == ["done", "failed", "skipped", "vanished"]
    assert sum(float(rect["width"] or 0) for rect in stretches) == pytest.approx(1000)


def test_a_job_without_verdicts_has_no_charts():
    assert "scores" not in Page(render_html(UNTOUCHED)).text


def test_the_same_figures_make_the_same_page():
    assert render_html(COMPLETE) == render_html(COMPLETE)
