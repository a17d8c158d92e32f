"""`backfill run`: plan where needed, then work a job off in one run.

Ports and a job in, a finished run out. Only this module makes what limits a run (throttle, budget, gates, steering),
from the `RunLimits`.
"""

from __future__ import annotations

from loguru import logger

from backfill import __version__
from backfill.errors import BackfillError, Declined, FolderUnknown, LedgerUnusable, MailboxChanged
from backfill.executor import Cap, Ended, Executor
from backfill.executor.steering import Steering
from backfill.ledger import Ledger
from backfill.ledger.locks import RunLock
from backfill.ledger.parameters import RunParameters
from backfill.ledger.rows import Job, Run, describe
from backfill.lifecycle import GIVEN_UP, JobState, RunOutcome
from backfill.limits import GivenLimits, RunLimits
from backfill.operations.calls import budget_of, day_limit
from backfill.operations.consent import ask_consent
from backfill.operations.lost import outdated
from backfill.operations.parts import Audience, Parts, locked
from backfill.operations.plan import Result, foretold, limits_of, plan_job, result_of
from backfill.operations.request import Intent, Request, choose
from backfill.planner import Planner
from backfill.ports import Effect
from backfill.report.text import render_text
from backfill.throttle.calls import Throttler
from backfill.throttle.gates import Gate, HoursGate

# A run stops when UIDVALIDITY has changed this often while it worked.
MOST_REPLANS = 5
# Thousands of mails.
LOOKED_AT = 5
# Jobs in these states are opened again when a run is to work on them.
REOPENED = GIVEN_UP | {JobState.PAUSED}


def run(parts: Parts, audience: Audience, request: Request, given: GivenLimits) -> Result:
    """Plan where needed, then work. Raises `LedgerHeld` when another command has the ledger's lock."""
    with locked(parts.ledger) as lock:
        decision = choose(parts, audience, request)
        job = decision.job
        if decision.intent is Intent.EXTEND:
            if not Planner(parts.ledger, parts.source, audience.stop).has_newer_mail(job):
                audience.tell("There is nothing new.")
                catch_up(parts, job)
                tell_of_apply(parts, audience, job)
                return foretold(parts, audience, result_of(parts, decision))
            parts.ledger.jobs.reopen(job.id)
        elif job.state in REOPENED:
            parts.ledger.jobs.reopen(job.id)
        ended = work(parts, audience, job, "run", given, lock)
        tell_of_apply(parts, audience, job)
        return foretold(parts, audience, result_of(parts, decision, ended=ended))


def work(
    parts: Parts,
    audience: Audience,
    job: Job,
    command: str,
    given: GivenLimits,
    lock: RunLock,
    retried: tuple[str, ...] | None = None,
) -> Ended | None:
    """One run on a job, from its first row in the ledger to its last; None when there was nothing to retry.

    `retried`: take up the mails that failed for one of these reasons, or all failed ones when it is empty, and work on
    those only. None: plan, and work on the whole job.
    """
    ledger, clock = parts.ledger, audience.clock
    if given.calls_per_minute is not None:
        ledger.steering.set_pace(job.id, None)  # --calls-per-minute replaces the pace of `backfill pace`
    limits = limits_of(parts, job, given)
    if given.calls_per_minute is None and limits.calls_per_minute != parts.limits.calls_per_minute:
        audience.tell(f"Pace: {limits.calls_per_minute:g} calls a minute, set by `backfill pace`.")
    api = parts.api.throttle if parts.classifier.is_metered else None
    parameters = RunParameters(limits, api, only_retried=retried is not None)
    run = ledger.runs.begin(lock, job.id, command, __version__, parameters)
    log = logger.bind(job=job.id, run=run.uuid)
    log.info("{} begins: {}, {}", command, describe(job), parameters.to_json())
    outcome, reason, began = RunOutcome.HALTED, "", clock.monotonic()
    error: BaseException | None = None
    try:
        if retried is not None and not _take_up(parts, audience, run, limits, retried):
            catch_up(parts, job)
            outcome = RunOutcome.FINISHED
            return None
        ended = work_off(parts, audience, job, run, limits, only_retried=retried is not None)
        outcome, reason = ended.outcome, ended.reason
        return ended
    except BackfillError as halting:
        error, reason = halting, f"{halting.reason}: {halting}"
        log.error("{} halted: {}", command, error)
        if not isinstance(error, Declined):
            safe = "When" if error.asked_again or isinstance(error, LedgerUnusable) else "Nothing is lost; when"
            go_on = given.going_on(job.id, is_paced=_is_paced(ledger, job))
            audience.tell(f"{safe} it is put right, go on with: {go_on}")
        if isinstance(error, FolderUnknown):  # renamed or deleted meanwhile: the operator has to decide
            ledger.steering.pause(job.id, str(error))
        raise
    except BaseException as ending:
        error, reason = ending, type(ending).__name__
        raise
    finally:
        try:
            ledger.runs.end(run, outcome, reason, round((clock.monotonic() - began) * 1e6))
            state = ledger.jobs.settle(job.id)
            for line in render_text(ledger.report.summary(job, parts.rubric)).splitlines():
                log.info("{}", line)
            log.info("{} ends: {} {}; the job is {}", command, outcome, reason, state)
        except LedgerUnusable as unusable:
            if error is None:
                raise
            log.warning("how the run ended is not written down: {}", unusable)


