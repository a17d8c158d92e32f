"""The benchmark's figures: rows of one table, for people and as JSON."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HEADINGS = ("what", "value", "unit", "floor", "ratio")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `floor` is what it is compared with, in the same unit; None where there is nothing."""

    name: str
    value: float
    unit: str
    floor: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.value / self.floor if self.floor else None

    @property
    def cells(self) -> tuple[str, ...]:
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return self.name, _number(self.value), self.unit, "" if self.floor is None else _number(self.floor), ratio


def machine() -> str:
    """What the figures were measured on, in one line."""
    return (
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {platform.platform(terse=True)}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as text, numbers to the right."""
    lines = [HEADINGS, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(_padded(line, widths)).rstrip() for line in lines)


def write_json(path: Path, rows: Iterable[Row]) -> None:
    figures = [{**asdict(row), "ratio": row.ratio} for row in rows]
    path.write_text(json.dumps({"machine": machine(), "rows": figures}, indent=1) + "\n", encoding="utf-8")


def _padded(cells: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        yield cell.ljust(width) if HEADINGS[column] in ("what", "unit") else cell.rjust(width)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
