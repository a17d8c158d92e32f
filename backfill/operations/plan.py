"""`backfill plan`: fill the ledger with the selected mail, and estimate the calls, cost and time that it will take."""

from __future__ import annotations

from dataclasses import dataclass, replace

from loguru import logger

from backfill.errors import ClassifierError
from backfill.estimates.forecast import Forecast, Forecaster
from backfill.executor import Ended
from backfill.ledger.rows import Job
from backfill.limits import GivenLimits, RunLimits, resolve_limits
from backfill.operations.foresight import Foreseen, foresee
from backfill.operations.parts import Audience, Parts
from backfill.operations.request import Decision, Intent, Request, choose
from backfill.planner import Planned, Planner
from backfill.summary import Summary


@dataclass(frozen=True, slots=True)
class Result:
    """What a command did: the job's figures, and how its run ended (None: there was nothing to run)."""

    job: Job
    intent: Intent
    planned: Planned | None
    ended: Ended | None
    summary: Summary
    forecast: Forecast | None = None  # of a plan with a classifier whose calls cost
    foreseen: tuple[Foreseen, ...] = ()  # of a dry run
    is_paced: bool = False  # `backfill pace` has set the job's pace; it holds for later runs, too


def plan(parts: Parts, audience: Audience, request: Request, given: GivenLimits) -> Result:
    """Bring the plan of the requested job up to date. The classifier is not called."""
    decision = choose(parts, audience, request)
    planned = plan_job(parts, audience, decision.job)
    limits = limits_of(parts, decision.job, given)
    expected = forecast(parts, audience, decision.job, limits, given.max_emails)
    return result_of(parts, decision, planned=planned, expected=expected)


def plan_job(parts: Parts, audience: Audience, job: Job) -> Planned:
    """Bring a job's plan up to date."""
    planned = Planner(parts.ledger, parts.source, audience.stop).plan(job)
    logger.bind(job=job.id).info("planned; new mails: {}, folders: {}", planned.new_mails, planned.folders)
    for left in planned.left_out:
        audience.tell(f"{left.folder!r} is left out this time: {left.reason}")
    if planned.new_mails:
        audience.tell(f"{planned.new_mails} new mail{'s' if planned.new_mails > 1 else ''} planned.")
    return planned


def limits_of(parts: Parts, job: Job, given: GivenLimits) -> RunLimits:
    """What a run on this job may do."""
    limits = resolve_limits(given, parts.ledger.steering.read(job.id).calls_per_minute, parts.limits)
    return limits if parts.classifier.is_metered else limits.unmetered()


def forecast(parts: Parts, audience: Audience, job: Job, limits: RunLimits, max_emails: int | None) -> Forecast | None:
    """Estimate calls, cost and time for the rest of the job, or for `max_emails` mails of it.

    None where calls cost nothing. Where the price list cannot be read, the cost is unknown; that is no error.
    """
    if not parts.classifier.is_metered:
        return None
    try:
        price = parts.price()
    except ClassifierError as error:
        audience.tell(f"The price is not known: {error}")
        price = None
    forecaster = Forecaster(parts.ledger, parts.source, parts.classifier, price, limits, parts.rubric)
    return forecaster.forecast(job, max_emails)


def result_of(
    parts: Parts,
    decision: Decision,
    *,
    planned: Planned | None = None,
    ended: Ended | None = None,
    expected: Forecast | None = None,
) -> Result:
    """What a command did, with the job's figures as they are now."""
    job = decision.job
    summary = parts.ledger.report.summary(job, parts.rubric)
    is_paced = parts.ledger.steering.read(job.id).calls_per_minute is not None
    return Result(job, decision.intent, planned, ended, summary, expected, is_paced=is_paced)


def foretold(parts: Parts, audience: Audience, result: Result) -> Result:
    """The result, for a dry run with what a real run would do."""
    return replace(result, foreseen=foresee(parts, audience, result.summary)) if result.job.dry_run else result
