"""What a job took lately, in time, calls and money. Reads only the newest rows, however many there are.

A mail with an already known verdict does not show what the next mail will take, so such mails are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from sqlalchemy import Connection, text

from backfill.ledger.budgets import usd

# "The last minutes" are five: enough to measure a few calls a minute, few enough to follow a change.
WINDOW_US: Final = 300_000_000
# The most rows that are read of a log (outcome, attempt). If five minutes hold more rows, the window is shorter.
TAIL: Final = 20_000
# The cost of the next mails is estimated from the last 500 outcomes.
LAST_MAILS: Final = 500


@dataclass(frozen=True, slots=True)
class RecentRates:
    """What the job's runs did in the last `seconds`."""

    seconds: float
    mails: int  # that became final
    worked: int  # of these, done or failed, with a verdict that was not already known
    calls: int
    busy_seconds: float  # the duration of all calls, added up
    tokens: int  # in and out
    answered: int = 0  # calls that brought a verdict
    answer_seconds: float = 0.0  # the duration of the answered calls, added up


@dataclass(frozen=True, slots=True)
class PerMail:
    """What a mail took on average, of the last mails without a known verdict. None: there is no such mail."""

    calls: float | None = None  # less than 1 if the free rules decide some mails, more than 1 if calls fail
    cost_usd: Decimal | None = None  # None also if no price is known


UNTOLD: Final = PerMail()
OF_RUNS = "run_id IN (SELECT id FROM run WHERE job_id = :job)"
LOG_END = "id > (SELECT COALESCE(MAX(id), 0) - :tail FROM {log})"
# The time of the oldest row that is read of a log; NULL: the log is shorter.
TAIL_SINCE = """SELECT {at} FROM {log} WHERE id = (SELECT MAX(id) - :tail FROM {log})"""
MAILS_SINCE = text(TAIL_SINCE.format(at="at", log="outcome"))
CALLS_SINCE = text(TAIL_SINCE.format(at="started_at", log="attempt"))
STEERED = text("SELECT steered_at FROM job WHERE id = :job")
# Mails that took work. A subquery for each row: with a join PostgreSQL might read the whole job.
WORKED = "o.status IN ('done', 'failed') AND NOT (SELECT reused FROM item WHERE id = o.item_id)"
MAILS = text(
    f"""SELECT COUNT(*) AS mails, COALESCE(SUM(CASE WHEN {WORKED} THEN 1 ELSE 0 END), 0) AS worked
      FROM outcome o WHERE {LOG_END.format(log="outcome")} AND at >= :since AND {OF_RUNS}"""
)
# Only the attempts of the outcome's own run: a retried mail has one outcome for each run.
OF_OUTCOME = "a.item_id = o.item_id AND a.run_id = o.run_id"
PER_MAIL = text(
    f"""SELECT COUNT(*) AS mails,
           SUM((SELECT COUNT(*) FROM attempt a WHERE {OF_OUTCOME} AND outcome <> 'unsent')) AS calls,
           SUM((SELECT SUM(COALESCE(cost_nano, estimate_nano)) FROM attempt a WHERE {OF_OUTCOME})) AS cost_nano
      FROM outcome o WHERE {LOG_END.format(log="outcome")} AND {OF_RUNS} AND {WORKED}"""
)
CALLS = text(
    f"""SELECT COUNT(*) AS calls, COALESCE(SUM(COALESCE(ended_at, :now) - started_at), 0) AS busy_us,
           COALESCE(SUM(CASE WHEN outcome = 'ok' THEN 1 ELSE 0 END), 0) AS answered,
           COALESCE(SUM(CASE WHEN outcome = 'ok' THEN ended_at - started_at ELSE 0 END), 0) AS answer_us,
           COALESCE(SUM(COALESCE(tokens_in, 0) + COALESCE(tokens_out, 0)), 0) AS tokens
      FROM attempt WHERE {LOG_END.format(log="attempt")} AND started_at >= :since AND {OF_RUNS}"""
)


def recent_rates(connection: Connection, job_id: int, began: int, now: int) -> RecentRates:
    """What the job's runs did in the last minutes. `began`: when the first of them began. Times in microseconds UTC."""
    tail = {"tail": TAIL}
    steered = connection.execute(STEERED, {"job": job_id}).scalar() or 0  # before it, the pace or the state differed
    whole = [connection.execute(statement, tail).scalar() or 0 for statement in (MAILS_SINCE, CALLS_SINCE)]
    since = max(now - WINDOW_US, began, steered, *whole)
    scope = {"job": job_id, "since": since, **tail}
    calls = connection.execute(CALLS, {**scope, "now": now}).one()
    mails = connection.execute(MAILS, scope).one()
    return RecentRates(
        seconds=max(0, now - since) / 1e6,
        mails=int(mails.mails),
        worked=int(mails.worked),
        calls=int(calls.calls),
        busy_seconds=int(calls.busy_us) / 1e6,
        tokens=int(calls.tokens),
        answered=int(calls.answered),
        answer_seconds=int(calls.answer_us) / 1e6,
    )


def per_mail(connection: Connection, job_id: int) -> PerMail:
    """What one of the job's last mails took on average."""
    row = connection.execute(PER_MAIL, {"job": job_id, "tail": LAST_MAILS}).one()
    if not row.mails:
        return UNTOLD
    cost = usd(None if row.cost_nano is None else int(row.cost_nano))
    return PerMail(int(row.calls) / int(row.mails), None if cost is None else cost / int(row.mails))
