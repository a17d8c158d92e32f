"""Which parts of a mail are read, and which of two faces: what a person's program shows decides."""

from __future__ import annotations

import base64

import pytest

from backfill.mail.mime import Reading, whole
from backfill.mail.text import transfer_decoded

MESSAGE = "We limit your account until you confirm your card at the branch of your bank on Friday."
HTML = f"<p>{MESSAGE}</p>"
DECOY = "The choir of our town sings in March, and tickets are sold at the door as in every year before. " * 3


def shown(raw: str, limit: int = 4000) -> str:
    data = raw.replace("\n", "\r\n").encode()
    return whole(data, len(data), Reading(max_body_chars=limit)).body


def multipart(kind: str, *parts: tuple[str, str], boundary: str = "b") -> str:
    body = "".join(f"--{boundary}\nContent-Type: {of}\n\n{text}\n" for of, text in parts)
    return f'Content-Type: multipart/{kind}; boundary="{boundary}"\n\n{body}--{boundary}--\n'


def nested(kind: str, *parts: tuple[str, str]) -> tuple[str, str]:
    head, _, body = multipart(kind, *parts, boundary="inner").partition("\n\n")
    return head.removeprefix("Content-Type: "), body


@pytest.mark.parametrize(
    "parts",
    [
        [("text/plain", MESSAGE), ("text/html", HTML)],
        [("text/html", HTML), ("text/plain", MESSAGE)],
        [("text/html", HTML), ("text/plain", "The HTML could not be loaded.")],
        [("text/plain", "View this mail in a browser: https://news.example/" + "x" * 300), ("text/html", HTML)],
        [("text/plain", ""), ("text/html", HTML)],
        [("text/plain", " \n \n"), ("text/html", HTML)],
        [("text/plain", DECOY), ("text/html", HTML)],
        [("text/html", HTML), ("text/plain", DECOY)],
        [("text/plain", DECOY), nested("related", ("text/html", HTML), ("image/png", "x"))],
        [("text/plain", DECOY), nested("mixed", ("text/html", HTML))],
        [("text/plain", DECOY), ("text/html", f"<style>{'p { color: red }' * 9000}</style>{HTML}")],
        [("text/plain", MESSAGE), ("text/calendar", "BEGIN:VCALENDAR")],
        [("text/plain", MESSAGE), ("text/html", "")],
        [("text/plain", MESSAGE), ("text/html", "<p style='display:none'>filler of every kind for the filters</p>")],
        [("text/plain", MESSAGE), ("text/x-amp-html", "<html amp4email></html>"), ("text/html", HTML)],
        [("text/plain", DECOY), ("application/xhtml+xml", HTML)],
    ],
)
def test_of_several_alternatives_the_one_that_a_person_sees_is_shown(parts):
    assert shown(multipart("alternative", *parts)) == MESSAGE


@pytest.mark.parametrize("html", ["<img src=x><img src=y>", "<p>Open it</p>"])
def test_where_the_html_says_almost_nothing_the_plain_text_is_shown_too(html):
    body = shown(multipart("alternative", ("text/plain", MESSAGE), ("text/html", html)))

    assert body.endswith(MESSAGE)
    assert body.startswith(("[2 pictures]", "Open it"))


def test_links_of_the_html_are_seen_where_the_plain_text_is_shown():
    mail = multipart(
        "alternative", ("text/plain", MESSAGE), ("text/html", f'{HTML}<a href="https://evil.example">bank</a>')
    )
    data = mail.replace("\n", "\r\n").encode()

    content = whole(data, len(data), Reading())

    assert (content.body, content.link_hosts) == (MESSAGE, ("evil.example",))


@pytest.mark.parametrize(
    "raw",
    [
        multipart("related", nested("related"), ("text/plain", MESSAGE)),
        multipart("related", ("text/plain", ""), ("text/html", HTML)),
        multipart("related", ("image/png", "x"), ("text/html", HTML)),
        multipart("related", ("text/plain", " "), ("text/html", HTML)),
        multipart("signed", ("text/plain", MESSAGE), ("application/pgp-signature", "x")),
        multipart("mixed", ("text/plain", ""), ("message/rfc822", f"Subject: x\n\n{MESSAGE}")),
        multipart("mixed", ("text/plain", ""), ("text/html", HTML)),
    ],
)
def test_a_first_part_that_is_empty_hides_nothing(raw):
    assert shown(raw) == MESSAGE


def test_a_forwarded_mail_is_read_below_what_its_sender_wrote():
    inner = "\n".join(["Subject: news", "Content-Type: text/html", "", HTML])

    assert shown(multipart("mixed", ("text/plain", "FYI"), ("message/rfc822", inner))) == f"FYI\n\n{MESSAGE}"


