"""`backfill report`: the figures of a job, over all its runs."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from backfill.cli.command import Command, summary_of
from backfill.cli.options import EVERYWHERE, GeneralOptions, JobNumber
from backfill.lifecycle import ExitCode


def report(
    job: JobNumber = None,
    *,
    format: Annotated[Literal["text", "json", "markdown", "html"], Parameter(help="[default: text]")] = "text",
    output: Annotated[Path | None, Parameter(help="Write to this file instead of standard output.")] = None,
    general: GeneralOptions = EVERYWHERE,
) -> int:
    """The figures of a job, over all its runs."""
    from backfill.report.render import render, write_report  # start-up: brings all formats

    command = Command.begin(general)
    with command.ledger() as ledger:
        text = render(summary_of(ledger, job, command.settings.paths), format)
    if output is None:
        print(text)
    else:
        write_report(output, text)
        command.terminal.say(f"Written: {output.absolute()}")
    return ExitCode.OK
