"""The job table: which jobs exist, and the state of each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select, text

from backfill.clock import Clock, micros
from backfill.fingerprint import Fingerprint
from backfill.ledger.databases.database import Database
from backfill.ledger.job_states import move, settle
from backfill.ledger.rows import Job, rubric_of
from backfill.ledger.schema import job, one_of
from backfill.lifecycle import GIVEN_UP, UNFINISHED, JobState
from backfill.rubric import Rubric
from backfill.selection import Selection, job_key

GIVEN_UP_ONE = text(f"SELECT id FROM job WHERE key = :key AND {one_of('state', GIVEN_UP)}")
RETIRE = text("UPDATE job SET key = :retired WHERE id = :job")
CONSENT = text("UPDATE job SET consented_at = :now WHERE id = :job")


@dataclass(frozen=True, slots=True)
class Jobs:
    """The job table."""

    database: Database
    clock: Clock

    def open(
        self,
        account: str,
        selection: Selection,
        fingerprint: Fingerprint,
        rubric: Rubric | None = None,
        *,
        dry_run: bool,
        generation: int = 0,
        anew: bool = False,
    ) -> Job:
        """The job of this identity. If there is none, makes one in the state PLANNING. Writes.

        `anew`: a cancelled or undone job of this identity makes room. It keeps its number, by which alone it is found.
        """
        digest = fingerprint.digest()
        key = job_key(account, selection, digest, dry_run=dry_run, generation=generation)
        row = {
            "key": key,
            "account": account,
            "selection": selection.canonical(),
            "fingerprint": digest,
            "fingerprint_parts": fingerprint.canonical,
            "prompt": fingerprint.prompt,
            "rubric": (rubric or Rubric.default()).canonical(),
            "dry_run": dry_run,
            "generation": generation,
            "state": JobState.PLANNING,
            "created_at": micros(self.clock.now()),
        }

        def work(connection: Connection) -> Job:
            given_up = connection.execute(GIVEN_UP_ONE, {"key": key}).scalar() if anew else None
            if given_up is not None:
                # The key is unique. A retired one is no digest of any identity.
                retired = hashlib.sha256(f"{key} {given_up}".encode()).hexdigest()
                connection.execute(RETIRE, {"job": given_up, "retired": retired})
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
        """The jobs of an account that are planning, open or paused, oldest first; without cleanups."""
        jobs = [found for found in self.all() if found.account == account and found.state in UNFINISHED]
        return [found for found in jobs if not found.is_cleanup]

    def latest(self) -> int | None:
        """The number of the latest run's job, or of the latest job if there was no run; None: there is no job.

        A cleanup has no run, and does not count.
        """
        of_run = text("SELECT job_id FROM run ORDER BY id DESC LIMIT 1")

        found: int | None = self.database.read(lambda connection: connection.execute(of_run).scalar())
        if found is not None:
            return found
        return max((job.id for job in self.all() if not job.is_cleanup), default=None)

    def next_generation(self, account: str, selection: Selection, digest: str) -> int:
        """The generation for `--ask-again`: the latest if its job is unfinished or cancelled, else a new one."""
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
                return int(row.generation)  # a new generation would pay again for the verdicts of this one
            newest = connection.execute(select(func.max(job.c.generation))).scalar()
            return int(newest or 0) + 1

        return self.database.read(work)

    def consent(self, job_id: int) -> None:
        """Record that the operator answered yes to the question before the first metered call. Writes."""
        parameters = {"job": job_id, "now": micros(self.clock.now())}
        self.database.write(lambda connection: connection.execute(CONSENT, parameters).rowcount)

    def reopen(self, job_id: int) -> None:
        """PAUSED, DONE, CANCELLED or UNDONE → PLANNING. `settle` then finds out whether anything is left. Writes."""
        ended = {JobState.PAUSED, JobState.DONE, JobState.CANCELLED, JobState.UNDONE}
        this = {"job": job_id}
        self.database.write(lambda connection: move(connection, JobState.PLANNING, "id = :job", this, only=ended))

    def settle(self, job_id: int) -> JobState:
        """PLANNING → OPEN if every folder is planned, then OPEN → DONE if no item is open; the state. Writes."""
        now = micros(self.clock.now())
        return self.database.write(lambda connection: settle(connection, job_id, now))

    def _job_where(self, condition: ColumnElement[bool]) -> Job | None:
        row = self.database.read(lambda connection: connection.execute(select(job).where(condition)).one_or_none())
        return None if row is None else _job(row)


def _job(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        key=row.key,
        account=row.account,
        selection=Selection.from_canonical(row.selection),
        fingerprint=row.fingerprint,
        planned_with=Fingerprint(row.fingerprint_parts, row.prompt),
        rubric=rubric_of(row.rubric),
        dry_run=row.dry_run,
        generation=row.generation,
        state=JobState(row.state),
        state_reason=row.state_reason,
        has_consent=row.consented_at is not None,
    )
