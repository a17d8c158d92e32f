"""How much of the allowed rate is used, and whether more than that ever is: counted at the API that is called.

A run with `concurrency: auto` against an API that takes 0.2 to 5 s a call, at three rates. The use is that of the
time after the first seconds, in which the run finds out how many calls it takes at once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import requests

from tests.bench import mails, product
from tests.bench.rows import Row
from tests.support.dovecot import DovecotServer

SECONDS = 70  # a run's length: a minute's window and the first seconds
FIRST_S = 8.0
FASTEST_MS, SLOWEST_MS = 200, 5_000

Fill = Callable[[DovecotServer, str, Callable[[int], Iterator[bytes]], int], None]


@dataclass(frozen=True)
class Called:
    """What the API saw of a run."""

    calls_per_minute: int
    arrivals: list[float]
    at_once: int
    peak_mb: float

    def use(self) -> float:
        """Percent of what is allowed, after the first seconds."""
        steady = [at for at in self.arrivals if at > self.arrivals[0] + FIRST_S]
        return 100 * (len(steady) - 1) / (steady[-1] - steady[0]) * 60 / self.calls_per_minute

    def worst(self, seconds: float) -> int:
        """The most calls in any window of so long a time."""
        starts = enumerate(self.arrivals)
        return max(bisect_left(self.arrivals, start + seconds) - number for number, start in starts)


def measure(server: DovecotServer, fill: Fill, seconds: int) -> Iterator[Row]:
    """The slower rates side by side, since they leave the machine alone; the fastest for itself."""
    for rates in ((60, 600), (6_000,)):
        for rate in rates:
            fill(server, f"rate{rate}@example.org", mails.small, rate * seconds // 60)
        with ThreadPoolExecutor(len(rates)) as pool:
            for called in pool.map(lambda rate: _run(server, rate, seconds), rates):
                yield from _rows(called)


def _run(server: DovecotServer, rate: int, seconds: int) -> Called:
    with product.api(FASTEST_MS, SLOWEST_MS) as url:
        count = rate * seconds // 60
        ended = product.run(
            server, f"rate{rate}@example.org", count, url, concurrency="auto", calls_per_minute=rate, effects=()
        )
        stats = requests.get(f"{url}/stats", timeout=60).json()
    return Called(rate, sorted(stats["arrivals"]), stats["concurrency_peak"], ended.peak_mb)


def _rows(called: Called) -> Iterator[Row]:
    rate = called.calls_per_minute
    name = f"{rate:,} calls a minute, 0.2-5 s each"
    yield Row(f"{name}: use", called.use(), "%", 100)
    yield Row(f"{name}: worst minute", called.worst(60), "calls", rate)
    yield Row(f"{name}: worst second", called.worst(1), "calls", rate / 60)
    yield Row(f"{name}: at once", called.at_once, "calls", rate / 60 * (FASTEST_MS + SLOWEST_MS) / 2000)
    yield Row(f"{name}: peak memory", called.peak_mb, "MB")
