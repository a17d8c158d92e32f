"""Parquet: typed columns for data programs. Row groups keep the memory flat. Needs the extra `parquet`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
from pyarrow import parquet

from backfill.exports.columns import Kind, columns
from backfill.exports.target import Target
from backfill.ledger.rows import ExportRow

#: Rows of a row group. Readers skip whole groups, and each costs a header; a group of this size takes about 10 MB.
GROUP: Final = 50_000

TYPES: Final = {
    Kind.TEXT: pa.string(),
    Kind.WORDS: pa.list_(pa.string()),
    Kind.NUMBER: pa.int64(),
    Kind.SCORE: pa.int8(),
    Kind.MONEY: pa.decimal128(18, 9),
    Kind.SECONDS: pa.float64(),
    Kind.TIME: pa.timestamp("us", tz="UTC"),
    Kind.TRUTH: pa.bool_(),
}


class Parquet:
    """Writes a table. A value that is missing is null."""

    def __init__(self, target: Target, scores: Sequence[str]) -> None:
        self._columns = columns(scores)
        self._schema = pa.schema([(column.name, TYPES[column.kind]) for column in self._columns])
        self._writer = parquet.ParquetWriter(pa.PythonFile(_Sink(target), mode="w"), self._schema, compression="zstd")
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0

    def add(self, rows: Sequence[ExportRow]) -> None:
        arrays = [pa.array([column.value(row) for row in rows], type=TYPES[column.kind]) for column in self._columns]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._rows += len(rows)
        if self._rows >= GROUP:
            self._write_group()

    def close(self) -> None:
        """Write what is left, and the footer, without which nothing of the file can be read."""
        if self._batches:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        self._writer.write_table(pa.Table.from_batches(self._batches, self._schema), row_group_size=self._rows)
        self._batches, self._rows = [], 0


class _Sink:
    """A target as pyarrow wants it. It asks for the position, which a pipe does not know."""

    closed = False

    def __init__(self, target: Target) -> None:
        self._target = target
        self._position = 0

    def write(self, data: bytes) -> int:
        self._target.write(bytes(data))
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        return

    def close(self) -> None:
        return

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False
