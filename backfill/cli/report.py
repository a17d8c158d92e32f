"""`backfill report`: the figures of a job, over all its runs."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from backfill.cli.command import Command
from backfill.cli.options import EVERYWHERE, GeneralOptions, JobNumber, path_as_typed
from backfill.lifecycle import ExitCode


def report(
    job: JobNumber = None,
    *,
    format: Annotated[Literal["text", "json", "markdown", "html"], Parameter(help="[default: text]")] = "text",
    output: Annotated[
        Path | None, Parameter(converter=path_as_typed, help="Write to this file instead of standard output.")
    ] = None,
    general: GeneralOptions = EVERYWHERE,
) -> int:
    """The figures of a job, over all its runs."""
    from backfill.operations.request import known_job  # start-up: brings the ledger
    from backfill.report.render import render, write_report  # start-up: brings all formats

    command = Command.begin(general)
    settings = command.settings
    with command.ledger() as ledger:
        found = known_job(ledger, job, settings.paths)
        text = render(ledger.report.summary(found, settings.asked, with_examples=True), format)
    if output is None:
        print(text)
    else:
        write_report(output, text)
        command.terminal.say(f"Written: {output.absolute()}")
    return ExitCode.OK
