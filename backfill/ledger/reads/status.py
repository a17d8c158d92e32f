"""The state of a job at this moment: its runs, their speed, what they wait for, and the last errors.

These figures may be read every second, beside any run: 28 ms with 300,000 calls made and 200,000 mails left. So no
table that grows with the mailbox is read whole, but for an undone job that no run is at work on. Partial indexes count
what is left, and what is done follows from it. An index sums the spending. Rates come from the last rows of the logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection, text

from backfill.clock import Clock, micros
from backfill.hours import Hours
from backfill.ledger.budgets import DAY_US, calls_purse, taken_for_job, usd
from backfill.ledger.databases.database import Database
from backfill.ledger.parameters import RunParameters
from backfill.ledger.reads.rates import LOG_END, OF_RUNS, TAIL, UNTOLD, PerMail, RecentRates, per_mail, recent_rates
from backfill.ledger.rows import RunInfo, moment, moment_or_none
from backfill.ledger.runs import latest_run, living_runs, run_info
from backfill.ledger.schema import ATTEMPT_COST, ATTEMPT_OPEN, ITEM_CLAIMABLE, ITEM_CLAIMED, ITEM_FAILED, ITEM_LEFT_OUT
from backfill.ledger.throttles import AHEAD_US, ARRIVAL, BLOCKED_UNTIL, INTERVAL
from backfill.ledger.undoing import undo_is_unfinished
from backfill.lifecycle import ItemStatus, JobState
from backfill.message import MailboxKey, MessageRef
from backfill.summary import Counts

LAST_ERRORS: Final = 5


@dataclass(frozen=True, slots=True)
class Tally:
    """A job's mails by status, and its dates. `done` is `found` less all the others; `verify` checks it."""

    state: JobState
    reason: str | None
    counts: Counts
    created_at: datetime
    last_run_at: datetime | None  # when the latest run began; None: there was no run
    pace: float | None = None  # calls a minute, set by `backfill pace`; None: as configured


@dataclass(frozen=True, slots=True)
class AtWork:
    """A run whose lock is held. `waiting_for` is for people; None: it works."""

    info: RunInfo
    heartbeat_at: datetime
    waiting_for: str | None
    concurrency: int | None  # None: as many as the pace takes
    api: str | None  # the throttle of its calls; None: its calls cost nothing
    in_flight: int  # calls
    max_per_day: int | None = None  # calls
    between: Hours | None = None
    max_emails: int | None = None  # the most that this run may take
    max_cost_usd: Decimal | None = None  # the most that the job may cost over its life


@dataclass(frozen=True, slots=True)
class ThrottleReading:
    """The state of a throttle: of the calls, or of their tokens in thousands."""

    per_minute: float  # the rate that is in force now
    lead_s: float  # seconds until the next free slot
    is_waited_for: bool  # a call waits for a slot
    blocked_until: datetime | None  # None: it is not blocked
    reason: str


@dataclass(frozen=True, slots=True)
class ThrottleReadings:
    """The throttles of the runs at work; None: there is none."""

    calls: ThrottleReading | None = None
    tokens: ThrottleReading | None = None
    made_today: int = 0  # calls today (UTC), if some run limits them; else 0


@dataclass(frozen=True, slots=True)
class Speed:
    """The runs at work on a job, newest first, with their speed, their throttles and what a mail takes."""

    at: datetime
    runs: tuple[AtWork, ...]
    recent: RecentRates | None  # None: no run is at work
    throttle: ThrottleReadings
    takes: PerMail = UNTOLD
    taken_usd: Decimal | None = None  # spent on the job or set aside for it; None: its cost was never limited


