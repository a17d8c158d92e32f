"""Every verdict of a job with its mail, for an export. Nothing here writes.

The rows are read in windows, each in a transaction of its own, in the order of folders and UIDs. No lock is held in
between, so a run goes on meanwhile: each mail is told as it was when its window was read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, select, text

from backfill.ledger.current import OVERLAPPED, superseded
from backfill.ledger.databases.database import Database
from backfill.ledger.outcomes import COSTS, outcome_row
from backfill.ledger.rows import ExportRow, rubric_of
from backfill.ledger.schema import job

#: Mails that are read at once: 5,000 take about 5 MB.
WINDOW: Final = 5_000

# The window is cut before anything is joined or left out, so that each one costs the same, by an index.
# A mail that is judged and waits for its effects has no outcome yet: the time of its verdict counts.
ROWS: Final = """SELECT i.job_id, i.mailbox_id, i.uid, i.reason, i.message_key,
           i.verdict_id IS NOT NULL OR i.status = 'failed' AS is_told,
           CASE WHEN o.status = 'undone' THEN o.status ELSE i.status END AS status,
           m.account, m.folder, m.uidvalidity, g.sent_at, g.received_at, g.from_addr, g.list_id, g.size,
           v.scores, v.category, v.reason AS why, COALESCE(v.model, v.source) AS model,
           COALESCE(o.id, 0) AS id, COALESCE(o.labels, '') AS labels, COALESCE(o.supersedes, FALSE) AS supersedes,
           COALESCE(o.at, v.created_at, i.final_at) AS at, r.uuid AS run_uuid, {superseded} AS superseded, {costs}
      FROM (SELECT * FROM item WHERE job_id = :job AND (mailbox_id, uid) > (:mailbox, :uid)
             ORDER BY mailbox_id, uid LIMIT :limit) i
      JOIN mailbox m ON m.id = i.mailbox_id
      LEFT JOIN outcome o ON o.id = (SELECT MAX(id) FROM outcome WHERE outcome.item_id = i.id)
      LEFT JOIN run r ON r.id = o.run_id
      LEFT JOIN verdict v ON v.id = i.verdict_id
      LEFT JOIN message g ON g.message_key = i.message_key
     ORDER BY i.mailbox_id, i.uid"""
FOREVER: Final = str(2**63 - 1)
#: A verdict of its own that a newer job's replaces. Without a newer job about these folders, nothing has to be read.
NEVER: Final = "FALSE"
REPLACED: Final = f"(i.verdict_id IS NOT NULL AND {superseded('i')})"


@dataclass(frozen=True, slots=True)
class ExportReads:
    """Reads the rows of an export."""

    database: Database

    def score_names(self, job_ids: Sequence[int]) -> tuple[str, ...]:
        """The scores that these jobs asked for, in the order in which they are shown."""
        statement = select(job.c.rubric).where(job.c.id.in_(job_ids)).order_by(job.c.id)
        rubrics = self.database.read(lambda connection: list(connection.execute(statement).scalars()))
        names = (score.name for rubric in rubrics for score in rubric_of(rubric).scores)
        return tuple(dict.fromkeys(names))

    def windows(self, job_id: int) -> Iterator[list[ExportRow]]:
        """The mails of a job that have a verdict or failed, up to `WINDOW` at a time."""
        at = {"mailbox": 0, "uid": 0}
        while True:
            rows = self.database.read(lambda connection, at=at: _window(connection, job_id, at))  # type: ignore[misc]
            if told := [_exported(row) for row in rows if row.is_told]:
                yield told
            if len(rows) < WINDOW:
                return
            at = {"mailbox": rows[-1].mailbox_id, "uid": rows[-1].uid}


def _window(connection: Connection, job_id: int, at: dict[str, int]) -> list[Row[Any]]:
    is_overlapped = connection.execute(OVERLAPPED, {"job": job_id}).first() is not None
    statement = ROWS.format(superseded=REPLACED if is_overlapped else NEVER, costs=COSTS.format(until=FOREVER))
    return list(connection.execute(text(statement), {"job": job_id, "limit": WINDOW, **at}))


def _exported(row: Row[Any]) -> ExportRow:
    return ExportRow(outcome_row(row), row.from_addr, row.list_id, row.size, bool(row.superseded))
