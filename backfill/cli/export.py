"""`backfill export`: every verdict with its mail, for other programs."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from backfill.cli.command import Command
from backfill.cli.options import EVERYWHERE, GeneralOptions, JobNumber, path_as_typed
from backfill.cli.output import is_unread, write_bytes
from backfill.errors import ConfigError
from backfill.lifecycle import ExitCode

STANDARD_OUTPUT = Path("-")


def export(
    job: JobNumber = None,
    *,
    all_jobs: Annotated[bool, Parameter(help="Every job that is no dry run, instead of one.")] = False,
    format: Annotated[
        Literal["jsonl", "csv", "parquet"] | None,
        Parameter(help="[default: what the file's name ends with; jsonl on standard output]"),
    ] = None,
    output: Annotated[
        Path | None,
        Parameter(
            converter=path_as_typed,
            allow_leading_hyphen=True,
            help="Write to this file; - is standard output. [default: -]",
        ),
    ] = None,
    force: Annotated[bool, Parameter(help="Replace the file if it is there already.")] = False,
    general: GeneralOptions = EVERYWHERE,
) -> int:
    """Every verdict with its mail's address, dates, sender, scores, labels and cost, for other programs.

    One row for each mail that is judged or failed. The values are those of analytics.jsonl, and `superseded`: a newer
    job's verdict counts for this mail. In CSV, a text that a spreadsheet would run as a formula gets an apostrophe
    before it. The mail server is not asked, and a run may go on meanwhile.

    Examples: `backfill export --output mails.csv` · `backfill export 3 --format jsonl | jq .sender` ·
    `backfill export --all-jobs --output mails.parquet --force`
    """
    from backfill.operations.export import Wanted  # start-up: brings the ledger
    from backfill.operations.export import export as write  # start-up: as above
    from backfill.wording import counted  # start-up: only here

    command = Command.begin(general)
    path = None if output == STANDARD_OUTPUT else output
    wanted = Wanted(job, all_jobs, format, path, force)
    if path is None and format == "parquet" and sys.stdout.isatty():
        raise ConfigError("Parquet is no text for a terminal; name a file with --output.")
    with command.ledger() as ledger, command.listening():
        exported = write(
            ledger,
            wanted,
            command.settings.paths,
            _StandardOutput(),
            lambda: not (command.stop.is_set() or (path is None and is_unread())),
        )
    if command.stop.is_set() and not exported.is_complete:
        kept = "" if path is None else " No file was written."
        command.terminal.say(f"Stopped early ({command.stop.reason}).{kept} Start the export again.")
        return ExitCode.STOPPED_EARLY
    if exported.path is not None:
        command.terminal.say(f"Written: {exported.path} ({counted(exported.mails, 'mail')})")
    return ExitCode.OK


class _StandardOutput:
    """The bytes of standard output. A write raises nothing: `main` says at the end what was lost."""

    def write(self, data: bytes) -> int:
        return write_bytes(data)
