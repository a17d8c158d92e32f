"""Classify every historical mail of an IMAP mailbox with an LLM: once each, throttled, through any interruption.

The map of the code, from the ground up. A module imports from its own floor and from the floors below.

Values and rules, with the standard library only and without input or output:
`message` (a mail, and the key of its content) · `selection` (which mails) · `fingerprint` (what verdicts depend on) ·
`verdict` (scores, category, reason) · `rubric` (what is asked, and the labels that follow) · `summary` (the figures of
a job) · `lifecycle` (states and transitions) · `limits` (what a run may do) · `hours` · `errors` (what each error means
for mail and run) · `clock` (time, sleep, stop request) · `ports` (the sockets) · `wording` (how figures and hostile
text are shown) · `markdown` (hostile text in notes) · `redaction` (secrets) · `hosts` (what is this machine) ·
`keywords` · `names` · `ledger_url` · `shortages` (what the machine lacks)

What knows the disk, the public suffix list or the network:
`files` (private files and folders) · `resources` (templates and migrations) · `outputs` (the names of the files in
`effects`) · `sites` (which hosts have one owner) · `http` (one bounded call to one host)

The state store and the adapters, each with its foreign libraries:
`ledger` (all SQL) · `mail` (IMAP, and bytes to `Message`) · `classifiers` · `effects` (keywords, notes, webhook)

The story, to be read in this order: `folders` (which are meant) · `planner` (fills the ledger) · `throttle` (what a
run waits for) · `metered` (one call that costs) · `executor` (works the job off) · `analytics` (analytics.jsonl) ·
`exports` (verdicts in forms for other programs) ·
`estimates` (what the rest will take) · `report` (figures for people) · `evaluation` (a classifier against labelled
mail)

`operations` (what each command does, without a terminal)

Faces and roof:
`settings` (YAML, `.env`, environment) · `wiring` (names to objects) · `check_parts` and `cleanup_parts`
(the same for these two) ·
`processor` (the API for programs) · `progress` · `logs` · `cli` (the command line) · `demo` (a mail server in memory
and sample mail)
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
