"""The one statement that sets a job's state.

Its WHERE is made from `JOB_TRANSITIONS`, so a job moves only along an edge of that table.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, select, text

from backfill.ledger.schema import ITEM_OPEN, job, one_of
from backfill.lifecycle import JOB_TRANSITIONS, IllegalTransition, JobState
from backfill.selection import Selection

# A closed epoch has nothing left to plan. Its folder counts as planned when the new epoch is planned.
UNPLANNED = """SELECT 1 FROM plan_range JOIN mailbox ON mailbox.id = plan_range.mailbox_id
     WHERE job_id = :job AND next_uid <= high_uid AND closed_at IS NULL"""
IS_PLANNED = f"""id = :job AND NOT EXISTS ({UNPLANNED})
        AND (SELECT COUNT(*) FROM plan_range JOIN mailbox ON mailbox.id = plan_range.mailbox_id
              WHERE job_id = :job AND closed_at IS NULL) >= :folders"""
# `+` makes SQLite use the short index of claimed items, and not read the whole job.
IS_DONE = f"""id = :job AND NOT EXISTS ({UNPLANNED})
        AND NOT EXISTS (SELECT 1 FROM item WHERE job_id = :job AND claimed_by IS NULL AND {ITEM_OPEN})
        AND NOT EXISTS (SELECT 1 FROM item WHERE +job_id = :job AND claimed_by IS NOT NULL AND {ITEM_OPEN})"""


def move(
    connection: Connection,
    after: JobState,
    which: str,
    parameters: dict[str, Any],
    *,
    only: Collection[JobState] = frozenset(JobState),
    reason: str | None = None,
    done_at: int | None = None,
    steered_at: int | None = None,
) -> int:
    """Move the jobs that meet the condition `which` (SQL, with its parameters) to `after`; how many moved.

    A job stays as it is if no edge leads from its state to `after`, or if its state is not in `only`. `reason` and
    `done_at` replace the old values; None clears them. `steered_at` None: the old value stays. `done_at` and
    `steered_at` are microseconds UTC. Raises `IllegalTransition` if no edge leads from a state in `only` to `after`.
    """
    before = {start for start, end in JOB_TRANSITIONS if end is after} & set(only)
    if not before:
        raise IllegalTransition(f"{', '.join(sorted(only))} -> {after}")
    statement = text(
        f"""UPDATE job SET state = '{after}', state_reason = :reason, done_at = :done_at,
                   steered_at = COALESCE(CAST(:steered_at AS BIGINT), steered_at)
             WHERE {one_of("state", before)} AND ({which})"""
    )
    given = {**parameters, "reason": reason, "done_at": done_at, "steered_at": steered_at}
    return connection.execute(statement, given).rowcount


def reopen_done(connection: Connection, job_id: int) -> None:
    """DONE → PLANNING. To be called in the transaction that gives the job something to do."""
    move(connection, JobState.PLANNING, "id = :job", {"job": job_id}, only={JobState.DONE})


def settle(connection: Connection, job_id: int, now: int) -> JobState:
    """PLANNING → OPEN if every folder is planned, then OPEN → DONE if no item is open. Returns the new state."""
    selection = connection.execute(select(job.c.selection).where(job.c.id == job_id)).scalar_one()
    folders = len(Selection.from_canonical(selection).folders)
    this = {"job": job_id, "folders": folders}
    move(connection, JobState.OPEN, IS_PLANNED, this, only={JobState.PLANNING})
    move(connection, JobState.DONE, IS_DONE, {"job": job_id}, only={JobState.OPEN}, done_at=now)
    return JobState(connection.execute(select(job.c.state).where(job.c.id == job_id)).scalar_one())
