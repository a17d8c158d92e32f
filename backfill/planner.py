"""Fills the ledger: which mails a job is about, folder by folder, window by window.

"All historical mail" is what the folder holds when it is planned: the highest UID is frozen then. A window's mails
are inserted in the transaction that moves past it, so planning goes on where it was interrupted, and planning again
finds nothing new unless newer mail has come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loguru import logger

from backfill.clock import StopRequest
from backfill.ledger import Ledger
from backfill.ledger.rows import Job, PlanRange
from backfill.lifecycle import JobState
from backfill.message import MailboxKey
from backfill.ports import MailboxState, MailSource
from backfill.selection import Selection

# 5,000 UIDs answer to a SEARCH with at most 55 kB, well below imaplib's limit of a million bytes a line. Ten times as
# many save 7 % of the ledger's time (1.37 against 1.47 s for 500,000) and show in the peak of memory.
WINDOW = 5_000


@dataclass(frozen=True, slots=True)
class Planned:
    """What one planning found. `is_complete` is False while a folder is not fully planned, by whomever."""

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
            mailbox_id = self.ledger.plans.open_mailbox(state.key)
            window = self.ledger.plans.freeze(job.id, mailbox_id, state.uid_next - 1)
            found, planned = self._plan_mailbox(state.key, job.selection, window)
            self._compare(job.selection, state, window, planned)
            new += found
            if self.stop.is_set():
                return Planned(new, len(job.selection.folders), is_complete=False)
        is_complete = self.ledger.jobs.settle(job.id) is not JobState.PLANNING
        return Planned(new, len(job.selection.folders), is_complete)

    def _compare(self, selection: Selection, state: MailboxState, before: PlanRange, after: PlanRange) -> None:
        """Some servers (Yahoo, AOL, Gmail when set so) list less than they have: better said than thought complete."""
        is_whole = not (selection.search or selection.start_date or selection.end_date) and before.next_uid == 1
        if is_whole and after.is_planned and after.planned < state.exists:
            logger.warning(
                "{!r} holds {} mails and the server lists {} of them: what it hides cannot be processed",
                state.key.folder,
                state.exists,
                after.planned,
            )

    def _plan_mailbox(self, mailbox: MailboxKey, selection: Selection, window: PlanRange) -> tuple[int, PlanRange]:
        """How many mails were new, and how far the mailbox is planned.

        Another process may be planning it as well: the ledger says after each window where to go on.
        """
        new = 0
        while not window.is_planned and not self.stop.is_set():
            up_to = min(window.next_uid + WINDOW - 1, window.high_uid)
            mails = self.source.survey(mailbox, window.next_uid, up_to, selection)
            inserted = self.ledger.plans.plan_window(window, up_to, mails)
            new += inserted
            self.tell(mailbox.folder, inserted)
            before, window = window, self.ledger.plans.freeze(window.job_id, window.mailbox_id, window.high_uid)
            if window.next_uid == before.next_uid:
                break  # the epoch was closed meanwhile: whoever closed it plans the new one
        return new, window

    def has_newer_mail(self, job: Job) -> bool:
        """Do the job's folders hold mail that is not planned, or another UIDVALIDITY? Asks the server; writes nothing.

        A job that is not fully planned always has.
        """
        if job.state is JobState.PLANNING:
            return True
        known = {
            key: window.high_uid
            for window in self.ledger.plans.ranges(job.id)
            for number, key in self.ledger.plans.mailbox_keys(job.id).items()
            if number == window.mailbox_id
        }
        states = [self.source.examine(folder) for folder in job.selection.folders]
        return any(state.uid_next - 1 > known.get(state.key, -1) for state in states)
