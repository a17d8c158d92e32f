"""The outcomes of items, in the order in which they became final, and which of them are in the append-only files.

The transaction that makes an item final also writes its outcome row. A sink row holds the committed length of a file:
up to there, each line stands for a committed outcome. The writer cuts the file to this length, appends lines, and
commits the new length. So no crash leaves a torn, doubled or missing line.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, text, update

from backfill.clock import micros
from backfill.ledger.databases.bulk import RowStatement
from backfill.ledger.databases.database import Database
from backfill.ledger.rows import OutcomeRow, Run, moment, moment_or_none
from backfill.ledger.schema import sink
from backfill.lifecycle import ItemStatus, OutcomeStatus
from backfill.message import MailboxKey, MessageRef
from backfill.verdict import Scores

#: What the calls about an item have cost, until a time. Without the casts, PostgreSQL returns decimals.
COSTS = """(SELECT SUM(COALESCE(a.tokens_in, 0) + COALESCE(a.tokens_out, 0)) FROM attempt a
             WHERE a.item_id = i.id AND a.ended_at <= {until} AND a.tokens_in IS NOT NULL) AS tokens,
           (SELECT CAST(SUM(a.cost_nano) AS BIGINT) FROM attempt a
             WHERE a.item_id = i.id AND a.ended_at <= {until}) AS cost_nano,
           (SELECT CAST(SUM(a.ended_at - a.started_at) AS BIGINT) FROM attempt a
             WHERE a.item_id = i.id AND a.ended_at <= {until}) AS latency_us"""
# The sums include all attempts of the item until the outcome. So a line that supersedes another includes its cost.
AFTER = f"""SELECT o.id, i.job_id, o.status, o.reason, o.labels, o.supersedes, o.at, i.uid, i.message_key,
           g.sent_at, g.received_at, m.account, m.folder, m.uidvalidity, r.uuid AS run_uuid,
           v.scores, v.category, v.reason AS why,
           COALESCE(v.model, v.source) AS model, {COSTS.format(until="o.at")}
      FROM outcome o
      JOIN item i ON i.id = o.item_id
      JOIN job j ON j.id = i.job_id
      JOIN mailbox m ON m.id = i.mailbox_id
      JOIN run r ON r.id = o.run_id
      LEFT JOIN verdict v ON v.id = o.verdict_id
      LEFT JOIN message g ON g.message_key = i.message_key
     WHERE o.id > :after AND NOT j.dry_run {{job}}
     ORDER BY o.id LIMIT :limit"""

FIND = text(
    """SELECT o.id FROM run r
      JOIN item i ON i.job_id = r.job_id AND i.uid = :uid
       AND i.mailbox_id = (SELECT id FROM mailbox
                            WHERE account = :account AND folder = :folder AND uidvalidity = :uidvalidity)
      JOIN outcome o ON o.item_id = i.id AND o.run_id = r.id AND o.at = :at AND o.status = :status
     WHERE r.uuid = :run"""
)
# An outcome supersedes those of the same item, and in real jobs those of the same mail in other real jobs. A mail is
# found by its job, since an item without a verdict is in no other index. There are few jobs. CROSS JOIN keeps SQLite
# from another order, in which it reads all outcomes for each mail.
WRITE = RowStatement(
    """INSERT INTO outcome (item_id, run_id, status, verdict_id, reason, labels, supersedes, at)
       SELECT item, :run, :status, verdict, reason, labels,
              EXISTS (SELECT 1 FROM outcome WHERE outcome.item_id = given.item)
              OR EXISTS (SELECT 1 FROM item i CROSS JOIN job own CROSS JOIN job other CROSS JOIN item same
                          CROSS JOIN outcome earlier
                          WHERE i.id = given.item AND own.id = i.job_id AND NOT own.dry_run AND NOT other.dry_run
                            AND same.job_id = other.id AND same.mailbox_id = i.mailbox_id AND same.uid = i.uid
                            AND earlier.item_id = same.id), :now FROM {rows}""",
    item="BIGINT",
    verdict="BIGINT",
    reason="TEXT",
    labels="TEXT",
)
# PostgreSQL gives out a row's number before the row is committed. So 11 may be visible while 10 is not, and a reader
# that continues after 11 would miss 10. Writers of outcomes share this lock until they commit; a reader waits for them.
OUTCOME_LOCK = 0x6F757463
SHARE_WRITING = text(f"SELECT pg_advisory_xact_lock_shared({OUTCOME_LOCK})")
WAIT_FOR_WRITERS = text(f"SELECT pg_advisory_xact_lock({OUTCOME_LOCK})")


@dataclass(frozen=True, slots=True)
class Sink:
    """An append-only file: how many of its bytes are committed, and the last outcome in them.

    `rotated_outcome_id`: the last outcome in the files that were rotated from it; 0: none was.
    """

    id: int
    committed_bytes: int
    last_outcome_id: int
    rotated_outcome_id: int = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """By what an outcome is known outside of the ledger."""

    ref: MessageRef
    status: str
    run_uuid: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcome and sink tables."""

    database: Database

    def after(self, outcome_id: int, limit: int, job_id: int | None = None) -> list[OutcomeRow]:
        """The outcomes of real jobs after `outcome_id`, in order. `job_id` None: of all real jobs."""
        parameters = {"after": outcome_id, "limit": limit, "job": job_id}
        statement = AFTER.format(job="" if job_id is None else "AND j.id = :job")
        if job_id is None:
            del parameters["job"]

        def work(connection: Connection) -> list[OutcomeRow]:
            if not self.database.is_sqlite:
                connection.execute(WAIT_FOR_WRITERS)
            return [outcome_row(row) for row in connection.execute(text(statement), parameters)]

        # Not `read` on PostgreSQL: its snapshot is older than the wait. In `write` each statement sees what is
        # committed when the statement begins.
        return self.database.read(work) if self.database.is_sqlite else self.database.write(work)

    def find(self, identity: Identity) -> int | None:
        """The number of this outcome; None: the ledger has none."""
        mailbox = identity.ref.mailbox
        parameters = {
            "run": identity.run_uuid,
            "account": mailbox.account,
            "folder": mailbox.folder,
            "uidvalidity": mailbox.uidvalidity,
            "uid": identity.ref.uid,
            "status": identity.status,
            "at": micros(identity.at),
        }
        return self.database.read(lambda connection: connection.execute(FIND, parameters).scalar())

    def sinks(self) -> list[Sink]:
        """Every file that this ledger has written to, on any host, by committed length, longest first."""
        statement = select(sink).order_by(sink.c.committed_bytes.desc(), sink.c.id)
        return self.database.read(lambda connection: [_sink(row) for row in connection.execute(statement)])

    def find_sink(self, host: str, path: str) -> Sink | None:
        """The sink of this file; None: this ledger has not written to a file of this host and path."""
        statement = select(sink).where(sink.c.host == host, sink.c.path == path)

        def work(connection: Connection) -> Sink | None:
            row = connection.execute(statement).one_or_none()
            return None if row is None else _sink(row)

        return self.database.read(work)

    def open_sink(self, host: str, path: str) -> Sink:
        """The sink of this file. If there is none, makes one with nothing committed. Writes."""
        this = (sink.c.host == host) & (sink.c.path == path)

        def work(connection: Connection) -> Sink:
            connection.execute(self.database.insert(sink).on_conflict_do_nothing(), [{"host": host, "path": path}])
            return _sink(connection.execute(select(sink).where(this)).one())

        return self.database.write(work)

    def advance(self, before: Sink, after: Sink) -> bool:
        """Commit the file's new length and last outcome. False: another writer was first. Writes."""
        statement = (
            update(sink)
            .where(
                sink.c.id == before.id,
                sink.c.last_outcome_id == before.last_outcome_id,
                sink.c.committed_bytes == before.committed_bytes,
            )
            .values(
                committed_bytes=after.committed_bytes,
                last_outcome_id=after.last_outcome_id,
                rotated_outcome_id=after.rotated_outcome_id,
            )
        )
        return self.database.write(lambda connection: connection.execute(statement).rowcount) == 1


