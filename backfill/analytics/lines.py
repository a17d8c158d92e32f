"""The line of an outcome: every value of it is from the ledger."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final

from backfill.ledger.budgets import usd
from backfill.ledger.outcomes import Identity
from backfill.ledger.rows import OutcomeRow
from backfill.message import MailboxKey, MessageRef

_ENCODER: Final = json.JSONEncoder(ensure_ascii=True)


def line(outcome: OutcomeRow) -> bytes:
    """One JSON line in ASCII."""
    return _ENCODER.encode(values(outcome)).encode("ascii") + b"\n"


def values(outcome: OutcomeRow) -> dict[str, object]:
    """The values of a line, by their keys, in a fixed order. Times are UTC, as ISO 8601 with a Z."""
    cost = usd(outcome.cost_nano)
    return {
        "job": outcome.job_id,
        "account": outcome.ref.mailbox.account,
        "folder": outcome.ref.mailbox.folder,
        "uidvalidity": outcome.ref.mailbox.uidvalidity,
        "uid": outcome.ref.uid,
        "message_key": outcome.message_key,
        "status": outcome.status,
        "importance_score": outcome.scores.get("importance"),
        "spam_score": outcome.scores.get("spam"),
        "scores": dict(outcome.scores),
        "category": outcome.category,
        "reason": outcome.why or None,
        "labels": list(outcome.labels),
        "model": outcome.model,
        "tokens": outcome.tokens,
        "cost_usd": None if cost is None else float(cost),
        "latency_s": None if outcome.latency_us is None else round(outcome.latency_us / 1e6, 3),
        "error": outcome.reason,
        "run": outcome.run_uuid,
        "processed_at": utc(outcome.at),
        "sent_at": utc(outcome.sent_at),
        "received_at": utc(outcome.received_at),
        "supersedes": outcome.supersedes,
    }


def utc(when: datetime | None) -> str | None:
    """A time of the ledger, as it stands in a line."""
    return None if when is None else when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def identity(written: bytes) -> Identity | None:
    """Which outcome a line says that it stands for; None: it is no such line. Every version has written these keys."""
    try:
        said = json.loads(written)
        mailbox = MailboxKey(said["account"], said["folder"], said["uidvalidity"])
        at = datetime.fromisoformat(said["processed_at"])
        found = Identity(MessageRef(mailbox, said["uid"]), said["status"], said["run"], at)
    except (ValueError, TypeError, KeyError):
        return None
    is_sound = isinstance(found.ref.uid, int) and isinstance(mailbox.uidvalidity, int) and at.tzinfo is not None
    texts = (mailbox.account, mailbox.folder, found.status, found.run_uuid)
    return found if is_sound and all(isinstance(text, str) for text in texts) else None


def stands_for(written: bytes, outcome: OutcomeRow) -> bool:
    """Is `written` a line of this outcome?"""
    return identity(written) == Identity(outcome.ref, outcome.status, outcome.run_uuid or "", outcome.at)
