"""`backfill retry`: take up what has failed, and work on that and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from backfill.limits import GivenLimits
from backfill.operations.parts import Audience, Parts, locked
from backfill.operations.plan import Result, result_of
from backfill.operations.request import Request, choose, known_job
from backfill.operations.run import work


def retry(parts: Parts, audience: Audience, job_id: int | None, reasons: Sequence[str], given: GivenLimits) -> Result:
    """Take up the failed items of a job, all or those of some reasons; without a number, of the latest run's job.

    `ended` of the result is None when nothing had failed so.
    """
    with locked(parts.ledger) as lock:
        job = known_job(parts.ledger, job_id)
        decision = choose(parts, audience, Request(job=job.id, as_planned=True), "Retrying")
        ended = work(parts, audience, decision.job, "retry", given, lock, retried=tuple(reasons))
        return result_of(parts, decision, ended=ended)
