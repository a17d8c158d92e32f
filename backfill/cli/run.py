"""`backfill plan`, `run` and `retry`: the commands that fill a job and work it off."""

from typing import Annotated

from cyclopts import Parameter

from backfill.cli.command import Command
from backfill.cli.options import (
    EVERYWHERE,
    GeneralOptions,
    JobNumber,
    JobOptions,
    Json,
    LimitOptions,
    SelectionOptions,
    Yes,
)
from backfill.lifecycle import ExitCode


def plan(
    *,
    selection: SelectionOptions | None = None,
    job: JobOptions | None = None,
    limits: LimitOptions | None = None,
    general: GeneralOptions = EVERYWHERE,
    json: Json = False,
) -> int:
    """Find out what is to be done: fill the ledger, count, and estimate calls, tokens, cost and hours from a sample.

    The classifier is not called.
    """
    command = Command.begin(general)
    with command.listening():
        result = command.processor().plan(command.request(selection, job), (limits or LimitOptions()).given())
    command.show_plan(result, as_json=json)
    is_complete = result.planned is not None and result.planned.is_complete
    return ExitCode.OK if is_complete else ExitCode.STOPPED_EARLY


def run(
    *,
    selection: SelectionOptions | None = None,
    job: JobOptions | None = None,
    limits: LimitOptions | None = None,
    yes: Yes = False,
    general: GeneralOptions = EVERYWHERE,
    json: Json = False,
) -> int:
    """Plan where needed, then work. Run it again to go on where it ended, for whatever reason it ended.

    Mail is not marked as read. A verdict is in the ledger before anything is done about it, so nothing is lost,
    repeated or paid for twice.

    A dry run (--dry-run) says at its end what a real run would do. With --verbose it shows each mail as it is judged,
    with --json it writes a JSON object on a line for each, {"mail": …}, and the figures on the last line. The words of
    mails are shown and not kept.
    """
    command = Command.begin(general)
    request = command.request(selection, job)
    given = (limits or LimitOptions()).given()
    with command.listening():
        result = command.processor(assume_yes=yes, as_json=json).run(request, given)
    return command.finish(result, given, as_json=json)


def retry(
    job: JobNumber = None,
    *,
    reason: Annotated[
        list[str] | None, Parameter(help="Only what failed for this reason; may be given several times.")
    ] = None,
    limits: LimitOptions | None = None,
    yes: Yes = False,
    general: GeneralOptions = EVERYWHERE,
    json: Json = False,
) -> int:
    """Take up failed mails again, and only those. A verdict that is known is not paid for again."""
    command = Command.begin(general)
    given = (limits or LimitOptions()).given()
    with command.listening():
        result = command.processor(assume_yes=yes, as_json=json).retry(job, tuple(reason or ()), given)
    if result.ended is None:
        pending = result.summary.counts.pending
        rest = f" {pending:,} mails are pending; `backfill run` works on those." if pending else ""
        command.terminal.say(f"No failed mail matches, so there is nothing to take up again.{rest}")
    return command.finish(result, given, as_json=json)
