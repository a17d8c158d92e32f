"""Waiting for the turn of a call: pace and "not before", shared by every worker and remembered over a restart.

The slot is reserved in the ledger and slept for outside of it, on the stop request. Whoever slept through a block
that was set meanwhile reserves anew. No minute holds more calls than are allowed in one: a slot may be used a moment
late, since no thread wakes up to the microsecond, and the rate is lower by as much.
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
# Whoever has slept no longer need not ask whether a block was set meanwhile; a call takes longer than that.
SHORT_US = 100_000
# Two thirds of it a slot may be used late, more than a commit takes on a slow disk; and the whole of it is less than
# the hundredth of a minute by which the rate may be lower.
BURST_S = 0.3
MINUTE_S = 60.0
_ROOM = (MINUTE_S + BURST_S) / MINUTE_S  # a minute and the burst together hold what is allowed in a minute
# Another pace than the one whose slot is waited for is noticed within so long.
LOOK_S = 1.0
SLOT_TOKENS = 1000  # a slot of the row that limits tokens
# A call is charged at the most so many times what was reckoned for it: no tokenizer is so far off, a false count is.
MOST_TIMES = 10
# Nothing that a reply says keeps anybody from calling for longer; who is asked again after a day loses one call.
LONGEST_BLOCK_S = 86_400.0
# What a service announces again and again is written down so often.
ANNOUNCED_EVERY_S = 600.0


@dataclass(slots=True)
class Throttler:
    """The pace of one limited resource, such as the calls to one API, and of the tokens that they take. Thread-safe."""

    ledger: Ledger
    clock: Clock
    resource: str  # e.g. "calls:https://openrouter.ai/api/v1"
    calls_per_minute: float
    tokens_per_minute: float | None = None  # None: only calls are limited
    answer_tokens: int = 0  # that the answer to a call may have; they count as well
    keeps_pace: bool = False  # the rates are for a resource that is new: others may be at work at a pace of their own
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _announced: dict[str, tuple[float, float]] = field(default_factory=dict, repr=False, compare=False)
    _clear_us: int = field(default=0, repr=False, compare=False)  # when calls were seen not to be blocked
    _blocking: set[int] = field(default_factory=set, repr=False, compare=False)  # threads that write a block down

    def __post_init__(self) -> None:
        """Writes the rates, which hold from now on for everybody who uses the resource; see `keeps_pace`."""
        self._set_rate(self.resource, self.calls_per_minute, "Calls per minute", only_if_new=self.keeps_pace)
        if self.tokens_per_minute is not None:
            per_minute = self.tokens_per_minute / SLOT_TOKENS
            self._set_rate(self._of_tokens, per_minute, "Tokens per minute", only_if_new=self.keeps_pace)

    def set_pace(self, calls_per_minute: float) -> None:
        """Allow so many calls a minute from now on, for everybody who uses the resource. Writes."""
        self._set_rate(self.resource, calls_per_minute, "Calls per minute")
        self.calls_per_minute = calls_per_minute

    def pace_in_force(self) -> float:
        """Calls a minute that are allowed now: fewer than set while the service refuses calls, or announces fewer."""
        return self.ledger.throttles.rate(self.resource) * _ROOM

    def wait(
        self,
        stop: StopRequest,
        longest_block_s: float = inf,
        tell: Callable[[str | None], None] = lambda reason: None,
        tokens: int = 0,
    ) -> Slot | None:
        """Sleep until a call may be made. Every call needs a wait of its own; `tokens` is what it may take at most.

        None when a stop came first, or when calls are blocked for longer than `longest_block_s`. `tell` gets the
        reason for which calls are blocked, and None when they no longer are.
        """
        slot = None if stop.is_set() else self._left_over(tokens)
        if slot is not None:
            return slot
        # One at a time: a process has one slot outstanding, so that a stop leaves at most one unused. Whoever has
        # the turn gives it up at once when a stop comes, and so does the next one.
        with self._turn:
            return self._wait(stop, longest_block_s, tell, tokens)

    def _wait(
        self, stop: StopRequest, longest_block_s: float, tell: Callable[[str | None], None], tokens: int
    ) -> Slot | None:
        while not stop.is_set():
            pace, slot = self.calls_per_minute, self._reserve(longest_block_s, tokens)
            if slot is None:
                return None
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
        """As the clock does, but it ends soon after the pace was changed: then there is another slot. True: a stop."""
        pace, until = self.calls_per_minute, self.clock.monotonic() + seconds
        while self.calls_per_minute == pace and (left := until - self.clock.monotonic()) > 0:
            if self.clock.sleep(min(left, LOOK_S), stop):
                return True
        return stop.is_set()

    def _reserve(self, longest_block_s: float, tokens: int) -> Slot | None:
        now_us = self._now_us()
        latest_us = now_us + round(longest_block_s * MICROS) if isfinite(longest_block_s) else FOREVER_US
        if self.tokens_per_minute is None:
            return self.ledger.throttles.reserve(self.resource, now_us, latest_us)
        return self.ledger.throttles.reserve_both(self.resource, self._of_tokens, tokens, now_us, latest_us)

    def is_current(self, slot: Slot) -> bool:
        """May the call still be made, now? Not when its time has passed, or calls were blocked since."""
        now_us = self._now_us()
        if now_us > slot.late_us or self._blocking:
            return False
        if min(abs(now_us - slot.reserved_us), abs(now_us - self._clear_us)) > SHORT_US:
            if self.blocked_for() > 0:
                return False
            self._clear_us = now_us
        return True

    # ── what became of the call ──────────────────────────────────────────────────────────────────────────

    def give_back(self, slot: Slot) -> None:
        """The call was not made; the next one of this process may be made in its place, unless that is too late."""
        self.settle(slot, 0)
        self.ledger.throttles.give_back(self.resource, replace(slot, tokens=0))

    def _left_over(self, tokens: int) -> Slot | None:
        slot = self.ledger.throttles.take_due(self.resource, self._now_us())
        if slot is None or not self.is_current(slot):
            return None
        self.settle(slot, tokens)
        return replace(slot, tokens=tokens)

    def settle(self, slot: Slot, tokens: int | None) -> None:
        """The call took so many tokens, or 0: it was not made; None: it is not known, so what was charged stands."""
        if self.tokens_per_minute is not None and tokens is not None and tokens != slot.tokens:
            difference = (min(tokens, MOST_TIMES * max(slot.tokens, SLOT_TOKENS)) - slot.tokens) / SLOT_TOKENS
            self.ledger.throttles.charge(self._of_tokens, difference, self._now_us())

    def refused(self, slot: Slot, wait_s: float | None) -> None:
        """The service refused the call for its pace (429); `wait_s`: the time that it named, if it did.

        The rate is halved for everybody and comes back within minutes: at once where no time was named, else when
        it happens again. The time itself is for `block`.
        """
        before = self.pace_in_force()
        self.ledger.throttles.slow(self._resources, slot.at_us, is_named=wait_s is not None)
        if (after := self.pace_in_force()) < before:
            logger.info("refused for the pace: {:.4g} calls a minute instead of {:.4g}, for some time", after, before)

    def heed(self, announced: Announced) -> None:
        """Keep to what the service announced of its limits, where that is less than what is allowed here."""
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

    # ── blocks ───────────────────────────────────────────────────────────────────────────────────────────

    def block(self, seconds: float, reason: str, *, is_guess: bool = False) -> None:
        """Let nobody call for so long, in this process and every other one. `is_guess`: the service named no time."""
        until = self.clock.now() + timedelta(seconds=min(seconds, LONGEST_BLOCK_S))
        self._clear_us = 0
        self._blocking.add(threading.get_ident())
        try:
            self.ledger.throttles.block(self.resource, micros(until), reason, is_guess=is_guess)
        finally:
            self._blocking.discard(threading.get_ident())

    def probe(self) -> None:
        """Find out by the next call whether the service takes calls again, unless it named a time itself. Writes."""
        self.ledger.throttles.lift_guess(self.resource)

    def blocked_for(self) -> float:
        """Seconds until calls are allowed again; 0.0 when they are."""
        return max(0.0, (self.ledger.throttles.blocked(self.resource).until_us - self._now_us()) / MICROS)

    def reason(self) -> str:
        """Why calls are blocked, in words, with the time."""
        return str(self.ledger.throttles.blocked(self.resource))

    def blocked_until(self) -> datetime:
        """When calls are allowed again; may lie in the past."""
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
