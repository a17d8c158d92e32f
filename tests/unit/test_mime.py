"""Bytes of a mail to what a classifier is shown."""

from __future__ import annotations

import base64
import importlib.resources
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backfill.mail import mime
from backfill.mail.charsets import decoded
from backfill.mail.headers import Headers
from backfill.mail.mime import Reading, whole
from backfill.mail.text import clean, transfer_decoded
from backfill.message import Attachment, Content, MisleadingLink, message_key

MAILS = Path(__file__).parents[1] / "mail"
ODD = sorted(MAILS.glob("*.eml"))
READING = Reading("user@example.org")
MUTATIONS = int(os.environ.get("BACKFILL_FUZZ", "150"))  # `make fuzz` tries ten thousand


def read(name: str, reading: Reading = READING) -> Content:
    raw = (MAILS / name).read_bytes()
    return whole(raw, len(raw), reading)


def mail(body: str, *headers: str) -> Content:
    raw = "\r\n".join(["From: bob@example.org", *headers, "", body]).encode("utf-8", "surrogateescape")
    return whole(raw, len(raw), READING)


# Bodies.


def test_html_only_mail_is_never_empty_and_loses_its_hidden_text():
    shown = read("html_only.eml")

    assert shown.body == "Bitte zahlen Sie 42 €\nwww.my-bank.example list.pdf"


@pytest.mark.parametrize(
    ("html", "body"),
    [
        ('<img src="x" alt="Sale 50%"><img src="y">', "Sale 50%"),
        ('<title>Spring sale</title><img src="y">', "Spring sale"),
        ('<img src="y"><img src="z">', "[2 pictures]"),
    ],
)
def test_html_of_pictures_says_what_it_can(html, body):
    assert mail(html, "Content-Type: text/html").body == body


def test_html_behind_a_long_style_sheet_is_found():
    style = f"<style>{'p { color: red }' * 10_000}</style>"

    assert mail(f"{style}<p>Hello</p>", "Content-Type: text/html").body == "Hello"


def test_unknown_charsets_fall_back_to_utf8():
    shown = read("unknown_charset.eml")

    assert (shown.subject, shown.body) == ("café", "Der Käse ist bezahlt.")


def test_bytes_that_are_not_of_the_declared_charset_are_read_as_cp1252():
    shown = read("wrong_charset.eml")

    assert (shown.subject, shown.body) == ("café crème", "The price is € 5 – cheap.")


@pytest.mark.parametrize("charset", ["rot13", "base64", "idna", "punycode", "unicode_escape", "\x00", "", "utf-16"])
def test_no_charset_raises_or_hangs(charset):
    assert decoded(b"Gr\xc3\xbc\xc3\x9fe " * 20_000, charset)


def test_several_text_parts_are_joined_and_one_of_two_alternatives_is_read():
    shown = read("alternative.eml")

    assert shown.body.startswith("The plain text that a person reads")
    assert shown.body.endswith("Zweiter Teil: schöne Grüße.")
    assert "HTML" not in shown.body


def test_a_stub_in_plain_text_gives_way_to_the_html():
    assert read("stub_alternative.eml").body.startswith("Our spring offers are here")


def test_a_mail_that_only_carries_another_is_read_by_that_one():
    assert read("forwarded_as_attachment.eml").body == "What the forwarded mail says."


def test_a_boundary_that_never_comes_loses_no_text():
    assert "all that the sender wrote" in read("endless_structure.eml").body


def test_quotes_and_signature_are_trimmed():
    assert read("reply.eml").body == "Yes, at noon."


def test_the_body_is_cut_to_its_limit_and_says_so():
    shown = read("cut_base64.eml", Reading(max_body_chars=100))

    assert shown.truncated
    assert shown.body == ("Grüße aus Köln. " * 10)[:100].rstrip()


@pytest.mark.parametrize("length", range(60, 80))
def test_base64_cut_anywhere_gives_the_text_before_the_cut(length):
    text = "Grüße aus Köln. " * 10
    encoded = base64.encodebytes(text.encode())

    got = decoded(transfer_decoded(encoded[:length], "base64", is_cut=True), "utf-8", is_cut=True)

    assert text.startswith(got)
    assert len(got) > length // 2


