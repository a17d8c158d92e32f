"""Waits until a call may be made: keeps the pace, and the time before which no call is allowed.

All workers share both, and both survive a restart. A call reserves a slot in the ledger, then sleeps until the slot's
time, outside any transaction. A stop request ends the sleep. If calls were blocked during the sleep, the call reserves
another slot. No minute holds more calls than the limit. A slot may be used a little late, because threads wake up late;
the rate is lowered by the same share.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import inf, isfinite

from loguru import logger

from backfill.clock import Clock, StopRequest, micros
from backfill.errors import ConfigError
from backfill.ledger import Ledger
from backfill.ledger.throttles import FOREVER_US, Slot
from backfill.verdict import Announced

MICROS = 1_000_000
# Below 0.1 s, do not check for a block again: a call takes longer than that.
SHORT_US = 100_000
# A slot may be used up to 2/3 of the burst late. That is 0.2 s, longer than a commit takes on a slow disk. The burst
# lowers the rate by 0.5 %; 1 % is acceptable.
BURST_S = 0.3
MINUTE_S = 60.0
_ROOM = (MINUTE_S + BURST_S) / MINUTE_S  # a minute plus the burst holds at most one minute's calls
# A waiting call notices a new pace within this time.
LOOK_S = 1.0
SLOT_TOKENS = 1000  # tokens in one slot of the row that limits tokens
# A longer commit is an exception, or the clock was set: do not expect it of the next commit.
LONGEST_COMMIT_US = 30 * MICROS
# A call is charged at most this many times its estimate. No tokenizer is that far off, so a larger count is wrong.
MOST_TIMES = 10
# A reply cannot block calls for longer than a day. If the service is still blocked after a day, one call is lost.
LONGEST_BLOCK_S = 86_400.0
# A limit that a service announces with every reply is written again only after this time.
ANNOUNCED_EVERY_S = 600.0


@dataclass(slots=True)
class Throttler:
    """The pace of one limited resource, such as the calls to one API and the tokens of these calls. Thread-safe."""

    ledger: Ledger
    clock: Clock
    resource: str  # e.g. "calls:https://openrouter.ai/api/v1"
    calls_per_minute: float
    tokens_per_minute: float | None = None  # None: only calls are limited
    answer_tokens: int = 0  # the most tokens that an answer may have; they count, too
    keeps_pace: bool = False  # set the rates only if the resource is new: other runs may use it at their own pace
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _announced: dict[str, tuple[float, float]] = field(default_factory=dict, repr=False, compare=False)
    _clear_us: int = field(default=0, repr=False, compare=False)  # the last time the ledger showed no block
    _blocking: set[int] = field(default_factory=set, repr=False, compare=False)  # threads that are writing a block

    def __post_init__(self) -> None:
        """Writes the rates. They hold from now on for every user of the resource; see `keeps_pace`."""
        self._set_rate(self.resource, self.calls_per_minute, "Calls per minute", only_if_new=self.keeps_pace)
        if self.tokens_per_minute is not None:
            per_minute = self.tokens_per_minute / SLOT_TOKENS
            self._set_rate(self._of_tokens, per_minute, "Tokens per minute", only_if_new=self.keeps_pace)

    def set_pace(self, calls_per_minute: float) -> None:
        """Set the calls a minute from now on, for every user of the resource. Writes."""
        self._set_rate(self.resource, calls_per_minute, "Calls per minute")
        self.calls_per_minute = calls_per_minute

    def pace_in_force(self) -> float:
        """Calls a minute that are allowed now. Fewer than set after a refusal, or if the service announces fewer."""
        return self.ledger.throttles.rate(self.resource) * _ROOM

    def wait(
        self,
        stop: StopRequest,
        longest_block_s: float = inf,
        tell: Callable[[str | None], None] = lambda reason: None,
        tokens: int = 0,
    ) -> Slot | None:
        """Sleep until a call may be made. Every call needs its own wait. `tokens`: the most that the call may take.

        None if a stop came first, or if calls are blocked for longer than `longest_block_s`. `tell` gets the reason
        of a block when the wait for it begins, and None when that wait is over.
        """
        slot = None if stop.is_set() else self._left_over(tokens)
        if slot is not None:
            return slot
        # One thread at a time: then a process waits for one slot at most, and a stop wastes one slot at most. At a
        # stop, each thread that gets the lock returns at once.
        with self._turn:
            return self._wait(stop, longest_block_s, tell, tokens)

    def _wait(
        self, stop: StopRequest, longest_block_s: float, tell: Callable[[str | None], None], tokens: int
    ) -> Slot | None:
        commit_us = 0  # the time that the last commit took
        while not stop.is_set():
            pace, began_us = self.calls_per_minute, self._now_us()
            # From the second try on, not before the end of this commit: on a slow disk, each slot would come too late.
            slot = self._reserve(began_us, longest_block_s, tokens, began_us + commit_us)
            if slot is None:
                return None
            commit_us = max(0, min(self._now_us() - began_us, LONGEST_COMMIT_US))
            wait_s = (slot.at_us - self._now_us()) / MICROS
            is_blocked = wait_s > 1 and self.blocked_for() > 1
            if is_blocked:
                tell(self.reason())
            is_stopped = self.clock.sleep(wait_s, stop) if is_blocked else self._sleep(wait_s, stop)
            if is_blocked:
                tell(None)
            if not is_stopped and self.calls_per_minute == pace and self.is_current(slot):
                return slot
            self.settle(slot, 0)
        return None

    def _sleep(self, seconds: float, stop: StopRequest) -> bool:
        """Sleep until the slot's time, or until the pace changes: then the call needs another slot. True: a stop."""
        pace, until = self.calls_per_minute, self.clock.monotonic() + seconds
        while self.calls_per_minute == pace and (left := until - self.clock.monotonic()) > 0:
            if self.clock.sleep(min(left, LOOK_S), stop):
                return True
        return stop.is_set()

    def _reserve(self, now_us: int, longest_block_s: float, tokens: int, earliest_us: int) -> Slot | None:
        latest_us = now_us + round(longest_block_s * MICROS) if isfinite(longest_block_s) else FOREVER_US
        if self.tokens_per_minute is None:
            return self.ledger.throttles.reserve(self.resource, now_us, latest_us, earliest_us)
        return self.ledger.throttles.reserve_both(
            self.resource, self._of_tokens, tokens, now_us, latest_us, earliest_us
        )

    def is_current(self, slot: Slot) -> bool:
        """May the call of this slot be made now? False if the slot is late, or if calls are blocked."""
        now_us = self._now_us()
        if now_us > slot.late_us or self._blocking:
            return False
        if min(abs(now_us - slot.reserved_us), abs(now_us - self._clear_us)) > SHORT_US:
            if self.blocked_for() > 0:
                return False
            self._clear_us = now_us
        return True

    def give_back(self, slot: Slot) -> None:
        """Return the slot of a call that was not made. This process may use it for another call until it is late."""
        self.settle(slot, 0)
        self.ledger.throttles.give_back(self.resource, replace(slot, tokens=0))

    def _left_over(self, tokens: int) -> Slot | None:
        slot = self.ledger.throttles.take_due(self.resource, self._now_us())
        if slot is None or not self.is_current(slot):
            return None
        self.settle(slot, tokens)
        return replace(slot, tokens=tokens)

    def settle(self, slot: Slot, tokens: int | None) -> None:
        """Correct what was charged for a call's tokens. Writes.

        `tokens`: what the call took; 0: it was not made; None: not known, so the charge stands.
        """
        if self.tokens_per_minute is not None and tokens is not None and tokens != slot.tokens:
            difference = (min(tokens, MOST_TIMES * max(slot.tokens, SLOT_TOKENS)) - slot.tokens) / SLOT_TOKENS
            self.ledger.throttles.charge(self._of_tokens, difference, self._now_us())

    def refused(self, slot: Slot, wait_s: float | None) -> None:
        """Slow down after the service refused a call for its pace (429). Writes.

        `wait_s`: the wait in seconds that the service named; None: it named none. Halves the rate for every user of
        the resource; the rate recovers within minutes. If the service named a wait, only a second refusal within ten
        minutes halves the rate. The wait itself is set by `block`.
        """
        before = self.pace_in_force()
        self.ledger.throttles.slow(self._resources, slot.at_us, is_named=wait_s is not None)
        if (after := self.pace_in_force()) < before:
            logger.info(
                "a call was refused for its pace (429): {:.4g} calls a minute instead of {:.4g}, for some time",
                after,
                before,
            )

    def heed(self, announced: Announced) -> None:
        """Obey the limits that the service announced, where they are lower than our own. Writes."""
        if announced.wait_s > 0:
            self.block(announced.wait_s, "limit_used_up")
        if announced.calls_per_minute is not None:
            self._keep_to(self.resource, announced.calls_per_minute)
        if announced.tokens_per_minute is not None and self.tokens_per_minute is not None:
            self._keep_to(self._of_tokens, announced.tokens_per_minute / SLOT_TOKENS)

    def _keep_to(self, resource: str, per_minute: float) -> None:
        last, at_s = self._announced.get(resource, (0.0, -inf))
        now_s = self.clock.monotonic()
        if per_minute != last or now_s - at_s > ANNOUNCED_EVERY_S:
            self._announced[resource] = per_minute, now_s
            self.ledger.throttles.announce(resource, per_minute / _ROOM)

    def block(self, seconds: float, reason: str, *, is_guess: bool = False) -> None:
        """Block calls for `seconds`, in every process. Writes. `is_guess`: the service named no time."""
        until = self.clock.now() + timedelta(seconds=min(seconds, LONGEST_BLOCK_S))
        self._clear_us = 0
        self._blocking.add(threading.get_ident())
        try:
            self.ledger.throttles.block(self.resource, micros(until), reason, is_guess=is_guess)
        finally:
            self._blocking.discard(threading.get_ident())

    def probe(self) -> None:
        """End a block whose time was a guess, so that the next call tries the service. Writes."""
        self.ledger.throttles.lift_guess(self.resource)

    def blocked_for(self) -> float:
        """Seconds until calls are allowed again; 0.0: they are allowed now."""
        return max(0.0, (self.ledger.throttles.blocked(self.resource).until_us - self._now_us()) / MICROS)

    def reason(self) -> str:
        """Why calls are blocked, in words, with the time."""
        return str(self.ledger.throttles.blocked(self.resource))

    def blocked_until(self) -> datetime:
        """When calls are allowed again (UTC); the present time if they are allowed now."""
        return self.clock.now() + timedelta(seconds=self.blocked_for())

    @property
    def _of_tokens(self) -> str:
        return f"{self.resource}#tokens"

    @property
    def _resources(self) -> tuple[str, ...]:
        return (self.resource,) if self.tokens_per_minute is None else (self._of_tokens, self.resource)

    def _set_rate(self, resource: str, per_minute: float, what: str, *, only_if_new: bool = False) -> None:
        if not (per_minute > 0 and isfinite(per_minute)):
            raise ConfigError(f"{what} must be more than 0, not {per_minute:g}.")
        per_minute /= _ROOM
        burst = BURST_S * per_minute / MINUTE_S
        self.ledger.throttles.set_rate(resource, per_minute, burst, only_if_new=only_if_new)

    def _now_us(self) -> int:
        return micros(self.clock.now())
