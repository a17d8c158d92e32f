"""Fills the ledger with the mails of a job, folder by folder, window by window.

"All historical mail" is what the folder holds when it is planned: its highest UID is frozen then. One transaction
inserts a window's mails and moves the plan past the window. So planning goes on where it was interrupted, and planning
again finds only mail that has come since.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loguru import logger

from backfill.clock import StopRequest
from backfill.errors import (
    BackfillError,
    FolderUnusable,
    MailboxChanged,
    MailThrottled,
    ServerTroubled,
    ServerUnavailable,
)
from backfill.ledger import Ledger
from backfill.ledger.rows import Job, PlanRange
from backfill.lifecycle import JobState
from backfill.ports import MailboxState, MailSource, UidWindow
from backfill.selection import Selection


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A folder that could not be planned or worked on this time, with the reason, for people."""

    folder: str
    reason: str


@dataclass(frozen=True, slots=True)
class Planned:
    """What one planning found. `is_complete` is False while any folder of the job is not fully planned."""

    new_mails: int
    folders: int
    is_complete: bool
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans jobs from a mail source."""

    ledger: Ledger
    source: MailSource
    stop: StopRequest
    tell: Callable[[str, int], None] = lambda folder, found: None  # after each window, for progress

    def plan(self, job: Job) -> Planned:
        """Extend the plan to what the folders hold now. Writes; resumes an interrupted planning.

        A folder that cannot be planned is left out, with the reason; the others are planned. Where no folder can be
        planned, raises the first folder's error. Also raises `CredentialsRefused`, `ConfigError`, `MailThrottled` and
        what the ledger raises. What is planned stays planned.
        """
        new, was_away = 0, False
        errors: dict[str, BackfillError] = {}
        for folder in job.selection.folders:
            try:
                try:
                    new += self._plan_folder(job, folder)
                except MailboxChanged:  # the folder was made anew since it was opened
                    new += self._plan_folder(job, folder)
                was_away = False
            except FolderUnusable as error:
                errors[folder], was_away = error, False
            except ServerUnavailable as error:
                # One folder alone may make the server fail. Two in a row are an outage.
                if was_away or isinstance(error, MailThrottled):
                    raise
                errors[folder], was_away = error, True
            except BackfillError:
                raise
            except Exception as error:  # noqa: BLE001 - the edge around one folder: the others are planned
                logger.opt(exception=error).error("an unexpected error occurred with the folder {!r}", folder)
                errors[folder] = FolderUnusable(f"an unexpected error ({type(error).__name__}); the log has its trace")
            if self.stop.is_set():
                break
        folders = job.selection.folders
        if len(errors) == len(folders):
            raise next(iter(errors.values()))
        left_out = tuple(LeftOut(folder, str(error)) for folder, error in errors.items())
        for left in left_out:
            logger.warning("{!r} is left out this time: {}", left.folder, left.reason)
        if self.stop.is_set():
            return Planned(new, len(folders), is_complete=False, left_out=left_out)
        is_complete = self.ledger.jobs.settle(job.id) is not JobState.PLANNING
        return Planned(new, len(folders), is_complete, left_out)

    def _plan_folder(self, job: Job, folder: str) -> int:
        """Plan one folder; returns how many mails were new."""
        state = self.source.examine(folder)
        mailbox_id = self.ledger.plans.open_mailbox(state.key)
        window = self.ledger.plans.freeze(job.id, mailbox_id, state.uid_next - 1)
        new, planned = self._plan_mailbox(state, job.selection, window)
        if is_whole(job.selection) and planned.is_planned and planned.planned < state.exists:
            self._compare(state, planned)
        return new

    def _compare(self, state: MailboxState, planned: PlanRange) -> None:
        """Warn where the server lists fewer mails than it counts, as Yahoo, AOL and Gmail may be set to do.

        Raises `FolderUnusable` where the server lists no mail of a folder that is not empty.
        """
        exists = min(state.exists, self.source.examine(state.key.folder).exists)  # mail may have been expunged
        if exists and not planned.planned:
            raise _nothing_listed(state.key.folder, exists)
        if planned.planned < exists:
            logger.warning(
                "{!r} holds {} mails and the server lists {} of them: the mails that it hides cannot be processed",
                state.key.folder,
                exists,
                planned.planned,
            )

    def _plan_mailbox(self, state: MailboxState, selection: Selection, window: PlanRange) -> tuple[int, PlanRange]:
        """Plan one mailbox; returns how many mails were new, and how far the mailbox is planned.

        Another process may plan the same mailbox: after each window the ledger says where to go on.
        """
        new, mailbox = 0, state.key
        pieces: list[UidWindow] = []
        while not window.is_planned and not self.stop.is_set():
            if not pieces or pieces[-1].high < window.next_uid:  # or another process has seen newer mail
                pieces = self.source.windows(mailbox, window.next_uid, window.high_uid)
            piece = next(piece for piece in pieces if piece.high >= window.next_uid)
            if piece.low != window.next_uid:  # another process has planned a part of this piece
                piece = UidWindow(window.next_uid, piece.high)
            mails = self.source.survey(mailbox, piece, selection)
            if piece.mails and not mails and is_whole(selection):  # were they expunged, or does the server hide them?
                exists = self.source.examine(mailbox.folder).exists
                if exists > state.exists - piece.mails:
                    raise _nothing_listed(mailbox.folder, exists)
            inserted = self.ledger.plans.plan_window(window, piece.high, mails)
            new += inserted
            self.tell(mailbox.folder, inserted)
            before, window = window, self.ledger.plans.freeze(window.job_id, window.mailbox_id, window.high_uid)
            if window.next_uid == before.next_uid:
                break  # another process has closed the epoch, and plans the new one
        return new, window

    def has_newer_mail(self, job: Job) -> bool:
        """Do the job's folders hold unplanned mail, or have a new UIDVALIDITY? Asks the server; writes nothing.

        True for a job that is not fully planned. A folder that does not open is passed over, with a warning.
        """
        if job.state is JobState.PLANNING:
            return True
        known = {
            key: window.high_uid
            for window in self.ledger.plans.ranges(job.id)
            for number, key in self.ledger.plans.mailbox_keys(job.id).items()
            if number == window.mailbox_id
        }
        is_newer = False
        for folder in job.selection.folders:
            try:
                state = self.source.examine(folder)
            except (FolderUnusable, ServerTroubled) as error:
                logger.warning("{!r} was not checked for newer mail: {}", folder, error)
                continue
            except MailThrottled:
                raise
            except ServerUnavailable:
                return True  # planning tells one folder's trouble from an outage
            is_newer = is_newer or state.uid_next - 1 > known.get(state.key, -1)
        return is_newer


def is_whole(selection: Selection) -> bool:
    """Does the selection take every mail of its folders?"""
    return not (selection.search or selection.start_date or selection.end_date)


def _nothing_listed(folder: str, exists: int) -> FolderUnusable:
    return FolderUnusable(
        f"The mail server says that {folder!r} holds {exists} mails, but lists none of them, so none can be processed. "
        "Ask the server's operator; `backfill verify` compares again."
    )