@pytest.mark.parametrize("length", range(1, 25))
def test_quoted_printable_cut_anywhere_gives_the_text_before_the_cut(length):
    encoded = b"Gr=C3=BC=C3=9Fe f=C3=BCr dich"

    got = decoded(transfer_decoded(encoded[:length], "quoted-printable", is_cut=True), "utf-8", is_cut=True)

    assert "Grüße für dich".startswith(got)


def test_characters_that_nobody_sees_are_removed():
    hidden = "".join(map(chr, [0x200B, 0x200E, 0x34F, 0xAD, 0x2060, 0xFEFF, 0x202E, 0x2066, 0xE0041, 0x1B, 0x7F]))

    assert clean(f"a{hidden}b\r\n\r\n\r\n\tc\u2028d  \x00") == "ab\n\nc\nd"


# Headers.


def test_encoded_words_are_put_together():
    shown = read("html_only.eml")

    assert shown.subject == "Rechnung für März"
    assert shown.date == "2024-03-02T23:30:00-08:00"


def test_a_character_split_between_two_encoded_words_is_put_together():
    assert Headers(b"Subject: =?utf-8?q?K=C3?= =?utf-8?q?=A4se?=\r\n").text("subject") == "Käse"


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ("=?utf-8?B?R3LDvMOfZQ?=", "Grüße"),
        ("=?utf-8?B?R3LDvMOfZQ=?=", "Grüße"),
        ("=?utf-8*de?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("=??Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("=?x-unknown?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("=?iso-8859-1?Q?Gr=FC=DFe aus?= =?utf-8?B?IEvDtmxu?=", "Grüße aus Köln"),
    ],
)
def test_encoded_words_that_are_not_quite_right_are_readable(words, right):
    assert Headers(f"Subject: {words}\r\n".encode()).text("subject") == right


@pytest.mark.parametrize(
    "word", ["=?utf-8?b?A?=", "=?utf-8?b?====?=", "=?x?q?=ZZ?=", "=?utf-8?q??=", "=?\x00?b?QQ==?="]
)
def test_broken_encoded_words_do_not_hide_the_rest(word):
    assert Headers(f"Subject: before {word} after\r\n".encode()).text("subject").startswith("before ")


def test_headers_from_hell_are_each_read_as_far_as_they_go():
    shown = read("headers_from_hell.eml")

    assert shown.subject.startswith("onetwo")
    assert shown.subject.endswith("[31m three")
    assert "ann@example.org" in shown.to
    assert shown.date == ""
    assert shown.addressed_to_owner is True
    assert shown.is_reply is True
    assert shown.marked_spam is True
    assert shown.body == "body after all[0m"


def test_only_the_topmost_authentication_results_count():
    assert read("headers_from_hell.eml").authentication == (("dkim", "pass"), ("dmarc", "none"), ("spf", "fail"))


def test_marks_of_bulk_mail_are_seen():
    shown = read("stub_alternative.eml")

    assert shown.list_id == "Shop news <news.shop.example>"
    assert shown.has_unsubscribe
    assert (shown.precedence, shown.auto_submitted) == ("bulk", "auto-generated")


@pytest.mark.parametrize(
    ("owner", "to", "addressed"),
    [
        ("me@example.org", "Me <ME@example.org>", True),
        ("me@example.org", "me+shop@example.org", True),
        ("me@example.org", "you@example.org", False),
        ("me@example.org", "", False),
        ("me", "me@example.org", None),
    ],
)
def test_whether_a_mail_is_addressed_to_the_owner(owner, to, addressed):
    raw = f"To: {to}\r\n\r\nx".encode()

    assert whole(raw, len(raw), Reading(owner)).addressed_to_owner is addressed


def test_attachments_are_named_and_not_read():
    assert read("alternative.eml").attachments == (
        Attachment("März.pdf", "application/pdf"),
        Attachment("€%20rates.csv", "application/octet-stream"),
    )


# Links.


def test_a_link_that_shows_another_host_is_misleading_and_a_file_name_is_not():
    shown = read("html_only.eml")

    assert shown.link_hosts == ("login.evil.example", "shop.example")
    assert shown.misleading_links == (MisleadingLink("www.my-bank.example", "login.evil.example"),)


