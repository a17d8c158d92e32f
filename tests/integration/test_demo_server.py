"""The demo server, seen through imapclient: what it promises to the demo and to the tests that lean on it."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError, LoginError

from backfill.demo.server import DemoServer

PLAIN = b"""From: Ada <ada@example.com>
To: demo@example.org
Subject: Lunch
Date: Tue, 05 Mar 2019 23:30:00 -0500
Message-ID: <1@example.com>

Shall we say noon?
"""
MULTIPART = b"""From: shop@example.net
Subject: Invoice
 for March
Date: Fri, 07 Feb 2020 08:00:00 +0000
Content-Type: multipart/mixed; boundary="=outer;"

preamble
--=outer;
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=utf-8

plain words
--inner
Content-Type: text/html; charset="utf-8"

<p>rich words</p>
--inner--
--=outer;
Content-Type: application/pdf; name="a \\"quoted\\" name.pdf"
Content-Disposition: attachment; filename*=utf-8''B%C3%BCro.pdf
Content-Transfer-Encoding: base64

JVBERi0=
--=outer;
Content-Type: message/rfc822

From: inner@example.com
Subject: forwarded

inner body
--=outer;--
epilogue
"""
ODD = {
    "no header at all": b"\nonly a body\n",
    "header only": b"Subject: nothing follows",
    "nothing": b"",
    "open boundary": b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\n1\n--x\nContent-Type: text/html\n\n<",
    "boundary never used": b"Content-Type: multipart/mixed; boundary=x\n\njust text\n",
    "multipart without boundary": b"Content-Type: multipart/mixed\n\njust text\n",
    "8-bit parameter": b'Content-Type: text/plain; name="B\xfcro"\n\nx\n',
    "broken type": b"Content-Type: ;;;=\n\nx\n",
    "zero byte": b"Subject: \x00\n\nbefore\x00after\n",
    "absurd date": b"Date: Tue, 99 Foo 99999 25:61:61 +9999\n\nx\n",
    "date of another age": b"Date: Tue, 05 Mar 1019 23:30:00 +0000\n\nx\n",
    "text after boundary": b"Content-Type: multipart/mixed; boundary=x\n\n--x--\n--x\n\nlate\n",
}


@pytest.fixture
def server():
    with DemoServer({"INBOX": [PLAIN, MULTIPART, *ODD.values()], "Archive/2023": [PLAIN]}) as running:
        yield running


@pytest.fixture
def client(server):
    with IMAPClient(server.host, server.port, ssl=False, timeout=10) as connected:
        connected.login("demo", "demo")
        yield connected


def test_a_wrong_password_is_refused(server):
    with IMAPClient(server.host, server.port, ssl=False, timeout=10) as client, pytest.raises(LoginError):
        client.login("demo", "wrong")


def test_one_server_can_follow_another_in_the_same_process(client):
    with (
        DemoServer({"INBOX": [PLAIN]}, user="other", password="secret") as second,
        IMAPClient(second.host, second.port, ssl=False, timeout=10) as other,
    ):
        other.login("other", "secret")

        assert other.select_folder("INBOX", readonly=True)[b"EXISTS"] == 1

    assert client.select_folder("INBOX", readonly=True)[b"EXISTS"] == 2 + len(ODD)


def test_folders_are_listed(client):
    assert [(separator, name) for _, separator, name in client.list_folders()] == [
        (b"/", "INBOX"),
        (b"/", "Archive/2023"),
    ]


def test_select_says_that_keywords_may_be_made_and_examine_that_nothing_is_kept(client):
    selected = client.select_folder("INBOX")
    examined = client.select_folder("INBOX", readonly=True)

    assert b"\\*" in selected[b"PERMANENTFLAGS"]
    assert b"\\*" not in examined[b"PERMANENTFLAGS"]
    assert selected[b"UIDVALIDITY"] == examined[b"UIDVALIDITY"]
    assert selected[b"UIDNEXT"] == 3 + len(ODD)


def test_a_folder_that_is_not_there_is_refused(client):
    with pytest.raises(IMAPClientError):
        client.select_folder("Nowhere")


def test_status_counts_without_selecting(client):
    status = client.folder_status("Archive/2023", ["MESSAGES", "UIDNEXT", "UIDVALIDITY"])

    assert (status[b"MESSAGES"], status[b"UIDNEXT"]) == (1, 2)


@pytest.mark.parametrize(
    ("criteria", "uids"),
    [
        (["UID", "2:3"], [2, 3]),
        (["UID", "1:2", "SENTSINCE", date(2020, 1, 1)], [2]),
        (["SENTON", date(2019, 3, 5)], [1]),  # the day as the header writes it, not as UTC has it
        (["SENTBEFORE", date(2019, 3, 5)], []),
        (["SENTSINCE", date(2019, 3, 5), "SENTBEFORE", date(2020, 2, 8)], [1, 2]),
        (["ON", date(2019, 3, 5)], [1]),
        (["SINCE", date(2019, 3, 6), "BEFORE", date(2024, 1, 1)], [2]),
        (["KEYWORD", "AIProcessed"], [1]),
        (["UID", "1:2", "UNKEYWORD", "AIProcessed"], [2]),
        (["OR", ["FROM", "ada"], ["SUBJECT", "invoice"]], [1, 2]),
        (["NOT", "UID", "2:*"], [1]),
        (["HEADER", "Message-ID", "<1@"], [1]),
        (["TEXT", "inner body"], [2]),
        ("UID 1:2 LARGER 300 UNSEEN", [2]),
    ],
    ids=str,
)
def test_search_finds(client, criteria, uids):
    client.select_folder("INBOX")
    client.add_flags([1], ["AIProcessed"], silent=True)

    assert client.search(criteria) == uids


@pytest.mark.parametrize("criteria", ["BOGUS", "UID", "SINCE yesterday", "KEYWORD"])
def test_search_criteria_that_make_no_sense_are_refused_at_once(client, criteria):
    client.select_folder("INBOX", readonly=True)

    with pytest.raises(IMAPClientError):
        client.search(criteria)
    assert client.search("UID 1") == [1]


def test_a_mail_is_fetched_as_it_was_delivered(client):
    client.select_folder("INBOX", readonly=True)

    mail = client.fetch([1], ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "BODY.PEEK[]"])[1]

    assert mail[b"BODY[]"] == PLAIN.replace(b"\n", b"\r\n")
    assert mail[b"RFC822.SIZE"] == len(mail[b"BODY[]"])
    assert mail[b"FLAGS"] == ()


def test_the_internal_date_is_the_date_header_with_its_own_offset(server):
    with IMAPClient(server.host, server.port, ssl=False, timeout=10) as client:
        client.normalise_times = False
        client.login("demo", "demo")
        client.select_folder("INBOX", readonly=True)

        received = client.fetch([1], ["INTERNALDATE"])[1][b"INTERNALDATE"]

    assert received.astimezone(UTC) == datetime(2019, 3, 6, 4, 30, tzinfo=UTC)
    assert received.date() == date(2019, 3, 5)


def test_header_fields_and_parts_are_exact_slices(client):
    client.select_folder("INBOX", readonly=True)
    wanted = [
        "BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)]",
        "BODY.PEEK[1.1]<0.5>",
        "BODY.PEEK[1.2]",
        "BODY.PEEK[2.MIME]",
        "BODY.PEEK[3.HEADER]",
        "BODY.PEEK[3.1]",
        "BODY.PEEK[9]",
        "BODY.PEEK[TEXT]<9.8>",
    ]

    mail = client.fetch([2], wanted)[2]

    assert mail[b"BODY[HEADER.FIELDS (SUBJECT FROM)]"] == (
        b"From: shop@example.net\r\nSubject: Invoice\r\n for March\r\n\r\n"
    )
    assert mail[b"BODY[1.1]<0>"] == b"plain"
    assert mail[b"BODY[1.2]"] == b"<p>rich words</p>"
    assert mail[b"BODY[2.MIME]"].startswith(b"Content-Type: application/pdf")
    assert mail[b"BODY[3.HEADER]"] == b"From: inner@example.com\r\nSubject: forwarded\r\n\r\n"
    assert mail[b"BODY[3.1]"] == b"inner body"
    assert mail[b"BODY[9]"] is None
    assert mail[b"BODY[TEXT]<9>"] == b"\n--=oute"


def test_the_structure_names_types_sizes_and_attachments(client):
    client.select_folder("INBOX", readonly=True)

    structure = client.fetch([2], ["BODYSTRUCTURE"])[2][b"BODYSTRUCTURE"]

    (alternative, pdf, forwarded), kind = structure[0], structure[1]
    assert kind == b"mixed"
    assert [part[1] for part in alternative[0]] == [b"plain", b"html"]
    assert alternative[0][0][6] == len(b"plain words")
    assert pdf[:3] == (b"application", b"pdf", (b"name", b'a "quoted" name.pdf'))
    assert pdf[8] == (b"attachment", (b"filename*", b"utf-8''B%C3%BCro.pdf"))
    assert forwarded[:2] == (b"message", b"rfc822")


@pytest.mark.parametrize("uid", range(3, 3 + len(ODD)), ids=list(ODD))
def test_odd_mail_is_served_like_any_other(client, uid):
    client.select_folder("INBOX", readonly=True)
    wanted = ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "BODYSTRUCTURE", "BODY.PEEK[]", "BODY.PEEK[1]<0.8192>"]

    mail = client.fetch([uid], [*wanted, "BODY.PEEK[HEADER.FIELDS (SUBJECT)]"])[uid]

    assert mail[b"BODY[]"] == list(ODD.values())[uid - 3].replace(b"\n", b"\r\n")
    assert mail[b"INTERNALDATE"] is not None
    assert mail[b"BODYSTRUCTURE"]


def test_peeking_leaves_mail_unseen_and_reading_does_not(client, server):
    client.select_folder("INBOX")

    client.fetch([1], ["BODY.PEEK[]", "BODY.PEEK[1]", "BODYSTRUCTURE", "RFC822.HEADER"])
    peeked = server.flags("INBOX")[1]
    client.fetch([1], ["BODY[1]"])

    assert peeked == frozenset()
    assert server.flags("INBOX")[1] == {"\\Seen"}


def test_keywords_are_kept_for_all_sessions(client, server):
    client.select_folder("INBOX")

    client.add_flags([1, 2], ["AIProcessed", "Important"], silent=True)
    client.add_flags([1], ["aiprocessed"], silent=True)
    client.remove_flags([2], ["important"], silent=True)

    assert server.flags("INBOX")[1] == {"AIProcessed", "Important"}
    assert server.flags("INBOX")[2] == {"AIProcessed"}
    assert client.get_flags([2]) == {2: (b"AIProcessed",)}


def test_an_echoing_store_answers_with_the_flags(client):
    client.select_folder("INBOX")

    assert client.add_flags([1], ["Spam"]) == {1: (b"Spam",)}


def test_an_examined_folder_takes_no_flags(client, server):
    client.select_folder("INBOX", readonly=True)

    with pytest.raises(IMAPClientError):
        client.add_flags([1], ["AIProcessed"], silent=True)
    assert server.flags("INBOX")[1] == frozenset()


def test_an_expunged_mail_is_left_out_of_every_answer(client, server):
    client.select_folder("INBOX")

    server.expunge("INBOX", 1)

    assert client.fetch([1, 2], ["FLAGS"]).keys() == {2}
    assert client.search(["UID", "1:2"]) == [2]
    assert 1 not in server.flags("INBOX")


def test_a_mail_that_arrives_gets_the_next_uid_and_is_announced(client, server):
    client.select_folder("Archive/2023")

    uid = server.deliver("Archive/2023", MULTIPART)
    client.noop()

    assert uid == 2
    assert client.search("UID 2:*") == [2]


def test_what_is_not_offered_is_refused_and_the_session_goes_on(client):
    client.select_folder("INBOX")

    with pytest.raises(IMAPClientError):
        client.create_folder("New")
    with pytest.raises(IMAPClientError):
        client.fetch([1], ["ENVELOPE"])
    assert client.search("ALL")
