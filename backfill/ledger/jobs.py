"""The job table: which jobs there are, and where each of them stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select, text, update

from backfill.clock import Clock, micros
from backfill.ledger.databases.database import Database
from backfill.ledger.rows import Job
from backfill.ledger.schema import ITEM_OPEN, job
from backfill.lifecycle import UNFINISHED, JobState
from backfill.ports import Fingerprint
from backfill.selection import Selection, job_key

# Whoever gives a done job something to do says in the same transaction that it is not done any more.
REOPEN_DONE = text("UPDATE job SET state = 'planning', done_at = NULL WHERE id = :job AND state = 'done'")
REOPEN = text(
    """UPDATE job SET state = 'planning', done_at = NULL
        WHERE id = :job AND state IN ('open', 'done', 'paused')"""
)
# An epoch that is closed has nothing left to plan; its folder is planned when its new epoch is.
UNPLANNED = """SELECT 1 FROM plan_range JOIN mailbox ON mailbox.id = plan_range.mailbox_id
     WHERE job_id = :job AND next_uid <= high_uid AND closed_at IS NULL"""
SETTLE_PLANNED = text(
    f"""UPDATE job SET state = 'open' WHERE id = :job AND state = 'planning'
        AND (SELECT COUNT(*) FROM plan_range JOIN mailbox ON mailbox.id = plan_range.mailbox_id
              WHERE job_id = :job AND closed_at IS NULL) >= :folders
        AND NOT EXISTS ({UNPLANNED})"""
)
SETTLE_DONE = text(
    f"""UPDATE job SET state = 'done', done_at = :now WHERE id = :job AND state = 'open'
        AND NOT EXISTS ({UNPLANNED})
        AND NOT EXISTS (SELECT 1 FROM item WHERE job_id = :job AND claimed_by IS NULL AND {ITEM_OPEN})
        AND NOT EXISTS (SELECT 1 FROM item WHERE +job_id = :job AND claimed_by IS NOT NULL AND {ITEM_OPEN})"""
)


@dataclass(frozen=True, slots=True)
class Jobs:
    """The job table."""

    database: Database
    clock: Clock

    def open(
        self, account: str, selection: Selection, fingerprint: Fingerprint, *, dry_run: bool, generation: int = 0
    ) -> Job:
        """The job of this identity: the one there is, or a new one in state PLANNING. Writes."""
        digest = fingerprint.digest()
        key = job_key(account, selection, digest, dry_run=dry_run, generation=generation)
        row = {
            "key": key,
            "account": account,
            "selection": selection.canonical(),
            "fingerprint": digest,
            "fingerprint_parts": fingerprint.canonical(),
            "prompt": fingerprint.prompt,
            "dry_run": dry_run,
            "generation": generation,
            "state": JobState.PLANNING,
            "created_at": micros(self.clock.now()),
        }

        def work(connection: Connection) -> Job:
            connection.execute(self.database.insert(job).on_conflict_do_nothing(), [row])
            return _job(connection.execute(select(job).where(job.c.key == key)).one())

        return self.database.write(work)

    def find(self, key: str) -> Job | None:
        """The job of this key, or None."""
        return self._job_where(job.c.key == key)

    def get(self, job_id: int) -> Job | None:
        """The job of this number, or None."""
        return self._job_where(job.c.id == job_id)

    def all(self) -> list[Job]:
        """Every job, oldest first."""
        everything = select(job).order_by(job.c.id)
        return self.database.read(lambda connection: [_job(row) for row in connection.execute(everything)])

    def unfinished(self, account: str) -> list[Job]:
        """The jobs of an account that are planning, open or paused, oldest first."""
        return [found for found in self.all() if found.account == account and found.state in UNFINISHED]

    def latest(self) -> int | None:
        """The job of the latest run, or else the latest job; None in an empty ledger."""
        of_run = text("SELECT job_id FROM run ORDER BY id DESC LIMIT 1")
        of_all = text("SELECT id FROM job ORDER BY id DESC LIMIT 1")

        def work(connection: Connection) -> int | None:
            found: int | None = connection.execute(of_run).scalar()
            return found if found is not None else connection.execute(of_all).scalar()

        return self.database.read(work)

    def next_generation(self, account: str, selection: Selection, digest: str) -> int:
        """The generation that `--ask-again` means: the latest where something is left of it, else a new one."""
        latest = (
            select(job.c.generation, job.c.state)
            .where(
                job.c.account == account,
                job.c.selection == selection.canonical(),
                job.c.fingerprint == digest,
                job.c.generation > 0,
            )
            .order_by(job.c.generation.desc())
            .limit(1)
        )

        def work(connection: Connection) -> int:
            row = connection.execute(latest).one_or_none()
            if row is not None and row.state in UNFINISHED | {JobState.CANCELLED}:
                return int(row.generation)  # what it has paid for is not paid for again
            newest = connection.execute(select(func.max(job.c.generation))).scalar()
            return int(newest or 0) + 1

        return self.database.read(work)

    def consent(self, job_id: int) -> None:
        """Remember that the question before the first metered call was answered with yes. Writes."""
        self._update(job_id, consented_at=micros(self.clock.now()))

    def reopen(self, job_id: int) -> None:
        """PAUSED, DONE, CANCELLED or UNDONE → PLANNING: there may be something to plan or do; `settle` says. Writes."""
        ended = (JobState.PAUSED, JobState.DONE, JobState.CANCELLED, JobState.UNDONE)
        self._update(job_id, only=ended, state=JobState.PLANNING, state_reason=None, done_at=None)

    def settle(self, job_id: int) -> JobState:
        """PLANNING → OPEN when every folder is planned, OPEN → DONE when no item is open; the state. Writes."""
        now = micros(self.clock.now())

        def work(connection: Connection) -> JobState:
            selection = connection.execute(select(job.c.selection).where(job.c.id == job_id)).scalar_one()
            folders = len(Selection.from_canonical(selection).folders)
            connection.execute(SETTLE_PLANNED, {"job": job_id, "folders": folders})
            connection.execute(SETTLE_DONE, {"job": job_id, "now": now})
            return JobState(connection.execute(select(job.c.state).where(job.c.id == job_id)).scalar_one())

        return self.database.write(work)

    def _job_where(self, condition: ColumnElement[bool]) -> Job | None:
        row = self.database.read(lambda connection: connection.execute(select(job).where(condition)).one_or_none())
        return None if row is None else _job(row)

    def _update(self, job_id: int, only: Sequence[JobState] = (), **values: Any) -> None:
        statement = update(job).where(job.c.id == job_id).values(values)
        if only:
            statement = statement.where(job.c.state.in_(only))
        self.database.write(lambda connection: connection.execute(statement).rowcount)


def _job(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        key=row.key,
        account=row.account,
        selection=Selection.from_canonical(row.selection),
        fingerprint=row.fingerprint,
        fingerprint_parts=row.fingerprint_parts,
        prompt=row.prompt,
        dry_run=row.dry_run,
        generation=row.generation,
        state=JobState(row.state),
        state_reason=row.state_reason,
        has_consent=row.consented_at is not None,
    )
