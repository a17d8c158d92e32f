"""Malformed mails, one of each kind. Reading one of them must not keep others from being read.

The bytes are as a server would hold them. None is important and none is spam.
"""

from __future__ import annotations

from backfill.demo.compose import SampleMail

_TEXT = b"MIME-Version: 1.0\nContent-Type: text/plain; charset="
_MULTIPART = b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="


def malformed() -> list[SampleMail]:
    """One malformed mail of each kind, always the same."""
    return [SampleMail(raw, "malformed", is_important=False, is_spam=False) for raw in _BROKEN.values()]


def _mail(sender: bytes, subject: bytes, date: bytes, rest: bytes) -> bytes:
    """`rest` is further header lines, the blank line, the body."""
    to = b"Robin Sample <robin@example.org>"
    return b"From: %b\nTo: %b\nSubject: %b\nDate: %b\n%b" % (sender, to, subject, date, rest)


_BROKEN: dict[str, bytes] = {
    "unknown charset": _mail(
        b"Kit <kit@example.com>",
        b"Minutes of the tea round",
        b"Mon, 12 Feb 2007 09:10:00 +0100",
        _TEXT + b"DEFAULT_CHARSET\n\nWe met, we had tea, we parted.\n",
    ),
    "misspelt charset in headers": _mail(
        b"=?uft-8?Q?J=C3=B6rg?= <joerg@example.net>",
        b"=?uft-8?B?R3LDvMOfZQ==?= and other words",
        b"Tue, 03 Jun 2008 18:00:00 +0200",
        b"\nHello from the lake.\n",
    ),
    "broken base64": _mail(
        b"Scanner <scan@office.example>",
        b"Scan 0042",
        b"Wed, 11 Mar 2009 11:11:11 +0000",
        _TEXT + b"utf-8\nContent-Transfer-Encoding: base64\n\nVGhlIHNjYW4gaXMg!!!YXR0YWNoZWQ\n===\nnot base64\n",
    ),
    "no From, no Date, no Subject": b"Received: from unknown by mx.example.org\n\nA mail without a name.\n",
    "no header": b"\nThis mail begins with an empty line.\n",
    "unterminated boundary": _mail(
        b"Ines <ines@example.org>",
        b"Half a mail",
        b"Sat, 01 May 2010 07:30:00 +0000",
        _MULTIPART + b"cut\n\n--cut\nContent-Type: text/plain\n\nThe connection broke while this was sen",
    ),
    "boundary that never comes": _mail(
        b"Ines <ines@example.org>",
        b"Where are the parts?",
        b"Sun, 02 May 2010 07:30:00 +0000",
        _MULTIPART + b"lost\n\nSomebody removed the boundaries.\n",
    ),
    "broken encoded words": _mail(
        b"=?utf-8?B?QWRh?= <ada@example.com",
        b"=?utf-8?Q?caf=E9_=ZZ?= =?iso-8859-1?B?####?= =?",
        b"Thu, 15 Sep 2011 20:00:00 +0200",
        b"\nThe subject lost its shape on the way.\n",
    ),
    "absurd date": _mail(
        b"Clock <clock@example.com>",
        b"What time is it?",
        b"Foo, 99 Bar 20011 25:61:99 +9999",
        b"\nNobody knows.\n",
    ),
    "date before mail was invented": _mail(
        b"Clock <clock@example.com>",
        b"Greetings from long ago",
        b"Mon, 01 Jan 0001 00:00:00 +0000",
        b"\nStill ticking.\n",
    ),
    "empty body": _mail(
        b"Nobody <nobody@example.net>",
        b"(no content)",
        b"Fri, 13 Jul 2012 13:13:13 +0000",
        b"\n",
    ),
    "zero bytes": _mail(
        b"Disk <disk@example.org>",
        b"Bad \x00sectors",
        b"Tue, 08 Jan 2013 01:02:03 +0000",
        b"\nSome bytes\x00\x00\x00 of this mail were lost.\n",
    ),
    "8-bit headers": _mail(
        b"K\xe4the M\xfcller <kaethe@example.com>",
        "Grüße, ohne Kodierung".encode(),
        b"Mon, 24 Mar 2014 10:00:00 +0100",
        _TEXT + b"iso-8859-1\n\nSch\xf6ne Gr\xfc\xdfe!\n",
    ),
    "another charset than it says": _mail(
        b"Yuri <yuri@example.net>",
        b"Labels",
        b"Wed, 22 Apr 2015 12:00:00 +0300",
        _TEXT + b"utf-8\nContent-Transfer-Encoding: 8bit\n\n" + "Это не utf-8.\n".encode("koi8-r"),
    ),
    "parts within parts": _mail(
        b"Nesting Doll <doll@example.org>",
        b"Open me",
        b"Thu, 05 May 2016 05:05:05 +0000",
        b"".join(_MULTIPART + b"b%d\n\n--b%d\n" % (depth, depth) for depth in range(30)) + b"\nThe smallest doll.\n",
    ),
    "one endless line": _mail(
        b"Log <log@example.com>",
        b"very " * 400 + b"long",
        b"Sat, 09 Dec 2017 23:59:59 +0000",
        b"\n" + b"lorem ipsum " * 2_000 + b"\n",
    ),
}
