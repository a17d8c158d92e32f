"""What a job took lately, in time, calls and money: read from the ends of the logs, however long they are.

Mail whose verdict was known already says nothing of what the next one takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from sqlalchemy import Connection, text

from backfill.ledger.budgets import usd

# "The last minutes": long enough for a pace of a few calls a minute, short enough to follow a change.
WINDOW_US: Final = 300_000_000
# So many rows of a log's end are read at the most; at a higher rate the window is as much shorter.
TAIL: Final = 20_000
# So many mails tell what the next ones will take.
LAST_MAILS: Final = 500


@dataclass(frozen=True, slots=True)
class RecentRates:
    """What the job's living runs did in the last `seconds`. `busy_seconds`: the time of all their calls, added up.

    Of the `mails` that came to their end `worked` are done or failed, and their verdict was not known already. Of the
    `calls` so many are `answered` with a verdict, in `answer_seconds` altogether.
    """

    seconds: float
    mails: int
    worked: int
    calls: int
    busy_seconds: float
    tokens: int
    answered: int = 0
    answer_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PerMail:
    """What the last mails took on the average whose verdict was not known; None: no mail tells.

    Less than one call where a gate decides some, more where calls fail.
    """

    calls: float | None = None
    cost_usd: Decimal | None = None  # None also where no price is known


UNTOLD: Final = PerMail()
OF_RUNS = "run_id IN (SELECT id FROM run WHERE job_id = :job)"
LOG_END = "id > (SELECT COALESCE(MAX(id), 0) - :tail FROM {log})"
# When the oldest row of a log's end was written; NULL: the log is shorter.
TAIL_SINCE = """SELECT {at} FROM {log} WHERE id = (SELECT MAX(id) - :tail FROM {log})"""
MAILS_SINCE = text(TAIL_SINCE.format(at="at", log="outcome"))
CALLS_SINCE = text(TAIL_SINCE.format(at="started_at", log="attempt"))
STEERED = text("SELECT steered_at FROM job WHERE id = :job")
# Mail that took work. Looked up one by one, or PostgreSQL might read the whole job for it.
WORKED = "o.status IN ('done', 'failed') AND NOT (SELECT reused FROM item WHERE id = o.item_id)"
MAILS = text(
    f"""SELECT COUNT(*) AS mails, COALESCE(SUM(CASE WHEN {WORKED} THEN 1 ELSE 0 END), 0) AS worked
      FROM outcome o WHERE {LOG_END.format(log="outcome")} AND at >= :since AND {OF_RUNS}"""
)
# A mail that was taken up again has another outcome, of what the later run did.
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
    """What runs that began at `began` have done lately. Times in microseconds."""
    tail = {"tail": TAIL}
    steered = connection.execute(STEERED, {"job": job_id}).scalar() or 0  # before, it was paused or had another pace
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
    """What the job's last mails took."""
    row = connection.execute(PER_MAIL, {"job": job_id, "tail": LAST_MAILS}).one()
    if not row.mails:
        return UNTOLD
    cost = usd(None if row.cost_nano is None else int(row.cost_nano))
    return PerMail(int(row.calls) / int(row.mails), None if cost is None else cost / int(row.mails))
