"""Nothing is lost, and it can be proved: the ledger against itself, and against what the server says now.

The server is asked for the UIDs that the job's selection names, in the range that was planned. Criteria that our own
STOREs or the user change, such as keywords or UNSEEN, were true at plan time and are not asked again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from backfill.ledger import Ledger
from backfill.ledger.rows import Job, PlanRange
from backfill.lifecycle import OPEN, ItemStatus
from backfill.message import MailboxKey
from backfill.planner import WINDOW
from backfill.ports import MailSource

#: Search keys about flags (RFC 9051 §6.4.4): what they matched at plan time says nothing about now.
CHANGING: Final = re.compile(
    r"\b(UN)?(KEYWORD|SEEN|ANSWERED|FLAGGED|DELETED|DRAFT)\b|\b(RECENT|NEW|OLD|X-GM-LABELS|X-GM-RAW|MODSEQ)\b", re.I
)


class Finding(StrEnum):
    """How ledger and server can differ."""

    NOT_PLANNED = "not_planned"  # the server has it, the selection names it, the ledger does not know it
    GONE = "gone"  # the ledger means to work on it, the server does not have it
    BACK = "back"  # it counts as vanished, and the server has it
    EPOCH = "epoch"  # the folder has another UIDVALIDITY


@dataclass(frozen=True, slots=True)
class ServerDifference:
    """One difference, said for people. `uid` is None when it concerns the folder as a whole."""

    kind: Finding
    mailbox_id: int
    folder: str
    uid: int | None
    sentence: str


SENTENCES: Final = {
    Finding.NOT_PLANNED: "{folder}, UID {uid} is on the server and selected, but not in the ledger.",
    Finding.GONE: "{folder}, UID {uid} is waiting in the ledger, but no longer on the server.",
    Finding.BACK: "{folder}, UID {uid} counts as vanished, but is on the server.",
    Finding.EPOCH: "{folder} has another UIDVALIDITY than when it was planned; the next run plans it anew.",
}


@dataclass(frozen=True, slots=True)
class Verification:
    """Compares a job with the server. Reads only, but for `repair`."""

    ledger: Ledger
    source: MailSource

    def differences(self, job: Job) -> list[ServerDifference]:
        """What differs, folder by folder. Raises what the mail source raises."""
        keys = self.ledger.jobs.mailbox_keys(job.id)
        found: list[ServerDifference] = []
        for window in self.ledger.jobs.ranges(job.id):
            found += self._of_mailbox(job, keys[window.mailbox_id], window)
        return found

    def _of_mailbox(self, job: Job, key: MailboxKey, window: PlanRange) -> Iterator[ServerDifference]:
        if self.source.examine(key.folder).key != key:
            open_items = self.ledger.holdings.statuses(job.id, window.mailbox_id, 1, window.next_uid - 1)
            if any(status in OPEN for status in open_items.values()):
                yield _difference(Finding.EPOCH, window.mailbox_id, key.folder, None)
            return
        selection = replace(job.selection, force_reprocess=True)  # who was skipped for a keyword is in the ledger
        is_changing = selection.search is not None and CHANGING.search(selection.search) is not None
        if is_changing:
            selection = replace(selection, search=None)
        for low in range(1, window.next_uid, WINDOW):
            high = min(low + WINDOW, window.next_uid) - 1
            there = {mail.uid for mail in self.source.survey(key, low, high, selection)}
            held = self.ledger.holdings.statuses(job.id, window.mailbox_id, low, high)
            kinds = {
                Finding.NOT_PLANNED: set() if is_changing else there - held.keys(),
                Finding.GONE: {uid for uid, status in held.items() if status in OPEN} - there,
                Finding.BACK: {uid for uid, status in held.items() if status is ItemStatus.VANISHED} & there,
            }
            for kind, uids in kinds.items():
                for uid in sorted(uids):
                    yield _difference(kind, window.mailbox_id, key.folder, uid)

    def repair(self, job: Job, differences: Sequence[ServerDifference]) -> None:
        """Have the next run plan what was missed and take up what is back; what is gone vanishes by itself. Writes."""
        back: dict[int, list[int]] = {}
        for difference in differences:
            if difference.kind is Finding.BACK and difference.uid is not None:
                back.setdefault(difference.mailbox_id, []).append(difference.uid)
        for mailbox_id, uids in back.items():
            self.ledger.holdings.revive(job.id, mailbox_id, uids)
        if any(difference.kind is Finding.NOT_PLANNED for difference in differences):
            self.ledger.holdings.plan_again(job.id)


def _difference(kind: Finding, mailbox_id: int, folder: str, uid: int | None) -> ServerDifference:
    return ServerDifference(kind, mailbox_id, folder, uid, SENTENCES[kind].format(folder=folder, uid=uid))
