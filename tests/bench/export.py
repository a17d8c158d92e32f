"""What `backfill export` takes for a million mails in each form: seconds, processor time and peak memory.

`python -m tests.bench.export [MAILS]` prints the figures; with 1,000,000 mails it takes some minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from backfill.ledger import Ledger
from tests.bench.ledger import plan
from tests.bench.rows import Row, table
from tests.support.clocks import TurnedClock
from tests.support.ledgers import Bench

MAILS, FEW = 1_000_000, 20_000
FORMS = ("jsonl", "csv", "parquet")

EXPORT = """
import json, resource, sys, time
from pathlib import Path
from types import SimpleNamespace
from backfill.ledger import Ledger
from backfill.operations.export import Wanted, export
began = time.perf_counter()
ledger = Ledger.open(sys.argv[1])
wanted = Wanted(job=int(sys.argv[2]), form=sys.argv[3], path=Path(sys.argv[4]), force=True)
done = export(ledger, wanted, SimpleNamespace(analytics_file=None, notes_dir=Path(".")), None, lambda: True)
used = resource.getrusage(resource.RUSAGE_SELF)
busy = used.ru_utime + used.ru_stime
figures = {"seconds": time.perf_counter() - began, "busy_s": busy, "peak_mb": used.ru_maxrss / 1024}
print(json.dumps(figures))
"""


def measure(mails: int = MAILS) -> list[Row]:
    """Of each form the seconds and the peak memory; the floor of the memory is an export of a few mails."""
    with TemporaryDirectory(prefix="bench-") as folder:
        many, few = _filled(Path(folder) / "many.db", mails), _filled(Path(folder) / "few.db", min(FEW, mails))
        rows = []
        for form in FORMS:
            path = Path(folder) / f"mails.{form}"
            floor, taken = _exported(few, form, path), _exported(many, form, path)
            rows += [
                Row(f"export of {mails:,} mails, {form}", taken["seconds"], "s"),
                Row("… processor time", taken["busy_s"], "s"),
                Row("… peak memory", taken["peak_mb"], "MB", floor["peak_mb"]),
                Row("… bytes per mail", path.stat().st_size / mails, "B"),
            ]
    return rows


def _filled(path: Path, mails: int) -> str:
    """A ledger whose mails are done, each with a verdict, a call and an outcome of its own; its URL."""
    bench = Bench(Ledger.open(f"sqlite:///{path}"), TurnedClock())
    plan(bench, mails)
    bench.end(bench.run())
    bench.write(
        "INSERT INTO message (message_key, sent_at, received_at, from_addr, list_id, size)"
        " SELECT printf('%064x', uid), 1500000000000000 + uid * 1000000, 1500000000000000 + uid * 1000000,"
        " 'Sender ' || (uid % 999) || ' <sender' || (uid % 999) || '@example.com>', '', 2000 + uid % 5000 FROM item"
    )
    bench.write(
        "INSERT INTO verdict (message_key, fingerprint, generation, scores, reason, source, model, explanation,"
        " truncated, created_at) SELECT printf('%064x', uid), 'print', 0,"
        " '{\"importance\": ' || (uid % 11) || ', \"spam\": ' || (uid / 11 % 11) || '}', '', 'chat', 'a/model-1', '',"
        " FALSE, 1700000000000000 FROM item"
    )
    bench.write(
        "UPDATE item SET status = 'done', final_at = 1700000000000000, message_key = printf('%064x', uid),"
        " verdict_id = (SELECT id FROM verdict WHERE message_key = printf('%064x', uid))"
    )
    bench.write(
        "INSERT INTO outcome (item_id, run_id, status, verdict_id, labels, supersedes, at)"
        " SELECT id, 1, 'done', verdict_id, CASE WHEN uid % 9 = 0 THEN 'spam' ELSE '' END, FALSE, 1700000000000000"
        " FROM item"
    )
    bench.write(
        "INSERT INTO attempt (item_id, run_id, started_at, ended_at, outcome, tokens_in, tokens_out, cost_nano)"
        " SELECT id, 1, 1699999999000000, 1700000000000000, 'ok', 700, 20, 123456 FROM item"
    )
    url = bench.ledger.database.url.render_as_string()
    bench.close()
    return url


def _exported(url: str, form: str, path: Path) -> dict[str, float]:
    argv = [sys.executable, "-c", EXPORT, url, "1", form, str(path)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    taken: dict[str, float] = json.loads(done.stdout)
    return taken


if __name__ == "__main__":
    print(table(measure(*map(int, sys.argv[1:]))))