@pytest.mark.parametrize(
    ("text", "url", "misleads"),
    [
        ("www.bank.co.uk", "https://login.bank.co.uk/", False),
        ("www.bank.co.uk", "https://evil.co.uk/", True),
        ("bank.github.io", "https://evil.github.io/", True),
        ("https://bank.example/login", "http://bank.example.evil.test/", True),
        ("bank.example", "https://bank.example@evil.test/", True),
        ("click here", "https://evil.test/", False),
        ("bob@bank.example", "mailto:bob@bank.example", False),
        ("bank.example", "http://[broken", False),
    ],
)
def test_which_links_mislead(text, url, misleads):
    assert bool(mail(f'<a href="{url}">{text}</a>', "Content-Type: text/html").misleading_links) is misleads


@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://evil.example/p">Click here</a>',
        '<a href=" HTTPS://EVIL.example:443/p">Click here</a>',
        '<a href="https://bank.example@evil.example/">Click here</a>',
        '<a href="ht\ntps://evil.example/">Click here</a>',
        '<a href="https:\\\\evil.example\\p">Click here</a>',
        '<a href="http:/evil.example/">Click here</a>',
        '<a href="//evil.example/">Click here</a>',
        '<a href="https://%65vil.example/">Click here</a>',
        '<a href="https://evil.example./">Click here</a>',
        '<a href="https://evil.example"><img src="https://evil.example/1.png"></a>',
        '<map name=m><area href="https://evil.example/x"></map><img usemap="#m" src="cid:1">',
        '<form action="https://evil.example/steal"><input name=password></form>',
        '<base href="https://evil.example/"><a href="/p">Click here</a>',
    ],
)
def test_where_a_click_leads_is_seen(html):
    assert mail(f"<p>Your parcel waits.</p>{html}", "Content-Type: text/html").link_hosts == ("evil.example",)


@pytest.mark.parametrize(
    "url", ["mailto:ann@evil.example", "#top", "/p", "javascript:x", "cid:1", "https:", "http://[x"]
)
def test_what_leads_to_no_host_names_none(url):
    assert mail(f'<a href="{url}">here</a>', "Content-Type: text/html").link_hosts == ()


def test_hosts_of_links_in_plain_text_are_seen():
    assert mail("see https://Shop.example/a and http://evil.test.").link_hosts == ("shop.example", "evil.test")


# Anything.


@pytest.mark.parametrize("path", ODD, ids=lambda path: path.stem)
def test_the_same_bytes_give_the_same_key(path):
    raw = path.read_bytes()
    with_bare_newlines = raw.replace(b"\r\n", b"\n")

    keys = {message_key(whole(each, len(each), READING)) for each in (raw, raw, with_bare_newlines)}

    assert len(keys) == 1


def test_the_odd_mails_of_the_standard_library_all_pass_through():
    pytest.importorskip("test.test_email")
    mails = [
        path.read_bytes()
        for path in importlib.resources.files("test.test_email").joinpath("data").iterdir()
        if path.is_file()
    ]

    shown = [whole(raw, len(raw), READING) for raw in mails]

    assert len(shown) >= 40
    assert all(is_proper(each) for each in shown)


def mutations():
    """Odd mails with stretches of them cut out, doubled, or overwritten by bytes that matter to MIME."""
    grit = st.sampled_from(
        [b"\r\n\r\n", b"--", b"=?utf-8?b?", b"?=", b"(", b"\x00", b"\xff", b"<!--", b'"', b"=\r\n", b";"]
    )
    edit = st.tuples(st.integers(0, 6000), st.integers(0, 200), grit | st.binary(max_size=20), st.integers(1, 40))
    return st.tuples(st.sampled_from([path.read_bytes() for path in ODD]), st.lists(edit, max_size=6))


