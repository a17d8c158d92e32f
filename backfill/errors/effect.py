"""Errors of the outputs."""

from __future__ import annotations

from typing import ClassVar

from backfill.errors.base import AsksToWait, BackfillError
from backfill.lifecycle import Disposition, ExitCode


class EffectError(BackfillError):
    """An output could not be written."""

    reason = "effect"


class EffectUnavailable(EffectError):
    """An output cannot be written at all (disk full, no permission); verdicts are safe, run again."""

    exit_code = ExitCode.UNUSABLE_DISK


class EffectUnreachable(EffectError, AsksToWait):
    """An output's server cannot be reached or is failing; verdicts are safe, run again later."""

    disposition = Disposition.RELEASE
    exit_code = ExitCode.UNREACHABLE
    reason = "effect_unreachable"
    #: Does it concern every mail? Else the next mail may get through.
    concerns_all: ClassVar[bool] = False


class EffectThrottled(EffectUnreachable):
    """An output's server asks for patience; verdicts are safe, run again when that time is over."""

    exit_code = ExitCode.STOPPED_EARLY
    reason = "effect_throttled"
    concerns_all = True


class EffectDenied(EffectError):
    """An output's server refuses every mail; check its address and its secret. Verdicts are safe."""

    exit_code = ExitCode.REFUSED
    reason = "effect_denied"


class EffectRefused(EffectError):
    """An output refuses this mail."""

    disposition = Disposition.RETRY
    reason = "effect_refused"


class EffectRejected(EffectRefused):
    """An output refuses this mail for good."""

    disposition = Disposition.FAIL