def _is_paced(ledger: Ledger, job: Job) -> bool:
    """Has `backfill pace` set the job's pace? False if the ledger cannot be read."""
    try:
        return ledger.steering.read(job.id).calls_per_minute is not None
    except LedgerUnusable:
        return False


def tell_of_apply(parts: Parts, audience: Audience, job: Job) -> None:
    """Say how many done mails follow other settings than today's: a run leaves them alone, `apply` changes them.

    Looks at the first 5,000 mails, which takes a second or two: to look at a million would take minutes.
    """
    if job.dry_run or audience.stop.is_set():
        return
    effects = parts.effects()
    try:
        mails = sum(1 for _ in outdated(parts.ledger, effects, parts.rubric, job, LOOKED_AT))
    finally:
        for effect in effects:
            effect.close()
    if mails:
        are = "1 mail that was done earlier follows" if mails == 1 else f"{mails:,} mails that were done earlier follow"
        audience.tell(f"{are} other settings than today's. Bring them in step, without a call: backfill apply {job.id}")


def catch_up(parts: Parts, job: Job) -> None:
    """Bring analytics.jsonl up to date: a full disk may have prevented that at the end of an earlier run. Writes.

    Raises `EffectUnavailable`.
    """
    analytics = None if job.dry_run else parts.analytics()
    if analytics is not None:
        analytics.catch_up()


def work_off(
    parts: Parts,
    audience: Audience,
    job: Job,
    run: Run,
    limits: RunLimits,
    *,
    only_retried: bool = False,
    gates: tuple[Gate, ...] = (),
) -> Ended:
    """What lies between a run's first row and its last: planning, consent and the work itself.

    `only_retried`: nothing is planned, and only what the run took up again is worked on. `gates`: further ones, beside
    those of the limits. The caller ends the run, whatever this raises.
    """
    ledger, cap = parts.ledger, Cap(limits.max_emails)
    for _ in range(MOST_REPLANS):
        left_out = () if only_retried else plan_job(parts, audience, job).left_out
        state = ledger.jobs.settle(job.id)
        if audience.stop.is_set():
            return Ended(RunOutcome.INTERRUPTED, audience.stop.reason)
        mails = ledger.open_items.count(job.id, retried_by=run.id if only_retried else None)
        mails = mails if limits.max_emails is None else min(mails, limits.max_emails)
        ask_consent(parts, audience, job, limits, mails, {left.folder for left in left_out})
        audience.observer.begins(mails)
        effects = () if job.dry_run else parts.effects()
        try:
            executor = _executor(parts, audience, job, limits, effects, cap, gates)
            executor.mails, executor.only_retried = mails, only_retried
            ended = executor.work(job, run, limits)
            if ended.outcome is RunOutcome.FINISHED and left_out and state is JobState.PLANNING:
                folders = "; ".join(f"{left.folder}: {left.reason}" for left in left_out)
                return Ended(RunOutcome.INTERRUPTED, f"not planned yet: {folders}")
            return ended
        except MailboxChanged as changed:
            logger.bind(job=job.id, run=run.uuid).warning("{}", changed)
            ledger.runs.release_claims(run)
            parts.hang_up()  # the old reader thread may still use its connection, and only one thread may
        finally:
            for effect in effects:
                effect.close()
    raise MailboxChanged(f"UIDVALIDITY changed {MOST_REPLANS} times during this run; ask the server's operator.")


def _take_up(parts: Parts, audience: Audience, run: Run, limits: RunLimits, reasons: tuple[str, ...]) -> int:
    taken = parts.ledger.items.retry(run, reasons, limits.max_emails)
    if taken:
        parts.ledger.jobs.reopen(run.job_id)
        audience.tell(f"{taken} mail{' is' if taken == 1 else 's are'} taken up again.")
    return taken


def _executor(
    parts: Parts,
    audience: Audience,
    job: Job,
    limits: RunLimits,
    effects: tuple[Effect, ...],
    cap: Cap,
    gates: tuple[Gate, ...],
) -> Executor:
    ledger, clock, stop = parts.ledger, audience.clock, audience.stop.child()
    throttler, budget = None, None
    if limits.between is not None:
        gates = (*gates, HoursGate(limits.between, clock))
    if parts.classifier.is_metered:
        api, rates = parts.api, (limits.calls_per_minute, limits.tokens_per_minute)
        throttler = Throttler(ledger, clock, api.throttle, *rates, api.max_answer_tokens)
        calls = day_limit(ledger, clock, limits, api)
        gates = gates if calls is None else (*gates, calls)
        budget = budget_of(parts, clock, job.id, calls, limits)
    return Executor(
        ledger=ledger,
        source=parts.source,
        classifier=parts.classifier,
        effects=effects,
        throttler=throttler,
        rubric=parts.rubric,
        analytics=None if job.dry_run else parts.analytics(),
        clock=clock,
        stop=stop,
        observer=audience.observer,
        allowance=parts.allowance,
        budget=budget,
        cap=cap,
        gates=gates,
        show=audience.show if job.dry_run else None,
        steering=Steering(ledger, job.id, clock, stop, throttler),
    )
