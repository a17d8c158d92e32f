"""Print the benchmark's table: `python -m tests.bench [--quick] [--mails N] [--json FILE]`.

Each speed stands beside the bare floor of the same minute; both are medians of runs made in turn, since a machine
has other things to do. A figure of a run is for its running time as its report states it: planning is in it,
the start of the interpreter is not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench import export, ledger, mail, mails, product, prompt, sparse, throttle
from tests.bench.rows import Row, machine, table, write_json
from tests.support.dovecot import DovecotServer

STARTS = 7  # starts of the interpreter that a figure is the median of


def main() -> None:
    options = _options()
    if not DovecotServer.is_installed():
        raise SystemExit("The benchmark needs Dovecot (Debian: dovecot-imapd); `make neighbours` installs it.")
    print(machine(), file=sys.stderr)
    rows = []
    with DovecotServer() as server:
        for row in _figures(server, options):
            print(f"  {' '.join(row.cells)}", file=sys.stderr)
            rows.append(row)
    print(f"{machine()}; {options.mails} mails, {options.rounds} rounds", table(rows), sep="\n\n")
    if options.json:
        write_json(options.json, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--mails", type=int, default=6000, help="mails for the speeds (default: 6000)")
    parser.add_argument("--rounds", type=int, default=3, help="runs that a speed is the median of (default: 3)")
    parser.add_argument("--quick", action="store_true", help="fewer mails, one round; rough figures in half a minute")
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part; may be given several times")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    if options.quick:
        options.mails, options.rounds = min(options.mails, 500), 1
    options.only = options.only or list(PARTS)
    return options


def _figures(server: DovecotServer, options: argparse.Namespace) -> Iterator[Row]:
    for name, part in PARTS.items():
        if name in options.only:
            yield from part(server, options)


def fill(server: DovecotServer, user: str, kind: Callable[[int], Iterator[bytes]], count: int) -> None:
    """Put mails into a user's INBOX, by a process of its own: a child's peak counts what its parent weighed."""
    process = get_context("fork").Process(target=lambda: server.append_many(user, "INBOX", kind(count)))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit("the mailbox could not be filled")


# Speed.


def speed(server: DovecotServer, options: argparse.Namespace) -> Iterator[Row]:
    """With an API that answers at once, so that everything else shows."""
    count, user = options.mails, "speed@example.org"
    fill(server, user, mails.large, count)
    fill(server, "warm@example.org", mails.large, 60)
    with product.api() as url:
        ways: dict[str, Callable[[], float]] = {
            "floor: fetch and post, nothing recorded": lambda: floor(server, user, url),
            "run": lambda: _seconds(server, user, count, url),
            "run, no effects": lambda: _seconds(server, user, count, url, effects=()),
            "run, heuristic classifier": lambda: _seconds(server, user, count),
        }
        floor(server, "warm@example.org", url)
        product.run(server, "warm@example.org", 60, url)
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, measure in ways.items():
                taken[name].append(count / measure())
    bare, *speeds = [(name, median(values)) for name, values in taken.items()]
    yield Row(bare[0], bare[1], "mails/s")
    for name, value in speeds:
        yield Row(name, value, "mails/s", bare[1])


def floor(server: DovecotServer, user: str, url: str) -> float:
    """Seconds that the bare floor takes over a user's INBOX."""
    command = [sys.executable, "-m", "tests.bench.floor", server.host, str(server.port), user, url]
    return float(subprocess.run(command, cwd=product.ROOT, check=True, capture_output=True, text=True).stdout)


def _seconds(server: DovecotServer, user: str, count: int, url: str = "", **options: object) -> float:
    product.forget_keywords(server, user)
    ended = product.run(server, user, count, url, **options)
    return float(ended.summary["time"]["running_seconds"])


def latency(server: DovecotServer, options: argparse.Namespace) -> Iterator[Row]:
    """With an API that takes its time: what calls in flight at once are worth."""
    count, user = 40, "latency@example.org"
    fill(server, user, mails.small, count)
    with product.api(latency_ms=200) as url:
        one = count / _seconds(server, user, count, url, concurrency=1)
        yield Row("run, 200 ms an answer, one call in flight", one, "mails/s")
        eight = count / _seconds(server, user, count, url, concurrency=8)
        yield Row("run, 200 ms an answer, eight in flight", eight, "mails/s", one)


# Size and start.


def memory(server: DovecotServer, options: argparse.Namespace) -> Iterator[Row]:
    """The same peak, however large the mailbox is."""
    peaks: list[float] = []
    with product.api() as url:
        for count in (500, 2_000) if options.quick else (5_000, 200_000):
            user = f"memory{count}@example.org"
            fill(server, user, mails.small, count)
            peaks.append(product.run(server, user, count, url).peak_mb)
            yield Row(f"peak memory at {count:,} mails", peaks[-1], "MB", peaks[0] if len(peaks) > 1 else None)


def start(server: DovecotServer, options: argparse.Namespace) -> Iterator[Row]:
    """From the command to its last character; the floor is an interpreter that does nothing."""
    with TemporaryDirectory(prefix="backfill-bench-") as folder:
        user = "start@example.org"
        fill(server, user, mails.small, 100)
        product.configure(Path(folder), server, user)
        product.backfill("plan", "--json", "--quiet", folder=folder)
        bare = _median_s(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
        for arguments in (["--help"], ["status"]):
            product.backfill(*arguments, folder=folder)
            value = _median_s(lambda arguments=arguments: product.backfill(*arguments, folder=folder))
            yield Row(f"backfill {arguments[0]}", value, "s", bare)


def _median_s(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(STARTS):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return median(taken)


PARTS: dict[str, Callable[[DovecotServer, argparse.Namespace], Iterable[Row]]] = {
    "speed": speed,
    "latency": latency,
    "throttle": lambda server, options: throttle.measure(server, fill, 15 if options.quick else throttle.SECONDS),
    "memory": memory,
    "start": start,
    "mail": lambda server, options: mail.measure(200 if options.quick else 1000),
    "sparse": lambda server, options: sparse.measure((3, 1000) if options.quick else sparse.SIZES),
    "prompt": lambda server, options: prompt.measure(),
    "export": lambda server, options: export.measure(10_000) if options.quick else export.measure(),
    "ledger": lambda server, options: ledger.measure(10_000) if options.quick else ledger.measure(),
}

if __name__ == "__main__":
    main()
