"""Commands that look at jobs. They wait for no run, and no run waits for them."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backfill.cli.command import Command
from backfill.cli.options import EVERYWHERE, GeneralOptions, JobNumber, Json
from backfill.lifecycle import ExitCode

if TYPE_CHECKING:
    from backfill.ledger.reads.status import Tally
    from backfill.ledger.rows import Job


def status(
    job: JobNumber = None,
    *,
    watch: Annotated[
        bool, Parameter(help="Show it again and again until the job has ended; Ctrl-C ends only the watching.")
    ] = False,
    general: GeneralOptions = EVERYWHERE,
    as_json: Json = False,
) -> int:
    """How far a job is, and whether a run is at work on it: how fast, what limits it, when it ends, what went wrong.

    Rates are those of the last five minutes, or of the time since the job was resumed or got another pace. `backfill
    report` has all the figures.
    """
    from backfill.operations.request import known_job  # start-up: brings the ledger
    from backfill.report.status import as_json as status_json  # start-up: as above
    from backfill.report.status import render  # start-up: as above

    command = Command.begin(general)
    with command.ledger() as ledger:
        found = known_job(ledger, job, command.settings.paths)
        if watch:
            from backfill.cli.watch import watch as keep_watching  # start-up: brings rich's live display

            keep_watching(ledger, found, as_json=as_json)
        elif as_json:
            live = {"live": status_json(ledger.status.of(found.id))}
            print(
                json.dumps(json.loads(ledger.report.summary(found, command.settings.asked).to_json()) | live, indent=2)
            )
        else:
            print(render(ledger.status.of(found.id), found), end="")
    return ExitCode.OK


def jobs(*, general: GeneralOptions = EVERYWHERE, as_json: Json = False) -> int:
    """The jobs of this ledger, oldest first, with their counts, dates and models."""
    from backfill.ledger.rows import describe  # start-up: brings the ledger
    from backfill.operations.earlier import why_there_is_no_job  # start-up: as above

    command = Command.begin(general)
    with command.ledger() as ledger:
        found = [(job, ledger.status.tally(job.id), ledger.removals.count(job.id)) for job in ledger.jobs.all()]
        none = "" if found else why_there_is_no_job(ledger, command.settings.paths)
    if as_json:
        print(
            json.dumps([_as_dict(job, tally, removed) for job, tally, removed in found], indent=2, ensure_ascii=False)
        )
    elif not found:
        print(none)
    else:
        print("\n".join(_listed(job, tally, removed, describe(job)) for job, tally, removed in found))
    return ExitCode.OK


def _listed(job: "Job", tally: "Tally", removed: int, described: str) -> str:
    """Three lines, since one would be too long for a terminal; two for a cleanup."""
    from backfill.wording import counted, moment, number  # start-up: only here

    if job.is_cleanup:
        made = f"cleanup of {counted(removed, 'keyword')}, made {moment(tally.created_at)}"
        return f"{_printable(described)}\n    {made}"

    counts = tally.counts
    named = (("found", counts.found), ("done", counts.done), ("failed", counts.failed), ("pending", counts.pending))
    mails = ", ".join(f"{number(count)} {word}" for word, count in named)
    ran = f"last run {moment(tally.last_run_at)}" if tally.last_run_at else "not run yet"
    made = f"made {moment(tally.created_at)}"
    figures = f"{mails} · {_printable(job.planned_with.judge)}"
    return f"{_printable(described)}\n    {figures}\n    {made}, {ran}"


def _as_dict(job: "Job", tally: "Tally", removed: int) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "dry_run": job.dry_run,
        "account": job.account,
        "removed_keywords": removed if job.is_cleanup else None,
        "model": job.planned_with.judge,
        "counts": asdict(tally.counts),
        "created_at": tally.created_at.isoformat(),
        "last_run_at": None if tally.last_run_at is None else tally.last_run_at.isoformat(),
    }


def _printable(text: str) -> str:
    from backfill.wording import printable  # start-up: only where something is shown

    return printable(text)
