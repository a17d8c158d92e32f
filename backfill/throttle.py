"""Waiting for the turn of a call: pace and "not before", shared by every worker and remembered over a restart.

The slot is reserved in the ledger and slept for outside of it, on the stop request. Whoever slept through a block
that was set meanwhile reserves anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf

from backfill.clock import Clock, StopRequest, micros
from backfill.errors import ConfigError, MailThrottled
from backfill.ledger import Ledger

MICROS = 1_000_000
# Whoever has slept no longer need not ask whether a block was set meanwhile; a call takes longer than that.
SHORT_US = 100_000


@dataclass(frozen=True, slots=True)
class Throttler:
    """The pace of one limited resource, such as the calls to one API. Thread-safe."""

    ledger: Ledger
    clock: Clock
    resource: str  # e.g. "calls:https://openrouter.ai/api/v1"
    calls_per_minute: float
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Writes the rate, which holds from now on for everybody who uses the resource."""
        if not self.calls_per_minute > 0:
            raise ConfigError(f"Calls per minute must be more than 0, not {self.calls_per_minute:g}.")
        self.ledger.throttle.set_rate(self.resource, self.calls_per_minute)

    def wait(
        self,
        stop: StopRequest,
        longest_block_s: float = inf,
        tell: Callable[[str | None], None] = lambda reason: None,
    ) -> bool:
        """Sleep until a call may be made. Every call needs a wait of its own.

        False when a stop came first, or when calls are blocked for longer than `longest_block_s`. `tell` gets the
        reason for which calls are blocked, and None when they no longer are.
        """
        # One at a time: a process has one slot outstanding, so that a stop leaves at most one unused.
        while not self._turn.acquire(timeout=0.5):
            if stop.is_set():
                return False
        try:
            return self._wait(stop, longest_block_s, tell)
        finally:
            self._turn.release()

    def _wait(self, stop: StopRequest, longest_block_s: float, tell: Callable[[str | None], None]) -> bool:
        while not stop.is_set():
            asked_us = self._now_us()
            is_clear = self.ledger.throttle.has_slot_ahead(self.resource, asked_us)
            if not is_clear and self.blocked_for() > longest_block_s:
                return False
            slot_us = self.ledger.throttle.reserve(self.resource, asked_us)
            wait_s = (slot_us - self._now_us()) / MICROS
            blocked_s = self.blocked_for() if wait_s > 1 else 0.0  # it may have been set this moment
            if blocked_s > longest_block_s:
                return False
            if blocked_s > 1:
                tell(self.reason())
            is_stopped = self.clock.sleep(wait_s, stop)
            if blocked_s > 1:
                tell(None)
            if is_stopped:
                return False
            has_slept = slot_us - asked_us > SHORT_US
            if not has_slept or self.ledger.throttle.blocked(self.resource).until_us <= self._now_us():
                return True
        return False

    def block(self, seconds: float, reason: str) -> None:
        """Let nobody call for so long, in this process and every other one."""
        until = self.clock.now() + timedelta(seconds=seconds)
        self.ledger.throttle.block(self.resource, micros(until), reason)

    def blocked_for(self) -> float:
        """Seconds until calls are allowed again; 0.0 when they are."""
        return max(0.0, (self.ledger.throttle.blocked(self.resource).until_us - self._now_us()) / MICROS)

    def reason(self) -> str:
        """Why calls are blocked, in words, with the time."""
        return str(self.ledger.throttle.blocked(self.resource))

    def blocked_until(self) -> datetime:
        """When calls are allowed again; may lie in the past."""
        return self.clock.now() + timedelta(seconds=self.blocked_for())

    def _now_us(self) -> int:
        return micros(self.clock.now())


# Of a day's bytes so many may be read at once; the rest comes evenly over the day. Together they are never more than
# a day's in any 24 hours, wherever the provider's day begins.
AT_ONCE = 0.25
SLOT_BYTES = 1024
# So many bytes are counted in memory before they are booked; a crash forgets no more.
UNBOOKED_BYTES = 1_000_000
DAY_MINUTES = 1440


@dataclass(slots=True)
class MailAllowance:
    """How much may be read from a mail account, and "not before" where its server asks for patience. Thread-safe.

    Kept in the ledger: it holds for every run that reads the account, and over restarts. What has come from the
    server is booked afterwards, so a batch under way is finished; the wait after it is as much longer.
    """

    ledger: Ledger
    clock: Clock
    account: str
    max_bytes_per_day: int | None
    _unbooked: int = 0
    _ready_us: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Writes the rate, which holds from now on for everybody who reads the account."""
        day = (self.max_bytes_per_day or 1) / SLOT_BYTES
        self.ledger.throttle.set_rate(self.resource, (1 - AT_ONCE) * day / DAY_MINUTES, int(AT_ONCE * day))

    @property
    def resource(self) -> str:
        return f"imap:{self.account}"

    def read(self, size: int) -> None:
        """So many bytes have come from the server."""
        with self._lock:
            self._unbooked += size
            if self._unbooked >= UNBOOKED_BYTES:
                self._book()

    def throttled(self, wait_s: float, reason: str) -> None:
        """The server asks to be left alone for so long."""
        until = self.clock.now() + timedelta(seconds=wait_s)
        self.ledger.throttle.block(self.resource, micros(until), reason)

    def blocked_for(self) -> float:
        """Seconds until the account may be read again; 0.0 when it may."""
        return max(0.0, (self._until_us() - micros(self.clock.now())) / MICROS)

    def reason(self) -> str:
        """Why it may not be read, in words, with the time."""
        block = self.ledger.throttle.blocked(self.resource)
        if block.until_us >= self._until_us():
            return str(block)
        until = self.clock.now() + timedelta(seconds=self.blocked_for())
        return f"imap.max_bytes_per_day is used up, until {until:%Y-%m-%d %H:%M:%S} UTC"

    def wait(self, stop: StopRequest, longest_s: float, tell: Callable[[str], None]) -> None:
        """Wait until the account may be read. Raises `MailThrottled` when that takes more than `longest_s`."""
        while (seconds := self.blocked_for()) > 0 and not stop.is_set():
            reason = self.reason()
            if seconds > longest_s:
                raise MailThrottled(f"The mail account may not be read now: {reason}.", wait_s=seconds)
            tell(f"Waiting {seconds:.0f} s: {reason}")
            self.clock.sleep(seconds, stop)

    def close(self) -> None:
        """Book what is not booked yet."""
        with self._lock:
            self._book()

    def _until_us(self) -> int:
        with self._lock:
            self._book()
            return max(self._ready_us, self.ledger.throttle.blocked(self.resource).until_us)

    def _book(self) -> None:
        if self.max_bytes_per_day is not None:
            slots, self._unbooked = divmod(self._unbooked, SLOT_BYTES)
            self._ready_us = self.ledger.throttle.charge(self.resource, slots, micros(self.clock.now()))
        else:
            self._unbooked = 0
