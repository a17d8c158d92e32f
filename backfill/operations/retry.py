"""`backfill retry`: take up failed items again, and work on those only."""

from __future__ import annotations

from collections.abc import Sequence

from backfill.limits import GivenLimits
from backfill.operations.parts import Audience, Parts, locked
from backfill.operations.plan import Result, foretold, result_of
from backfill.operations.request import Request, choose, known_job
from backfill.operations.run import work


def retry(parts: Parts, audience: Audience, job_id: int | None, reasons: Sequence[str], given: GivenLimits) -> Result:
    """Take up the failed items of a job; without a number, of the job of the latest run.

    `reasons`: only what failed for one of them; empty: all. `ended` of the result is None when no item matched.
    """
    with locked(parts.ledger) as lock:
        job = known_job(parts.ledger, job_id)
        decision = choose(parts, audience, Request(job=job.id, as_planned=True), "Retrying")
        ended = work(parts, audience, decision.job, "retry", given, lock, retried=tuple(reasons))
        return foretold(parts, audience, result_of(parts, decision, ended=ended))