@given(mutations())
@settings(max_examples=MUTATIONS, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_mutated_mail_raises_or_takes_long(mutation):
    raw, edits = mutation
    for place, length, grit, times in edits:
        raw = raw[:place] + grit * times + raw[place + length :]

    started = time.process_time()
    shown = whole(raw, len(raw), READING)

    assert time.process_time() - started < 2
    assert is_proper(shown)
    assert len(message_key(shown)) == 64


@pytest.mark.parametrize(
    "raw",
    [
        b"To: " + b"(" * 50_000,
        b"To: " + b"a@b, " * 20_000,
        b"To: " + b"<" * 50_000,
        b"Subject: " + b"=?utf-8?b?" * 10_000,
        b"Subject: " + b"=?a?q?x?= " * 10_000,
        b"Content-Type: text/html\r\n\r\n" + b"<div>" * 60_000,
        b"Content-Type: text/html\r\n\r\n" + b"<!--" * 60_000,
        b"Content-Type: text/html\r\n\r\n" + b'<p style="font-size:0">' * 20_000,
        b"Content-Type: text/html\r\n\r\n" + b'<a href="http://x.y">' * 20_000 + b"a." * 9_000,
        b"Content-Type: text/html\r\n\r\n<style>" + b"@media{a" * 20_000,
        b"Content-Type: text/html\r\n\r\n<style>" + b".a{display:none}" * 9_000 + b"</style><p class=a>x",
        b"Content-Type: text/html\r\n\r\n<style>" + b"/*" * 60_000,
        b"Content-Type: text/html\r\n\r\n" + b"<p style='color:a;background:" + b" " * 60_000 + b"'>x",
        b"Content-Type: text/plain\r\n\r\n" + b"> " * 60_000,
        b"Content-Type: text/plain\r\n\r\n" + b"On a wrote " * 20_000,
        b"Content-Type: text/plain\r\n\r\n" + b"On monday\n" * 20_000,
        b"Authentication-Results: x; " + b"(" * 50_000,
        b"\r\n" + b"a" * 500_000,
        b"\r\n" + (b"aB1" * 20 + b"\r\n") * 9_000 + b"!",
        b"Content-Transfer-Encoding: base64\r\n\r\n" + (b"aB1/" * 15 + b"\r\n!\r\n") * 9_000,
        b"From: " + b'"\\' * 25_000,
        b"To: " + b'"a@b" ' * 10_000,
        b"\r\n" + b"From: a\n" * 20_000,
        b"\r\n" + b"-----BEGIN PGP MESSAGE-----\n" * 5_000,
        b"\r\n" + b"begin 644 a\n" * 20_000,
        b"Content-Type: text/html\r\n\r\n<style>" + b".a .b{color:red}" * 5_000 + b"</style>" + b"<p class=b>" * 9_000,
        b"Content-Type: text/html\r\n\r\n" + b"<button>" * 9_000,
        b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(500)),
        b"",
        b"\r\n\r\n",
        b"\xff" * 1000,
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_no_flood_hangs(raw):
    started = time.process_time()
    shown = whole(raw, len(raw), READING)

    assert time.process_time() - started < 3
    assert is_proper(shown)


def is_proper(shown: Content) -> bool:
    """Bounded, and on one line but for the body."""
    lines = [shown.subject, shown.sender, *shown.to, *shown.cc, shown.reply_to, shown.list_id, *shown.link_hosts]
    return (
        all("\n" not in line and "\x00" not in line and len(line) <= 1000 for line in lines)
        and len(shown.body) <= READING.max_body_chars
        and len(shown.to) <= mime.MAX_ADDRESSES
    )


@pytest.mark.parametrize(
    ("headers", "ancestors"),
    [
        ("In-Reply-To: <b@x>\r\nReferences: <a@x> <b@x>", ("<b@x>", "<a@x>")),
        ("References: <a@x>\r\n <b@x>", ("<b@x>", "<a@x>")),
        ('In-Reply-To: Your message of Monday "x" <a@x>', ("<a@x>",)),
        ("In-Reply-To: a mail without a name", ()),
        ("References: <a@x><a@x> <a b@x> <>", ("<a@x>",)),
        ("References: " + " ".join(f"<{n}@x>" for n in range(99)), tuple(f"<{n}@x>" for n in range(98, 88, -1))),
        ("References: <\x1b[2J\u202ea@x>", ("<[2Ja@x>",)),
        ("Subject: none", ()),
    ],
)
def test_the_mails_before_it_in_its_thread_are_named_the_nearest_first(headers, ancestors):
    assert Headers(f"{headers}\r\n\r\n".encode()).ancestors() == ancestors
