"""The mails that the benchmark works on: the same bytes for the same number, each with a text of its own."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from random import Random

PHRASES = (
    "please find attached the report",
    "we meet in the office on Friday",
    "the invoice of last month is due",
    "your order was delivered",
    "the team has changed the contract",
    "thank you for the quick answer",
)


def large(count: int) -> Iterator[bytes]:
    """Mails of 48 KB on average, of which 6.6 KB are headers and text; the rest is an attachment."""
    for number in range(1, count + 1):
        random = Random(number)
        text = _text(random, number, random.randint(2_000, 9_300))
        blob = base64.encodebytes(random.randbytes(random.randint(2_000, 59_000))).replace(b"\n", b"\r\n")
        yield b"".join(
            (
                _headers(random, number),
                b'Content-Type: multipart/mixed; boundary="=-b"\r\n\r\n--=-b\r\n',
                b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
                text,
                b'\r\n--=-b\r\nContent-Type: application/pdf; name="report.pdf"\r\n',
                b'Content-Disposition: attachment; filename="report.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\n',
                blob,
                b"--=-b--\r\n",
            )
        )


def small(count: int) -> Iterator[bytes]:
    """Plain mails of about a kilobyte, to have many of them."""
    for number in range(1, count + 1):
        random = Random(number)
        head = b"From: Ann <ann@example.org>\r\nTo: owner@example.org\r\nSubject: mail %d\r\n" % number
        yield head + b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + _text(random, number, 800)


def _headers(random: Random, number: int) -> bytes:
    hops = "".join(
        f"Received: from mx{hop}.example.net (mx{hop}.example.net [192.0.2.{hop}])\r\n"
        f"\tby in.example.org (Postfix) with ESMTPS id {random.getrandbits(64):016X}\r\n"
        f"\tfor <owner@example.org>; Mon, 3 Jun 2024 10:0{hop}:00 +0000 (UTC)\r\n"
        for hop in range(3)
    )
    return (
        f"{hops}From: Ann Example <ann{number % 97}@example.org>\r\nTo: Owner <owner@example.org>\r\n"
        f"Subject: Report {number} on the project\r\nDate: Mon, 3 Jun 2024 10:00:00 +0000\r\n"
        f"Message-ID: <{number}@bench.example.org>\r\nMIME-Version: 1.0\r\n"
        "Authentication-Results: in.example.org; dkim=pass header.d=example.org; spf=pass\r\n"
    ).encode()


def _text(random: Random, number: int, size: int) -> bytes:
    lines = [f"This is mail {number}."]
    length = 0
    while length < size:
        lines.append(", ".join(random.choices(PHRASES, k=3)))
        length += len(lines[-1]) + 2
    return "\r\n".join(lines).encode()
