"""CSV as RFC 4180 says, in UTF-8, with a header: for spreadsheets and programs.

A spreadsheet takes a cell that begins with =, +, -, @ or their look-alikes for a formula, and runs it. Senders, folders
and models are other people's words, so a text that begins like that, also behind blanks and invisible characters, gets
an apostrophe before it (https://owasp.org/www-community/attacks/CSV_Injection). Numbers, times and `true` are never
changed. There is no byte order mark: a program would take it for a part of the first column's name. A spreadsheet is
told UTF-8 when it opens the file.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from backfill.analytics.lines import utc
from backfill.exports.columns import Column, Value, columns
from backfill.exports.target import Target
from backfill.ledger.rows import ExportRow

#: The last one is the minus sign of mathematics, which no normalisation makes a hyphen.
FORMULA: Final = frozenset("=+-@\u2212")
#: Between the words of a list. A label holds no such character.
BETWEEN: Final = ";"


class Csv:
    """Writes a table. Each line ends with CR LF."""

    def __init__(self, target: Target, scores: Sequence[str]) -> None:
        self._target = target
        self._columns = columns(scores)
        self._write([[inert(column.name) for column in self._columns]])

    def add(self, rows: Sequence[ExportRow]) -> None:
        self._write([[_cell(column, row) for column in self._columns] for row in rows])

    def close(self) -> None:
        return

    def _write(self, cells: Sequence[Sequence[str | int | float]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerows(cells)
        self._target.write(text.getvalue().encode("utf-8", "backslashreplace"))


def inert(text: str) -> str:
    """The text, with an apostrophe before it where a spreadsheet might run it."""
    return f"'{text}" if _begins_formula(text) else text


def _begins_formula(text: str) -> bool:
    for at, char in enumerate(text):
        if at == 0 and char in "\t\r\n":
            return True
        if unicodedata.category(char)[0] not in "ZC":  # blanks and what is not seen
            return unicodedata.normalize("NFKC", char)[:1] in FORMULA
    return False


def _cell(column: Column, row: ExportRow) -> str | int | float:
    value: Value = column.value(row)
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return inert(value)
        case int() | float():
            return value
        case Decimal():
            return format(value, "f")
        case datetime():
            return utc(value) or ""
        case tuple():
            return inert(BETWEEN.join(value))
