"""Signs of an earlier ledger: its notes or its analytics file exist, and this ledger holds no job."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from backfill.ledger import Ledger

NO_JOB: Final = "There is no job yet; `backfill plan` makes one."
LEDGER_GONE: Final = (
    "The ledger {ledger} holds no job, but an earlier one has written {signs}. If it was moved, removed or emptied, "
    "put it back or name it in paths.ledger_url: its verdicts are paid for. If it is gone for good, `backfill plan` "
    "begins anew."
)


class Outputs(Protocol):
    """The files and folders that runs write into, apart from ledger and log."""

    @property
    def analytics_file(self) -> Path | None: ...
    @property
    def notes_dir(self) -> Path: ...


def why_there_is_no_job(ledger: Ledger, outputs: Outputs | None) -> str:
    """What to say of a ledger without a job. `outputs`: the files and folders that runs write into."""
    return earlier_ledger(ledger, outputs) or NO_JOB


def earlier_ledger(ledger: Ledger, outputs: Outputs | None) -> str | None:
    """A warning where notes or analytics lie beside a ledger that has no job; None: nothing to warn of."""
    if outputs is None or ledger.jobs.latest() is not None:
        return None
    signs = [
        str(path) for path in (outputs.analytics_file, outputs.notes_dir) if path is not None and _is_written(path)
    ]
    return LEDGER_GONE.format(ledger=ledger.database, signs=" and ".join(signs)) if signs else None


def _is_written(path: Path) -> bool:
    """Does the file hold anything, or the folder a note? False where it cannot be read."""
    try:
        return any(path.glob("*.md")) if path.is_dir() else path.stat().st_size > 0
    except OSError:
        return False
