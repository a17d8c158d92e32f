"""Which UIDs there are: the answers to SEARCH and FETCH, in every form that servers give them.

imapclient reads one untagged SEARCH line and nothing else. Servers also answer in several lines, with a MODSEQ at
the end (RFC 7162 §3.1.5), or with ESEARCH although nobody asked for it (RFC 9051 §7.3.4 makes that the only form).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from backfill.mail.wire import Client, Record

#: RFC 9051 §9: nz-number. What lies outside names no mail.
HIGHEST_UID: Final = 2**32 - 1

#: Of one range. A window holds 5,000 mails; a range that is longer names UIDs without mails.
_LONGEST_RANGE = 1_000_000

_ALL = re.compile(rb"\bALL ([\d:,]+)", re.IGNORECASE)
_UID = re.compile(rb"\bUID (\d+)", re.IGNORECASE)
_NUMBER = re.compile(rb"\d+")


def search(client: Client, criteria: str) -> set[int]:
    """The UIDs that UID SEARCH finds in the open folder. Raises what imapclient raises.

    `criteria` goes to the server as it is written. A server that says OK and lists nothing has found nothing: the
    caller compares with EXISTS, since some say so of a folder that is full.
    """
    imap = client.wire
    for kind in ("SEARCH", "ESEARCH"):
        imap.untagged_responses.pop(kind, None)  # an answer that came too late belongs to no command of ours
    status, said = client._raw_command(b"SEARCH", [criteria.encode("ascii")])
    client._checkok("SEARCH", status, said)
    lines = {kind: imap.untagged_responses.pop(kind, []) for kind in ("SEARCH", "ESEARCH")}
    return {uid for kind in lines for uid in read_answers(kind, lines[kind]) if 0 < uid <= HIGHEST_UID}


def listed(client: Client, ids: str, *, uid: bool) -> set[int]:
    """The UIDs that FETCH (UID) lists for these ids of the open folder: UIDs, or positions where `uid` is False.

    imapclient would read the answer for ids that it is told one by one only.
    """
    imap = client.wire
    imap.untagged_responses.pop("FETCH", None)
    status, said = imap.uid("FETCH", ids, "(UID)") if uid else imap.fetch(ids, "(UID)")
    client._checkok("FETCH", status, said)
    lines = [line for line in said if isinstance(line, bytes)]
    return {number for line in lines for number in map(int, _UID.findall(line)) if 0 < number <= HIGHEST_UID}


def read_answers(kind: str, lines: Iterable[Record]) -> Iterator[int]:
    """The numbers in the untagged lines of this kind, as imaplib keeps them: without `* SEARCH`. Pure."""
    for line in lines:
        if not isinstance(line, bytes):
            continue
        if kind == "ESEARCH":
            for named in _ALL.findall(line):
                yield from _members(named)
        else:
            yield from map(int, _NUMBER.findall(line.partition(b"(")[0]))


def _members(sequence_set: bytes) -> Iterator[int]:
    """RFC 9051 §9: sequence-set; a range may be written downwards. An endless range is cut, for memory's sake."""
    for piece in sequence_set.split(b","):
        first, _, last = piece.partition(b":")
        low, high = sorted((int(first or 0), int(last or first or 0)))
        yield from range(low, min(high, low + _LONGEST_RANGE) + 1)
