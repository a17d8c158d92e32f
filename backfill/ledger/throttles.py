"""The throttle's rows: a generic cell rate algorithm (GCRA), one row per limited resource, one statement per slot.

A caller reserves a slot by moving the row's arrival time and sleeps until the slot outside the transaction. Slots lie
at least an interval apart, and one is used at its time or a part of the row's burst later, else it is lost. So in no
window of time are more used than fit into it and the burst together, with any number of workers and over restarts.

A service that refuses a call slows the row down, and the rate comes back by and by; what it announces as its own limit
holds for a while. Times are remembered with the clock reading they were made by: when a clock is set back, the queue
moves with it.
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
from backfill.redaction import redacted

MINUTE_US = 60_000_000
# Clocks of several hosts, and threads on their way to the ledger, differ by less; more is a clock that was set back.
SKEW_US = MINUTE_US
# At high rates one statement reserves the slots of so long a time, for all threads of this process.
AHEAD_US = 100_000
# Later than any block: who waits for whatever time it takes.
FOREVER_US = 2**62

# Of a thousandth of the rate so long is needed to come back: from a half to the whole in five minutes.
STEP_US = 600_000
# So slow a refused resource becomes at the most, in thousandths of its rate.
SLOWEST = 10
# A second refusal within so long is a rate that is too high, whatever time the service named for the first.
REPEATED_US = 10 * MINUTE_US
# What a service announced is forgotten after so long, since it may have stopped announcing.
ANNOUNCED_US = 60 * MINUTE_US

# A queue that was made by a clock which has been set back since keeps its length, seen from the clock of today.
ARRIVAL = f"CASE WHEN :now < reserved_at_us - {SKEW_US} THEN :now + arrival_us - reserved_at_us ELSE arrival_us END"
# Such a block's end is not known any more; the next call finds out whether it still stands.
BLOCKED_UNTIL = f"CASE WHEN :now < blocked_at_us - {SKEW_US} THEN 0 ELSE blocked_until_us END"
# Thousandths of the rate that are in force; they do not grow while nobody may call.
SHARE = f"""CASE WHEN :now < slowed_at_us - {SKEW_US} THEN 1000 ELSE {{least}}(1000, slowed_to
            + {{greatest}}(0, :now - {{greatest}}(slowed_at_us, {BLOCKED_UNTIL})) / {STEP_US}) END"""
INTERVAL = f"""{{greatest}}(interval_us * 1000 / ({SHARE}),
            CASE WHEN :now - announced_at_us BETWEEN -{SKEW_US} AND {ANNOUNCED_US} THEN announced_us ELSE 0 END)"""
# So late a slot may be used. The rest of the burst is for calls that take longer to the service than others do.
LATE = "burst_us * 2 / 3"
# After a rest the next slot is now: one that lies so far back would be lost before it is used.
FREE_FROM = f"""{{greatest}}(CASE WHEN ({ARRIVAL}) < :now - {LATE} THEN :now ELSE {ARRIVAL} END, {BLOCKED_UNTIL})"""

RESERVE = f"""UPDATE throttle
       SET arrival_us = {FREE_FROM} + {INTERVAL} * {{greatest}}(1, {AHEAD_US} / {INTERVAL}), reserved_at_us = :now
     WHERE name = :name AND {BLOCKED_UNTIL} <= :latest
 RETURNING arrival_us, {INTERVAL} AS interval_us, {LATE} AS late_us"""
# Two resources at once: both rows are held, the one that is free later says when.
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
# Who waited behind it may have a slot each, which comes later than the guess would have ended.
LIFT_GUESS = """UPDATE throttle SET blocked_until_us = 0, arrival_us = {least}(arrival_us, :now), is_guess = FALSE
     WHERE name = :name AND is_guess AND blocked_until_us > :now"""
BLOCKED = f"SELECT {BLOCKED_UNTIL} AS until_us, reason FROM throttle WHERE name = :name"
# Calls that were under way when the rate was lowered say nothing of the lower one.
SLOW = f"""UPDATE throttle
       SET slowed_to = CASE WHEN :is_named = 1 AND slowed_at_us < :now - {REPEATED_US} THEN {SHARE}
                            ELSE {{greatest}}({SLOWEST}, ({SHARE}) / 2) END,
           slowed_at_us = :now
     WHERE name = :name AND (slowed_at_us < :began OR slowed_at_us > :now + {SKEW_US})"""
ANNOUNCE = "UPDATE throttle SET announced_us = :interval, announced_at_us = :now WHERE name = :name"
# The queue keeps its number of slots.
DRAW_NEAR = """UPDATE throttle
       SET arrival_us = :now + CAST((arrival_us - :now) * CAST(:interval AS FLOAT) / interval_us AS BIGINT)
     WHERE name = :name AND interval_us > :interval AND arrival_us > :now"""
RATE = f"SELECT {INTERVAL} FROM throttle WHERE name = :name"


@dataclass(frozen=True, slots=True)
class Block:
    """Until when nobody may call, and why."""

    until_us: int
    reason: str

    def __str__(self) -> str:
        return f"{self.reason}, until {moment(self.until_us):%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True, slots=True)
class Slot:
    """The right to one call, from `at_us` until `late_us`; then it is lost, as for everybody: it would be a burst."""

    at_us: int
    late_us: int
    reserved_us: int  # a block that was set after it is not known to it
    tokens: int = 0  # that were charged for it, where tokens are limited


@dataclass(frozen=True, slots=True)
class Throttles:
    """The throttle table. Times are microseconds UTC."""

    database: Database
    clock: Clock
    _ahead: dict[str, deque[Slot]] = field(default_factory=dict)  # reserved by this process and not used yet
    _ahead_lock: threading.Lock = field(default_factory=threading.Lock)

    def set_rate(self, name: str, per_minute: float, burst: float = 0, *, only_if_new: bool = False) -> None:
        """Allow `per_minute` slots a minute from now on, `burst` of them late or at once, for every worker. Writes.

        At a higher rate than before, who queues for a slot gets a nearer one. `only_if_new`: a row that is there
        stays as it is.
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
        """Slots a minute that are in force now: as set, slowed down, or as the service announced. 0.0 without a row."""
        parameters = {"name": name, "now": micros(self.clock.now())}
        interval = self.database.read(lambda connection: connection.execute(self._sql(RATE), parameters).scalar())
        return MINUTE_US / int(interval) if interval else 0.0

    # ── slots ────────────────────────────────────────────────────────────────────────────────────────────

    def reserve(self, name: str, now_us: int, latest_us: int = FOREVER_US) -> Slot | None:
        """Take the next slot; None when calls are blocked beyond `latest_us`. The row must exist.

        Writes, but for a slot that was reserved together with an earlier one.
        """
        with self._ahead_lock:
            ahead = self._fresh(name, now_us)
            if not ahead:
                ahead = self._ahead[name] = self._reserve(name, now_us, latest_us)
            return ahead.popleft() if ahead else None

    def reserve_both(
        self, name: str, of_tokens: str, tokens: int, now_us: int, latest_us: int = FOREVER_US
    ) -> Slot | None:
        """Take the next slot of `name` for which the row `of_tokens` has so many tokens, a thousand a slot. Writes.

        A call may be made as soon as the tokens of those before it are paid, so that a large one is not for ever too
        large. Both rows move to the slot's time, or the one that is free earlier would be used later than allowed.
        """
        # The tokens' row first: a transaction may have charged it before, and two that wait for each other would hang.
        costs = {of_tokens: tokens, name: 1000}

        def work(connection: Connection) -> Slot | None:
            look = self._sql(LOOK)
            found = {each: connection.execute(look, {"name": each, "now": now_us}).one() for each in costs}
            if any(row.until_us > latest_us for row in found.values()):
                return None
            start = max(int(row.free_us) for row in found.values())
            for each, row in found.items():
                arrival = max(int(row.free_us), start - row.late_us) + int(row.interval_us) * costs[each] // 1000
                connection.execute(text(TAKE), {"name": each, "arrival": arrival, "now": now_us})
            return Slot(start, start + min(row.late_us for row in found.values()), now_us, tokens)

        return self.database.write(work)

    def take_due(self, name: str, now_us: int) -> Slot | None:
        """A slot of this process that may be used at once, if there is one. Writes nothing."""
        with self._ahead_lock:
            ahead = self._fresh(name, now_us)
            return ahead.popleft() if ahead and ahead[0].at_us <= now_us else None

    def give_back(self, name: str, slot: Slot) -> None:
        """The slot was not used: another thread of this process may, as long as it is not late."""
        with self._ahead_lock:
            self._ahead.setdefault(name, deque()).appendleft(slot)

    def charge(self, name: str, slots: float, now_us: int) -> int:
        """Book `slots` that have been used already, less than none to take some back; the time when more may be.

        Writes; the row must exist.
        """
        parameters = {"name": name, "thousandths": round(slots * 1000), "now": now_us}
        return int(self._write(CHARGE, parameters)[0].arrival_us)

    def _fresh(self, name: str, now_us: int) -> deque[Slot]:
        """What this process has in hand and may still use."""
        ahead = self._ahead.setdefault(name, deque())
        if ahead and now_us < ahead[0].reserved_us - SKEW_US:  # the clock was set back
            ahead.clear()
        while ahead and ahead[0].late_us < now_us:
            ahead.popleft()
        return ahead

    def _reserve(self, name: str, now_us: int, latest_us: int) -> deque[Slot]:
        reserved = self._write(RESERVE, {"name": name, "now": now_us, "latest": latest_us})
        if not reserved:
            return deque()
        arrival, interval = int(reserved[0].arrival_us), int(reserved[0].interval_us)
        times = (arrival - left * interval for left in range(max(1, AHEAD_US // interval), 0, -1))
        return deque(Slot(at, at + int(reserved[0].late_us), now_us) for at in times)

    def _forget_ahead(self, name: str) -> None:
        with self._ahead_lock:
            self._ahead.pop(name, None)

    # ── what the service says ────────────────────────────────────────────────────────────────────────────

    def block(self, name: str, until_us: int, reason: str, *, is_guess: bool = False) -> None:
        """Let nobody call before `until_us`; a later block that stands already stays. Writes.

        `is_guess`: the service named no time, so that it may be tried earlier when somebody wants to know.
        """
        block = {"name": name, "until": until_us, "reason": redacted(reason), "is_guess": int(is_guess)}
        self._write(BLOCK, {**block, "now": micros(self.clock.now())})
        self._forget_ahead(name)

    def lift_guess(self, name: str) -> None:
        """Let calls be tried now where the block's end was only guessed. Writes."""
        self._write(LIFT_GUESS, {"name": name, "now": micros(self.clock.now())})
        self._forget_ahead(name)

    def blocked(self, name: str) -> Block:
        """The block that stands, which may be over; `until_us` is 0 when there is none."""
        parameters = {"name": name, "now": micros(self.clock.now())}
        row = self.database.read(lambda connection: connection.execute(self._sql(BLOCKED), parameters).one_or_none())
        return Block(0, "") if row is None else Block(int(row.until_us), row.reason or "")

    def slow(self, names: Sequence[str], began_us: int, *, is_named: bool) -> None:
        """The service refused a call that began then: halve the rate, once for all calls that were under way. Writes.

        `is_named`: it said for how long; only when that happens again soon is the rate at fault.
        """
        for name in names:
            now_us = micros(self.clock.now())
            self._write(SLOW, {"name": name, "now": now_us, "began": began_us, "is_named": int(is_named)})
            self._forget_ahead(name)

    def announce(self, name: str, per_minute: float) -> None:
        """The service says that it allows so many slots a minute; fewer than set hold. Writes."""
        interval = max(1, ceil(MINUTE_US / per_minute))
        self._write(ANNOUNCE, {"name": name, "interval": interval, "now": micros(self.clock.now())})
        self._forget_ahead(name)

    # ── SQL ──────────────────────────────────────────────────────────────────────────────────────────────

    def _write(self, template: str, parameters: dict[str, Any]) -> Sequence[Row[Any]]:
        """Run one statement in a transaction; the rows that it returns."""
        statement = self._sql(template)

        def work(connection: Connection) -> Sequence[Row[Any]]:
            result = connection.execute(statement, parameters)
            return result.all() if result.returns_rows else []

        return self.database.write(work)

    def _sql(self, template: str) -> TextClause:
        """SQLite's many-argument MAX is PostgreSQL's GREATEST; it locks the whole file where that locks rows."""
        is_sqlite = self.database.is_sqlite
        greatest, least = ("MAX", "MIN") if is_sqlite else ("GREATEST", "LEAST")
        return text(template.format(greatest=greatest, least=least, for_update="" if is_sqlite else "FOR UPDATE"))
