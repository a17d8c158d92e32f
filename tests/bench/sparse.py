"""Planning over folders whose mails lie far apart: seconds and commands, by the number of mails."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from backfill.clock import StopRequest, SystemClock
from backfill.fingerprint import Fingerprint
from backfill.ledger import Ledger
from backfill.mail.login import ImapAccount
from backfill.mail.source import ImapSource
from backfill.planner import Planner
from backfill.selection import Selection
from tests.bench.rows import Row
from tests.support.scripted_imap import ScriptedImap

LAST_UID = 4_000_000_000
SIZES = (3, 1_000, 1_000_000)


def measure(sizes: tuple[int, ...] = SIZES) -> Iterator[Row]:
    """Mails spread evenly over 4 × 10⁹ UIDs, on a server that answers at once."""
    for mails in sizes:
        seconds, commands = _plan(mails)
        yield Row(f"planning {mails:,} mails over 4×10⁹ UIDs", seconds, "s")
        yield Row(f"… commands to the mail server for {mails:,} mails", float(commands), "")


def _plan(mails: int) -> tuple[float, int]:
    step = LAST_UID // mails

    def script(command: str) -> list[bytes] | None:
        if command.startswith("EXAMINE"):
            facts = b"* %d EXISTS", b"* OK [UIDVALIDITY 7] ok", b"* OK [UIDNEXT %d] next"
            return [facts[0] % mails, facts[1], facts[2] % (mails * step + 1), b"{tag} OK done"]
        if command.startswith("FETCH"):
            places = [mails if place == "*" else int(place) for place in command.split()[1].split(",")]
            return [*(b"* %d FETCH (UID %d)" % (place, place * step) for place in places), b"{tag} OK done"]
        if found := re.match(r"UID SEARCH UID (\d+):(\d+)", command):
            first, last = -(-int(found[1]) // step), min(int(found[2]) // step, mails)
            uids = b" ".join(b"%d" % (place * step) for place in range(max(first, 1), last + 1))
            return [b"* SEARCH " + uids, b"{tag} OK done"]
        return None

    with TemporaryDirectory() as folder, ScriptedImap({}, script) as server:
        clock = SystemClock()
        ledger = Ledger.open(f"sqlite:///{Path(folder) / 'ledger.db'}", clock)
        account = ImapAccount(
            server.host, "bench@example.org", port=server.port, security="none", password_command=("echo", "secret")
        )
        source = ImapSource(account)
        job = ledger.jobs.open(account.name, Selection(), Fingerprint.of(), dry_run=False)
        began = time.perf_counter()
        planned = Planner(ledger, source, StopRequest()).plan(job)
        seconds = time.perf_counter() - began
        source.close()
        ledger.close()
        if planned.new_mails != mails:
            raise SystemExit(f"{planned.new_mails} of {mails} mails were planned")
        return seconds, len(server.commands)
