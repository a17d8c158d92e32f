"""The product as an operator runs it: a child process with a project folder of its own, timed and weighed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from imapclient import IMAPClient

from tests.support.dovecot import PASSWORD, DovecotServer

ROOT = Path(__file__).parents[2]
FASTEST = 100_000  # calls a minute: the most that may be configured, and more than this can reach


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: seconds from its start to its end, peak of its resident memory, what it printed."""

    wall_s: float
    peak_mb: float
    printed: str

    @property
    def summary(self) -> dict[str, Any]:
        """The report that `--json` printed."""
        report: dict[str, Any] = json.loads(self.printed)
        return report


@contextmanager
def api(latency_ms: float = 0, slowest_ms: float = 0) -> Iterator[str]:
    """The URL of an API in a process of its own; where `slowest_ms` is more, a call takes a time between the two."""
    times = ["--latency-ms", str(latency_ms), "--slowest-ms", str(slowest_ms)]
    command = [sys.executable, "-m", "tests.support.api_server", *times]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def run(server: DovecotServer, user: str, count: int, url: str = "", **options: Any) -> Ended:
    """`backfill run` over a user's INBOX with a new ledger; by rules when there is no URL of an API.

    Ends the benchmark when not every one of `count` mails is done: a figure for half the work would be worthless.
    """
    with TemporaryDirectory(prefix="backfill-bench-") as folder:
        configure(Path(folder), server, user, url, **options)
        ended = backfill("run", "--yes", "--json", "--quiet", folder=folder)
    counts = ended.summary["counts"]
    if counts["done"] != count or not ended.summary["conserved"]:
        raise SystemExit(f"the run did not do all of its work: {counts}")
    return ended


def backfill(*arguments: str, folder: str | Path = ROOT, may_fail: bool = False) -> Ended:
    """Run a command to its end; `folder` is its working directory."""
    command = [sys.executable, "-m", "backfill", *arguments]
    environment = {**os.environ, "IMAP_PASSWORD": PASSWORD, "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - began
    if process.returncode and not may_fail:
        raise SystemExit(f"backfill {' '.join(arguments)} ended with {process.returncode}")
    return Ended(wall_s, usage.ru_maxrss / 1024, printed)


def configure(
    folder: Path,
    server: DovecotServer,
    user: str,
    url: str = "",
    *,
    effects: tuple[str, ...] = ("flags", "notes"),
    concurrency: int | str = 16,
    calls_per_minute: float = FASTEST,
) -> None:
    """A project folder: everything as it comes, but for what makes the child fast or points it at our servers."""
    settings = {
        "imap": {"server": server.host, "port": server.port, "security": "none", "username": user},
        "classifier": "chat" if url else "heuristic",
        "llm": {"api_url": url or "http://127.0.0.1:9/v1", "api_key_env": None, "model": "test/model-1"},
        "processing": {"calls_per_minute": calls_per_minute, "concurrency": concurrency},
        "effects": list(effects),
        "paths": {
            "prompt_file": str(ROOT / "config/prompt.md"),
            "note_template": str(ROOT / "config/note.md.j2"),
        },
    }
    (folder / "config").mkdir()
    (folder / "config/config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")


def forget_keywords(server: DovecotServer, user: str) -> None:
    """Leave the mailbox as it was before the product marked it, so that every run has the same to do."""
    with IMAPClient(server.host, server.port, ssl=False) as client:
        client.login(user, PASSWORD)
        client.select_folder("INBOX")
        client.remove_flags("1:*", ["AIProcessed", "Important", "Spam"], silent=True)
