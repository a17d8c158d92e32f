"""Fills the ledger: which mails a job is about, folder by folder, window by window.

"All historical mail" is what the folder holds when it is planned: the highest UID is frozen then. A window's mails
are inserted in the transaction that moves past it, so planning goes on where it was interrupted, and planning again
finds nothing new unless newer mail has come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from loguru import logger

from backfill.clock import StopRequest
from backfill.ledger import Ledger
from backfill.ledger.rows import Job, PlanRange
from backfill.lifecycle import JobState
from backfill.message import MailboxKey
from backfill.ports import MailboxState, MailSource
from backfill.selection import Selection

# 20,000 UIDs answer to a SEARCH with at most 220 kB, well below imaplib's limit of a million bytes a line.
WINDOW = 20_000


@dataclass(frozen=True, slots=True)
class Planned:
    """What one planning found. `is_complete` is False when it was stopped."""

    new_mails: int
    folders: int
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans jobs from a mail source."""

    ledger: Ledger
    source: MailSource
    stop: StopRequest
    tell: Callable[[str, int], None] = lambda folder, found: None  # after each window, for progress

    def plan(self, job: Job) -> Planned:
        """Bring the plan up to what the folders hold now. Writes; resumes an interrupted planning.

        Raises `FolderUnknown`, `ServerUnavailable`, `CredentialsRefused`; what is planned stays planned.
        """
        new = 0
        for folder in job.selection.folders:
            state = self.source.examine(folder)
            mailbox_id = self.ledger.jobs.open_mailbox(state.key)
            window = self.ledger.jobs.freeze(job.id, mailbox_id, state.uid_next - 1)
            found = self._plan_mailbox(job, state.key, window)
            self._compare(job.selection, state, window, found)
            new += found
            if self.stop.is_set():
                return Planned(new, len(job.selection.folders), is_complete=False)
        self.ledger.jobs.settle(job.id)
        return Planned(new, len(job.selection.folders), is_complete=True)

    def _compare(self, selection: Selection, state: MailboxState, window: PlanRange, found: int) -> None:
        """Some servers (Yahoo, AOL, Gmail when set so) list less than they have: better said than thought complete."""
        is_whole = not (selection.search or selection.start_date or selection.end_date) and window.next_uid == 1
        if is_whole and found < state.exists and not self.stop.is_set():
            logger.warning(
                "{!r} holds {} mails and the server lists {} of them: what it hides cannot be processed",
                state.key.folder,
                state.exists,
                found,
            )

    def _plan_mailbox(self, job: Job, mailbox: MailboxKey, window: PlanRange) -> int:
        new = 0
        while not window.is_planned and not self.stop.is_set():
            up_to = min(window.next_uid + WINDOW - 1, window.high_uid)
            mails = self.source.survey(mailbox, window.next_uid, up_to, job.selection)
            inserted = self.ledger.jobs.plan_window(window, up_to, mails)
            new += inserted
            self.tell(mailbox.folder, inserted)
            window = replace(window, next_uid=up_to + 1)
        return new

    def has_newer_mail(self, job: Job) -> bool:
        """Do the job's folders hold mail that is not planned, or another UIDVALIDITY? Asks the server; writes nothing.

        A job that is not fully planned always has.
        """
        if job.state is JobState.PLANNING:
            return True
        known = {
            key: window.high_uid
            for window in self.ledger.jobs.ranges(job.id)
            for number, key in self.ledger.jobs.mailbox_keys(job.id).items()
            if number == window.mailbox_id
        }
        states = [self.source.examine(folder) for folder in job.selection.folders]
        return any(state.uid_next - 1 > known.get(state.key, -1) for state in states)
