"""The throttle's rows: a generic cell rate algorithm (GCRA), one row per limited resource, one statement per slot.

A caller reserves a slot by moving the row's arrival time, then sleeps until the slot's time, outside the transaction.
Slots lie at least one interval apart. A slot may be used at its time or up to 2/3 of the burst late; then it is lost.
So no window of time holds more calls than fit into the window plus the burst, with any number of workers and after
restarts.

If the service refuses a call, the rate is lowered and recovers within minutes. A limit that the service announces
holds for an hour. Each time is stored with the clock reading of its write, so when the clock is set back, the queue
moves with the clock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from sqlalchemy import Connection, Row, TextClause, text

from backfill.clock import Clock, micros
from backfill.ledger.databases.database import Database
from backfill.ledger.rows import moment
from backfill.ledger.schema import throttle
from backfill.redaction import redacted_own

MINUTE_US = 60_000_000
# The clocks of several hosts differ by less than a minute, and a thread reaches the ledger within a minute. So a time
# that is further ahead shows that the clock was set back.
SKEW_US = MINUTE_US
# At high rates one statement reserves the slots of the next 0.1 s, for all threads of this process.
AHEAD_US = 100_000
# Later than any block: the caller waits without a limit.
FOREVER_US = 2**62

# The rate recovers by 0.1 % every 0.6 s: from a half to the whole in five minutes.
STEP_US = 600_000
# Refusals never lower a rate below 1 % of what was set. In thousandths of that rate.
SLOWEST = 10
# A second refusal within ten minutes shows that the rate is too high, even if the service named a wait at the first.
REPEATED_US = 10 * MINUTE_US
# Forget an announced limit after an hour, since the service may have stopped announcing it.
ANNOUNCED_US = 60 * MINUTE_US

# If the clock was set back after the last reservation, keep the queue's length, measured from the present clock.
ARRIVAL = f"CASE WHEN :now < reserved_at_us - {SKEW_US} THEN :now + arrival_us - reserved_at_us ELSE arrival_us END"
# If the clock was set back after a block was set, the block's end is not known. Then end the block: the next call
# shows whether the service still refuses.
BLOCKED_UNTIL = f"CASE WHEN :now < blocked_at_us - {SKEW_US} THEN 0 ELSE blocked_until_us END"
# The share of the rate that is in force, in thousandths. It does not recover during a block.
SHARE = f"""CASE WHEN :now < slowed_at_us - {SKEW_US} THEN 1000 ELSE {{least}}(1000, slowed_to
            + {{greatest}}(0, :now - {{greatest}}(slowed_at_us, {BLOCKED_UNTIL})) / {STEP_US}) END"""
INTERVAL = f"""{{greatest}}(interval_us * 1000 / ({SHARE}),
            CASE WHEN :now - announced_at_us BETWEEN -{SKEW_US} AND {ANNOUNCED_US} THEN announced_us ELSE 0 END)"""
# A slot may be used this late. The rest of the burst is for calls that take longer than others to reach the service.
LATE = "burst_us * 2 / 3"
# After a rest the next slot is now: a slot that lies further back than `LATE` is already lost.
FREE_FROM = f"""{{greatest}}(CASE WHEN ({ARRIVAL}) < :now - {LATE} THEN :now ELSE {ARRIVAL} END, {BLOCKED_UNTIL},
            :earliest)"""

RESERVE = f"""UPDATE throttle
       SET arrival_us = {FREE_FROM} + {INTERVAL} * {{greatest}}(1, {AHEAD_US} / {INTERVAL}), reserved_at_us = :now
     WHERE name = :name AND {BLOCKED_UNTIL} <= :latest
 RETURNING arrival_us, {INTERVAL} AS interval_us, {LATE} AS late_us"""
# Two resources at once: both rows are locked, and the row that is free later gives the slot's time.
LOOK = f"""SELECT {FREE_FROM} AS free_us, {INTERVAL} AS interval_us, {LATE} AS late_us, {BLOCKED_UNTIL} AS until_us
             FROM throttle WHERE name = :name {{for_update}}"""
TAKE = "UPDATE throttle SET arrival_us = :arrival, reserved_at_us = :now WHERE name = :name"
CHARGE = f"""UPDATE throttle
       SET arrival_us = {{greatest}}({ARRIVAL}, :now - burst_us) + {INTERVAL} * :thousandths / 1000,
           reserved_at_us = :now
     WHERE name = :name
 RETURNING arrival_us"""
BLOCK = f"""UPDATE throttle SET blocked_until_us = :until, blocked_at_us = :now, reason = :reason,
                    is_guess = (:is_guess = 1)
             WHERE name = :name AND {BLOCKED_UNTIL} < :until"""
# The queue behind the block goes, too: otherwise the next slot would lie after the end of the block.
LIFT_GUESS = """UPDATE throttle SET blocked_until_us = 0, arrival_us = {least}(arrival_us, :now), is_guess = FALSE
     WHERE name = :name AND is_guess AND blocked_until_us > :now"""
BLOCKED = f"SELECT {BLOCKED_UNTIL} AS until_us, reason FROM throttle WHERE name = :name"
# A refusal of a call that began before the rate was lowered does not lower the rate again.
SLOW = f"""UPDATE throttle
       SET slowed_to = CASE WHEN :is_named = 1 AND slowed_at_us < :now - {REPEATED_US} THEN {SHARE}
                            ELSE {{greatest}}({SLOWEST}, ({SHARE}) / 2) END,
           slowed_at_us = :now
     WHERE name = :name AND (slowed_at_us < :began OR slowed_at_us > :now + {SKEW_US})"""
ANNOUNCE = "UPDATE throttle SET announced_us = :interval, announced_at_us = :now WHERE name = :name"
# At a shorter interval, shorten the queue so that it keeps its number of slots.
DRAW_NEAR = """UPDATE throttle
       SET arrival_us = :now + CAST((arrival_us - :now) * CAST(:interval AS FLOAT) / interval_us AS BIGINT)
     WHERE name = :name AND interval_us > :interval AND arrival_us > :now"""
RATE = f"SELECT {INTERVAL} FROM throttle WHERE name = :name"


@dataclass(frozen=True, slots=True)
class Block:
    """The time before which no call is allowed (`until_us`; 0: there is no block), and why."""

    until_us: int
    reason: str

    def __str__(self) -> str:
        return f"{self.reason}, until {moment(self.until_us):%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True, slots=True)
class Slot:
    """The right to one call between `at_us` and `late_us`. Later use is not allowed: it would make a burst."""

    at_us: int
    late_us: int
    reserved_us: int  # a block that was set later is not taken into account
    tokens: int = 0  # the tokens charged for the call, if tokens are limited


@dataclass(frozen=True, slots=True)
class Throttles:
    """The throttle table. Times are microseconds UTC."""

    database: Database
    clock: Clock
    _ahead: dict[str, deque[Slot]] = field(default_factory=dict)  # slots that this process has reserved and not used
    _ahead_lock: threading.Lock = field(default_factory=threading.Lock)

    def set_rate(self, name: str, per_minute: float, burst: float = 0, *, only_if_new: bool = False) -> None:
        """Allow `per_minute` slots a minute from now on, for every worker. Writes.

        `burst`: how many slots may be used late or at once. At a higher rate than before, the queue becomes shorter.
        `only_if_new`: an existing row stays as it is.
        """
        interval = max(1, ceil(MINUTE_US / per_minute))
        values = {"interval_us": interval, "burst_us": round(burst * interval)}
        statement = self.database.insert(throttle).values(name=name, **values)
        if only_if_new:
            statement = statement.on_conflict_do_nothing(index_elements=["name"])
            self.database.write(lambda connection: connection.execute(statement))
            return
        statement = statement.on_conflict_do_update(index_elements=["name"], set_=values)
        parameters = {"name": name, "interval": interval, "now": micros(self.clock.now())}

        def work(connection: Connection) -> None:
            connection.execute(text(DRAW_NEAR), parameters)
            connection.execute(statement)

        self.database.write(work)
        self._forget_ahead(name)

    def rate(self, name: str) -> float:
        """The slots a minute that are in force now: as set, as lowered, or as announced. 0.0: there is no row."""
        parameters = {"name": name, "now": micros(self.clock.now())}
        interval = self.database.read(lambda connection: connection.execute(self._sql(RATE), parameters).scalar())
        return MINUTE_US / int(interval) if interval else 0.0

    def reserve(self, name: str, now_us: int, latest_us: int = FOREVER_US, earliest_us: int = 0) -> Slot | None:
        """Take the next slot that lies at `earliest_us` or later; None: calls are blocked beyond `latest_us`.

        The row must exist. Writes, unless this process still has a slot that was reserved together with an earlier one.
        """
        with self._ahead_lock:
            ahead = self._fresh(name, max(now_us, earliest_us))
            if not ahead:
                ahead = self._ahead[name] = self._reserve(name, now_us, latest_us, earliest_us)
            return ahead.popleft() if ahead else None

    def reserve_both(
        self,
        name: str,
        of_tokens: str,
        tokens: int,
        now_us: int,
        latest_us: int = FOREVER_US,
        earliest_us: int = 0,
    ) -> Slot | None:
        """Take the next slot of `name` at `earliest_us` or later. Writes.

        `tokens` are charged to the row `of_tokens`, 1000 tokens a slot.
        None: calls are blocked beyond `latest_us`. A call only waits for the tokens of the calls before it, so a call
        with more tokens than a minute allows can be made, too. Both rows move to the slot's time: otherwise the row
        that is free earlier would be used later than allowed.
        """
        # The tokens' row first: this transaction may have charged it before, and one order of locks avoids deadlocks.
        costs = {of_tokens: tokens, name: 1000}

        def work(connection: Connection) -> Slot | None:
            look, times = self._sql(LOOK), {"now": now_us, "earliest": earliest_us}
            found = {each: connection.execute(look, {"name": each, **times}).one() for each in costs}
            if any(row.until_us > latest_us for row in found.values()):
                return None
            start = max(int(row.free_us) for row in found.values())
            for each, row in found.items():
                arrival = max(int(row.free_us), start - row.late_us) + int(row.interval_us) * costs[each] // 1000
                connection.execute(text(TAKE), {"name": each, "arrival": arrival, "now": now_us})
            return Slot(start, start + min(row.late_us for row in found.values()), now_us, tokens)

        return self.database.write(work)

    def take_due(self, name: str, now_us: int) -> Slot | None:
        """A slot of this process that may be used now; None: there is none. Writes nothing."""
        with self._ahead_lock:
            ahead = self._fresh(name, now_us)
            return ahead.popleft() if ahead and ahead[0].at_us <= now_us else None

    def give_back(self, name: str, slot: Slot) -> None:
        """Return an unused slot. Another thread of this process may use it until it is late. Writes nothing."""
        with self._ahead_lock:
            self._ahead.setdefault(name, deque()).appendleft(slot)

    def charge(self, name: str, slots: float, now_us: int) -> int:
        """Book `slots` that are already used; a negative number takes slots back. Returns when the next slot is free.

        Writes; the row must exist. The time is in microseconds UTC and may lie in the past.
        """
        parameters = {"name": name, "thousandths": round(slots * 1000), "now": now_us}
        return int(self._write(CHARGE, parameters)[0].arrival_us)

    def _fresh(self, name: str, now_us: int) -> deque[Slot]:
        """The slots of this process that may still be used."""
        ahead = self._ahead.setdefault(name, deque())
        if ahead and now_us < ahead[0].reserved_us - SKEW_US:  # the clock was set back
            ahead.clear()
        while ahead and ahead[0].late_us < now_us:
            ahead.popleft()
        return ahead

    def _reserve(self, name: str, now_us: int, latest_us: int, earliest_us: int) -> deque[Slot]:
        times = {"now": now_us, "latest": latest_us, "earliest": earliest_us}
        reserved = self._write(RESERVE, {"name": name, **times})
        if not reserved:
            return deque()
        arrival, interval = int(reserved[0].arrival_us), int(reserved[0].interval_us)
        slots_at = (arrival - left * interval for left in range(max(1, AHEAD_US // interval), 0, -1))
        return deque(Slot(at, at + int(reserved[0].late_us), now_us) for at in slots_at)

    def _forget_ahead(self, name: str) -> None:
        with self._ahead_lock:
            self._ahead.pop(name, None)

    def block(self, name: str, until_us: int, reason: str, *, is_guess: bool = False) -> None:
        """Allow no call before `until_us`; an existing block that ends later stays. Writes.

        `is_guess`: the service named no time, so `lift_guess` may end the block earlier.
        """
        block = {"name": name, "until": until_us, "reason": redacted_own(reason), "is_guess": int(is_guess)}
        self._write(BLOCK, {**block, "now": micros(self.clock.now())})
        self._forget_ahead(name)

    def lift_guess(self, name: str) -> None:
        """End a block whose end was only guessed. Writes."""
        self._write(LIFT_GUESS, {"name": name, "now": micros(self.clock.now())})
        self._forget_ahead(name)

    def blocked(self, name: str) -> Block:
        """The last block, which may be over. `until_us` 0: there is none."""
        parameters = {"name": name, "now": micros(self.clock.now())}
        row = self.database.read(lambda connection: connection.execute(self._sql(BLOCKED), parameters).one_or_none())
        return Block(0, "") if row is None else Block(int(row.until_us), row.reason or "")

    def slow(self, names: Sequence[str], began_us: int, *, is_named: bool) -> None:
        """Halve the rate after the service refused a call that began at `began_us`. Writes.

        Several refused calls that were under way at the same time halve the rate once. `is_named`: the service named a
        wait; then only a second refusal within ten minutes halves the rate.
        """
        for name in names:
            now_us = micros(self.clock.now())
            self._write(SLOW, {"name": name, "now": now_us, "began": began_us, "is_named": int(is_named)})
            self._forget_ahead(name)

    def announce(self, name: str, per_minute: float) -> None:
        """Record the slots a minute that the service announced. They hold if they are fewer than set. Writes."""
        interval = max(1, ceil(MINUTE_US / per_minute))
        self._write(ANNOUNCE, {"name": name, "interval": interval, "now": micros(self.clock.now())})
        self._forget_ahead(name)

    def _write(self, template: str, parameters: dict[str, Any]) -> Sequence[Row[Any]]:
        """Run one statement in a transaction. Returns its rows."""
        statement = self._sql(template)

        def work(connection: Connection) -> Sequence[Row[Any]]:
            result = connection.execute(statement, parameters)
            return result.all() if result.returns_rows else []

        return self.database.write(work)

    def _sql(self, template: str) -> TextClause:
        """The statement in this database's dialect. SQLite's MAX(a, b) is PostgreSQL's GREATEST(a, b).

        SQLite needs no FOR UPDATE: its transactions lock the whole file.
        """
        is_sqlite = self.database.is_sqlite
        greatest, least = ("MAX", "MIN") if is_sqlite else ("GREATEST", "LEAST")
        return text(template.format(greatest=greatest, least=least, for_update="" if is_sqlite else "FOR UPDATE"))
