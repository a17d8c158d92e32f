"""The forms of a report by name, and writing one to a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from backfill import files
from backfill.errors import EffectUnavailable
from backfill.report.html import render_html
from backfill.report.markdown import render_markdown
from backfill.report.text import render_text
from backfill.summary import Summary

FORMATS: Final[dict[str, Callable[[Summary], str]]] = {
    "text": render_text,
    "json": Summary.to_json,
    "markdown": render_markdown,
    "html": render_html,
}


def render(summary: Summary, form: str) -> str:
    """The report in one of `FORMATS`."""
    return FORMATS[form](summary)


def write_report(path: Path, text: str) -> None:
    """Write a report, whole or not at all, readable by its owner only. Raises `EffectUnavailable`."""
    try:
        files.write_whole(path, text.encode("utf-8", "backslashreplace"))  # a path on the disk may not be UTF-8
    except OSError as error:
        raise EffectUnavailable(f"The report {path} cannot be written: {error.strerror}.") from error
