"""A note about a hostile mail, made into HTML by a lenient viewer and opened in a real browser: it only shows text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from markdown_it import MarkdownIt

from backfill.effects.notes import NotesEffect
from backfill.message import Attachment
from tests.acceptance.test_report_page import browser  # noqa: F401 - a fixture
from tests.support.judged import judged
from tests.unit.test_markdown import HOSTILE

TEMPLATE = (Path(__file__).parents[2] / "config" / "note.md.j2").read_text("utf-8")
RUNNING = "<img src=x onerror='window.ran=1'><script>window.ran=1</script><svg onload='window.ran=1'>"


def test_nothing_runs_and_nothing_is_loaded_or_linked(browser, tmp_path):  # noqa: F811
    viewer = MarkdownIt("commonmark", {"html": True, "linkify": True}).enable(["table", "strikethrough", "linkify"])
    body = "\n\n".join([*HOSTILE.values(), RUNNING])
    one_line = " ".join(body.split())
    mail = judged(1, "important", subject=RUNNING + one_line, body=body)
    content = replace(mail.message.content, sender=RUNNING, attachments=(Attachment(RUNNING, one_line),))
    (receipt,) = NotesEffect(tmp_path, TEMPLATE).apply(
        [replace(mail, message=replace(mail.message, content=content, attachment_sizes=(1,)))]
    )
    note = (tmp_path / receipt.detail["path"]).read_text("utf-8").split("\n---\n", 1)[1]
    page = browser.new_page()
    asked_for: list[str] = []
    page.on("request", lambda request: asked_for.append(request.url))

    page.set_content(f"<!doctype html><main>{viewer.render(note)}</main>", wait_until="load")

    assert page.evaluate("window.ran") is None
    assert asked_for == []
    kinds = set(page.evaluate("[...document.querySelectorAll('main *')].map(each => each.localName)"))
    assert kinds <= {"h1", "h2", "p", "ul", "li", "code"}
    assert "<script>alert(1)</script>" in page.inner_text("main")


def test_the_browser_would_have_noticed(browser):  # noqa: F811
    page = browser.new_page()
    page.set_content(f"<!doctype html><main>{RUNNING}</main>", wait_until="load")

    assert page.evaluate("window.ran") == 1
