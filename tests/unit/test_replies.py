"""FETCH replies as rows: lists within lists, literals and quotes, and what a malformed item costs."""

from __future__ import annotations

import pytest

from backfill.mail.replies import UnreadableReply, fetched

TYPED = b'"TEXT" "PLAIN" ("CHARSET" "utf-8") NIL NIL "8BIT" 7 1'


def row(*records: bytes | tuple[bytes, bytes]) -> dict[bytes, object]:
    return fetched(records)[7]


def test_a_structure_is_read_with_the_lists_in_it() -> None:
    found = row(b'1 (UID 7 BODYSTRUCTURE ((%b NIL)("APPLICATION" "PDF" () nil 0123) "MIXED"))' % TYPED)

    text = (b"TEXT", b"PLAIN", (b"CHARSET", b"utf-8"), None, None, b"8BIT", 7, 1, None)
    assert found[b"BODYSTRUCTURE"] == ([text, (b"APPLICATION", b"PDF", (), None, b"0123")], b"MIXED")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (rb'"a (b) \"c\" \\ \d.pdf"', rb'a (b) "c" \ \d.pdf'),
        (b'"a\rb.pdf"', b"a\rb.pdf"),
        (b"a{5}%[b].pdf", b"a{5}%[b].pdf"),
        (b'""', b""),
        (b"1" * 5000, b"1" * 5000),
    ],
)
def test_a_name_in_a_structure_is_read_as_written(written: bytes, name: bytes) -> None:
    found = row(b'1 (UID 7 BODYSTRUCTURE ("APPLICATION" "PDF" ("NAME" ' + written + b")) RFC822.SIZE 12)")

    assert found[b"BODYSTRUCTURE"] == (b"APPLICATION", b"PDF", (b"NAME", name))
    assert found[b"RFC822.SIZE"] == 12


def test_a_literal_in_a_structure_is_taken_from_its_own_place() -> None:
    found = row(
        (b'1 (UID 7 BODYSTRUCTURE ("APPLICATION" "PDF" ("NAME" {6}', b'a)"(.b'),
        (b' "X" ~{2}', b"cd"),
        (b")) BODY[1] {3}", b"efg"),
        b")",
    )

    assert found[b"BODYSTRUCTURE"] == (b"APPLICATION", b"PDF", (b"NAME", b'a)"(.b', b"X", b"cd"))
    assert found[b"BODY[1]"] == b"efg"


@pytest.mark.parametrize("odd", [b'"PLAIN', b'PL"AIN"', b"{x", b'"'])
def test_a_malformed_list_costs_no_other_item(odd: bytes) -> None:
    found = row(b'1 (UID 7 BODYSTRUCTURE ("TEXT" ' + odd + b") RFC822.SIZE 12)")

    assert b"BODYSTRUCTURE" not in found
    assert found[b"RFC822.SIZE"] == 12


def test_labels_are_texts_also_where_they_look_like_numbers() -> None:
    found = row(rb'1 (UID 7 X-GM-LABELS (\Inbox "a (\" b" 2024 007 NIL x[1] y{5}))')

    labels = (b"\\Inbox", b'a (" b', b"2024", b"007", b"NIL", b"x[1]", b"y{5}")
    assert found[b"X-GM-LABELS"] == labels


@pytest.mark.parametrize(
    "records",
    [
        (b'1 (UID 7 BODYSTRUCTURE ("TEXT" ("PLAIN")',),
        ((b'1 (UID 7 BODYSTRUCTURE ("TEXT" {3}', b"PLAIN"), b"))"),
        ((b'1 (UID 7 BODYSTRUCTURE ("TEXT" {3}', b"PLA"),),
    ],
)
def test_a_reply_that_ends_within_a_list_is_unreadable(records: tuple[bytes | tuple[bytes, bytes], ...]) -> None:
    with pytest.raises(UnreadableReply):
        fetched(records)


def test_lists_a_hundred_thousand_deep_do_no_harm() -> None:
    deep = b"(" * 100_000 + b")" * 100_000

    assert row(b"1 (UID 7 BODYSTRUCTURE " + deep + b" RFC822.SIZE 12)")[b"RFC822.SIZE"] == 12
