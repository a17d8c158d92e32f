"""The sample mailbox: what the demo shows and the heuristic classifier is measured on."""

from __future__ import annotations

import re
from collections import Counter
from email import message_from_bytes
from email.utils import parsedate_to_datetime

import pytest

from backfill.demo.mailbox import ARCHIVE, INBOX, OWNER, sample_mailbox

WRITTEN = {"personal", "thread"}
SENT_BY_MACHINES = {"newsletter", "invoice", "receipt", "notification", "calendar"}
KINDS = {*WRITTEN, *SENT_BY_MACHINES, "spam", "phishing", "malformed"}
RESERVED = re.compile(r"(^|\.)(example\.(com|org|net)|example|test|invalid)$")  # RFC 2606


@pytest.fixture(scope="module")
def mailbox():
    return sample_mailbox()


@pytest.fixture(scope="module")
def mails(mailbox):
    return [mail for folder in mailbox.values() for mail in folder]


def test_there_are_at_least_three_hundred_mails_of_every_kind_in_two_folders(mailbox, mails):
    kinds = Counter(mail.kind for mail in mails)

    assert len(mails) == 320
    assert len(mailbox[INBOX]) >= 300
    assert 5 <= len(mailbox[ARCHIVE]) <= 20
    assert kinds.keys() == KINDS
    assert min(kinds.values()) >= 8


def test_every_start_gives_the_same_bytes_and_another_seed_others(mailbox):
    assert sample_mailbox() == mailbox
    assert sample_mailbox(seed=1) != mailbox


@pytest.mark.parametrize("count", [60, 500])
def test_there_are_as_many_mails_as_asked_for(count):
    assert sum(map(len, sample_mailbox(count).values())) == count


def test_no_mail_is_there_twice(mails):
    assert len({mail.raw for mail in mails}) == len(mails)


def test_every_host_is_a_reserved_name(mails):
    everything = b"\n".join(_decoded(mail.raw) for mail in mails).decode("utf-8", "replace")

    hosts = re.findall(r"(?:@|://|\bfrom |\bby )([a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]+)", everything)

    assert len(hosts) > 1000
    assert {host for host in hosts if not RESERVED.search(host)} == set()


def test_every_address_of_a_machine_is_a_documentation_address(mails):
    found = re.findall(rb"\[(\d+\.\d+\.\d+\.\d+)\]", b"".join(mail.raw for mail in mails))

    assert found
    assert all(address.startswith(b"192.0.2.") for address in found)  # RFC 5737


def test_languages_structures_and_charsets_are_varied(mails):
    parts = [part for mail in mails for part in message_from_bytes(mail.raw).walk()]
    types = Counter(part.get_content_type() for part in parts)
    charsets = {part.get_content_charset() for part in parts}
    encodings = {str(part["Content-Transfer-Encoding"]).lower() for part in parts}

    assert {"text/plain", "text/html", "text/calendar", "multipart/alternative", "multipart/mixed"} <= types.keys()
    assert {"application/pdf", "image/jpeg", "text/csv"} <= types.keys()
    assert {"utf-8", "iso-8859-1", "windows-1252", "koi8-r", "iso-2022-jp", "gb18030"} <= charsets
    assert {"7bit", "8bit", "base64", "quoted-printable"} <= encodings


def test_dates_are_spread_over_twenty_years_in_the_order_of_arrival(mailbox):
    dates = [
        parsedate_to_datetime(message_from_bytes(mail.raw)["Date"])
        for mail in mailbox[INBOX]
        if mail.kind != "malformed"
    ]

    assert dates == sorted(dates)
    assert {date.year for date in dates} >= set(range(2005, 2025))


def test_threads_carry_their_history_along(mails):
    threads = [message_from_bytes(mail.raw) for mail in mails if mail.kind == "thread"]

    assert any(len(mail.get("References", "").split()) >= 5 for mail in threads)
    assert any(mail["In-Reply-To"] and b">>> " in mail.get_payload(decode=True) for mail in threads)


def test_newsletters_can_be_left_and_spam_does_not_pass_authentication(mails):
    assert all(b"\nList-Unsubscribe: <" in mail.raw for mail in mails if mail.kind == "newsletter")
    assert all(b"dmarc=fail" in mail.raw for mail in mails if mail.is_spam)


def test_phishing_shows_one_host_and_leads_to_another_and_gives_orders_to_the_reader(mails):
    pages = b"".join(_decoded(mail.raw) for mail in mails if mail.kind == "phishing").decode("utf-8", "replace")

    links = re.findall(r'<a href="https?://([^/"]+)[^>]*>https?://([^/<]+)', pages)

    assert links
    assert all(real != shown for real, shown in links)
    assert "Ignore previous instructions" in pages


def test_labels_agree_with_the_kinds(mails):
    labels = {kind: {(mail.is_important, mail.is_spam) for mail in mails if mail.kind == kind} for kind in KINDS}

    assert labels["spam"] == labels["phishing"] == {(False, True)}
    assert labels["invoice"] == {(True, False)}
    assert labels["personal"] == labels["thread"] == {(True, False), (False, False)}
    assert all(labels[kind] == {(False, False)} for kind in ("newsletter", "receipt", "notification", "calendar"))


def test_the_owner_is_addressed_in_all_but_list_mail(mails):
    for mail in mails:
        addressed = OWNER.address.encode() in mail.raw.partition(b"\n\n")[0]

        assert addressed or b"lists.example.org" in mail.raw or mail.kind == "malformed"


def _decoded(raw: bytes) -> bytes:
    """Headers and the payloads of all parts, without their transfer encodings."""
    parts = [part.get_payload(decode=True) or b"" for part in message_from_bytes(raw).walk() if not part.is_multipart()]
    return b"\n".join([raw.partition(b"\n\n")[0], *parts])
