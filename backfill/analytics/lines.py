"""The line of an outcome: every value of it is from the ledger."""

from __future__ import annotations

import json
from typing import Final

from backfill.ledger.budgets import usd
from backfill.ledger.rows import OutcomeRow

IDENTITY: Final = ("account", "folder", "uidvalidity", "uid", "status", "run", "processed_at")


def line(outcome: OutcomeRow) -> bytes:
    """One JSON line in ASCII, its keys in a fixed order."""
    cost = usd(outcome.cost_nano)
    fields = {
        "account": outcome.ref.mailbox.account,
        "folder": outcome.ref.mailbox.folder,
        "uidvalidity": outcome.ref.mailbox.uidvalidity,
        "uid": outcome.ref.uid,
        "message_key": outcome.message_key,
        "status": outcome.status,
        "importance_score": outcome.importance,
        "spam_score": outcome.spam,
        "labels": list(outcome.labels),
        "model": outcome.model,
        "tokens": outcome.tokens,
        "cost_usd": None if cost is None else float(cost),
        "latency_s": None if outcome.latency_us is None else round(outcome.latency_us / 1e6, 3),
        "error": outcome.reason,
        "run": outcome.run_uuid,
        "processed_at": outcome.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "supersedes": outcome.supersedes,
    }
    return json.dumps(fields, ensure_ascii=True).encode("ascii") + b"\n"


def stands_for(written: bytes, outcome: OutcomeRow) -> bool:
    """Is `written` a line of this outcome? Compares the keys that every version has written with the same meaning."""
    try:
        said, meant = json.loads(written), json.loads(line(outcome))
    except ValueError:
        return False
    return isinstance(said, dict) and all(said.get(key) == meant[key] for key in IDENTITY)
