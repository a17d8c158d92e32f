"""The forms of an export by name, and the form that a file's name asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from backfill.errors import ConfigError
from backfill.exports.csv_form import Csv
from backfill.exports.jsonl import JsonLines
from backfill.exports.target import Target
from backfill.ledger.rows import ExportRow

SUFFIXES: Final = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}


class Form(Protocol):
    """Writes rows to a target. Keeps few of them in memory."""

    def add(self, rows: Sequence[ExportRow]) -> None: ...

    def close(self) -> None:
        """Write what is left. The target stays open."""
        ...


def form_of(name: str | None, output: Path | None) -> str:
    """The form: the one that was named, or else that of the file's suffix; JSON Lines for standard output.

    Raises `ConfigError` where the suffix says nothing.
    """
    if name is not None:
        return name
    if output is None:
        return "jsonl"
    if (found := SUFFIXES.get(output.suffix.lower())) is None:
        raise ConfigError(f"The name {output.name} does not say in which form; add --format jsonl, csv or parquet.")
    return found


def opened(form: str, target: Target, scores: Sequence[str]) -> Form:
    """A form that writes to `target`. `scores`: the names of the scores that were asked for.

    Raises `ConfigError` where the library is missing that the form needs.
    """
    return FORMS[form](target, scores)


def _parquet(target: Target, scores: Sequence[str]) -> Form:
    try:
        from backfill.exports.parquet import Parquet  # start-up: pyarrow is an extra, and takes a second to import
    except ImportError as error:
        raise ConfigError(
            "Parquet needs pyarrow, which is not installed; install it with: pip install 'backfill[parquet]'"
        ) from error
    return Parquet(target, scores)


FORMS: Final[dict[str, Callable[[Target, Sequence[str]], Form]]] = {
    "jsonl": JsonLines,
    "csv": Csv,
    "parquet": _parquet,
}
