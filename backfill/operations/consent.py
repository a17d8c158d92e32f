"""The question and the warning before a job's first call that costs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from backfill.clock import StopRequest
from backfill.errors import Declined, FolderUnusable, ServerUnavailable
from backfill.ledger import Ledger
from backfill.ledger.rows import Job
from backfill.limits import RunLimits
from backfill.operations.parts import Audience, Parts
from backfill.operations.plan import forecast
from backfill.ports import MailSource
from backfill.selection import Selection

PROCESSED_ELSEWHERE: Final = (
    "The server has the keyword of processed mail on {mails} already, but the ledger {ledger} has processed none. If "
    "another ledger has, its verdicts are paid for: name it in paths.ledger_url. --no-force-reprocess leaves such mail "
    "out."
)


def ask_consent(
    parts: Parts, audience: Audience, job: Job, limits: RunLimits, mails: int, left_out: Collection[str] = ()
) -> None:
    """Ask once per job, before its first call that costs. Raises `Declined`.

    `mails`: how many the run works on. `left_out`: folders that could not be planned this time.
    """
    ledger, confirm = parts.ledger, audience.confirm
    begins = mails and not job.has_consent and ledger.attempts.latest(job.id) is None
    if begins and (warning := processed_elsewhere(ledger, parts.source, job, audience.stop, left_out)):
        audience.tell(warning)
    if confirm is None or not parts.classifier.is_metered or job.has_consent or not mails:
        return
    if begins:
        api, at_most = parts.api, "" if parts.api.asks_about_all else "At most "
        are = "mail is" if mails == 1 else "mails are"
        expected = forecast(parts, audience, job, limits, mails)
        if expected is not None and expected.calls == 0:
            return  # every verdict is known: nothing will be sent
        reckoned = "" if expected is None else f" {expected.sentence()}"
        question = f"{at_most}{mails} {are} to be sent to {api.model} at {api.url}, which may cost money."
        if not confirm(question + reckoned):
            raise Declined
    ledger.jobs.consent(job.id)


def processed_elsewhere(
    ledger: Ledger, source: MailSource, job: Job, stop: StopRequest, left_out: Collection[str] = ()
) -> str | None:
    """A warning where mail in the job's folders bears the processed keyword and this ledger cannot have set it.

    None where the ledger has a receipt for the account, and where the job leaves such mail out. Asks the server, but
    not about the folders that are `left_out`.
    """
    if not job.selection.force_reprocess or ledger.receipts.has_any(job.account):
        return None
    marked = 0
    for folder in [name for name in job.selection.folders if name not in left_out]:
        asked = Selection(folders=(folder,), force_reprocess=False)
        try:
            state = source.examine(folder)
            for window in source.windows(state.key, 1, state.uid_next - 1):
                if not stop.is_set():
                    found = source.survey(state.key, window, asked)
                    marked += sum(mail.skip_rule is not None for mail in found)
        except (FolderUnusable, ServerUnavailable):
            continue  # the planner has reported it, and this is only a warning
    mails = "1 mail" if marked == 1 else f"{marked:,} mails"
    return PROCESSED_ELSEWHERE.format(mails=mails, ledger=ledger.database) if marked else None
