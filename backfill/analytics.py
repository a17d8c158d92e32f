"""`analytics.jsonl`: a projection of the ledger's outcomes, one line each, exactly once.

The file is cut to the length that the ledger has committed, the new lines are appended and synced, and the new
length is committed. A crash anywhere leaves at worst a tail, which the next writer cuts off. A file that is shorter
than it should be, or gone, is written anew from the ledger: it holds nothing that the ledger does not.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout
from loguru import logger

from backfill import files
from backfill.errors import EffectUnavailable
from backfill.ledger import Ledger
from backfill.ledger.budgets import usd
from backfill.ledger.outcomes import Sink
from backfill.ledger.rows import OutcomeRow

# So many lines are appended and synced at a time.
BATCH = 500
# Another process appends a batch in well under a second.
LOCK_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class AnalyticsFile:
    """The analytics file of a ledger on this host. One writer at a time, by a lock beside it."""

    ledger: Ledger
    path: Path

    def catch_up(self) -> int:
        """Append a line for every outcome that has none yet; how many. Writes the file and the ledger.

        Raises `EffectUnavailable` when the file cannot be written; nothing is lost, the next call goes on.
        """
        written = 0
        with self._open() as (file, sink):
            while outcomes := self.ledger.outcomes.after(sink.last_outcome_id, BATCH):
                lines = b"".join(line(outcome) for outcome in outcomes)
                file.seek(sink.committed_bytes)
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
                longer = replace(
                    sink,
                    committed_bytes=sink.committed_bytes + len(lines),
                    last_outcome_id=outcomes[-1].id,
                )
                self.ledger.outcomes.advance(sink, longer)
                sink, written = longer, written + len(outcomes)
        return written

    @contextmanager
    def _open(self) -> Iterator[tuple[BinaryIO, Sink]]:
        try:
            files.make_folder(self.path.parent)
            with (
                FileLock(f"{self.path}.lock", timeout=LOCK_TIMEOUT_S, mode=files.FILE_MODE),
                open(files.private(self.path, os.O_RDWR | os.O_CREAT), "r+b") as file,
            ):
                host, length = socket.gethostname(), file.seek(0, os.SEEK_END)
                if length and not self.ledger.outcomes.has_sink(host, str(self.path)):
                    raise EffectUnavailable(
                        f"{self.path} holds lines that this ledger did not write; move it away, or name another file "
                        "with paths.analytics_file. Nothing of it was touched."
                    )
                sink = self.ledger.outcomes.open_sink(host, str(self.path))
                if length < sink.committed_bytes:
                    logger.warning("{} is shorter than the ledger says; it is written anew", self.path)
                    anew = replace(sink, committed_bytes=0, last_outcome_id=0)
                    self.ledger.outcomes.advance(sink, anew)
                    sink = anew
                if length > sink.committed_bytes:
                    file.truncate(sink.committed_bytes)
                yield file, sink
        except Timeout as error:
            raise EffectUnavailable(f"Another process holds {self.path}; wait for it to end.") from error
        except OSError as error:
            raise EffectUnavailable(f"{self.path} cannot be written: {error.strerror}. Nothing is lost.") from error


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
