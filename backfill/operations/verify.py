"""Proves that nothing is lost: compares the ledger with itself, and with what the server says now.

Whether the server has a mail is asked by its UID alone. Whether the ledger should have it is asked by the job's
selection. Criteria about flags, such as keywords or UNSEEN, are not asked again: our own STOREs and the user change
what they match after planning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Final

from backfill.clock import StopRequest
from backfill.errors import EffectUnavailable, FolderUnusable, MailThrottled, ServerUnavailable
from backfill.ledger import Ledger
from backfill.ledger.reads.audit import Difference, DifferenceKind
from backfill.ledger.rows import Job, PlanRange
from backfill.lifecycle import OPEN, ItemStatus, JobState
from backfill.message import MailboxKey
from backfill.operations.lost import Outdated, lost_outputs, outdated
from backfill.operations.parts import Audience, Parts, locked
from backfill.operations.request import insist_on_account, known_job
from backfill.ports import Lost, MailboxState, MailSource, UidWindow
from backfill.report.lines import superseded
from backfill.selection import Selection
from backfill.summary import Summary
from backfill.wording import counted

#: How many mails are compared at a time.
WINDOW: Final = 5_000

#: Search keys about flags (RFC 9051 §6.4.4): what they matched at plan time says nothing about now.
CHANGING: Final = re.compile(
    r"\b(UN)?(KEYWORD|SEEN|ANSWERED|FLAGGED|DELETED|DRAFT)\b|\b(RECENT|NEW|OLD|X-GM-LABELS|X-GM-RAW|MODSEQ)\b", re.I
)
#: A quoted string (RFC 9051 §4.3) is what is searched for, not a search key.
QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')

NOT_COMPARED: Final = (
    "The criteria {search} match other mail now than when the job was planned. So this check could not look for mail "
    "that planning missed."
)
EDITED: Final = "{files} with other words than ours, or not readable: edited since, and left alone."
SUPERSEDED: Final = (
    "Superseded: {mails}. The newer job's verdict counts for these mails, so this job's outputs are not compared there."
)
UNDONE: Final = (
    "This job was undone, so no run goes on with it. Its mails are not compared with the server; the ledger is "
    "compared with itself."
)
NOT_FINISHED: Final = "Stopped early ({reason}): what follows has not been compared."


class Finding(StrEnum):
    """How ledger and server can differ."""

    NOT_PLANNED = "not_planned"  # a selected mail is on the server and not in the ledger
    GONE = "gone"  # a mail that is pending or classified in the ledger is not on the server
    BACK = "back"  # a mail that is vanished in the ledger is on the server
    EPOCH = "epoch"  # the folder has another UIDVALIDITY
    FOLDER_GONE = "folder_gone"  # the folder is planned, and the server does not have it
    FOLDER_CLOSED = "folder_closed"  # the folder is planned, and the server has it and does not open or search it
    HIDDEN = "hidden"  # the server counts more mails in the folder than it lists
    ANALYTICS = "analytics"  # analytics.jsonl does not hold what the ledger says
    UNMARKED = "unmarked"  # an output is not there although its receipt names it: a keyword, a note
    OUTDATED = "outdated"  # today's settings derive something else from the verdict
    UNPLANNED = "unplanned"  # the folder is selected and not, or not wholly, planned


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found. `notes` say what could not be compared; `is_complete` is False after a stop request."""

    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()
    is_complete: bool = True


