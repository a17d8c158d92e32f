"""Passes a list of rows to a statement as a table, so one statement serves many mails, on both databases.

Each statement costs a trip through the driver, and meanwhile other threads take the interpreter. So one statement
writes all the mails of a commit. The rows are one JSON parameter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, CursorResult, TextClause, text

from backfill.redaction import redacted_own

T = TypeVar("T")

#: Neither database can store these characters. SQLite stores surrogates, but then fails to read them.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_LEAST, _MOST = -(2**63), 2**63 - 1


def in_order(rows: Mapping[Any, T]) -> list[T]:
    """The rows, sorted by key. All writers lock rows in this order, so two writers never deadlock."""
    return [rows[key] for key in sorted(rows)]


#: Columns that may hold the words of a service. A service may quote what we sent, so secrets in them are redacted_own.
TOLD: Final = frozenset({"reason", "request_id", "model", "explanation"})


def _told(column: str, value: Any) -> Any:
    return redacted_own(value) if column in TOLD and isinstance(value, str) else value


class RowStatement:
    """A statement with `{rows}` in the place of a table: the rows that are given to `execute`."""

    def __init__(self, statement: str, **columns: str) -> None:
        """`columns`: the columns of a row, by name, each with its SQL type (BIGINT, INTEGER, BOOLEAN or TEXT)."""
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
        """Execute with these rows. They may hold more columns than the statement. `shared`: parameters for all rows."""
        given = [{name: _told(name, _storable(row[name])) for name in self._columns} for row in rows]
        statement = self._statements[connection.dialect.name]
        return connection.execute(statement, {"rows": json.dumps(given), **shared})


def _storable(value: Any) -> Any:
    """Replace characters that cannot be stored.

    Raises `OverflowError` for an integer of more than 64 bits: SQLite would store it as a float.
    """
    if isinstance(value, str):
        return value if value.isascii() and "\0" not in value else _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, int) and not _LEAST <= value <= _MOST:
        raise OverflowError("a number has more than 64 bits")
    return value
