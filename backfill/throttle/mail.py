"""How much may be read from a mail account, and when its server asks us to wait."""

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

# A quarter of a day's bytes may be read at once; the rest is spread evenly over the day. So no 24 hours exceed a day's
# bytes, at whatever hour the provider's day begins.
AT_ONCE = 0.25
SLOT_BYTES = 1024
# Bytes are booked before they are read, 1,000,000 at a time; unread ones are given back. So a killed run has booked too
# many bytes, never too few.
AHEAD_BYTES = 1_000_000
# At most this part of a day's bytes is booked ahead.
AHEAD_PART = 1 / 64
DAY_MINUTES = 1440


@dataclass(slots=True)
class MailAllowance:
    """How much may be read from a mail account, and the time before which its server wants no reads. Thread-safe.

    The ledger keeps both: they hold for every run that reads the account, and after a restart. A batch that is being
    read is read to its end; the wait after it is longer by the bytes above the limit.
    """

    ledger: Ledger
    clock: Clock
    account: str
    max_bytes_per_day: int | None  # None: no limit
    #: Shows what the account waits for; None: the wait is over.
    tell: Callable[[str | None], None] = lambda sentence: None
    _ahead: int = 0  # bytes that are booked and not yet read
    _ready_us: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Writes the rate. It holds from now on for every run that reads the account."""
        day = (self.max_bytes_per_day or 1) / SLOT_BYTES
        self.ledger.throttles.set_rate(self.resource, (1 - AT_ONCE) * day / DAY_MINUTES, int(AT_ONCE * day))

    @property
    def resource(self) -> str:
        return f"imap:{self.account}"

    def read(self, size: int) -> None:
        """Book `size` bytes that have come from the server. Writes if more were read than are booked."""
        if self.max_bytes_per_day is None:
            return
        with self._lock:
            self._ahead -= size
            if self._ahead < 0:
                self._book(self._step(self.max_bytes_per_day) - self._ahead)

    def throttled(self, wait_s: float, reason: str) -> None:
        """The server asks us to wait for `wait_s` seconds. Writes."""
        until = self.clock.now() + timedelta(seconds=wait_s)
        self.ledger.throttles.block(self.resource, micros(until), reason)

    def waiting(self, sentence: str | None) -> None:
        """Show that the server takes long. `sentence`: what we wait for; None: the server has answered."""
        if sentence is not None:
            logger.info("{}", sentence)
        self.tell(sentence)

    def blocked_for(self) -> float:
        """Seconds until the account may be read again; 0.0: it may be read now. Gives booked bytes back: writes."""
        return max(0.0, (self._until_us() - micros(self.clock.now())) / MICROS)

    def reason(self) -> str:
        """Why the account may not be read, in words, with the time."""
        block = self.ledger.throttles.blocked(self.resource)
        if block.until_us >= self._until_us():
            return str(block)
        until = self.clock.now() + timedelta(seconds=self.blocked_for())
        return f"imap.max_bytes_per_day is used up, until {until:%Y-%m-%d %H:%M:%S} UTC"

    def wait(self, stop: StopRequest, longest_s: float, tell: Callable[[str], None]) -> None:
        """Wait until the account may be read, or a stop. Raises `MailThrottled` for a wait of more than `longest_s`."""
        while (seconds := self.blocked_for()) > 0 and not stop.is_set():
            reason = self.reason()
            if seconds > longest_s:
                raise MailThrottled(f"The mail account may not be read now: {reason}.", wait_s=seconds)
            tell(f"Waiting {seconds:.0f} s: {reason}")
            self.clock.sleep(seconds, stop)

    def close(self) -> None:
        """Give back the bytes that were booked and not read. Writes."""
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
