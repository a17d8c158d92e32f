"""Shows a job again and again until it has ended: drawn each second on a terminal, else a line at intervals."""

import json
import sys
from contextlib import nullcontext
from dataclasses import asdict

from rich.console import Console
from rich.live import Live
from rich.text import Text

from backfill.cli.output import is_unread
from backfill.clock import Clock, StopRequest, SystemClock
from backfill.ledger import Ledger
from backfill.ledger.reads.status import JobStatus
from backfill.ledger.rows import Job
from backfill.lifecycle import UNFINISHED
from backfill.report.status import as_json as status_json
from backfill.report.status import line, render

FRAME_S, LINE_S = 1.0, 10.0


def watch(ledger: Ledger, job: Job, *, as_json: bool, clock: Clock | None = None) -> None:
    """Show a job until it is done, cancelled or undone, until nobody reads the output, or until Ctrl-C.

    The run is not affected.
    """
    clock, never = clock or SystemClock(), StopRequest()
    is_drawn = sys.stdout.isatty() and not as_json
    drawing = Live(console=Console(highlight=False), auto_refresh=False) if is_drawn else None
    try:
        with drawing or nullcontext():
            while True:
                status = ledger.status.of(job.id)
                if drawing is not None:
                    drawing.update(Text(render(status, job)), refresh=True)
                else:
                    print(_machine_line(status, job) if as_json else line(status), flush=True)
                if status.tally.state not in UNFINISHED or is_unread():
                    return
                clock.sleep(FRAME_S if is_drawn else LINE_S, never)
    except KeyboardInterrupt:
        return


def _machine_line(status: JobStatus, job: Job) -> str:
    state = {"id": job.id, "state": status.tally.state}
    return json.dumps({"job": state, "counts": asdict(status.tally.counts), "live": status_json(status)})
