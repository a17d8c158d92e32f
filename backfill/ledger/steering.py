"""Instructions to a job's runs from other terminals (pause, resume, cancel, pace), and what the runs wait for.

An instruction is stored with the job, so it holds for every run of the job and after a restart. It is written without
the run's lock. Each write names the states from which it is allowed, and its row count says whether it was made.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select, text, update

from backfill.clock import Clock, micros
from backfill.ledger.databases.database import Database
from backfill.ledger.job_states import move
from backfill.ledger.rows import Run
from backfill.ledger.schema import job, run
from backfill.lifecycle import JobState
from backfill.redaction import redacted_own

SET_PACE = text("UPDATE job SET pace = :pace, steered_at = :now WHERE id = :job")


@dataclass(frozen=True, slots=True)
class Instructions:
    """The instructions to a job's runs now. `calls_per_minute` None: each run keeps the pace it was started with."""

    state: JobState
    reason: str | None
    calls_per_minute: float | None


@dataclass(frozen=True, slots=True)
class JobSteering:
    """The steering part of the job and run tables."""

    database: Database
    clock: Clock

    def pause(self, job_id: int, reason: str) -> bool:
        """PLANNING or OPEN → PAUSED with the reason; has the job moved? Writes."""
        return self._move(job_id, JobState.PAUSED, redacted_own(reason))

    def resume(self, job_id: int) -> bool:
        """PAUSED → PLANNING; has the job moved? `Jobs.settle` then finds out what is left. Writes."""
        return self._move(job_id, JobState.PLANNING, only={JobState.PAUSED})

    def cancel(self, job_id: int, reason: str) -> bool:
        """PLANNING, OPEN or PAUSED → CANCELLED with the reason; has the job moved? Its items stay. Writes."""
        return self._move(job_id, JobState.CANCELLED, redacted_own(reason))

    def set_pace(self, job_id: int, calls_per_minute: float | None) -> None:
        """Set the pace of the job's runs from now on; None: each run has the pace it is started with. Writes."""
        parameters = {"job": job_id, "pace": calls_per_minute, "now": micros(self.clock.now())}
        self.database.write(lambda connection: connection.execute(SET_PACE, parameters).rowcount)

    def read(self, job_id: int) -> Instructions:
        """The instructions to the job's runs."""
        statement = select(job.c.state, job.c.state_reason, job.c.pace).where(job.c.id == job_id)
        row = self.database.read(lambda connection: connection.execute(statement).one())
        return Instructions(JobState(row.state), row.state_reason, row.pace)

    def note_waiting(self, living: Run, waiting_for: str | None) -> None:
        """Record what a run waits for, in words, for other terminals. None: it works. Writes."""
        statement = (
            update(run)
            .where(run.c.id == living.id, run.c.ended_at.is_(None))
            .values(waiting_for=waiting_for and redacted_own(waiting_for))
        )
        self.database.write(lambda connection: connection.execute(statement).rowcount)

    def _move(
        self,
        job_id: int,
        after: JobState,
        reason: str | None = None,
        only: Collection[JobState] = frozenset(JobState),
    ) -> bool:
        now, this = micros(self.clock.now()), {"job": job_id}

        def work(connection: Connection) -> bool:
            return move(connection, after, "id = :job", this, only=only, reason=reason, steered_at=now) == 1

        return self.database.write(work)
