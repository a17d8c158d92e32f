"""The query plans that a database makes of the ledger's statements."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, event, text

from tests.support.ledgers import Bench


def plans(
    bench: Bench, question: Callable[[], object], *, kinds: str = "SELECT|UPDATE|WITH", as_it_likes: bool = False
) -> str:
    """The plans of every statement that `question` executes, as the database tells them.

    `kinds`: how the statements begin; a regular expression. `as_it_likes`: PostgreSQL may read whole tables, as it
    does with small ones.
    """
    statements: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    database = bench.ledger.database
    engines = (database._writer, database._reader.engine)
    for engine in {id(engine): engine for engine in engines}.values():
        event.listen(engine, "before_cursor_execute", note)
    question()
    for engine in {id(engine): engine for engine in engines}.values():
        event.remove(engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"

    def ask(connection: Connection) -> str:
        if not database.is_sqlite:
            connection.execute(text("ANALYZE"))
            if not as_it_likes:
                connection.execute(text("SET LOCAL enable_seqscan = off"))
        lines = [
            str(tuple(row))
            for statement, parameters in statements
            if re.match(rf"\s*({kinds})\b.*\b(item|receipt|verdict|attempt)\b", statement, re.DOTALL)
            and not isinstance(parameters, list)
            for row in connection.exec_driver_sql(f"{explain} {statement}", parameters)
        ]
        return "\n".join(lines)

    plan: str = database.write(ask)
    assert plan
    return plan


def assert_uses(plan: str, *indexes: str) -> None:
    """Assert that one of these indexes is used, and that no table that grows is read whole."""
    assert any(index in plan for index in indexes), plan
    assert not re.search(r"SCAN (item|receipt|verdict)(?! USING)|Seq Scan on (item|receipt|verdict)", plan), plan
