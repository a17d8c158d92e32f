"""JSON Lines: the analytics line of each mail, with the further values of an export at its end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from backfill.analytics.lines import values
from backfill.exports.target import Target
from backfill.ledger.rows import ExportRow

_ENCODER: Final = json.JSONEncoder(ensure_ascii=True)


class JsonLines:
    """Writes one JSON object a line, in ASCII."""

    def __init__(self, target: Target, scores: Sequence[str]) -> None:
        self._target = target

    def add(self, rows: Sequence[ExportRow]) -> None:
        self._target.write("".join(f"{_ENCODER.encode(_values(row))}\n" for row in rows).encode("ascii"))

    def close(self) -> None:
        return


def _values(row: ExportRow) -> dict[str, object]:
    further = {"superseded": row.superseded, "sender": row.sender, "list_id": row.list_id, "size": row.size}
    return values(row.outcome) | further
