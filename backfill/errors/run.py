"""Errors of a command as a whole: its configuration, its questions, its budget."""

from __future__ import annotations

from backfill.errors.base import BackfillError
from backfill.lifecycle import Disposition, ExitCode


class ConfigError(BackfillError):
    """The configuration or the command line does not make sense; nothing was started."""

    exit_code = ExitCode.USAGE
    reason = "config"


class Declined(ConfigError):
    """The question was answered with no, or nobody was there to answer it; nothing was started."""

    reason = "declined"


class BudgetReached(BackfillError):
    """The budget is spent; raise it, or run again when it is renewed."""

    exit_code = ExitCode.BUDGET
    reason = "budget"


class CallsUsedUp(BackfillError):
    """The calls that are allowed on this day (UTC) are used up; the run goes on the next day."""

    disposition = Disposition.RELEASE
    exit_code = ExitCode.STOPPED_EARLY
    reason = "calls_used_up"
