"""Runs: their beginning, their heartbeat and their end, and how the claims of a dead run are freed.

Another run frees the claims of dead runs in one transaction. With SQLite, the run that gets the lock knows that every
other run is dead. With PostgreSQL, a run counts as dead when its lock is free *and* its heartbeat is older than 60 s.
There a living run may be taken for dead, e.g. after a laptop slept. Its next claim takes the run up again, but its
earlier claims are lost.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, select, text, update

from backfill.clock import Clock, micros
from backfill.errors import LedgerHeld
from backfill.ledger.databases.database import Database
from backfill.ledger.item_states import leaves
from backfill.ledger.locks import RunLock, held_locks, is_free, run_lock
from backfill.ledger.outcomes import write_outcome
from backfill.ledger.parameters import RunParameters
from backfill.ledger.rows import Run, RunInfo, moment, moment_or_none
from backfill.ledger.schema import ITEM_CLAIMED, run
from backfill.lifecycle import ItemStatus, OutcomeStatus, RunOutcome
from backfill.redaction import redacted_own

# A mail that was begun when two runs died is processed alone, so that no other mail counts a loss with it.
LOSSES_BEFORE_ALONE = 2
# Of several deaths within 60 s only the first counts as a loss: then probably somebody kills the runs. A mail that
# kills every run at once still gets its third loss, after two minutes or more.
COUNTED_EVERY_US = 60_000_000
TOO_SOON = "died within a minute of another, so no mail is blamed for it"
# A lost connection frees a living run's advisory lock. The run has 60 s to notice and to take the lock again. A
# heartbeat more than 60 s ahead counts as old, too: the clock was set back after it.
HEARTBEAT_GRACE_US = 60_000_000

OTHERS = "SELECT id, uuid FROM run WHERE ended_at IS NULL AND id <> :successor"
OTHERS_POSTGRESQL = f"""{OTHERS}
   AND heartbeat_at NOT BETWEEN :now - {HEARTBEAT_GRACE_US} AND :now + {HEARTBEAT_GRACE_US}
   ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"""
# Retry lost mails last: then the next run does not begin with them, and if it dies soon they count no loss again.
FREE_CLAIMS = text(
    f"""UPDATE item SET claimed_by = NULL, losses = losses + CASE WHEN begun THEN :counts ELSE 0 END, begun = FALSE,
               due_at = CASE WHEN begun THEN :now ELSE due_at END,
               due_set_at = CASE WHEN begun THEN :now ELSE due_set_at END
         WHERE {ITEM_CLAIMED} AND claimed_by IN :runs RETURNING id, losses"""
).bindparams(bindparam("runs", expanding=True))
FAIL_POISON = text(
    f"""UPDATE item SET status = 'failed', reason = :reason, final_at = :now
        WHERE id = :item AND {leaves(ItemStatus.FAILED, ItemStatus.PENDING, ItemStatus.CLASSIFIED)}
          AND claimed_by IS NULL RETURNING verdict_id"""
)
LOSE_ATTEMPTS = text(
    "UPDATE attempt SET outcome = 'unknown', ended_at = :now WHERE outcome = 'open' AND run_id IN :runs"
).bindparams(bindparam("runs", expanding=True))
RELEASE_CLAIMS = text(f"UPDATE item SET claimed_by = NULL, begun = FALSE WHERE {ITEM_CLAIMED} AND claimed_by = :run")
LAST_COUNTED = text("SELECT MAX(ended_at) FROM run WHERE outcome = 'lost' AND outcome_reason IS NULL")
LATEST = "SELECT * FROM run WHERE job_id = :job ORDER BY id DESC LIMIT 1"
UNENDED = "SELECT * FROM run WHERE job_id = :job AND ended_at IS NULL ORDER BY id DESC"
STATE = "SELECT ended_at, outcome FROM run WHERE id = :run"
TAKE_UP_AGAIN = text(
    "UPDATE run SET ended_at = NULL, outcome = NULL, heartbeat_at = :now WHERE id = :run AND outcome = 'lost'"
)


@dataclass(frozen=True, slots=True)
class Runs:
    """The run table and the locks."""

    database: Database
    clock: Clock
    _locks: dict[int, RunLock] = field(default_factory=dict, repr=False, compare=False)  # by run, of this process

    def lock(self) -> RunLock:
        """A new lock. A writing command takes it first and holds it until it ends."""
        return run_lock(self.database)

    def take(self, lock: RunLock) -> None:
        """Take a lock. Raises `LedgerHeld`, which names the command that holds it."""
        try:
            lock.take()
        except LedgerHeld as error:
            raise LedgerHeld(self._holder()) from error

    def _holder(self) -> str:
        for info in self.unended():
            if not is_on_this_host_and_gone(info.host, info.pid):
                return (
                    f"`backfill {info.command}` (process {info.pid} on {info.host}, since "
                    f"{info.started_at:%Y-%m-%d %H:%M} UTC) is writing to {self.database}; "
                    "`backfill status` says how far it is; wait for it to end, or stop it: "
                    f"`kill {info.pid}` on that machine."
                )
        return f"Another backfill command is writing to {self.database}; wait for it to end."

    def begin(self, lock: RunLock, job_id: int, command: str, version: str, parameters: RunParameters) -> Run:
        """Record that this process begins to work on a job, and free the claims of dead runs. Writes.

        The caller holds `lock`. With SQLite this proves that every other run without a recorded end is dead.
        """
        now = micros(self.clock.now())
        row = {
            "uuid": lock.uuid,
            "job_id": job_id,
            "command": command,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": version,
            "parameters": parameters.to_json(),
            "started_at": now,
            "heartbeat_at": now,
        }

        def work(connection: Connection) -> Run:
            number = connection.execute(run.insert().returning(run.c.id), [row]).scalar_one()
            return Run(number, lock.uuid, job_id)

        begun = self.database.write(work)
        self._locks[begun.id] = lock
        self.free_dead(begun)
        return begun

    def free_dead(self, successor: Run) -> int:
        """Free the claims of dead runs; how many runs were dead. Writes; one transaction.

        An item that was begun counts a loss, unless a death was counted less than 60 s before. At its third loss, when
        it was processed alone, it fails with the reason "lost".
        """
        now = micros(self.clock.now())

        def work(connection: Connection) -> int:
            dead = self._dead(connection, successor, now)
            if not dead:
                return 0
            last = connection.execute(LAST_COUNTED).scalar()
            counts = last is None or not 0 <= now - int(last) < COUNTED_EVERY_US  # < 0: the clock was set back
            freed = connection.execute(FREE_CLAIMS, {"runs": dead, "now": now, "counts": int(counts)})
            for item_id, losses in freed.all():
                fail_poison(connection, successor, item_id, losses, "lost", now)
            connection.execute(LOSE_ATTEMPTS, {"runs": dead, "now": now})
            ended = update(run).where(run.c.id.in_(dead), run.c.ended_at.is_(None))
            reason = None if counts else TOO_SOON
            values = {"ended_at": now, "outcome": RunOutcome.LOST, "outcome_reason": reason}
            return int(connection.execute(ended.values(values)).rowcount)

        return self.database.write(work)

    def _dead(self, connection: Connection, successor: Run, now: int) -> list[int]:
        """The dead runs. On PostgreSQL their rows and locks are held until the transaction ends, so they stay dead."""
        if self.database.is_sqlite:
            return [row.id for row in connection.execute(text(OTHERS), {"successor": successor.id})]
        others = connection.execute(text(OTHERS_POSTGRESQL), {"successor": successor.id, "now": now}).all()
        return [row.id for row in others if is_free(connection, row.uuid)]

    def beat(self, living: Run, running_us: int) -> bool:
        """Write the heartbeat, and the time worked so far in microseconds. Is the run's lock held? Writes.

        On PostgreSQL, takes the lock again if it was lost with the connection (False: it cannot do so at the moment),
        and frees the claims of other dead runs. If this run was taken for dead meanwhile, its own claims are lost.
        Raises `LedgerHeld` if the run has ended or another run has taken its place, `LedgerUnusable` if SQLite's file
        is no longer the file that was opened.
        """
        self.database.check_file()
        now = micros(self.clock.now())

        def work(connection: Connection) -> None:
            go_on(self.database, connection, living, now)
            connection.execute(update(run).where(run.c.id == living.id).values(heartbeat_at=now, running_us=running_us))

        self.database.write(work)
        lock = self._locks.get(living.id)
        if lock is not None and not lock.prove():
            return False
        if not self.database.is_sqlite:
            self.free_dead(living)
        return True

    def release_claims(self, living: Run) -> int:
        """Free all claims of a run, without counting a failure; how many. Writes."""
        return self.database.write(lambda connection: connection.execute(RELEASE_CLAIMS, {"run": living.id}).rowcount)

    def end(self, ending: Run, outcome: RunOutcome, reason: str | None, running_us: int) -> None:
        """Free all claims of a run, and record how it ended. Its open calls get an unknown outcome. Writes."""
        now = micros(self.clock.now())
        values = {
            "ended_at": now,
            "heartbeat_at": now,
            "outcome": outcome,
            "outcome_reason": reason and redacted_own(reason),
        }

        def work(connection: Connection) -> None:
            with suppress(LedgerHeld):  # its end is already recorded
                go_on(self.database, connection, ending, now)
            statement = update(run).where(run.c.id == ending.id, run.c.ended_at.is_(None))
            connection.execute(statement.values(running_us=running_us, **values))
            connection.execute(RELEASE_CLAIMS, {"run": ending.id})
            connection.execute(LOSE_ATTEMPTS, {"runs": [ending.id], "now": now})

        self.database.write(work)
        self._locks.pop(ending.id, None)
        self.database.check_file()

    def latest(self, job_id: int) -> RunInfo | None:
        """The newest run of a job; None: there was none."""
        return self.database.read(lambda connection: latest_run(connection, job_id))

    def unended(self) -> list[RunInfo]:
        """The runs without a recorded end, newest first: they are at work, or dead."""
        statement = select(run).where(run.c.ended_at.is_(None)).order_by(run.c.id.desc())
        return self.database.read(lambda connection: [run_info(row) for row in connection.execute(statement)])


def fail_poison(connection: Connection, living: Run, item_id: int, losses: int, reason: str, now: int) -> bool:
    """PENDING or CLASSIFIED → FAILED for an unclaimed item with its third loss; has it failed?"""
    if losses <= LOSSES_BEFORE_ALONE:
        return False
    known = connection.execute(FAIL_POISON, {"item": item_id, "reason": reason, "now": now}).scalar_one()
    write_outcome(connection, living, item_id, OutcomeStatus.FAILED, known, reason, (), now)
    return True


def go_on(database: Database, connection: Connection, living: Run, now: int) -> None:
    """Lock the row of a living run until the transaction ends, so that no other run takes it for dead meanwhile.

    On PostgreSQL, takes the run up again if it was taken for dead: it calls this, so it lives. Raises `LedgerHeld` if
    the run has ended. Raises it also on SQLite if the run was taken for dead: its successor has the only lock.
    """
    row = connection.execute(
        text(STATE if database.is_sqlite else f"{STATE} FOR NO KEY UPDATE"), {"run": living.id}
    ).one()
    if row.ended_at is None:
        return
    if row.outcome != RunOutcome.LOST or database.is_sqlite:
        raise LedgerHeld(f"This run has ended, or another one has taken its place on {database}.")
    connection.execute(TAKE_UP_AGAIN, {"run": living.id, "now": now})


def latest_run(connection: Connection, job_id: int) -> RunInfo | None:
    """The newest run of a job; None: there was none."""
    row = connection.execute(text(LATEST), {"job": job_id}).one_or_none()
    return None if row is None else run_info(row)


def living_runs(database: Database, connection: Connection, job_id: int) -> list[Any]:
    """The rows of the job's runs whose lock is held, newest first.

    SQLite has one lock; its holder is the latest run without a recorded end.
    """
    rows = connection.execute(text(UNENDED), {"job": job_id}).all()
    held = held_locks(database, connection, [row.uuid for row in rows]) if rows else frozenset()
    return [row for row in rows if row.uuid in held and not is_on_this_host_and_gone(row.host, row.pid)]


def run_info(row: Any) -> RunInfo:
    """What people are shown of a run's row."""
    return RunInfo(
        uuid=row.uuid,
        command=row.command,
        host=row.host,
        pid=row.pid,
        started_at=moment(row.started_at),
        ended_at=moment_or_none(row.ended_at),
        outcome=row.outcome,
        outcome_reason=row.outcome_reason,
    )


def is_on_this_host_and_gone(host: str, pid: int) -> bool:
    """Is it known that a process has ended? False for a process of another host: nothing is known of it."""
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # the process exists, and belongs to another user
        pass
    return False
