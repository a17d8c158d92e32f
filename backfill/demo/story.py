"""`backfill demo`: works a whole mailbox, kills the first run half-way, and checks that nothing was lost.

Every figure is read from the ledger (through the command line), from the files, or from the mail server.
Everything happens in the demo's own folder, on this machine. The password exists only in the environment of the
child processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backfill import files, resources
from backfill.clock import Clock, StopRequest, SystemClock
from backfill.demo.mailbox import OWNER, sample_mailbox
from backfill.errors import BackfillError, ConfigError

if TYPE_CHECKING:
    from backfill.demo.server import DemoServer

MARKER = ".backfill-demo"  # a folder with a file of this name belongs to a demo and may be removed

_KILL_AT = 0.45  # share of the notes; until the kill arrives, more are written: about a half
_LOOK_EVERY_S = 0.01  # the whole run takes a second or two
_PATIENCE_S = 120.0  # for one command; a very slow machine needs it

_CONFIG = """\
# Written by `backfill demo`. The mailbox is gone when the demo ends; ledger, notes and reports stay.
imap:
  server: {host}
  port: {port}
  security: none  # it does not leave this machine
  username: {user}
classifier: heuristic
"""


@dataclass(frozen=True, slots=True)
class _Project:
    """The demo's folder, and how its commands are called."""

    folder: Path
    environment: dict[str, str]

    @property
    def notes(self) -> Path:
        return self.folder / "var" / "notes"

    @property
    def analytics(self) -> Path:
        return self.folder / "var" / "analytics.jsonl"

    @property
    def html(self) -> Path:
        return self.folder / "var" / "reports" / "report.html"

    def argv(self, command: str, *options: str) -> list[str]:
        config = self.folder / "config" / "config.yaml"
        return [sys.executable, "-m", "backfill", command, "--config", str(config), *options]

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start a command; its output appears where ours does."""
        sys.stdout.flush()
        return subprocess.Popen(self.argv(*argv), env=self.environment, stdin=subprocess.DEVNULL)

    def call(self, *argv: str, stderr: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and collect its output. Its standard error is shown, or goes to `stderr`.

        Raises `BackfillError` when it does not end within `_PATIENCE_S`.
        """
        sys.stdout.flush()
        try:
            return subprocess.run(
                self.argv(*argv),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                timeout=_PATIENCE_S,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BackfillError(f"`backfill {argv[0]}` did not end within {_PATIENCE_S:.0f} s.") from error

    def ask(self, *argv: str) -> str:
        """The output of a command. Raises `BackfillError` when it fails."""
        done = self.call(*argv, stderr=subprocess.PIPE)
        if done.returncode:
            raise BackfillError(f"`backfill {argv[0]}` ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def note_files(self) -> Iterator[Path]:
        # An empty file is a note that was being written when the run was killed.
        return (note for note in self.notes.rglob("*.md") if note.stat().st_size)

    def outcomes(self) -> list[dict[str, Any]]:
        """The whole lines of the analytics file; the kill may have cut the last one off."""
        if not self.analytics.exists():
            return []
        whole, _, _ = self.analytics.read_text(encoding="utf-8").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]


def tell(folder: Path, *, write: Callable[[str], None], clock: Clock | None = None) -> int:
    """Play the demo in `folder` and tell it line by line through `write`; 0 when every check held, else 1.

    The folder of an earlier demo is replaced. Before anything is touched, raises `ConfigError` where Twisted is missing
    or the folder holds something else.
    """
    server_type = _server_type()
    mails = sample_mailbox()
    folder = folder.absolute()
    _make_way(folder)
    with server_type(
        {name: [mail.raw for mail in content] for name, content in mails.items()},
        user=OWNER.address,
        password=secrets.token_urlsafe(),
    ) as server:
        project = _found(folder, server)
        total = sum(map(len, mails.values()))
        write(f"A mail server on {server.host}:{server.port} holds {total} sample mails of twenty years.")
        write(f"Ledger, notes and reports go to {folder}\n")
        options = [word for name in mails for word in ("--folder", name)]

        write("The first run. It will be killed half-way, with SIGKILL, which no program can catch.")
        was_killed = _run_and_kill(project, options, total, clock or SystemClock())
        before = json.loads(project.ask("status", "--json"))["counts"]
        notes_before = {path: _fingerprint(path) for path in project.note_files()}
        write("\nKilled." if was_killed else "\nIt was done before it could be killed.")
        write(f"The ledger says: {_in_words(before)}.")
        write(f"On the disk are {len(notes_before)} notes. Those that are not in the ledger yet will be recognised.\n")

        write("The second run. It is the same command; the ledger says where to go on.")
        finished = project.call("run", *options, "--yes")
        report = json.loads(project.ask("report", "--format", "json"))
        files.make_folder(project.html.parent)
        project.ask("report", "--format", "html", "--output", str(project.html))

        checks = [
            ("the first run was killed at work", was_killed and before["pending"] > 0 and bool(notes_before)),
            ("the second run ended by itself, with exit code 0", finished.returncode == 0),
            *_checks(project, server, report, mails_by_folder={name: len(content) for name, content in mails.items()}),
            (
                f"nothing that was done before the kill was touched again ({len(notes_before)} notes)",
                all(_fingerprint(path) == known for path, known in notes_before.items()),
            ),
        ]
    write("\nChecked afterwards in the ledger, in the files and on the mail server:")
    for text, holds in checks:
        write(f"  {'✓' if holds else '✗'} {text}")
    write("\n" + finished.stdout)
    _tell_where(project, write)
    return 0 if all(holds for _, holds in checks) else 1


def _server_type() -> type[DemoServer]:
    try:
        from backfill.demo.server import DemoServer  # start-up: Twisted loads slowly, and is an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"twisted", "zope"}:
            raise
        raise ConfigError(
            "The demo's mail server needs Twisted; install it with pip install 'backfill[demo]'."
        ) from error
    return DemoServer


def _make_way(folder: Path) -> None:
    """Remove an earlier demo. Raises `ConfigError` for a folder that is not one."""
    if not folder.exists():
        return
    if (folder / MARKER).is_file():
        shutil.rmtree(folder)
    elif not folder.is_dir() or any(folder.iterdir()):
        raise ConfigError(f"{folder} is not a folder of an earlier demo and is left alone; name another one.")


def _found(folder: Path, server: DemoServer) -> _Project:
    """A fresh project, as `backfill init` would leave it, for the server in memory."""
    config = folder / "config"
    files.make_folder(config)
    (folder / MARKER).touch()
    user, password = (word.decode() for word in server.credentials)
    (config / "config.yaml").write_text(_CONFIG.format(host=server.host, port=server.port, user=user), encoding="utf-8")
    for name in ("prompt.md", "note.md.j2"):
        (config / name).write_text(resources.text(f"config/{name}"), encoding="utf-8")
    # The operator's own BACKFILL_… variables would win over the demo's file.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BACKFILL_")}
    return _Project(folder, {**inherited, "IMAP_PASSWORD": password})


def _run_and_kill(project: _Project, options: list[str], total: int, clock: Clock) -> bool:
    """Start a run and kill it when enough notes are written; False when it ended before that.

    Raises `BackfillError` when it ended with an error.
    """
    never = StopRequest()
    deadline = clock.monotonic() + _PATIENCE_S
    with project.start("run", *options, "--yes") as run:
        while run.poll() is None:
            if sum(1 for _ in project.note_files()) >= total * _KILL_AT or clock.monotonic() > deadline:
                run.kill()
                break
            clock.sleep(_LOOK_EVERY_S, never)
    if run.returncode > 0:
        raise BackfillError(f"The first run ended with {run.returncode} before it could be killed.")
    return run.returncode < 0


def _checks(
    project: _Project, server: DemoServer, report: dict[str, Any], mails_by_folder: dict[str, int]
) -> Iterator[tuple[str, bool]]:
    """The promises that must hold at the end, each with whether it holds."""
    total = sum(mails_by_folder.values())
    counts, calls = report["counts"], report["calls"]
    yield (
        f"every one of the {total} mails is done ({_in_words(counts)})",
        report["conserved"] and counts["found"] == counts["done"] == total,
    )
    mails = Counter((line["folder"], line["uid"]) for line in project.outcomes())
    expected = {(folder, uid) for folder, count in mails_by_folder.items() for uid in range(1, count + 1)}
    yield (
        f"analytics.jsonl has one line for each ({mails.total()} lines, {mails.total() - len(mails)} repeated)",
        mails.keys() == expected and mails.total() == total,
    )
    notes = sum(1 for _ in project.note_files())
    yield f"one note for each ({notes} notes)", notes == total
    repeated = calls["made"] - calls["succeeded"]
    yield f"no call was repeated ({calls['made']} made: the rules on this machine need none)", repeated == 0
    flags = [known for folder in mails_by_folder for known in server.flags(folder).values()]
    marked, seen = (sum(flag in known for known in flags) for flag in ("AIProcessed", "\\Seen"))
    yield f"every mail bears the keyword AIProcessed ({marked})", marked == total
    yield f"none was marked as read ({seen})", seen == 0


def _in_words(counts: dict[str, int]) -> str:
    others = [f"{counts[name]} {name}" for name in ("failed", "skipped", "vanished") if counts[name]]
    return ", ".join([f"{counts['found']} found", f"{counts['done']} done", *others, f"{counts['pending']} pending"])


def _fingerprint(path: Path) -> tuple[int, str]:
    """When a file was written, and its content; (0, "") when it is gone."""
    try:
        return path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return 0, ""


def _tell_where(project: _Project, write: Callable[[str], None]) -> None:
    newest = max(project.note_files(), default=project.notes)
    places = {
        "Notes": project.notes,
        "One of them": newest,
        "One line a mail": project.analytics,
        "The ledger": project.folder / "var" / "ledger.db",
        "Log": project.folder / "var" / "agent.log",
        "HTML report": project.html,
    }
    for name, place in places.items():
        write(f"{name + ':':<17}{place}")
