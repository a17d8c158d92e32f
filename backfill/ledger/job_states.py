"""The one statement that sets a job's state.

Its WHERE is built from `JOB_TRANSITIONS`: a job moves only along an edge of that table, whatever the caller asks for.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, select, text

from backfill.ledger.schema import ITEM_OPEN, job, one_of
from backfill.lifecycle import JOB_TRANSITIONS, IllegalTransition, JobState
from backfill.selection import Selection

# An epoch that is closed has nothing left to plan; its folder is planned when its new epoch is.
UNPLANNED = """SELECT 1 FROM plan_range JOIN mailbox ON mailbox.id = plan_range.mailbox_id
     WHERE job_id = :job AND next_uid <= high_uid AND closed_at IS NULL"""
IS_PLANNED = f"""id = :job AND NOT EXISTS ({UNPLANNED})
        AND (SELECT COUNT(*) FROM plan_range JOIN mailbox ON mailbox.id = plan_range.mailbox_id
              WHERE job_id = :job AND closed_at IS NULL) >= :folders"""
# `+` keeps SQLite from looking through the whole job: it is the index of claimed items that is short.
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
    """Move the jobs that `which` names (SQL, with its parameters) to the state `after`; how many moved.

    They are left as they are in a state from which no edge leads there, and in one that is not among `only`. `reason`
    takes the place of what the job's reason was; None: it has none any more. `done_at` and `steered_at` in
    microseconds; `steered_at` None: it stays as it is.

    Raises `IllegalTransition` where no state can move there.
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
    """DONE → PLANNING, in the transaction that gives the job something to do."""
    move(connection, JobState.PLANNING, "id = :job", {"job": job_id}, only={JobState.DONE})


def settle(connection: Connection, job_id: int, now: int) -> JobState:
    """PLANNING → OPEN when every folder is planned, OPEN → DONE when no item is open; the state then."""
    selection = connection.execute(select(job.c.selection).where(job.c.id == job_id)).scalar_one()
    folders = len(Selection.from_canonical(selection).folders)
    this = {"job": job_id, "folders": folders}
    move(connection, JobState.OPEN, IS_PLANNED, this, only={JobState.PLANNING})
    move(connection, JobState.DONE, IS_DONE, {"job": job_id}, only={JobState.OPEN}, done_at=now)
    return JobState(connection.execute(select(job.c.state).where(job.c.id == job_id)).scalar_one())
