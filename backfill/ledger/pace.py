"""The throttle's rows: a generic cell rate algorithm (GCRA), one row per limited resource, one statement per slot.

A caller reserves a slot by moving the row's arrival time and sleeps until the slot outside the transaction. So no
number of workers overshoots, a restart brings no fresh burst, and a block ("not before") holds for all of them.
Times are remembered with the clock reading they were made by: when a clock is set back, the queue moves with it.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from sqlalchemy import text

from backfill.clock import Clock, micros
from backfill.ledger.database import Database
from backfill.ledger.rows import moment
from backfill.ledger.schema import throttle

MINUTE_US = 60_000_000
# Clocks of several hosts, and threads on their way to the ledger, differ by less; more is a clock that was set back.
SKEW_US = MINUTE_US
# At high rates one statement reserves the slots of so long a time, for all threads of this process.
AHEAD_US = 100_000
# After so long they are left unused: a block that another process has set meanwhile would go unnoticed.
FRESH_US = 200_000

# A queue that was made by a clock which has been set back since keeps its length, seen from the clock of today.
ARRIVAL = f"CASE WHEN :now < reserved_at_us - {SKEW_US} THEN :now + arrival_us - reserved_at_us ELSE arrival_us END"
# Such a block's end is not known any more; the next call finds out whether it still stands.
BLOCKED_UNTIL = f"CASE WHEN :now < blocked_at_us - {SKEW_US} THEN 0 ELSE blocked_until_us END"
# SQLite's many-argument MAX is PostgreSQL's GREATEST.
RESERVE = f"""UPDATE throttle
       SET arrival_us = {{greatest}}({ARRIVAL}, :now - burst_us, {BLOCKED_UNTIL})
                        + interval_us * {{greatest}}(1, {AHEAD_US} / interval_us), reserved_at_us = :now
     WHERE name = :name
 RETURNING arrival_us, interval_us"""
CHARGE = f"""UPDATE throttle
       SET arrival_us = {{greatest}}({ARRIVAL}, :now - burst_us) + interval_us * :slots, reserved_at_us = :now
     WHERE name = :name
 RETURNING arrival_us"""
BLOCK = text(
    f"""UPDATE throttle SET blocked_until_us = :until, blocked_at_us = :now, reason = :reason
         WHERE name = :name AND {BLOCKED_UNTIL} < :until"""
)
BLOCKED = text(f"SELECT {BLOCKED_UNTIL} AS until_us, reason FROM throttle WHERE name = :name")


@dataclass(frozen=True, slots=True)
class Block:
    """Until when nobody may call, and why."""

    until_us: int
    reason: str

    def __str__(self) -> str:
        return f"{self.reason}, until {moment(self.until_us):%Y-%m-%d %H:%M:%S} UTC"


@dataclass(slots=True)
class Ahead:
    """Slots that this process has reserved and not used yet, and when it did."""

    slots: deque[int] = field(default_factory=deque)
    reserved_us: int = 0

    def drop_stale(self, now_us: int) -> deque[int]:
        """What is left. A slot that has passed is lost, as for everybody: used late it would be a burst."""
        if abs(now_us - self.reserved_us) > FRESH_US:  # either way: clocks are set back, and threads overtake
            self.slots.clear()
        while self.slots and self.slots[0] < now_us:
            self.slots.popleft()
        return self.slots


@dataclass(frozen=True, slots=True)
class Throttles:
    """The throttle table. Times are microseconds UTC."""

    database: Database
    clock: Clock
    _ahead: dict[str, Ahead] = field(default_factory=dict)
    _ahead_lock: threading.Lock = field(default_factory=threading.Lock)

    def set_rate(self, name: str, per_minute: float, burst: int = 0) -> None:
        """Allow `per_minute` slots a minute from now on, for every worker of this resource. Writes."""
        interval = max(1, round(MINUTE_US / per_minute))
        values = {"interval_us": interval, "burst_us": burst * interval}
        statement = self.database.insert(throttle).values(name=name, **values)
        statement = statement.on_conflict_do_update(index_elements=["name"], set_=values)
        self.database.write(lambda connection: connection.execute(statement).rowcount)
        self._forget_ahead(name)

    def reserve(self, name: str, now_us: int) -> int:
        """Take the next slot; the time at which it may be used. The row must exist.

        Writes, but for a slot that was reserved together with an earlier one.
        """
        with self._ahead_lock:
            ahead = self._ahead.setdefault(name, Ahead())
            if not ahead.drop_stale(now_us):
                ahead.slots, ahead.reserved_us = self._reserve(name, now_us), now_us
            return max(now_us, ahead.slots.popleft())

    def charge(self, name: str, slots: int, now_us: int) -> int:
        """Book `slots` that have been used already; the time from which on more may be. Writes; the row must exist."""
        statement = text(CHARGE.format(greatest="MAX" if self.database.is_sqlite else "GREATEST"))
        parameters = {"name": name, "slots": slots, "now": now_us}
        return int(self.database.write(lambda connection: connection.execute(statement, parameters).scalar_one()))

    def has_slot_ahead(self, name: str, now_us: int) -> bool:
        """Was a slot reserved just before that nobody has taken yet? Then calls were not blocked."""
        with self._ahead_lock:
            return name in self._ahead and bool(self._ahead[name].drop_stale(now_us))

    def _reserve(self, name: str, now_us: int) -> deque[int]:
        statement = text(RESERVE.format(greatest="MAX" if self.database.is_sqlite else "GREATEST"))
        parameters = {"name": name, "now": now_us}
        row = self.database.write(lambda connection: connection.execute(statement, parameters).one())
        arrival, interval = int(row.arrival_us), int(row.interval_us)
        return deque(arrival - left * interval for left in range(max(1, AHEAD_US // interval), 0, -1))

    def _forget_ahead(self, name: str) -> None:
        with self._ahead_lock:
            self._ahead.pop(name, None)

    def block(self, name: str, until_us: int, reason: str) -> None:
        """Let nobody call before `until_us`; a later block that stands already stays. Writes."""
        parameters = {"name": name, "until": until_us, "reason": reason, "now": micros(self.clock.now())}
        self.database.write(lambda connection: connection.execute(BLOCK, parameters).rowcount)
        self._forget_ahead(name)

    def blocked(self, name: str) -> Block:
        """The block that stands, which may be over; `until_us` is 0 when there is none."""
        parameters = {"name": name, "now": micros(self.clock.now())}
        row = self.database.read(lambda connection: connection.execute(BLOCKED, parameters).one_or_none())
        return Block(0, "") if row is None else Block(int(row.until_us), row.reason or "")
