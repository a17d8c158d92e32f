"""A process that works on a ledger until it is killed: `python -m tests.support.ledger_worker URL SECONDS …`.

It takes the lock, begins a run on the first job, claims, begins what it is told to, opens attempts for those, and
says so in one line of JSON. Then it waits to be killed.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from backfill.errors import BackfillError
from backfill.ledger import Ledger
from backfill.ledger.parameters import RunParameters
from tests.support.clocks import TurnedClock
from tests.support.ledgers import open_attempt


def main(url: str, seconds: str, claimed: str, begun: str) -> None:
    ledger = Ledger.open(url, TurnedClock(float(seconds)))
    lock = ledger.runs.lock()
    try:
        ledger.runs.take(lock)
    except BackfillError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}), flush=True)
        return
    run = ledger.runs.begin(lock, ledger.jobs.all()[0].id, "run", "0", RunParameters())
    items = ledger.items.claim(run, int(claimed))
    if not items:
        items = ledger.items.claim(run, 1, alone=True)
    begun_items = items[: int(begun)]
    ledger.items.begin(run, begun_items)
    for item in begun_items:
        open_attempt(ledger, run, item)
    print(json.dumps({"uids": [item.ref.uid for item in items], "uuid": run.uuid}), flush=True)
    signal.pause()


@contextmanager
def worker(url: str, seconds: float, claimed: int, begun: int = 0) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """The process and what it said. Killed with SIGKILL at the end of the block, if it lives by then."""
    arguments = [url, str(seconds), str(claimed), str(begun)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.ledger_worker", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
