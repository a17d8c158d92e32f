"""Classify every historical mail of an IMAP mailbox with an LLM: once each, throttled, through any interruption.

The house, from the ground up: `message`, `selection`, `verdict`, `lifecycle`, `errors`, `clock` are values and
rules; `ports` has the sockets; `ledger` is the state store; `mail`, `classifiers`, `effects` are adapters;
`planner`, `throttle`, `metered`, `executor`, `export`, `report` tell the story; `processor`, `settings`, `wiring`,
`cli` are faces and roof. Imports point downwards only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backfill import settings
    from backfill.processor import BackfillProcessor
    from backfill.progress import ProgressTracker
    from backfill.throttle.calls import Throttler

__version__ = "0.1.0"
__all__ = ["BackfillProcessor", "ProgressTracker", "Throttler", "__version__", "settings"]

_HOMES = {"BackfillProcessor": "processor", "ProgressTracker": "progress", "Throttler": "throttle.calls"}


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first used: `backfill --help` needs none of them (PEP 562).

    A program that uses them sees no log lines, until it calls `loguru.logger.enable("backfill")`.
    """
    if name in _HOMES:
        importlib.import_module("loguru").logger.disable("backfill")
        return getattr(importlib.import_module(f"backfill.{_HOMES[name]}"), name)
    if name == "settings":
        return importlib.import_module("backfill.settings")
    raise AttributeError(f"module 'backfill' has no attribute {name!r}")
