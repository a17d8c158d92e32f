"""Selections that mean the same mail are the same, however they are written."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from backfill.errors import ConfigError
from backfill.selection import Selection


@pytest.mark.parametrize("written", ["inbox", "Inbox", "INBOX"])
def test_inbox_is_one_folder_in_whatever_case_it_is_written(written: str) -> None:
    assert Selection(folders=(written, "Sent")) == Selection(folders=("INBOX", "Sent"))
    assert Selection(folders=(written,)).canonical() == Selection().canonical()


def test_a_folder_named_twice_is_named_once_and_the_order_stays() -> None:
    assert Selection(folders=("Sent", "inbox", "Sent", "INBOX")).folders == ("Sent", "INBOX")


def test_every_other_folder_is_taken_as_it_is_written() -> None:
    assert Selection(folders=("sent", "Sent", "inbox/old")).folders == ("sent", "Sent", "inbox/old")


def test_a_stored_selection_that_was_written_otherwise_is_the_same_now() -> None:
    stored = Selection().canonical().replace("INBOX", "inbox")

    assert Selection.from_canonical(stored) == Selection()


@pytest.mark.parametrize(
    "selection",
    [
        Selection(start_date=date(1, 1, 1)),
        Selection(end_date=date.max),
        Selection(search="SUBJECT {5}"),
    ],
    ids=["the first day", "the last day", "like a literal"],
)
def test_what_no_new_job_may_select_is_refused_and_read_from_the_ledger_of_an_earlier_version(
    selection: Selection,
) -> None:
    stored = selection.canonical()

    with pytest.raises(ConfigError):
        selection.check()

    assert Selection.from_canonical(stored) == selection
    assert replace(Selection.from_canonical(stored), force_reprocess=False).search == selection.search


@pytest.mark.parametrize("stored", ["{", "[]", '"INBOX"', '{"folders": 5}'])
def test_a_stored_selection_that_somebody_damaged_is_refused_and_no_bug(stored: str) -> None:
    with pytest.raises(ConfigError, match="The ledger holds a selection"):
        Selection.from_canonical(stored)
