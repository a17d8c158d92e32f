"""Who is working: runs, their heartbeat, and how the claims of a dead one come back.

A successor frees them in one transaction. Beside SQLite every other run is dead when the lock was to be had; on
PostgreSQL a run counts as dead when its lock is free *and* its heartbeat is older than a minute. A run that was
taken for dead and is not (a laptop that slept) is taken up again by its next claim; what it had claimed is lost to it.
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
from backfill.ledger.locks import RunLock, is_free, run_lock
from backfill.ledger.outcomes import write_outcome
from backfill.ledger.parameters import RunParameters
from backfill.ledger.rows import Run, RunInfo, moment, moment_or_none
from backfill.ledger.schema import ITEM_CLAIMED, run
from backfill.lifecycle import ItemStatus, RunOutcome
from backfill.redaction import redacted

# A mail that was begun when its run died this often is processed alone, so that it takes no other down with it.
LOSSES_BEFORE_ALONE = 2
# Of runs that die faster one after the other than this, one counts: somebody kills them, and it is no mail's fault.
# A mail that does kill each run at once is found after three such times all the same.
COUNTED_EVERY_US = 60_000_000
TOO_SOON = "died within a minute of another, so no mail is blamed for it"
# A lost connection frees a living run's advisory lock; so long it may take to notice and take it again. A heartbeat
# that is as far ahead is no better: the clock it was made by has been set back since.
HEARTBEAT_GRACE_US = 60_000_000

OTHERS = "SELECT id, uuid FROM run WHERE ended_at IS NULL AND id <> :successor"
OTHERS_POSTGRESQL = f"""{OTHERS}
   AND heartbeat_at NOT BETWEEN :now - {HEARTBEAT_GRACE_US} AND :now + {HEARTBEAT_GRACE_US}
   ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"""
# What was begun comes after all that was not: an innocent mail is not in hand again when the next kill comes soon.
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
STATE = "SELECT ended_at, outcome FROM run WHERE id = :run"
TAKE_UP_AGAIN = text(
    "UPDATE run SET ended_at = NULL, outcome = NULL, heartbeat_at = :now WHERE id = :run AND outcome = 'lost'"
)


@dataclass(frozen=True, slots=True)
class Runs:
    """The run table and the locks."""

    database: Database
    clock: Clock
    _locks: dict[int, RunLock] = field(default_factory=dict, repr=False, compare=False)  # of this process's runs

    def lock(self) -> RunLock:
        """The lock that a writing command takes first and holds until it ends."""
        return run_lock(self.database)

    def take(self, lock: RunLock) -> None:
        """Take a lock. Raises `LedgerHeld`, which says who has it."""
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
        """Write down that this process starts working on a job, and free what dead runs left. Writes.

        The caller holds `lock`; beside SQLite that proves every other unended run dead.
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
        """Give back what dead runs had claimed; how many runs were dead. Writes; one transaction.

        An item that was begun counts a loss, unless runs die in quick succession; one that was lost while it was alone
        fails with the reason "lost".
        """
        now = micros(self.clock.now())

        def work(connection: Connection) -> int:
            dead = self._dead(connection, successor, now)
            if not dead:
                return 0
            last = connection.execute(LAST_COUNTED).scalar()
            counts = last is None or not 0 <= now - int(last) < COUNTED_EVERY_US  # or the clock was set back
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
        """Their rows, and on PostgreSQL their locks, are held until the transaction ends: none comes to life in it."""
        if self.database.is_sqlite:
            return [row.id for row in connection.execute(text(OTHERS), {"successor": successor.id})]
        others = connection.execute(text(OTHERS_POSTGRESQL), {"successor": successor.id, "now": now}).all()
        return [row.id for row in others if is_free(connection, row.uuid)]

    def beat(self, living: Run, running_us: int) -> bool:
        """Heartbeat, with the time worked so far in microseconds; is the run's lock proved to be held? Writes.

        On PostgreSQL it also takes the lock again where the connection was lost (False: that cannot be done now), and
        frees what runs that died beside this one had claimed. What this run had claimed is lost to it when it was
        taken for dead meanwhile. Raises `LedgerHeld` when it has ended, or another one has taken its place,
        `LedgerUnusable` when SQLite's file is no longer the one that was opened.
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
        """Give back everything that a run holds, uncounted; how many. Writes."""
        return self.database.write(lambda connection: connection.execute(RELEASE_CLAIMS, {"run": living.id}).rowcount)

    def end(self, ending: Run, outcome: RunOutcome, reason: str | None, running_us: int) -> None:
        """Release every claim and write down how the run ended; calls still open have an unknown outcome. Writes."""
        now = micros(self.clock.now())
        values = {
            "ended_at": now,
            "heartbeat_at": now,
            "outcome": outcome,
            "outcome_reason": reason and redacted(reason),
        }

        def work(connection: Connection) -> None:
            with suppress(LedgerHeld):  # then its end is written down already
                go_on(self.database, connection, ending, now)
            statement = update(run).where(run.c.id == ending.id, run.c.ended_at.is_(None))
            connection.execute(statement.values(running_us=running_us, **values))
            connection.execute(RELEASE_CLAIMS, {"run": ending.id})
            connection.execute(LOSE_ATTEMPTS, {"runs": [ending.id], "now": now})

        self.database.write(work)
        self._locks.pop(ending.id, None)
        self.database.check_file()

    def latest(self, job_id: int) -> RunInfo | None:
        """The newest run of a job; None when there is none."""
        newest = select(run).where(run.c.job_id == job_id).order_by(run.c.id.desc()).limit(1)
        row = self.database.read(lambda connection: connection.execute(newest).one_or_none())
        return None if row is None else run_info(row)

    def unended(self) -> list[RunInfo]:
        """The runs that have not written down their end: living or dead, newest first."""
        statement = select(run).where(run.c.ended_at.is_(None)).order_by(run.c.id.desc())
        return self.database.read(lambda connection: [run_info(row) for row in connection.execute(statement)])


def fail_poison(connection: Connection, living: Run, item_id: int, losses: int, reason: str, now: int) -> bool:
    """PENDING or CLASSIFIED → FAILED for an unclaimed item that was lost while it was alone; was it?"""
    if losses <= LOSSES_BEFORE_ALONE:
        return False
    known = connection.execute(FAIL_POISON, {"item": item_id, "reason": reason, "now": now}).scalar_one()
    write_outcome(connection, living, item_id, ItemStatus.FAILED, known, reason, (), now)
    return True


def go_on(database: Database, connection: Connection, living: Run, now: int) -> None:
    """Hold the row of a run that goes on until the transaction ends, so that nobody takes it for dead meanwhile.

    On PostgreSQL one that was taken for dead is taken up again: who asks is alive. Raises `LedgerHeld` for one that
    has ended, or whose place another one has taken: beside SQLite its successor has the only lock there is.
    """
    row = connection.execute(
        text(STATE if database.is_sqlite else f"{STATE} FOR NO KEY UPDATE"), {"run": living.id}
    ).one()
    if row.ended_at is None:
        return
    if row.outcome != RunOutcome.LOST or database.is_sqlite:
        raise LedgerHeld(f"This run has ended, or another one has taken its place on {database}.")
    connection.execute(TAKE_UP_AGAIN, {"run": living.id, "now": now})


def run_info(row: Any) -> RunInfo:
    """A run row for people."""
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
    """Is a process known to have ended? Of another host's nothing is known."""
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's
        pass
    return False
