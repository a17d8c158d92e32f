"""What limits a run's speed now: its pace, a limit on tokens, the API's latency, or this machine or mail server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC

from backfill.ledger.reads.rates import RecentRates
from backfill.ledger.reads.status import Speed, ThrottleReading
from backfill.wording import counted, printable

# A limit counts as reached from 90 %, because a call at the edge of the window is counted only in part.
NEARLY = 0.9
# Fewer calls do not show what limits them.
MIN_CALLS = 3


@dataclass(frozen=True, slots=True)
class Binding:
    """What limits the speed of a job. `kind` is for machines, `sentence` for people."""

    kind: str  # paused, blocked, waiting, calls_per_minute, tokens_per_minute, latency, machine
    sentence: str


def binding(speed: Speed) -> Binding | None:
    """What limits runs that are not paused. None: no run is at work, or too few calls were made to tell."""
    runs, recent, calls = speed.runs, speed.recent, speed.throttle.calls
    if not runs or recent is None:
        return None
    if calls is not None and calls.blocked_until is not None:
        until = calls.blocked_until.astimezone(UTC)
        return Binding("blocked", f"blocked until {until:%Y-%m-%d %H:%M:%S} UTC: {printable(calls.reason)}")
    waiting = [each.waiting_for for each in runs if each.waiting_for]
    if len(waiting) == len(runs):
        return Binding("waiting", printable(waiting[0]))
    if calls is not None and (calls.is_waited_for or is_used_up(calls, recent)):
        tokens = speed.throttle.tokens
        if tokens is not None and tokens.lead_s > calls.lead_s:
            return Binding("tokens_per_minute", f"tokens per minute ({_pace(tokens.per_minute * 1000)})")
        return Binding("calls_per_minute", f"calls per minute ({_pace(calls.per_minute)})")
    if recent.calls < MIN_CALLS:
        return None
    slots = sum(each.concurrency or 0 for each in runs)
    if slots and recent.busy_seconds >= NEARLY * slots * recent.seconds:
        each = f", {recent.answer_seconds / recent.answered:.1f} s each" if recent.answered else ""
        return Binding("latency", f"the API's latency ({counted(slots, 'call')} at a time{each})")
    return Binding("machine", "this machine or the mail server")


def is_used_up(limit: ThrottleReading, recent: RecentRates) -> bool:
    """Did the last minutes have nearly as many calls as the limit allows?"""
    return recent.calls >= MIN_CALLS and recent.calls * 60 >= NEARLY * limit.per_minute * recent.seconds


def _pace(per_minute: float) -> str:
    """A rate in three digits, e.g. 40,000, 60 or 0.5. The ledger keeps whole microseconds: more digits are wrong."""
    rounded = float(f"{per_minute:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"
