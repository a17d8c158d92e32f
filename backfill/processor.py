"""The programmatic API: plan, run and retry jobs from Python, as the command line does.

`BackfillProcessor` never prints, asks, configures logging, touches signals or exits; it raises typed errors. To watch
a run, pass an `observer`. To stop it, set the stop request. To be asked before money is spent, pass `confirm`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime

from backfill import settings as facade
from backfill.cleanup_parts import CleanupParts
from backfill.clock import Clock, StopRequest, SystemClock
from backfill.executor import Observer
from backfill.folders import FolderPatterns
from backfill.limits import GivenLimits
from backfill.operations.apply import Applied, apply
from backfill.operations.cleanup import Cleaned, cleanup, put_back
from backfill.operations.earlier import earlier_ledger
from backfill.operations.parts import Audience
from backfill.operations.plan import Result, plan
from backfill.operations.request import Request
from backfill.operations.retry import retry
from backfill.operations.run import run
from backfill.operations.undo import TakenBack, undo
from backfill.operations.verify import Verified, verify
from backfill.ports import Judged
from backfill.selection import DateField, Selection
from backfill.settings import Settings
from backfill.summary import Summary

__all__ = ["BackfillProcessor", "Cleaned", "GivenLimits", "Result", "TakenBack", "Verified"]


class _Silent:
    """An observer that does nothing."""

    def begins(self, total: int) -> None:
        return

    def record(
        self, *, processed: int = 0, failed: int = 0, skipped: int = 0, vanished: int = 0, reused: int = 0
    ) -> None:
        return

    def waiting(self, reason: str | None) -> None:
        return

    def limited_by(self, limit: str | None, ends_at: datetime | None = None) -> None:
        return


class BackfillProcessor:
    """Works on the mailbox of the current settings, or of those given.

    `stop`: set it from any thread to end a run early; nothing is lost. `confirm`: gets a question with its facts, and
    returns yes or no; called once per job, before its first call that costs. Without it nothing is asked. `tell`: gets
    sentences for people while a command works. `show`: gets each mail that a dry run judges, in the thread of the call.
    """

    def __init__(
        self,
        calls_per_minute: float | None = None,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        stop: StopRequest | None = None,
        observer: Observer | None = None,
        confirm: Callable[[str], bool] | None = None,
        tell: Callable[[str], None] | None = None,
        show: Callable[[Judged], None] | None = None,
    ) -> None:
        self.settings = settings or facade.get()
        self.stop = stop or StopRequest()
        self._given = GivenLimits(calls_per_minute=calls_per_minute)
        self._audience = Audience(
            clock=clock or SystemClock(),
            stop=self.stop,
            observer=observer or _Silent(),
            confirm=confirm,
            tell=tell or (lambda sentence: None),
            show=show,
        )

    def backfill_emails(
        self,
        start_date: date | None = None,
        end_date: date | None = None,
        folder: str | Sequence[str] = "INBOX",  # patterns with * and ? are taken, too
        force_reprocess: bool = True,
        dry_run: bool = False,
        max_emails: int | None = None,
        *,
        date_field: DateField = DateField.SENT,
        search: str | None = None,
        all_folders: bool = False,
        exclude: Sequence[str] = (),
    ) -> Summary:
        """Process the mail that is selected; a repeated call goes on where the last one ended.

        Returns the job's figures over all its runs, also when the stop request ended the run early. Raises a
        `BackfillError`; what was achieved until then is in the ledger.
        """
        names = (folder,) if isinstance(folder, str) else tuple(folder)
        if all_folders and names == ("INBOX",):
            names = ()  # the default folder, or INBOX, which is among all folders anyway
        selection = Selection(
            folders=names or ("INBOX",),
            start_date=start_date,
            end_date=end_date,
            date_field=date_field,
            search=search if search is not None else self.settings.imap.query,
            force_reprocess=force_reprocess,
        )
        request = Request(selection, dry_run, folders=FolderPatterns(names, all_folders, tuple(exclude)))
        return self.run(request, replace(self._given, max_emails=max_emails)).summary

    def plan(self, request: Request, given: GivenLimits | None = None) -> Result:
        """Fill the ledger with what a request selects, and estimate its calls, cost and time. No call is made."""
        with self._parts() as parts:
            return plan(parts, self._audience, request, given or self._given)

    def run(self, request: Request, given: GivenLimits | None = None) -> Result:
        """Plan where needed, then work. Holds the ledger's lock; raises `LedgerHeld` when another run has it."""
        with self._parts() as parts:
            return run(parts, self._audience, request, given or self._given)

    def retry(self, job_id: int | None = None, reasons: Sequence[str] = (), given: GivenLimits | None = None) -> Result:
        """Take up failed items again and work on those only. `reasons`: only what failed for one of them; empty: all.

        Without `job_id`: the job of the latest run. `ended` of the result is None when no item matched.
        """
        with self._parts() as parts:
            return retry(parts, self._audience, job_id, reasons, given or self._given)

    def verify(self, job_id: int | None = None, *, repair: bool = False) -> Verified:
        """Compare a job with itself and with the server. Writes only with `repair`, and then takes the ledger's lock.

        Without `job_id`: the job of the latest run. A stop request ends it early; the result says that it is not
        complete.
        """
        with self._parts() as parts:
            return verify(parts, self._audience, job_id, repair=repair)

    def cleanup(
        self, keywords: Sequence[str], selection: Selection, patterns: FolderPatterns, *, preview: bool = False
    ) -> Cleaned:
        """Remove keywords of older systems from the mails of a selection. `preview`: count them, and write nothing."""
        with self._parts() as parts:
            return cleanup(parts, self._audience, keywords, selection, patterns, preview=preview)

    def put_back(self, job_id: int, *, preview: bool = False) -> Cleaned | None:
        """Undo a cleanup: put back the keywords that it removed. None: the job is no cleanup."""
        with self._parts() as parts:
            job = parts.ledger.jobs.get(job_id)
            if job is None or not job.is_cleanup:
                return None
            return put_back(parts, self._audience, job, preview=preview)

    def apply(self, job_id: int | None = None, *, preview: bool = False) -> Applied:
        """Bring about what a job's stored verdicts derive by today's settings. No call is made, and no key is needed.

        Without `job_id`: the job of the latest run. `preview`: say what would change, and write nothing.
        """
        with self._parts() as parts:
            return apply(parts, self._audience, job_id, preview=preview)

    def undo(self, job_id: int | None = None, only: Sequence[str] = (), *, preview: bool = False) -> TakenBack:
        """Take back what a job wrote; `only`: the names of outputs; empty: all. `preview`: say it, and write nothing.

        Without `job_id`: the job of the latest run. With `confirm`, asks before it writes.
        """
        with self._parts() as parts:
            return undo(parts, self._audience, job_id, only, preview=preview)

    @contextmanager
    def _parts(self) -> Iterator[CleanupParts]:
        parts = CleanupParts(self.settings, self._audience)
        try:
            self._audience.tell(f"Ledger: {parts.ledger.database}")
            if warning := earlier_ledger(parts.ledger, self.settings.paths):
                self._audience.tell(warning)
            yield parts
        finally:
            parts.close()
