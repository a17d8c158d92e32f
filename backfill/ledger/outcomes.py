"""What became final, in order, and how far the append-only files have got with it.

An outcome row is written in the transaction that makes the item final. A sink remembers the length of a file up to
which every line stands for a committed outcome; the writer cuts the file to it, appends, and commits again, so a
crash at any moment leaves neither a torn nor a doubled nor a missing line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, text, update

from backfill.ledger.databases.bulk import RowStatement
from backfill.ledger.databases.database import Database
from backfill.ledger.rows import OutcomeRow, Run, moment
from backfill.ledger.schema import sink
from backfill.lifecycle import ItemStatus
from backfill.message import MailboxKey, MessageRef
from backfill.verdict import Label

# All attempts of the item up to the outcome: a line that supersedes an earlier one holds its cost as well.
# The sums are cast because PostgreSQL would make them decimals.
AFTER = """SELECT o.id, o.status, o.reason, o.labels, o.supersedes, o.at, i.uid, i.message_key,
           m.account, m.folder, m.uidvalidity, r.uuid AS run_uuid,
           v.importance, v.spam, COALESCE(v.model, v.source) AS model,
           (SELECT SUM(COALESCE(a.tokens_in, 0) + COALESCE(a.tokens_out, 0)) FROM attempt a
             WHERE a.item_id = o.item_id AND a.ended_at <= o.at AND a.tokens_in IS NOT NULL) AS tokens,
           (SELECT CAST(SUM(a.cost_nano) AS BIGINT) FROM attempt a
             WHERE a.item_id = o.item_id AND a.ended_at <= o.at) AS cost_nano,
           (SELECT CAST(SUM(a.ended_at - a.started_at) AS BIGINT) FROM attempt a
             WHERE a.item_id = o.item_id AND a.ended_at <= o.at) AS latency_us
      FROM outcome o
      JOIN item i ON i.id = o.item_id
      JOIN job j ON j.id = i.job_id
      JOIN mailbox m ON m.id = i.mailbox_id
      JOIN run r ON r.id = o.run_id
      LEFT JOIN verdict v ON v.id = o.verdict_id
     WHERE o.id > :after AND NOT j.dry_run {job}
     ORDER BY o.id LIMIT :limit"""

WRITE = RowStatement(
    """INSERT INTO outcome (item_id, run_id, status, verdict_id, reason, labels, supersedes, at)
       SELECT item, :run, :status, verdict, reason, labels,
              EXISTS (SELECT 1 FROM outcome WHERE outcome.item_id = given.item), :now FROM {rows}""",
    item="BIGINT",
    verdict="BIGINT",
    reason="TEXT",
    labels="TEXT",
)
# On PostgreSQL a number is given out before its transaction commits: 11 may be there while 10 is still on its way, and
# who goes on after 11 would never see 10. So who adds outcomes shares a lock until it commits, and who reads them in
# order waits for all of those.
OUTCOME_LOCK = 0x6F757463
SHARE_WRITING = text(f"SELECT pg_advisory_xact_lock_shared({OUTCOME_LOCK})")
WAIT_FOR_WRITERS = text(f"SELECT pg_advisory_xact_lock({OUTCOME_LOCK})")


@dataclass(frozen=True, slots=True)
class Sink:
    """An append-only file: the bytes that stand for committed outcomes, and the last of those."""

    id: int
    committed_bytes: int
    last_outcome_id: int


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcome and sink tables."""

    database: Database

    def after(self, outcome_id: int, limit: int, job_id: int | None = None) -> list[OutcomeRow]:
        """The outcomes of real jobs that follow `outcome_id`, in order; of one job or of all."""
        parameters = {"after": outcome_id, "limit": limit, "job": job_id}
        statement = AFTER.format(job="" if job_id is None else "AND j.id = :job")
        if job_id is None:
            del parameters["job"]

        def work(connection: Connection) -> list[OutcomeRow]:
            if not self.database.is_sqlite:
                connection.execute(WAIT_FOR_WRITERS)
            return [_outcome(row) for row in connection.execute(text(statement), parameters)]

        # A snapshot would be from before the wait; each statement of a writer sees what is committed by then.
        return self.database.read(work) if self.database.is_sqlite else self.database.write(work)

    def sinks(self) -> list[Sink]:
        """Every file that this ledger has written to, on any host, the longest first."""
        statement = select(sink).order_by(sink.c.committed_bytes.desc(), sink.c.id)
        return self.database.read(
            lambda connection: [
                Sink(row.id, row.committed_bytes, row.last_outcome_id) for row in connection.execute(statement)
            ]
        )

    def find_sink(self, host: str, path: str) -> Sink | None:
        """The sink of this file; None where this ledger has not written to it under this name."""
        statement = select(sink).where(sink.c.host == host, sink.c.path == path)

        def work(connection: Connection) -> Sink | None:
            row = connection.execute(statement).one_or_none()
            return None if row is None else Sink(row.id, row.committed_bytes, row.last_outcome_id)

        return self.database.read(work)

    def open_sink(self, host: str, path: str) -> Sink:
        """The sink of this file, new with nothing committed. Writes."""
        this = (sink.c.host == host) & (sink.c.path == path)

        def work(connection: Connection) -> Sink:
            connection.execute(self.database.insert(sink).on_conflict_do_nothing(), [{"host": host, "path": path}])
            row = connection.execute(select(sink).where(this)).one()
            return Sink(row.id, row.committed_bytes, row.last_outcome_id)

        return self.database.write(work)

    def advance(self, before: Sink, after: Sink) -> bool:
        """Commit a longer file; False when the sink has moved meanwhile. Writes."""
        statement = (
            update(sink)
            .where(sink.c.id == before.id, sink.c.last_outcome_id == before.last_outcome_id)
            .values(committed_bytes=after.committed_bytes, last_outcome_id=after.last_outcome_id)
        )
        return self.database.write(lambda connection: connection.execute(statement).rowcount) == 1


def write_outcome(
    connection: Connection,
    run: Run,
    item_id: int,
    status: ItemStatus,
    verdict_id: int | None,
    reason: str | None,
    labels: Sequence[Label],
    now: int,
) -> None:
    """Add the outcome row of an item that the same transaction makes final."""
    write_outcomes(connection, run, status, [(item_id, verdict_id, reason, labels)], now)


def write_outcomes(
    connection: Connection,
    run: Run,
    status: ItemStatus,
    ended: Sequence[tuple[int, int | None, str | None, Sequence[Label]]],
    now: int,
) -> None:
    """Add the outcome rows of items that the same transaction makes final: item, verdict, reason, labels."""
    if not ended:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(SHARE_WRITING)
    rows = [
        {"item": item, "verdict": verdict, "reason": reason, "labels": ",".join(labels)}
        for item, verdict, reason, labels in ended
    ]
    WRITE.execute(connection, rows, run=run.id, status=status, now=now)


def _outcome(row: Row[Any]) -> OutcomeRow:
    return OutcomeRow(
        id=row.id,
        ref=MessageRef(MailboxKey(row.account, row.folder, row.uidvalidity), row.uid),
        message_key=row.message_key,
        status=ItemStatus(row.status),
        reason=row.reason,
        importance=row.importance,
        spam=row.spam,
        model=row.model,
        labels=tuple(row.labels.split(",")) if row.labels else (),
        tokens=row.tokens,
        cost_nano=row.cost_nano,
        latency_us=row.latency_us,
        run_uuid=row.run_uuid,
        at=moment(row.at),
        supersedes=bool(row.supersedes),
    )
