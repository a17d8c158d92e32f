"""The HTML report in a real browser: nothing is blocked, nothing overflows, both colour schemes can be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from backfill.report.html import render_html
from tests.support.summaries import OWN_RUBRIC, WITH_HOSTILE_NAMES

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

#: Contrast of every text with what it stands on, the smallest of them (WCAG 2.2 §1.4.3 asks for 4.5).
SMALLEST_CONTRAST = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => channels(colour).slice(0, 3)
    .map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (channels(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  return Math.min(...[...document.querySelectorAll("h1, h2, p, th, td, li, text")].map((element) => {
    const style = getComputedStyle(element);
    const ink = luminance(element.tagName === "text" ? style.fill : style.color);
    const paper = luminance(ground(element));
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  }));
}"""


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        reason = f"{CHROMIUM} is missing: apt-get install chromium"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("summary", [WITH_HOSTILE_NAMES, OWN_RUBRIC], ids=["hostile names", "8 scores, 40 categories"])
def test_the_page_can_be_read(browser: Browser, tmp_path, summary, scheme, width):
    complaints: list[str] = []
    requests: list[str] = []
    file = tmp_path / "report.html"
    file.write_text(render_html(summary), "utf-8")
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    page.on("console", lambda message: complaints.append(message.text))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))

    page.goto(file.as_uri())
    page.screenshot(path=tmp_path / f"{scheme}-{width}.png", full_page=True)

    assert (complaints, requests) == ([], [file.as_uri()])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(SMALLEST_CONTRAST) >= 4.5
    page.close()


def test_the_page_prints(browser: Browser, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(render_html(WITH_HOSTILE_NAMES), "utf-8")
    page = browser.new_page(color_scheme="dark")
    page.goto(file.as_uri())

    printed = page.pdf(path=tmp_path / "report.pdf", format="A4")

    assert printed.startswith(b"%PDF")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    page.close()
