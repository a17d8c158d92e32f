"""A list of rows as a table within a statement: one statement serves many mails, on both databases.

Each statement costs its caller a trip through the driver, during which other threads take the interpreter; so a group
of mails that is committed together is written together. The rows travel as one JSON parameter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, CursorResult, TextClause, text

from backfill.redaction import redacted

T = TypeVar("T")

#: No database can store these. SQLite would take the surrogates, and fail when they are read.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_LEAST, _MOST = -(2**63), 2**63 - 1


def in_order(rows: Mapping[Any, T]) -> list[T]:
    """Rows by the order of their keys: writers that lock them in one order never wait for each other in a circle."""
    return [rows[key] for key in sorted(rows)]


#: Columns that may hold the words of an outside party, who may quote what it was sent.
TOLD: Final = frozenset({"reason", "request_id", "model", "explanation"})


def _told(column: str, value: Any) -> Any:
    return redacted(value) if column in TOLD and isinstance(value, str) else value


class RowStatement:
    """A statement in which `{rows}` stands for a table of the rows that it is executed with."""

    def __init__(self, statement: str, **columns: str) -> None:
        """`columns`: name → SQL type (BIGINT, INTEGER, BOOLEAN, TEXT) of what each row holds."""
        extracts = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in columns)
        typed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        tables = {
            "sqlite": f"(SELECT {extracts} FROM json_each(:rows)) AS given",
            "postgresql": f"jsonb_to_recordset(CAST(:rows AS JSONB)) AS given({typed})",
        }
        self._columns = tuple(columns)
        self._statements: dict[str, TextClause] = {
            dialect: text(statement.format(rows=table)) for dialect, table in tables.items()
        }

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]], **shared: Any) -> CursorResult[Any]:
        """Execute with these rows, which may hold more than the statement's columns, and parameters of all."""
        given = [{name: _told(name, _storable(row[name])) for name in self._columns} for row in rows]
        statement = self._statements[connection.dialect.name]
        return connection.execute(statement, {"rows": json.dumps(given), **shared})


def _storable(value: Any) -> Any:
    """Characters that cannot be stored are replaced. Raises `OverflowError` for a number that no column takes.

    SQLite would make a float of that.
    """
    if isinstance(value, str):
        return value if value.isascii() and "\0" not in value else _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, int) and not _LEAST <= value <= _MOST:
        raise OverflowError("a number has more than 64 bits")
    return value