def test_the_mail_that_a_report_returns_is_not_read():
    parts = [
        ("text/plain", MESSAGE),
        ("message/delivery-status", "Status: 5.1.1"),
        ("message/rfc822", f"A: b\n\n{DECOY}"),
    ]

    assert shown(multipart("report", *parts)) == MESSAGE


@pytest.mark.parametrize("before", ['<img src="data:image/png;base64,{}">', "<style>{}</style>", "<!--{}-->"])
@pytest.mark.parametrize("size", [70_000, 300_000, 900_000])
def test_what_stands_behind_much_that_nobody_reads_is_found(before, size):
    html = f"<p>Notice</p>{before.format('A' * size)}{HTML}"

    assert shown(f"Content-Type: text/html\n\n{html}") == f"Notice\n\n{MESSAGE}"


@pytest.mark.parametrize(
    "text",
    [
        f"<html><body>{HTML}</body></html>",
        f"<!DOCTYPE html>\n<html>{HTML}</html>",
        f"\n  <!-- x -->\n<HTML>{HTML}</HTML>",
        f"<table><tr><td>{MESSAGE}</td></tr></table>",
        f"<p><b>We</b> {MESSAGE.removeprefix('We ')}</p>",
    ],
)
def test_plain_text_that_is_html_is_read_as_html(text):
    assert shown(f"Content-Type: text/plain\n\n{text}") == MESSAGE


@pytest.mark.parametrize(
    "text",
    [
        "Use <b> for bold and <i> for italics, and close them with </b> and </i>.",
        "a < b > c",
        "<ann@example.org> wrote that <https://a.example> is down",
        "diff: the template now begins with <html> and <body>, which the old one lacked; please review it soon",
    ],
)
def test_plain_text_about_html_stays_as_it_is(text):
    assert shown(f"Content-Type: text/plain\n\n{text}") == text


def test_an_invitation_alone_says_what_when_and_where():
    event = (
        "BEGIN:VEVENT\nSUMMARY;LANGUAGE=en:Hearing\\, court\nDTSTART;TZID=Europe/Berlin:2024\n 0311T090000\nEND:VEVENT"
    )
    invitation = (
        f"BEGIN:VCALENDAR\nMETHOD:REQUEST\nBEGIN:VTIMEZONE\nDTSTART:1970\nEND:VTIMEZONE\n{event}\nEND:VCALENDAR"
    )

    assert shown(f"Content-Type: text/calendar\n\n{invitation}") == (
        "METHOD: REQUEST\nSUMMARY: Hearing, court\nDTSTART: 20240311T090000"
    )


@pytest.mark.parametrize(
    "raw",
    [
        f"Content-Type: plain/text\n\n{MESSAGE}",
        f"Content-Type: text/plane\n\n{MESSAGE}",
        f"Content-Type: text\n\n{MESSAGE}",
        f"Content-Type: text/html charset=utf-8\n\n{HTML}",
        f"Content-Type: text/html;;charset=utf-8\n\n{HTML}",
        multipart("mixed", ("text/plain", MESSAGE)).replace('; boundary="b"', " boundary=b"),
        multipart("mixed", ("text/plain", MESSAGE)).replace('; boundary="b"', ""),
        multipart("mixed", ("text/plain", MESSAGE)).replace('boundary="b"', 'boundary="other"'),
        "Content-Transfer-Encoding: bas64\n\n" + base64.encodebytes(MESSAGE.encode()).decode(),
    ],
)
def test_a_type_that_no_standard_knows_hides_nothing(raw):
    assert shown(raw) == MESSAGE


CODED = base64.encodebytes((MESSAGE * 3).encode())


@pytest.mark.parametrize(
    ("data", "right"),
    [
        (CODED, MESSAGE * 3),
        (
            CODED + b"\r\n____\r\nOur list: https://x.example/",
            f"{MESSAGE * 3}\r\n\r\n____\r\nOur list: https://x.example/",
        ),
        (b"[EXTERNAL] Take care!\r\n\r\n" + CODED, f"[EXTERNAL] Take care!\r\n\r\n{MESSAGE * 3}"),
        (b"SGVsbG8=\r\n-- \r\nlist", "Hello\r\n-- \r\nlist"),
        (b"This part is plain, whatever it says.", "This part is plain, whatever it says."),
        (CODED[:100] + b"!" + CODED[100:], MESSAGE * 3),
    ],
)
def test_base64_is_read_with_what_servers_wrote_around_it(data, right):
    assert transfer_decoded(data, "base64").decode().strip() == right
