"""Who a mail is from and to, where senders write the fields as no standard has them."""

from __future__ import annotations

import pytest

from backfill.mail.addresses import mailboxes, sender

SENDERS = {
    "plain": ("Ann Example <ann@a.example>", ("Ann Example", "ann@a.example")),
    "address alone": ("ann@a.example", ("", "ann@a.example")),
    "comma in a bare name": ("Account team ,_<no-reply@x.example>", ("Account team ,_", "no-reply@x.example")),
    "last name first": ("Doe, Ann <ann@a.example>", ("Doe, Ann", "ann@a.example")),
    "semicolon in a bare name": ("Sales; Support <s@a.example>", ("Sales; Support", "s@a.example")),
    "encoded word and comma": ('"=?UTF-8?B?w6k=?=" ,QX <x@a.example>', ("=?UTF-8?B?w6k=?= ,QX", "x@a.example")),
    "comma in an encoded word": ("=?utf-8?q?Doe, Ann?= <x@a.example>", ("=?utf-8?q?Doe, Ann?=", "x@a.example")),
    "brand's address in quotes": ('"Prize@big.example", <x@evil.example>', ("Prize@big.example", "x@evil.example")),
    "brand's address without quotes": ("Prize@big.example <x@evil.example>", ("Prize@big.example", "x@evil.example")),
    "brand's address, comma": ("Prize@big.example, <x@evil.example>", ("Prize@big.example", "x@evil.example")),
    "two bare addresses": ("a@big.example, x@evil.example", ("a@big.example", "x@evil.example")),
    "two in brackets": ("Big <a@big.example> <x@evil.example>", ("Big <a@big.example>", "x@evil.example")),
    "two in brackets, comma": ("Big <a@big.example>, <x@evil.example>", ("Big <a@big.example>", "x@evil.example")),
    "address in a quoted name": ('"Big <a@big.example>" <x@evil.example>', ("Big <a@big.example>", "x@evil.example")),
    "address in a comment": ("x@evil.example (a@big.example)", ("a@big.example", "x@evil.example")),
    "no address": ("Sara Marie Example", ("Sara Marie Example", "")),
    "no address, comma": ("Example, Sara Marie", ("Example, Sara Marie", "")),
    "no address in the brackets": ("Mail System <MAILER-DAEMON>", ("Mail System <MAILER-DAEMON>", "")),
    "empty brackets": ("Mail System <>", ("Mail System", "")),
    "name in a comment": ("MAILER-DAEMON@h.example (Mail System)", ("Mail System", "MAILER-DAEMON@h.example")),
    "name behind": ("<ann@a.example> Ann", ("Ann", "ann@a.example")),
    "name twice": ("ann@a.example <ann@a.example>", ("", "ann@a.example")),
    "bracket that never ends": ("Ann <ann@a.example", ("Ann", "ann@a.example")),
    "quote that never ends": ('"Ann <ann@a.example>', ('"Ann', "ann@a.example")),
    "brackets twice": ("Ann <<ann@a.example>>", ("Ann", "ann@a.example")),
    "blanks within": ("Ann < ann@a.example >", ("Ann", "ann@a.example")),
    "mailto": ("Ann [mailto:ann@a.example]", ("Ann", "ann@a.example")),
    "route": ("<@r.example:ann@a.example>", ("", "ann@a.example")),
    "escaped quotes": (r'"Doe, \"J\"" <ann@a.example>', ('Doe, "J"', "ann@a.example")),
    "nothing": ("", ("", "")),
}  # fmt: skip


@pytest.mark.parametrize(("value", "right"), SENDERS.values(), ids=SENDERS)
def test_the_sender_is_the_last_address_and_its_name_all_that_stands_before(value, right):
    assert sender(value) == right


@pytest.mark.parametrize(
    ("value", "right"),
    [
        ("Ann <ann@a.example>, bob@b.example", [("Ann", "ann@a.example"), ("", "bob@b.example")]),
        ("Doe, Bob <bob@b.example>, Eve <e@e.example>", [("Doe, Bob", "bob@b.example"), ("Eve", "e@e.example")]),
        ('"Doe, Bob" <bob@b.example>', [("Doe, Bob", "bob@b.example")]),
        ("ann@a.example; bob@b.example", [("", "ann@a.example"), ("", "bob@b.example")]),
        ('Team: ann@a.example, "B, b" <b@b.example>;', [("", "ann@a.example"), ("B, b", "b@b.example")]),
        ("undisclosed-recipients:;", []),
        (",,,;", []),
    ],
)
def test_recipients_are_counted_by_their_addresses(value, right):
    assert mailboxes([value]) == right