@dataclass(frozen=True, slots=True)
class LastError:
    """A call that brought no verdict, or a mail that failed."""

    at: datetime
    reason: str
    http_status: int | None
    ref: MessageRef


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job at this moment."""

    tally: Tally
    speed: Speed
    last_run: RunInfo | None  # the latest, at work or ended; None: there was no run
    spent_usd: Decimal | None  # None: no call has a known cost
    last_errors: tuple[LastError, ...]  # newest first
    undo_is_unfinished: bool = False  # it is undone, no run is at work, and the same undo must go on

    @property
    def at(self) -> datetime:
        """The moment of these figures (UTC)."""
        return self.speed.at


@dataclass(frozen=True, slots=True)
class StatusReads:
    """Figures that are read again and again while a job is worked on."""

    database: Database
    clock: Clock

    def of(self, job_id: int) -> JobStatus:
        """Everything at once, from one snapshot. Only the file lock is outside the snapshot."""
        now = micros(self.clock.now())

        def work(connection: Connection) -> JobStatus:
            spent = connection.execute(SPENT, {"job": job_id}).scalar()
            tally, speed = _tally(connection, job_id), self._speed(connection, job_id, now)
            is_undone = tally.state is JobState.UNDONE and not speed.runs
            return JobStatus(
                tally=tally,
                speed=speed,
                last_run=latest_run(connection, job_id),
                spent_usd=usd(None if spent is None else int(spent)),
                last_errors=_last_errors(connection, job_id),
                undo_is_unfinished=is_undone and undo_is_unfinished(connection, job_id),
            )

        return self.database.read(work)

    def speed(self, job_id: int) -> Speed:
        """The part of `of` whose cost does not grow with the mails that are left."""
        now = micros(self.clock.now())
        return self.database.read(lambda connection: self._speed(connection, job_id, now))

    def tally(self, job_id: int) -> Tally:
        """The counts and dates of a job."""
        return self.database.read(lambda connection: _tally(connection, job_id))

    def is_at_work(self, job_id: int) -> bool:
        """Is a living run working on the job?"""
        return self.database.read(lambda connection: bool(living_runs(self.database, connection, job_id)))

    def _speed(self, connection: Connection, job_id: int, now: int) -> Speed:
        runs = self._at_work(connection, job_id)
        throttle = self._readings(connection, runs, now)
        if not runs:
            return Speed(moment(now), runs, None, throttle)
        began = min(micros(each.info.started_at) for each in runs)
        return Speed(
            at=moment(now),
            runs=runs,
            recent=recent_rates(connection, job_id, began, now),
            throttle=throttle,
            takes=per_mail(connection, job_id),
            taken_usd=taken_for_job(connection, job_id),
        )

    def _readings(self, connection: Connection, runs: tuple[AtWork, ...], now: int) -> ThrottleReadings:
        api = next((each.api for each in runs if each.api is not None), None)
        if api is None:
            return ThrottleReadings()
        words = ("MIN", "MAX") if self.database.is_sqlite else ("LEAST", "GREATEST")
        statement = text(LIMITS.format(least=words[0], greatest=words[1]))
        names = {"calls": api, "tokens": f"{api}#tokens", "now": now}
        readings = {row.name: _reading(row, now) for row in connection.execute(statement, names)}
        made_today = connection.execute(MADE_TODAY, {"name": calls_purse(api, now // DAY_US)}).scalar()
        return ThrottleReadings(readings.get(names["calls"]), readings.get(names["tokens"]), int(made_today or 0))

    def _at_work(self, connection: Connection, job_id: int) -> tuple[AtWork, ...]:
        found = []
        for row in living_runs(self.database, connection, job_id):
            parameters = RunParameters.from_json(row.parameters)
            limits = parameters.limits
            found.append(
                AtWork(
                    info=run_info(row),
                    heartbeat_at=moment(row.heartbeat_at),
                    waiting_for=row.waiting_for,
                    concurrency=None if limits.concurrency == "auto" else limits.concurrency,
                    api=parameters.api,
                    in_flight=int(connection.execute(IN_FLIGHT, {"run": row.id}).scalar_one()),
                    max_per_day=limits.max_per_day,
                    between=limits.between,
                    max_emails=limits.max_emails,
                    max_cost_usd=limits.max_cost_usd,
                )
            )
        return tuple(found)


IN_FLIGHT = text(f"SELECT COUNT(*) FROM attempt WHERE run_id = :run AND {ATTEMPT_OPEN}")
SPENT = text(
    f"SELECT SUM(cost_nano) FROM attempt WHERE run_id IN (SELECT id FROM run WHERE job_id = :job) AND {ATTEMPT_COST}"
)
# `+` makes SQLite use the short index of claimed items, and not read the whole job.
TALLY = text(
    f"""SELECT state, state_reason, created_at, pace,
           (SELECT COALESCE(SUM(planned), 0) FROM plan_range WHERE job_id = :job) AS found,
           (SELECT COUNT(*) FROM item WHERE job_id = :job AND {ITEM_CLAIMABLE})
         + (SELECT COUNT(*) FROM item WHERE +job_id = :job AND {ITEM_CLAIMED}) AS pending,
           (SELECT COUNT(*) FROM item WHERE job_id = :job AND {ITEM_FAILED}) AS failed,
           (SELECT MAX(started_at) FROM run WHERE job_id = :job) AS last_run_at
      FROM job WHERE id = :job"""
)
LEFT_OUT = text(f"SELECT status, COUNT(*) FROM item WHERE job_id = :job AND {ITEM_LEFT_OUT} GROUP BY status")
MADE_TODAY = text("SELECT spent FROM purse WHERE name = :name")
LIMITS = f"""SELECT name, {INTERVAL} AS interval_us, burst_us, {ARRIVAL} AS arrival_us,
           {BLOCKED_UNTIL} AS blocked_until_us, reason FROM throttle WHERE name IN (:calls, :tokens)"""
FAILED = text(
    f"""SELECT o.at, o.reason, NULL AS http_status, m.account, m.folder, m.uidvalidity, i.uid
      FROM (SELECT * FROM outcome WHERE {LOG_END.format(log="outcome")} AND status = 'failed' AND {OF_RUNS}
             ORDER BY id DESC LIMIT :limit) o
      JOIN item i ON i.id = o.item_id JOIN mailbox m ON m.id = i.mailbox_id"""
)
REFUSED = text(
    f"""SELECT a.ended_at AS at, a.outcome AS reason, a.http_status, m.account, m.folder, m.uidvalidity, i.uid
      FROM (SELECT * FROM attempt WHERE {LOG_END.format(log="attempt")}
               AND outcome NOT IN ('ok', 'late', 'open', 'unsent') AND {OF_RUNS} ORDER BY id DESC LIMIT :limit) a
      JOIN item i ON i.id = a.item_id JOIN mailbox m ON m.id = i.mailbox_id"""
)


def _tally(connection: Connection, job_id: int) -> Tally:
    row = connection.execute(TALLY, {"job": job_id}).one()
    left_out = {status: int(mails) for status, mails in connection.execute(LEFT_OUT, {"job": job_id})}
    skipped, vanished = left_out.get(ItemStatus.SKIPPED, 0), left_out.get(ItemStatus.VANISHED, 0)
    found, failed, pending = int(row.found), int(row.failed), int(row.pending)
    done = found - failed - skipped - vanished - pending
    return Tally(
        state=JobState(row.state),
        reason=row.state_reason,
        counts=Counts(found, done, failed, skipped, vanished, pending),
        created_at=moment(row.created_at),
        last_run_at=moment_or_none(row.last_run_at),
        pace=row.pace,
    )


def _reading(row: Any, now: int) -> ThrottleReading:
    lead_us = max(0, int(row.arrival_us) - now)
    return ThrottleReading(
        per_minute=(60e6 + row.burst_us) / row.interval_us,  # a minute plus the burst holds one minute's calls
        lead_s=lead_us / 1e6,
        is_waited_for=lead_us > row.interval_us > AHEAD_US,  # at higher rates slots are reserved ahead of need
        blocked_until=moment(row.blocked_until_us) if row.blocked_until_us > now else None,
        reason=row.reason or "",
    )


def _last_errors(connection: Connection, job_id: int) -> tuple[LastError, ...]:
    scope = {"job": job_id, "tail": TAIL, "limit": LAST_ERRORS}
    found = [_last_error(row) for statement in (FAILED, REFUSED) for row in connection.execute(statement, scope)]
    return tuple(sorted(found, key=lambda trouble: trouble.at, reverse=True)[:LAST_ERRORS])


def _last_error(row: Any) -> LastError:
    ref = MessageRef(MailboxKey(row.account, row.folder, row.uidvalidity), row.uid)
    return LastError(moment(row.at), row.reason or "unknown", row.http_status, ref)
