"""What reading mail costs: bytes from the server against what is needed, and mails/s against bare imapclient.

`python -m tests.bench.mail [MAILS]` prints the figures. The floor of the speed asks the server for the very same
items in batches of the same size, and throws them away.
"""

from __future__ import annotations

import base64
import os
import sys
import time
from collections.abc import Callable, Iterator
from random import Random
from statistics import median

from imapclient import IMAPClient

from backfill.mail.fetch import BATCH
from backfill.mail.headers import FIELDS
from backfill.mail.login import ImapAccount
from backfill.mail.source import ImapSource
from backfill.message import Message
from tests.bench import mails
from tests.bench.rows import Row, table
from tests.support.dovecot import PASSWORD, DovecotServer

ATTACHMENT = 225_000  # bytes before base64, 300 KB on the wire
ROUNDS = 5
HEADERS = f"BODY.PEEK[HEADER.FIELDS ({' '.join(FIELDS)})]"


class Counted:
    """A watch that adds up."""

    size = 0

    def read(self, size: int) -> None:
        self.size += size

    def throttled(self, wait_s: float, reason: str) -> None:
        raise AssertionError(reason)

    def waiting(self, sentence: str | None) -> None:
        """A look at the clock is no figure here."""


def measure(count: int = 1000) -> list[Row]:
    """The figures, on a Dovecot of their own."""
    os.environ["BENCH_PASSWORD"] = PASSWORD
    with DovecotServer() as server:
        return [*_bytes(server, max(50, count // 5)), *_speed(server, count)]


def _bytes(server: DovecotServer, count: int) -> Iterator[Row]:
    """All that comes after the login: EXAMINE, the survey, and the mails."""
    server.append_many("heavy", "INBOX", (mail for mail, _ in heavy(count)))
    needed = sum(size for _, size in heavy(count)) / count
    whole = sum(len(mail) for mail, _ in heavy(count)) / count
    counted = Counted()
    source = ImapSource(_account(server, "heavy"), watch=counted)
    key = source.examine("INBOX").key
    read = sum(isinstance(each, Message) for each in source.fetch(key, list(range(1, count + 1))))
    source.close()
    assert read == count
    yield Row("bytes read a mail, 300 KB attached; floor: headers + text", counted.size / count, "B", needed)
    yield Row("… against the whole mail", counted.size / count, "B", whole)


def heavy(count: int) -> Iterator[tuple[bytes, int]]:
    """Mails with an attachment of 300 KB, and how many of their bytes are headers and text."""
    blob = base64.encodebytes(Random(1).randbytes(ATTACHMENT)).replace(b"\n", b"\r\n")
    for mail in mails.large(count):
        text, attachment, rest = mail.partition(b"Content-Disposition: attachment")
        names, gap, _ = rest.partition(b"\r\n\r\n")
        yield text + attachment + names + gap + blob + b"--=-b--\r\n", len(text)


def _speed(server: DovecotServer, count: int) -> Iterator[Row]:
    server.append_many("quick", "INBOX", mails.large(count))
    ways: dict[str, Callable[[], int]] = {
        "ours": lambda: _fetched(server, "quick", count),
        "bare": lambda: _fetched_bare(server, "quick", count),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, work in ways.items():
            began = time.perf_counter()
            assert work() == count
            if turn:  # the first warms the server's indexes
                taken[name].append(count / (time.perf_counter() - began))
    bare = median(taken["bare"])
    yield Row("bare imapclient, the same items", bare, "mails/s")
    yield Row("fetch and text", median(taken["ours"]), "mails/s", bare)


def _fetched(server: DovecotServer, user: str, count: int) -> int:
    source = ImapSource(_account(server, user))
    found = source.fetch(source.examine("INBOX").key, list(range(1, count + 1)))
    read = sum(isinstance(each, Message) and bool(each.content.body) for each in found)
    source.close()
    return read


def _fetched_bare(server: DovecotServer, user: str, count: int) -> int:
    read = 0
    with IMAPClient(server.host, server.port, ssl=False) as client:
        client.login(user, PASSWORD)
        client._imap.debug = 0
        client.select_folder("INBOX", readonly=True)
        for first in range(1, count + 1, BATCH):
            uids = list(range(first, min(first + BATCH, count + 1)))
            client.fetch(uids, ["RFC822.SIZE", "INTERNALDATE", "FLAGS", "BODYSTRUCTURE", HEADERS])
            read += len(client.fetch(uids, ["BODY.PEEK[1]<0.16000>"]))
    return read


def _account(server: DovecotServer, user: str) -> ImapAccount:
    return ImapAccount(server.host, user, port=server.port, security="none", password_env="BENCH_PASSWORD")


if __name__ == "__main__":
    print(table(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)))