SENTENCES: Final = {
    Finding.NOT_PLANNED: "{folder}, UID {uid} is on the server and selected, but not in the ledger.",
    Finding.GONE: "{folder}, UID {uid} is waiting in the ledger, but no longer on the server.",
    Finding.BACK: "{folder}, UID {uid} counts as vanished, but is on the server.",
    Finding.EPOCH: "{folder} has another UIDVALIDITY than when it was planned; the next run plans it anew.",
    Finding.FOLDER_GONE: "{folder} is no longer on the server; {mails} of its mails are in the ledger. Where it was "
    "renamed or deleted for good, `backfill cancel` this job and plan anew.",
    Finding.FOLDER_CLOSED: "{folder} cannot be opened or searched; {mails} of its mails are in the ledger and wait "
    "until it can.",
    Finding.HIDDEN: "{folder} holds {mails} mails more than the server lists: mails that it hides cannot be processed.",
    Finding.UNMARKED: "{folder}, UID {uid} is done, but has lost {what}.",
    Finding.OUTDATED: "{folder}, UID {uid} follows other settings than today's ({what}); `backfill apply` mends it.",
    Finding.UNPLANNED: "{folder} is selected, but not fully planned; the next run plans the rest.",
}


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` found. `is_repaired`: what can be repaired was repaired. `is_complete`: no stop request came."""

    job: Job
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]  # what could not be compared, for people
    is_repaired: bool
    is_complete: bool
    summary: Summary


def verify(parts: Parts, audience: Audience, job_id: int | None, *, repair: bool) -> Verified:
    """Compare a job with itself and with the server; without a number, the job of the latest run.

    `repair`: repair what can be repaired, unless a stop was requested; takes the ledger's lock.
    """
    ledger = parts.ledger
    with locked(ledger) if repair else nullcontext():
        job = known_job(ledger, job_id)
        insist_on_account(parts.account, job)
        parts.go_by(job)
        effects = () if has_no_outputs(job) else parts.effect_names
        within = ledger.audit.differences(job.id, effects)
        verification = Verification(ledger, parts.source, audience.stop)
        outside = verification.compare(job)
        closed = {each.folder for each in outside.differences if each.kind is Finding.FOLDER_CLOSED}
        with closing(Made(parts, job)) as made:
            lost = lost_outputs(ledger, made.effects, job, closed, audience.stop)
            stale = [] if is_undone(job) else list(outdated(ledger, made.effects, parts.rubric, job))
        is_repaired = repair and outside.is_complete and not audience.stop.is_set()
        if is_repaired:
            ledger.audit.repair(job.id)
            if any(each.kind is DifferenceKind.NO_RECEIPT for each in within):
                ledger.receipts.reapply(job.id, effects)
            ledger.receipts.doubt([each.standing for each in lost if not each.lost.is_edited])
            verification.repair(job, outside.differences)
        files = _of_analytics(parts, job, is_repaired=is_repaired)
        outputs = [
            *(_of_lost(each.lost) for each in lost if not each.lost.is_edited),
            *(_of_old(each) for each in stale),
        ]
        figures, notes = ledger.report.summary(job), outside.notes
        if edited := sum(each.lost.is_edited for each in lost):
            notes = (*notes, EDITED.format(files=counted(edited, "note")))
        if figures.superseded:
            notes = (*notes, SUPERSEDED.format(mails=superseded(figures)))
        return Verified(
            job, (*within, *outside.differences, *outputs, *files), notes, is_repaired, outside.is_complete, figures
        )


def is_undone(job: Job) -> bool:
    """Was it taken back? Then no difference from the server is to be repaired: no run goes on with it."""
    return job.state is JobState.UNDONE


def has_no_outputs(job: Job) -> bool:
    """Is nothing of this job to stand on the mails?"""
    return job.dry_run or is_undone(job)


class Made:
    """A job's outputs, for as long as they are looked at; none for a dry run and for an undone job."""

    def __init__(self, parts: Parts, job: Job) -> None:
        self.effects = () if has_no_outputs(job) else parts.effects()

    def close(self) -> None:
        for effect in self.effects:
            effect.close()


def _of_lost(lost: Lost) -> Difference:
    folder, uid = lost.ref.mailbox.folder, lost.ref.uid
    kind = Finding.UNMARKED
    return Difference(kind, folder, uid, SENTENCES[kind].format(folder=folder, uid=uid, what=lost.what))


def _of_old(old: Outdated) -> Difference:
    folder, uid = old.ref.mailbox.folder, old.ref.uid
    kind, what = Finding.OUTDATED, ", ".join(old.outputs) or "its label"
    return Difference(kind, folder, uid, SENTENCES[kind].format(folder=folder, uid=uid, what=what))


def _of_analytics(parts: Parts, job: Job, *, is_repaired: bool) -> tuple[Difference, ...]:
    """What is wrong with analytics.jsonl; () while a run is at work, since that adds lines all the time.

    `is_repaired`: the file is also brought up to date. An edited file is left alone; its sentence says what to do.
    """
    analytics = None if job.dry_run or parts.ledger.status.is_at_work(job.id) else parts.analytics()
    sentence = None if analytics is None else analytics.difference()
    if analytics is None or sentence is None:
        return ()
    if is_repaired:
        with suppress(EffectUnavailable):
            analytics.catch_up()
    return (Difference(Finding.ANALYTICS, "", None, sentence),)


@dataclass(frozen=True, slots=True)
class Verification:
    """Compares a job with the server. Reads only, but for `repair`."""

    ledger: Ledger
    source: MailSource
    stop: StopRequest

    def compare(self, job: Job) -> Comparison:
        """What differs, folder by folder; ends early at a stop request. Raises what the source raises."""
        if is_undone(job):
            return Comparison((), (UNDONE,))
        keys = self.ledger.plans.mailbox_keys(job.id)
        still_open = self.ledger.plans.open_mailboxes(job.id)
        windows = [window for window in self.ledger.plans.ranges(job.id) if window.mailbox_id in keys]
        found = list(
            self._unplanned(job, {keys[w.mailbox_id].folder: w for w in windows if w.mailbox_id in still_open})
        )
        for window in windows:
            is_open = window.mailbox_id in still_open
            found += self._of_folder(job, keys[window.mailbox_id], window, is_open=is_open)
        notes = [NOT_COMPARED.format(search=job.selection.search)] if is_changing(job.selection) else []
        if self.stop.is_set():
            notes.append(NOT_FINISHED.format(reason=self.stop.reason))
        return Comparison(tuple(found), tuple(notes), is_complete=not self.stop.is_set())

    def _unplanned(self, job: Job, windows: dict[str, PlanRange]) -> Iterator[Difference]:
        for folder in job.selection.folders:
            window = windows.get(folder)
            if window is None or not window.is_planned:
                mailbox_id = None if window is None else window.mailbox_id
                yield difference(Finding.UNPLANNED, mailbox_id, folder, None)

    def _of_folder(self, job: Job, key: MailboxKey, window: PlanRange, *, is_open: bool) -> Iterator[Difference]:
        """What differs in one folder. A folder that the server cannot search does not keep it from the others."""
        try:
            yield from self._of_mailbox(job, key, window, is_open=is_open)
        except MailThrottled:
            raise
        except (FolderUnusable, ServerUnavailable):
            self.source.list_folders()  # raises in an outage, which is not this folder's trouble
            yield difference(Finding.FOLDER_CLOSED, window.mailbox_id, key.folder, None, window.planned)

    def _of_mailbox(self, job: Job, key: MailboxKey, window: PlanRange, *, is_open: bool) -> Iterator[Difference]:
        if self.stop.is_set():
            return
        state: MailboxState | None = None
        try:
            state = self.source.examine(key.folder)
            changed = None if state.key == key else Finding.EPOCH
        except FolderUnusable:
            is_listed = key.folder in {folder.name for folder in self.source.list_folders()}
            changed = Finding.FOLDER_CLOSED if is_listed else Finding.FOLDER_GONE
        if state is None or changed is not None:
            if is_open and changed is not None:  # a closed epoch is known, and its mails have their final status
                yield difference(changed, window.mailbox_id, key.folder, None, window.planned)
            return
        listed = 0
        for piece in self._pieces(job, key, window, state.uid_next - 1):
            if self.stop.is_set():
                return
            there = self._survey(key, piece, Selection(folders=(key.folder,)))
            listed += len(there)
            if piece.low >= window.next_uid:
                continue  # newer than the plan
            held = self.ledger.items.statuses(job.id, window.mailbox_id, piece.low, piece.high)
            unknown = there - held.keys()
            if unknown:
                unknown &= self._selected(job.selection, key, piece)
            kinds = {
                Finding.NOT_PLANNED: unknown,
                Finding.GONE: {uid for uid, status in held.items() if status in OPEN} - there,
                Finding.BACK: {uid for uid, status in held.items() if status is ItemStatus.VANISHED} & there,
            }
            for kind, uids in kinds.items():
                for uid in sorted(uids):
                    yield difference(kind, window.mailbox_id, key.folder, uid)
        if listed < state.exists:  # EXISTS is asked again: mail may have been expunged meanwhile
            hidden = min(state.exists, self.source.examine(key.folder).exists) - listed
            if hidden > 0:
                yield difference(Finding.HIDDEN, window.mailbox_id, key.folder, None, hidden)

    def _pieces(self, job: Job, key: MailboxKey, window: PlanRange, high: int) -> Iterator[UidWindow]:
        """The folder's UIDs in pieces with at most about `WINDOW` mails, both on the server and in the ledger."""
        planned = window.next_uid - 1
        cuts = {planned, *self.ledger.audit.every_nth_uid(job.id, window.mailbox_id, WINDOW)}
        for piece in self.source.windows(key, 1, max(high, planned)):
            inside = sorted(cut for cut in cuts if piece.low <= cut < piece.high)
            if not inside:
                yield piece
                continue
            for low, last in pairwise([piece.low - 1, *inside, piece.high]):
                yield UidWindow(low + 1, last)

    def _selected(self, selection: Selection, key: MailboxKey, piece: UidWindow) -> set[int]:
        if is_changing(selection):
            return set()
        return self._survey(key, piece, replace(selection, force_reprocess=True))  # the ledger has skipped mail, too

    def _survey(self, key: MailboxKey, piece: UidWindow, selection: Selection) -> set[int]:
        return {mail.uid for mail in self.source.survey(key, piece, selection)}

    def repair(self, job: Job, differences: Sequence[Difference]) -> None:
        """Let the next run plan missed mail and take up mail that is back. Writes.

        For mail that is gone nothing is done: the next run finds that out and records it as vanished.
        """
        back: dict[int, list[int]] = {}
        for each in differences:
            if each.kind is Finding.BACK and each.mailbox_id is not None and each.uid is not None:
                back.setdefault(each.mailbox_id, []).append(each.uid)
        for mailbox_id, uids in back.items():
            self.ledger.items.revive(job.id, mailbox_id, uids)
        if any(each.kind is Finding.NOT_PLANNED for each in differences):
            self.ledger.plans.plan_again(job.id)


def is_changing(selection: Selection) -> bool:
    """Does the selection name flags, so that it means other mail now than when it was planned?"""
    return selection.search is not None and CHANGING.search(QUOTED.sub('""', selection.search)) is not None


def difference(kind: Finding, mailbox_id: int | None, folder: str, uid: int | None, mails: int = 0) -> Difference:
    """With its sentence."""
    sentence = SENTENCES[kind].format(folder=folder, uid=uid, mails=f"{mails:,}")
    return Difference(kind, folder, uid, sentence, mailbox_id)
