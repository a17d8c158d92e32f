"""How much may be read from a mail account, and when its server asks to be left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from loguru import logger

from backfill.clock import Clock, StopRequest, micros
from backfill.errors import MailThrottled
from backfill.ledger import Ledger
from backfill.throttle.calls import MICROS

# Of a day's bytes so many may be read at once; the rest comes evenly over the day. Together they are never more than
# a day's in any 24 hours, wherever the provider's day begins.
AT_ONCE = 0.25


SLOT_BYTES = 1024


# Bytes are booked before they are read, so many at a time, and what was not read of them is given back: a run that is
# killed has booked too many rather than too few.
AHEAD_BYTES = 1_000_000
# Of a day's bytes at the most this part is booked ahead.
AHEAD_PART = 1 / 64


DAY_MINUTES = 1440


@dataclass(slots=True)
class MailAllowance:
    """How much may be read from a mail account, and "not before" where its server asks for patience. Thread-safe.

    Kept in the ledger: it holds for every run that reads the account, and over restarts. A batch under way is
    finished; the wait after it is as much longer.
    """

    ledger: Ledger
    clock: Clock
    account: str
    max_bytes_per_day: int | None
    #: Shows what is waited for, and that it is over (None).
    tell: Callable[[str | None], None] = lambda sentence: None
    _ahead: int = 0  # bytes that are booked and not read yet
    _ready_us: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Writes the rate, which holds from now on for everybody who reads the account."""
        day = (self.max_bytes_per_day or 1) / SLOT_BYTES
        self.ledger.throttles.set_rate(self.resource, (1 - AT_ONCE) * day / DAY_MINUTES, int(AT_ONCE * day))

    @property
    def resource(self) -> str:
        return f"imap:{self.account}"

    def read(self, size: int) -> None:
        """So many bytes have come from the server."""
        if self.max_bytes_per_day is None:
            return
        with self._lock:
            self._ahead -= size
            if self._ahead < 0:
                self._book(self._step(self.max_bytes_per_day) - self._ahead)

    def throttled(self, wait_s: float, reason: str) -> None:
        """The server asks to be left alone for so long."""
        until = self.clock.now() + timedelta(seconds=wait_s)
        self.ledger.throttles.block(self.resource, micros(until), reason)

    def waiting(self, sentence: str | None) -> None:
        """What is waited for when the server takes long; None when it has answered."""
        if sentence is not None:
            logger.info("{}", sentence)
        self.tell(sentence)

    def blocked_for(self) -> float:
        """Seconds until the account may be read again; 0.0 when it may."""
        return max(0.0, (self._until_us() - micros(self.clock.now())) / MICROS)

    def reason(self) -> str:
        """Why it may not be read, in words, with the time."""
        block = self.ledger.throttles.blocked(self.resource)
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
        """Give back what was booked and not read."""
        with self._lock:
            self._give_back()

    def _until_us(self) -> int:
        with self._lock:
            self._give_back()
            return max(self._ready_us, self.ledger.throttles.blocked(self.resource).until_us)

    def _step(self, max_bytes: int) -> int:
        return max(SLOT_BYTES, min(AHEAD_BYTES, int(max_bytes * AHEAD_PART)))

    def _give_back(self) -> None:
        if self.max_bytes_per_day is not None:
            self._book(-self._ahead)

    def _book(self, size: int) -> None:
        self._ready_us = self.ledger.throttles.charge(self.resource, size / SLOT_BYTES, micros(self.clock.now()))
        self._ahead += size