def write_outcome(
    connection: Connection,
    run: Run,
    item_id: int,
    status: OutcomeStatus,
    verdict_id: int | None,
    reason: str | None,
    labels: Sequence[str],
    now: int,
) -> None:
    """Add the outcome row of an item. To be called in the transaction that makes the item final."""
    write_outcomes(connection, run, status, [(item_id, verdict_id, reason, labels)], now)


def write_outcomes(
    connection: Connection,
    run: Run,
    status: OutcomeStatus,
    ended: Sequence[tuple[int, int | None, str | None, Sequence[str]]],
    now: int,
) -> None:
    """Add the outcome rows of items. To be called in the transaction that makes the items final.

    `ended`: item number, verdict number, reason and labels of each.
    """
    if not ended:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(SHARE_WRITING)
    rows = [
        {"item": item, "verdict": verdict, "reason": reason, "labels": ",".join(labels)}
        for item, verdict, reason, labels in ended
    ]
    WRITE.execute(connection, rows, run=run.id, status=status, now=now)


def _sink(row: Row[Any]) -> Sink:
    return Sink(row.id, row.committed_bytes, row.last_outcome_id, row.rotated_outcome_id)


_STATUSES: dict[str, OutcomeStatus | ItemStatus] = {status.value: status for status in (*ItemStatus, *OutcomeStatus)}


def outcome_row(row: Row[Any]) -> OutcomeRow:
    """The outcome of a row with the columns of `AFTER`."""
    return OutcomeRow(
        id=row.id,
        job_id=row.job_id,
        ref=MessageRef(MailboxKey(row.account, row.folder, row.uidvalidity), row.uid),
        message_key=row.message_key,
        sent_at=moment_or_none(row.sent_at),
        received_at=moment_or_none(row.received_at),
        status=_STATUSES[row.status],
        reason=row.reason,
        scores=Scores({} if row.scores is None else json.loads(row.scores)),
        category=row.category,
        why=row.why or "",
        model=row.model,
        labels=tuple(row.labels.split(",")) if row.labels else (),
        tokens=row.tokens,
        cost_nano=row.cost_nano,
        latency_us=row.latency_us,
        run_uuid=row.run_uuid,
        at=moment(row.at),
        supersedes=bool(row.supersedes),
    )
