"""A Parquet export read back by pyarrow: typed, whole, in row groups."""

from __future__ import annotations

import io
from dataclasses import replace
from decimal import Decimal

import pyarrow as pa
from pyarrow import parquet

from backfill.exports import parquet as form_of_parquet
from backfill.exports.parquet import Parquet
from tests.unit.test_csv import row


class Pipe:
    """A target that only takes bytes, as a pipe does."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


def test_each_value_comes_back_as_what_it_is() -> None:
    pipe = Pipe()
    form = Parquet(pipe, ("importance", "spam"))
    mail = row(sender="=1+1")
    form.add([mail, replace(mail, sender=None, size=None)])
    form.close()

    table = parquet.read_table(io.BytesIO(pipe.content))

    first, second = table.to_pylist()
    assert (first["importance_score"], first["spam_score"], first["cost_usd"]) == (9, 0, Decimal("0.000000123"))
    assert (first["sent_at"], first["received_at"]) == (mail.outcome.sent_at, None)
    assert (first["labels"], first["sender"]) == (["important"], "=1+1")  # no spreadsheet reads it
    assert (second["sender"], second["size"]) == (None, None)
    assert {name: table.schema.field(name).type for name in ("sent_at", "spam_score", "cost_usd", "uid")} == {
        "sent_at": pa.timestamp("us", tz="UTC"),
        "spam_score": pa.int8(),
        "cost_usd": pa.decimal128(18, 9),
        "uid": pa.int64(),
    }


def test_rows_come_in_groups_so_that_few_are_in_memory() -> None:
    pipe = Pipe()
    form = Parquet(pipe, ("importance",))
    windows, rows = 23, [row()] * 5_000
    for _ in range(windows):
        form.add(rows)
    form.close()

    facts = parquet.ParquetFile(io.BytesIO(pipe.content)).metadata

    sizes = [facts.row_group(number).num_rows for number in range(facts.num_row_groups)]
    assert sizes == [form_of_parquet.GROUP, form_of_parquet.GROUP, 15_000]


def test_a_table_without_rows_has_its_columns() -> None:
    pipe = Pipe()
    Parquet(pipe, ("=cmd",)).close()

    table = parquet.read_table(io.BytesIO(pipe.content))

    assert table.num_rows == 0
    assert {"uid", "=cmd_score", "superseded", "category", "reason"} <= set(table.column_names)
