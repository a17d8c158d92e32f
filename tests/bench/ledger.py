"""What the ledger costs at a million mails: planning, claiming, opening, and bytes.

`python -m tests.bench.ledger [MAILS]` prints the figures; 1,000,000 mails take half a minute.
"""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from backfill.ledger import Ledger
from backfill.ports import Surveyed
from tests.bench.rows import Row, table
from tests.support.clocks import TurnedClock
from tests.support.ledgers import Bench, inbox

WINDOW = 5_000  # mails that are planned in one transaction
MAILS = 1_000_000
INSERT = """INSERT INTO item (job_id, mailbox_id, uid, rank, status, reason, final_at)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""
CLAIM = 50
ROUNDS = 11


def measure(mails: int = MAILS) -> list[Row]:
    """The figures; a floor is the same rows by the bare database in the same minute."""
    with TemporaryDirectory(prefix="bench-") as folder:
        bench = _opened(Path(folder) / "ledger.db")
        memory = _peak_mb()
        planned_s = _seconds(lambda: plan(bench, mails))
        grown_mb = _peak_mb() - memory
        floor_s = _bare_executemany(Path(folder) / "bare.db", mails)
        rows = [
            _row(f"planning {mails:,} mails", planned_s, "s", floor_s),
            _row("… memory on top", grown_mb, "MB"),
            _row("… ledger bytes per mail", _size(bench) / mails, "B"),
        ]
        run = bench.run()
        rows += [
            _row(f"claim of {CLAIM} among {mails:,}", _median_ms(lambda: bench.claim(run, CLAIM)), "ms"),
            _row("count of what is open", _median_ms(lambda: bench.ledger.open_items.count(bench.job.id)), "ms"),
        ]
        bench.end(run)
        bench.write(
            "INSERT INTO verdict (message_key, fingerprint, generation, scores, reason, source, explanation,"
            " truncated, created_at) VALUES ('key', 'print', 0, '{}', '', 'chat', '', FALSE, 1)"
        )
        bench.write(
            "UPDATE item SET status = 'done', final_at = 1, verdict_id = 1 WHERE uid <= :most", most=mails * 0.999
        )
        empty = _opened(Path(folder) / "empty.db")
        plan(empty, mails // 1000)
        started_ms, floor_ms = _starts_ms(bench, empty)
        rows.append(_row("process start to first claim, 99.9 % done", started_ms, "ms", floor_ms))
        for each in (bench, empty):
            each.close()
    return rows


def plan(bench: Bench, mails: int) -> None:
    """As the planner does, window by window; the UIDs come from nowhere."""
    plans = bench.ledger.plans
    window = plans.freeze(bench.job.id, plans.open_mailbox(inbox()), mails)
    while not window.is_planned:
        up_to = min(window.next_uid + WINDOW - 1, mails)
        plans.plan_window(window, up_to, [Surveyed(uid) for uid in range(window.next_uid, up_to + 1)])
        window = plans.freeze(bench.job.id, window.mailbox_id, mails)
    bench.ledger.jobs.settle(bench.job.id)


def _opened(path: Path) -> Bench:
    return Bench(Ledger.open(f"sqlite:///{path}"), TurnedClock())


def _bare_executemany(path: Path, mails: int) -> float:
    """The same rows into the same table, with nothing around it: one `executemany`, one commit."""
    bench = _opened(path)
    number = bench.ledger.plans.open_mailbox(inbox())
    job = bench.job.id
    bench.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = FULL")

        def insert() -> None:
            rows = ((job, number, uid, number << 32 | uid, "pending", None, None) for uid in range(1, mails + 1))
            connection.executemany(INSERT, rows)
            connection.commit()

        return _seconds(insert)


START = """
import sys
from backfill.ledger import Ledger
from backfill.ledger.parameters import RunParameters
ledger = Ledger.open(sys.argv[1])
job = ledger.jobs.all()[0]
lock = ledger.runs.lock()
ledger.runs.take(lock)
run = ledger.runs.begin(lock, job.id, "run", "0", RunParameters())
ledger.jobs.settle(job.id)
ledger.open_items.count(job.id)
assert ledger.items.claim(run, 50)
ledger.runs.end(run, "interrupted", None, 0)
"""


def _starts_ms(*benches: Bench) -> list[float]:
    """Of each the median of rounds in which they take turns: what else the machine does falls on all alike."""
    taken: list[list[float]] = [[] for _ in benches]
    for bench in benches:
        for lock in bench.locks:
            lock.drop()
        bench.locks.clear()
    turns = list(zip(benches, taken, strict=True))
    for _ in range(ROUNDS):
        turns.reverse()
        for bench, times in turns:
            argv = [sys.executable, "-c", START, bench.ledger.database.url.render_as_string()]
            times.append(1000 * _seconds(lambda argv=argv: subprocess.run(argv, check=True)))  # type: ignore[misc]
    return [median(times) for times in taken]


def _size(bench: Bench) -> int:
    path = bench.ledger.database.path
    assert path is not None
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _median_ms(work: Callable[[], object]) -> float:
    return 1000 * median(_seconds(work) for _ in range(7))


def _row(name: str, value: float, unit: str, floor: float | None = None) -> Row:
    return Row(name, value, unit, floor)


if __name__ == "__main__":
    print(table(measure(*map(int, sys.argv[1:]))))
