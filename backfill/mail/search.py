"""Which UIDs there are, by SEARCH and FETCH, in all forms that servers answer in.

imapclient reads only one untagged SEARCH line. Servers also answer in several lines, with a MODSEQ at the end
(RFC 7162 §3.1.5), or with an unasked ESEARCH (the only form in RFC 9051 §7.3.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from backfill.mail.client import Client, Record
from backfill.mail.wire import ReplyTooLarge
from backfill.message import HIGHEST_UID

#: UIDs read of one range. A window holds about 5,000 mails; a longer range names UIDs without mails.
_MOST = 1_000_000

_ALL = re.compile(rb"\bALL ([\d:,]+)", re.IGNORECASE)
_UID = re.compile(rb"\bUID (\d+)", re.IGNORECASE)
_NUMBER = re.compile(rb"\d+")


def search(client: Client, criteria: str) -> set[int]:
    """The UIDs that UID SEARCH finds in the open folder. Raises what imapclient raises.

    `criteria` is sent unchanged. OK without a list counts as nothing found. Some servers answer so in a folder with
    mails; the caller compares with EXISTS.
    """
    imap = client.wire
    for kind in ("SEARCH", "ESEARCH"):
        imap.untagged_responses.pop(kind, None)  # drop a late answer to an earlier command
    status, said = client._raw_command(b"SEARCH", [criteria.encode("ascii")])
    client._checkok("SEARCH", status, said)
    lines = {kind: imap.untagged_responses.pop(kind, []) for kind in ("SEARCH", "ESEARCH")}
    return {uid for kind in lines for uid in read_answers(kind, lines[kind]) if 0 < uid <= HIGHEST_UID}


def listed(client: Client, ids: str, *, uid: bool) -> set[int]:
    """The UIDs that FETCH (UID) lists in the open folder. `ids`: a set of UIDs, or of positions if `uid` is False."""
    imap = client.wire
    imap.untagged_responses.pop("FETCH", None)
    status, said = imap.uid("FETCH", ids, "(UID)") if uid else imap.fetch(ids, "(UID)")
    client._checkok("FETCH", status, said)
    lines = [line for line in said if isinstance(line, bytes)]
    return {number for line in lines for number in map(int, _UID.findall(line)) if 0 < number <= HIGHEST_UID}


def read_answers(kind: str, lines: Iterable[Record]) -> Iterator[int]:
    """The numbers in untagged lines of this kind. imaplib keeps the lines without `* SEARCH`. Pure."""
    for line in lines:
        if not isinstance(line, bytes):
            continue
        if kind == "ESEARCH":
            for named in _ALL.findall(line):
                yield from _members(named)
        else:
            yield from map(int, _NUMBER.findall(line.partition(b"(")[0]))


def _members(sequence_set: bytes) -> Iterator[int]:
    """The members of a sequence-set (RFC 9051 §9). A range may run downwards.

    Raises `ReplyTooLarge` before it names more than `_MOST` numbers: a short line may stand for billions.
    """
    named = 0
    for piece in sequence_set.split(b","):
        first, _, last = piece.partition(b":")
        low, high = sorted((int(first or 0), int(last or first or 0)))
        named += high - low + 1
        if named > _MOST:
            raise ReplyTooLarge(f"SEARCH: a set of more than {_MOST} numbers")
        yield from range(low, high + 1)
