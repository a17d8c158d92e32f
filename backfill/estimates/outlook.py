"""When a job will be done, estimated from what its runs did in the last minutes and from their limits.

Only mails that needed a call show what pending mails will take. Mails with a known verdict, and mails that the free
rules decided, are left out. The end is never sooner than the pace allows. Days of waiting between calls count.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from decimal import Decimal
from math import inf

from backfill.estimates.forecast import elapsed_hours
from backfill.hours import Hours
from backfill.ledger.reads.status import JobStatus, Speed
from backfill.lifecycle import JobState
from backfill.wording import counted

# A century: an end that is later is not shown.
LONGEST_HOURS = 100 * 366 * 24
FEWEST_CALLS = 0.01  # per mail


@dataclass(frozen=True, slots=True)
class Outlook:
    """When the mails will be done. `ends_at` None: not known while every run waits."""

    ends_at: datetime | None
    basis: str = ""  # what the estimate assumes, for people
    rests_by: str | None = None  # the limit that makes it rest, such as "1,000 calls a day"; None: it does not rest


UNKNOWN = Outlook(None)


def outlook(status: JobStatus, zone: tzinfo | None = None) -> Outlook | None:
    """The expected end of all that is left of a job. A paused job has none. None: as in `expected_end`."""
    if status.speed.runs and status.tally.counts.pending and status.tally.state is JobState.PAUSED:
        return UNKNOWN
    return expected_end(status.speed, status.tally.counts.pending, zone)


def expected_end(speed: Speed, mails: int, zone: tzinfo | None = None) -> Outlook | None:
    """When `mails` more mails will be done. `zone`: as for `Hours`.

    None: no run is at work, no mail is left, or too few mails were done to tell.
    """
    if not speed.runs or not mails:
        return None
    at, hours = speed.at, _hours(speed)
    calls_left = _calls_left(speed)
    is_closed = calls_left <= 0 or (hours is not None and not _includes(hours, at, zone))
    if not is_closed and _all_wait(speed):
        return UNKNOWN
    per_minute = _mails_per_minute(speed, is_closed=is_closed)
    if per_minute is None:
        return UNKNOWN if is_closed else None
    days = _Days(per_minute, hours, _most_per_day(speed), _calls_per_mail(speed), zone)
    return days.outlook(at, mails, calls_left / _calls_per_mail(speed))


def ends_early(status: JobStatus) -> str | None:
    """What ends the runs at work before the job is done, for people. None: nothing that is known."""
    speed, tally = status.speed, status.tally
    if not speed.runs or not tally.counts.pending:
        return None
    reasons = []
    caps = [run.max_emails for run in speed.runs if run.max_emails is not None]
    if len(caps) == len(speed.runs) and sum(caps) < tally.counts.found:
        who = "this run takes" if len(caps) == 1 else "these runs take"
        reasons.append(f"{who} at most {counted(sum(caps), 'mail')}")
    lasts_for = budget_lasts_for(speed)
    if lasts_for is not None and lasts_for < tally.counts.pending:
        reasons.append(f"the budget lasts for about {counted(lasts_for, 'mail')}")
    return "; ".join(reasons) or None


def budget_lasts_for(speed: Speed) -> int | None:
    """How many more mails the limit on the job's cost allows, if they cost as much as the last ones.

    None: this is not known, or one of the runs has no limit and so goes on.
    """
    limits = [run.max_cost_usd for run in speed.runs if run.max_cost_usd is not None]
    cost = speed.takes.cost_usd
    if not limits or len(limits) < len(speed.runs) or not cost or speed.taken_usd is None or is_reusing(speed):
        return None
    return int(max(Decimal(0), max(limits) - speed.taken_usd) / cost)


def is_reusing(speed: Speed) -> bool:
    """Were all verdicts of the last minutes already known? Then those minutes do not show what the next mails take."""
    return speed.recent is not None and speed.recent.mails > 0 and speed.recent.worked == 0


def is_waiting(status: JobStatus) -> bool:
    """Do all runs wait: for the end of a pause, at a gate, for an API that blocks calls, or for a mail server?"""
    return status.tally.state is JobState.PAUSED or _all_wait(status.speed)


def _all_wait(speed: Speed) -> bool:
    calls = speed.throttle.calls
    return (calls is not None and calls.blocked_until is not None) or all(run.waiting_for for run in speed.runs)


@dataclass(frozen=True, slots=True)
class _Days:
    """Spreads mails over the hours of the next days."""

    per_minute: float
    hours: Hours | None
    most_per_day: float  # calls
    calls_per_mail: float
    zone: tzinfo | None

    def outlook(self, at: datetime, mails: float, left_today: float) -> Outlook | None:
        """The end: first the mails that fit before the next rest, then full days, then what remains."""
        by_hours = self.per_minute * self._minutes_left(at)
        first = max(0.0, min(by_hours, left_today))
        if mails <= first:
            return _outlook(at, mails / self.per_minute / 60, "at this rate")
        start = at
        if left_today <= first:
            start = datetime.combine(at.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
        if self.hours is not None and not (start > at and _includes(self.hours, start, self.zone)):
            start = self.hours.next_opening(start, self.zone)
        within_hours = self.per_minute * 60 * (24 if self.hours is None else self.hours.per_day)
        per_day = min(within_hours, self.most_per_day / self.calls_per_mail)
        last = elapsed_hours(mails - first, self.per_minute, per_day)
        if per_day == within_hours:
            return _outlook(start, last, f"within {self.hours}", f"the hours {self.hours}")
        limit = f"{self.most_per_day:,.0f} calls a day"
        return _outlook(start, last, f"at {limit}", limit)

    def _minutes_left(self, at: datetime) -> float:
        if self.hours is None:
            return inf
        if not _includes(self.hours, at, self.zone):
            return 0.0
        return (self.hours.next_closing(at, self.zone) - at).total_seconds() / 60


def _outlook(since: datetime, hours: float, *words: str) -> Outlook | None:
    return Outlook(since + timedelta(hours=hours), *words) if hours < LONGEST_HOURS else None


def _mails_per_minute(speed: Speed, *, is_closed: bool) -> float | None:
    """Mails a minute, of those that need a call. While a gate is closed: what the pace allows. None: not known."""
    calls, recent = speed.throttle.calls, speed.recent
    rates = [calls.per_minute / _calls_per_mail(speed)] if calls is not None else []
    if not is_closed:
        if recent is None or recent.seconds < 1 or not recent.mails:
            return None
        if recent.worked:
            rates.append(recent.worked * 60 / recent.seconds)
    return min(rates, default=None)


def _calls_per_mail(speed: Speed) -> float:
    """Calls for one mail; 1.0 if no mail shows it. Never 0: some mails need a call even if the last ones did not."""
    return 1.0 if speed.takes.calls is None else max(FEWEST_CALLS, speed.takes.calls)


def _most_per_day(speed: Speed) -> float:
    return min((run.max_per_day for run in speed.runs if run.max_per_day is not None), default=inf)


def _calls_left(speed: Speed) -> float:
    return _most_per_day(speed) - speed.throttle.made_today


def _hours(speed: Speed) -> Hours | None:
    return next((run.between for run in speed.runs if run.between is not None), None)


def _includes(hours: Hours, at: datetime, zone: tzinfo | None) -> bool:
    return hours.include(at.astimezone(zone).time())
