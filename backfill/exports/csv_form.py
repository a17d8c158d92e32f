"""CSV as RFC 4180 says, in UTF-8, with a header: for spreadsheets and programs.

A spreadsheet takes a cell that begins with =, +, -, @ or their look-alikes for a formula, and runs it. Senders, folders
and models are other people's words, so a text that begins like that, also behind blanks and invisible characters, gets
an apostrophe before it (https://owasp.org/www-community/attacks/CSV_Injection). In a country with a decimal comma,
spreadsheets part cells at semicolons, so a formula behind one within a text gets the apostrophe, too; and so does one
behind a tab, a bar or the end of a line. Numbers, times and `true` are never changed. There is no byte order mark: a
program would take it for a part of the first column's name. A spreadsheet is told UTF-8 when it opens the file.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Final

from backfill.analytics.lines import utc
from backfill.exports.columns import Kind, columns
from backfill.exports.target import Target
from backfill.ledger.rows import ExportRow

#: The last one is the minus sign of mathematics, which no normalisation makes a hyphen.
FORMULA: Final = frozenset("=+-@\u2212")
#: Where a spreadsheet may begin another cell within a text.
CUT: Final = re.compile(r"([;\t\r\n|])")
#: Between the words of a list. A label holds no such character.
BETWEEN: Final = ";"


class Csv:
    """Writes a table. Each line ends with CR LF."""

    def __init__(self, target: Target, scores: Sequence[str]) -> None:
        self._target = target
        table = columns(scores)
        self._cells = [(column.value, CELLS[column.kind]) for column in table]
        self._write([[inert(column.name) for column in table]])

    def add(self, rows: Sequence[ExportRow]) -> None:
        self._write(
            [["" if (found := value(row)) is None else cell(found) for value, cell in self._cells] for row in rows]
        )

    def close(self) -> None:
        return

    def _write(self, cells: Sequence[Sequence[object]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerows(cells)
        self._target.write(text.getvalue().encode("utf-8", "backslashreplace"))


def inert(text: str) -> str:
    """The text, with an apostrophe before it where a spreadsheet might run it."""
    if CUT.search(text):
        start = len(text) - len(text.lstrip())  # one apostrophe is enough before blanks at the beginning
        parts = CUT.split(text[start:])
        text = text[:start] + parts[0] + "".join(f"'{part}" if _is_second(part) else part for part in parts[1:])
    return f"'{text}" if _begins_formula(text) else text


def _is_second(part: str) -> bool:
    """Is this part of a text a formula, where it is taken for a cell of its own?"""
    return not CUT.match(part) and _begins_formula(part)


def _begins_formula(text: str) -> bool:
    if not text or text[0].isalnum():  # nearly always
        return False
    if text[0] in "\t\r\n":
        return True
    for char in text:
        if unicodedata.category(char)[0] not in "ZC":  # blanks and what is not seen
            return unicodedata.normalize("NFKC", char)[:1] in FORMULA
    return False


#: How the values of each kind of column are written.
CELLS: Final[dict[Kind, Callable[[Any], object]]] = {
    Kind.TEXT: inert,
    Kind.WORDS: lambda words: inert(BETWEEN.join(words)),
    Kind.NUMBER: int,
    Kind.SCORE: int,
    Kind.MONEY: lambda dollars: format(dollars, "f"),
    Kind.SECONDS: float,
    Kind.TIME: utc,
    Kind.TRUTH: lambda is_so: "true" if is_so else "false",
}
