"""Commands about the ledger itself: verify, path, upgrade, backup."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from backfill.cli.command import Command
from backfill.cli.options import EVERYWHERE, GENERAL, GeneralOptions, JobNumber, path_as_typed
from backfill.lifecycle import ExitCode

LISTED = 20

ledger = App(name="ledger", help="Upgrade, copy or find the ledger database.")


def verify(
    job: JobNumber = None,
    *,
    repair: Annotated[
        bool, Parameter(help="Repair what can be repaired; the next run plans the mail that was missed.")
    ] = False,
    general: GeneralOptions = EVERYWHERE,
    as_json: Annotated[
        bool, Parameter(name="--json", help="For machines: JSON on standard output.", group=GENERAL)
    ] = False,
) -> int:
    """Prove that nothing was lost: compare the ledger with itself, and with the mail server as it is now.

    Exit code 0: every selected mail is in the ledger with exactly one status. 7: there are differences, which it lists.
    75: it was stopped early; it shows what it had found by then and repairs nothing.
    """
    command = Command.begin(general)
    with command.listening():
        verified = command.processor().verify(job, repair=repair)
    sentences = [difference.sentence for difference in verified.differences]
    if as_json:
        rows = [
            {"kind": d.kind, "folder": d.folder, "uid": d.uid, "sentence": d.sentence} for d in verified.differences
        ]
        said = {"notes": verified.notes, "complete": verified.is_complete, "repaired": verified.is_repaired}
        said |= {"superseded": verified.summary.superseded}
        print(json.dumps({"job": verified.job.id, "differences": rows, **said}, indent=2))
    else:
        from backfill.operations.verify import is_undone  # start-up: only here
        from backfill.wording import printable  # start-up: only here

        found = verified.summary.counts.found
        print(f"Job {verified.job.id}: {found} mails found, {len(sentences) or 'no'} differences.")
        print("".join(f"  {printable(sentence)}\n" for sentence in sentences[:LISTED]), end="")
        if len(sentences) > LISTED:
            print(f"  … and {len(sentences) - LISTED} more; --json lists them all.")
        print("".join(f"{printable(note)}\n" for note in verified.notes), end="")
        if sentences and verified.is_repaired:
            number = verified.job.id
            then = "" if is_undone(verified.job) else f"backfill run --job {number}, then "
            print(f"Repaired where it can be; now: {then}backfill verify {number}.")
    if not verified.is_complete:
        return ExitCode.STOPPED_EARLY
    return ExitCode.DIFFERENCE if sentences else ExitCode.OK


@ledger.command
def path(*, general: GeneralOptions = EVERYWHERE) -> int:
    """Say where the ledger is; a password in a database URL is not shown."""
    from backfill.ledger.databases.database import Database  # start-up: brings SQLAlchemy

    print(Database(Command.begin(general).settings.paths.ledger_url))
    return ExitCode.OK


@ledger.command
def upgrade(*, general: GeneralOptions = EVERYWHERE) -> int:
    """Bring the ledger's schema up to this version; a SQLite ledger is copied first.

    Every command does this when it opens the ledger, so it is seldom needed.
    """
    command = Command.begin(general)
    with command.ledger() as opened:
        print(f"{opened.database} is up to date.")
    return ExitCode.OK


@ledger.command
def backup(
    target: Annotated[Path, Parameter(converter=path_as_typed, help="A file that does not exist yet.")],
    /,
    *,
    general: GeneralOptions = EVERYWHERE,
) -> int:
    """Copy a SQLite ledger, also while a run is writing to it."""
    from backfill.ledger.databases.backup import backup as copy  # start-up: brings SQLAlchemy

    command = Command.begin(general)
    with command.ledger() as opened:
        copy(opened.database, target.absolute())
    print(f"Written: {target.absolute()}")
    return ExitCode.OK
