"""Errors of the ledger database."""

from __future__ import annotations

from backfill.errors.base import BackfillError
from backfill.lifecycle import Disposition, ExitCode


class LedgerError(BackfillError):
    """The ledger database cannot be used."""

    reason = "ledger"


class SchemaOutdated(LedgerError):
    """The ledger was written by another version of backfill; upgrade the older of the two."""

    exit_code = ExitCode.USAGE


class LedgerUnusable(LedgerError):
    """The ledger cannot be read or written: disk full, no permission, or damaged."""

    exit_code = ExitCode.UNUSABLE_DISK


class LedgerHeld(LedgerError):
    """Another backfill command is writing to this ledger; wait for it to end."""

    exit_code = ExitCode.HELD


class ClaimLost(LedgerError):
    """The item's claim was taken over by another run; this run's answer is late."""

    disposition = Disposition.DROP


class AskedElsewhere(LedgerError):
    """Another run is asking about a mail with the same content; its verdict will be used for this one, too."""

    disposition = Disposition.RELEASE
    reason = "asked_elsewhere"
