"""How a job stands at this moment: which runs are at work, how fast, what limits them, when the job will be done.

Everything is rendered from what `ledger.status` has read. A job is called in progress only while a living run holds
its lock.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from backfill.estimates.bottleneck import Binding, binding
from backfill.estimates.outlook import ends_early, is_waiting, outlook
from backfill.ledger.reads.rates import RecentRates
from backfill.ledger.reads.status import JobStatus
from backfill.ledger.rows import Job, RunInfo, describe
from backfill.lifecycle import UNFINISHED, JobState, RunOutcome
from backfill.rubric import Rubric
from backfill.wording import Row, counted, folded, moment, number, percent, printable


def limit_of(status: JobStatus) -> Binding | None:
    """What limits the rate, as `binding` says; a paused job is limited by its pause."""
    if status.tally.state is JobState.PAUSED:
        return Binding("paused", "paused")
    return binding(status.speed)


def mails_per_minute(status: JobStatus) -> float | None:
    """Over the last minutes; None while no run is at work, or all runs wait."""
    recent = _at_work_on(status)
    return None if recent is None else recent.mails * 60 / recent.seconds


def calls_per_minute(status: JobStatus) -> float | None:
    """Over the last minutes; None while no run is at work, or all runs wait."""
    recent = _at_work_on(status)
    return None if recent is None else recent.calls * 60 / recent.seconds


def _at_work_on(status: JobStatus) -> RecentRates | None:
    recent = status.speed.recent
    return None if recent is None or recent.seconds < 1 or is_waiting(status) else recent


def ends_at(status: JobStatus) -> datetime | None:
    """When everything will be done; None where that is not known."""
    expected = outlook(status)
    return None if expected is None else expected.ends_at


def headline(status: JobStatus, job_id: int) -> str:
    """Which run is at work on the job, or the command that goes on with it. Folded at the width of a terminal."""
    return folded(_headline(status, job_id))


def _headline(status: JobStatus, job_id: int) -> list[str]:
    """The headline in parts; a line may be broken between two of them."""
    tally, runs, last = status.tally, status.speed.runs, status.last_run
    reason = printable(tally.reason or tally.state)
    go_on = f"backfill run --job {job_id}"
    if runs:
        first, *others = [
            f"`backfill {run.info.command}`, process {run.info.pid} on {printable(run.info.host)}, since "
            f"{moment(run.info.started_at)}"
            for run in runs
        ]
        if tally.state is JobState.PAUSED:
            return [f"PAUSED ({reason})", f"`backfill resume {job_id}` goes on", f"at work: {first}", *others]
        if tally.state in UNFINISHED:
            return [f"IN PROGRESS: {first}", *others]
    if tally.state is JobState.PAUSED:
        return [f"PAUSED ({reason})", "no run is working on it", f"go on with: {go_on}"]
    if tally.state is JobState.CANCELLED:
        return [f"CANCELLED ({reason})", f"take it up again with: {go_on}"]
    if tally.state not in UNFINISHED:
        return [tally.state.upper()]
    if last is None:
        return ["PLANNED", f"begin with: {go_on}"]
    return [f"NOT DONE: no run is working on it (the last one {_end(last)})", f"go on with: {go_on}"]


def _end(run: RunInfo) -> str:
    if run.outcome in (None, RunOutcome.LOST):
        return "died"
    how = "reached --max-emails" if run.outcome == RunOutcome.CAPPED else run.outcome
    why = f", {printable(run.outcome_reason)}" if run.outcome_reason else ""
    return f"ended {moment(run.ended_at)}: {how}{why}"


def figures(status: JobStatus) -> tuple[Row, ...]:
    """Label and value; what is not known is left out."""
    tally, bound = status.tally, limit_of(status)
    mails, calls = mails_per_minute(status), calls_per_minute(status)
    in_flight = sum(run.in_flight for run in status.speed.runs)
    rates = [f"{mails:.1f} mails/min" if mails is not None else "", f"{calls:.1f} calls/min" if calls else ""]
    rows: list[Row | None] = [
        ("Mails", _mails(status)),
        ("Rate", ", ".join(filter(None, rates))) if status.speed.runs and mails is not None else None,
        ("In flight", counted(in_flight, "call")) if in_flight else None,
        ("Pace", f"{tally.pace:g} calls a minute, set by `backfill pace`") if tally.pace is not None else None,
        ("Limit", bound.sentence) if bound is not None and bound.kind != "paused" else None,
        _ends(status),
        ("Spent", f"${status.spent_usd:.4f}") if status.spent_usd is not None else None,
        ("Failed", f"{number(tally.counts.failed)}, see: backfill report") if tally.counts.failed else None,
    ]
    return tuple(row for row in rows if row)


def last_errors(status: JobStatus) -> tuple[str, ...]:
    """What went wrong last, newest first: when, why, which mail."""
    return tuple(
        f"{trouble.at:%H:%M:%S} {printable(trouble.reason)}"
        f"{f' ({trouble.http_status})' if trouble.http_status else ''} · "
        f"{printable(trouble.ref.mailbox.folder)} {trouble.ref.uid}"
        for trouble in status.last_errors
    )


def render(status: JobStatus, job: Job) -> str:
    """Plain lines for a terminal or a file, ending in a newline. Nothing in it can steer a terminal."""
    rows = (*figures(status), *_asked(job.rubric))
    column = max(len(label) for label, _ in rows) + 2
    errors = [f"  {line}" for line in last_errors(status)]
    lines = [
        printable(describe(replace(job, state=status.tally.state))),
        headline(status, job.id),
        *([f"The undo is not finished; go on with: backfill undo {job.id}"] if status.undo_is_unfinished else []),
        *(f"{label + ':':<{column}}{value}" for label, value in rows),
        *(["Last errors (UTC):", *errors] if errors else []),
    ]
    return "\n".join([*lines, ""])


def _asked(rubric: Rubric) -> tuple[Row, ...]:
    """What is asked about each mail, where it is more or less than importance and spam."""
    if rubric.is_default:
        return ()
    parts = [", ".join(score.name for score in rubric.scores)]
    parts += [f"one of {len(rubric.categories)} categories"] if rubric.categories else []
    parts += ["a reason"] if rubric.reason else []
    return (("Asked for", printable("; ".join(filter(None, parts)))),)


def line(status: JobStatus) -> str:
    """All figures on one line, for an output that is no terminal."""
    tally = status.tally
    words = [f"{moment(status.at)} · {tally.state}", *(f"{label}: {value}" for label, value in figures(status))]
    if not status.speed.runs and tally.state in UNFINISHED:
        words.append("no run is working on it")
    return " · ".join(words)


def as_json(status: JobStatus) -> dict[str, Any]:
    """The key `live` of `status --json`; keys are only ever added. Times in ISO 8601, UTC."""
    bound, end = limit_of(status), ends_at(status)
    last = status.last_run
    return {
        "at": status.at.isoformat(),
        "at_work": bool(status.speed.runs),
        "last_run_died": not status.speed.runs and last is not None and last.outcome in (None, "lost"),
        "runs": [
            {
                "command": run.info.command,
                "host": run.info.host,
                "pid": run.info.pid,
                "started_at": run.info.started_at.isoformat(),
                "heartbeat_at": run.heartbeat_at.isoformat(),
                "waiting_for": run.waiting_for,
                "concurrency": run.concurrency,
                "in_flight": run.in_flight,
            }
            for run in status.speed.runs
        ],
        "mails_per_minute": _rounded(mails_per_minute(status)),
        "calls_per_minute": _rounded(calls_per_minute(status)),
        "in_flight": sum(run.in_flight for run in status.speed.runs),
        "pace": status.tally.pace,
        "limit": None if bound is None else asdict(bound),
        "ends_at": None if end is None else end.isoformat(),
        "ends_early": ends_early(status),
        "spent_usd": None if status.spent_usd is None else float(status.spent_usd),
        "last_errors": [
            {
                "at": trouble.at.isoformat(),
                "reason": trouble.reason,
                "http_status": trouble.http_status,
                "folder": trouble.ref.mailbox.folder,
                "uid": trouble.ref.uid,
            }
            for trouble in status.last_errors
        ],
    }


def clock_time(when: datetime, now: datetime | None = None) -> str:
    """The time of day in UTC, with the date where it is not today's."""
    when = when.astimezone(UTC)
    is_today = now is not None and when.date() == now.astimezone(UTC).date()
    return f"{when:%H:%M} UTC" if is_today else f"{when:%Y-%m-%d %H:%M} UTC"


def _ends(status: JobStatus) -> Row | None:
    expected = outlook(status)
    if expected is None:
        return None
    if expected.ends_at is None:
        return "Ends", "not known while it waits"
    early = ends_early(status)
    return "Ends", f"{clock_time(expected.ends_at, status.at)} {expected.basis}{f'; {early}' if early else ''}"


def _mails(status: JobStatus) -> str:
    counts = status.tally.counts
    final = counts.found - counts.pending
    parts = [f"{number(final)} of {number(counts.found)} ({percent(final, counts.found)})"]
    named = (("failed", counts.failed), ("skipped", counts.skipped), ("vanished", counts.vanished))
    parts += [f"{number(count)} {word}" for word, count in named if count]
    return ", ".join([*parts, f"{number(counts.pending)} pending"])


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 2)
