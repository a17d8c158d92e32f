"""`analytics.jsonl`: one line for each outcome in the ledger. `file` (appends what is missing) · `rotation` (the
files before it) · `lines` (one line).
"""

from __future__ import annotations

from backfill.analytics.file import AnalyticsFile

__all__ = ["AnalyticsFile"]
