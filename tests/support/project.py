"""A project folder as an operator has one, and the real `backfill` command working in it as a child process.

`backfill init` writes it; then it is configured for a mailbox of the test's own and an API on loopback. Children get
a bare environment: variables of the developer's shell change nothing.
"""

from __future__ import annotations

import atexit
import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import yaml
from imapclient import IMAPClient

from backfill.ledger import Ledger
from tests.support.dovecot import PASSWORD, DovecotServer

COMMAND = str(Path(sys.executable).with_name("backfill"))
KEY = "sk-or-0123456789abcdef"
PROCESSED = b"AIProcessed"
DEFAULT_RUBRIC = (
    ("processing", "importance_threshold"),
    ("processing", "spam_threshold"),
    ("imap", "important_tag"),
    ("imap", "spam_tag"),
)
# Far beyond what a child needs on a busy machine: a limit against hanging, no measure.
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Project:
    """`folder` holds config/, .env and var/."""

    folder: Path
    server: DovecotServer
    user: str

    @classmethod
    def create(cls, folder: Path, server: DovecotServer, user: str, api_url: str) -> Project:
        """A project that works: quick, unthrottled, with the `chat` classifier."""
        shutil.copytree(_template(), folder)
        project = cls(folder, server, user)
        project.configure(
            imap={"server": server.host, "port": server.port, "security": "none", "username": user},
            llm={"api_url": api_url, "model": "test/model-1", "retry_attempts": 2, "retry_delay_seconds": 0.05},
            processing={"calls_per_minute": 60_000},
        )
        project.hide(IMAP_PASSWORD=PASSWORD, OPENROUTER_API_KEY=KEY)
        return project

    @property
    def config(self) -> Path:
        return self.folder / "config/config.yaml"

    @property
    def ledger(self) -> Path:
        return self.folder / "var/ledger.db"

    def configure(self, **sections: Any) -> None:
        """Change keys of the sections of config.yaml. A value that is no section replaces the old one."""
        values = yaml.safe_load(self.config.read_text())
        for name, value in sections.items():
            values[name] = {**(values.get(name) or {}), **value} if isinstance(value, dict) else value
        self.config.write_text(yaml.safe_dump(values))

    def ask(self, rubric: dict[str, Any]) -> None:
        """Have a rubric of the owner's own, in the place of the keys of the default one."""
        values = yaml.safe_load(self.config.read_text())
        for section, key in DEFAULT_RUBRIC:
            values[section].pop(key, None)
        self.config.write_text(yaml.safe_dump(values | {"rubric": rubric}, sort_keys=False))

    def hide(self, **secrets: str) -> None:
        """Write `.env`, with nothing else in it."""
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in secrets.items()))

    # The command.

    def run(
        self,
        *arguments: str,
        cwd: Path | None = None,
        input: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """`backfill ARGUMENTS`, to its end; without a terminal, unless `input` is given: it is typed on one."""
        keyboard, terminal = pty.openpty()
        try:
            os.write(keyboard, (input or "").encode())
            return subprocess.run(
                [COMMAND, *arguments],
                cwd=cwd or self.folder,
                env=_bare_environment() | dict(environment or {}),
                stdin=subprocess.DEVNULL if input is None else terminal,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
            )
        finally:
            os.close(keyboard)
            os.close(terminal)

    def succeed(self, *arguments: str, cwd: Path | None = None) -> str:
        """As `run`, which must end with 0. Returns what it said on standard error."""
        done = self.run(*arguments, cwd=cwd)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stderr

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """`backfill ARGUMENTS`, under way, its standard error in a pipe. Use it as a context manager."""
        return subprocess.Popen(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=_bare_environment() | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    # What it left behind.

    def report(self) -> dict[str, Any]:
        """What `backfill report --format json` says of the latest run's job, without starting a process for it."""
        ledger = Ledger.open(f"sqlite:///{self.ledger}")
        try:
            job = ledger.jobs.get(ledger.jobs.latest() or 0)
            assert job is not None, "there is no job"
            report: dict[str, Any] = json.loads(ledger.report.summary(job).to_json())
            return report
        finally:
            ledger.close()

    def analytics(self) -> list[dict[str, Any]]:
        """The lines of analytics.jsonl; none when there is no file."""
        path = self.folder / "var/analytics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def notes(self) -> list[Path]:
        """Every file below the notes folder, temporary files included."""
        return sorted(path for path in (self.folder / "var/notes").rglob("*") if path.is_file())

    def log(self) -> str:
        path = self.folder / "var/agent.log"
        return path.read_text() if path.exists() else ""

    def rows(self, question: str) -> list[tuple[Any, ...]]:
        """What the ledger answers to a SELECT; nothing before it exists."""
        if not self.ledger.exists():
            return []
        connection = sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(question).fetchall()
        except sqlite3.OperationalError:
            return []  # its tables are not there yet
        finally:
            connection.close()

    def count(self, table_and_where: str) -> int:
        """The number of rows, e.g. of "item WHERE status = 'done'"."""
        found = self.rows(f"SELECT COUNT(*) FROM {table_and_where}")
        return int(found[0][0]) if found else 0

    @contextmanager
    def mail_program(self) -> Iterator[IMAPClient]:
        """The owner's own mail program, logged in."""
        with IMAPClient(self.server.host, self.server.port, ssl=False) as client:
            client.login(self.user, PASSWORD)
            yield client

    def flags(self, folder: str = "INBOX") -> dict[int, set[bytes]]:
        """UID → flags, as the server has them; \\Recent is no flag of ours."""
        with self.mail_program() as client:
            client.select_folder(folder, readonly=True)
            uids = client.search()
            fetched = client.fetch(uids, ["FLAGS"]) if uids else {}
            return {uid: set(row[b"FLAGS"]) - {b"\\Recent"} for uid, row in fetched.items()}


def letter(number: int, *, subject: str = "", date: str = "Mon, 03 Jun 2024 10:00:00 +0000", body: str = "") -> bytes:
    """A small mail. Its subject and body name the number, unless they are given."""
    return (
        f"From: Ada Lovelace <ada@example.com>\r\nTo: owner@example.org\r\nSubject: {subject or f'Letter {number}'}\r\n"
        f"Date: {date}\r\nMessage-ID: <{number}@example.com>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        f"{body or f'This is letter number {number}.'}\r\n"
    ).encode()


def wait_until(condition: Callable[[], bool], child: subprocess.Popen[str]) -> None:
    """Wait until the condition holds. If the child ends before, the test fails with what the child said."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if child.poll() is not None:
            assert condition(), f"ended with {child.returncode}: {child.stderr.read() if child.stderr else ''}"
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.002)


def end(child: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str, float]:
    """Send a signal and wait: exit code, standard error, and the seconds that it took."""
    began = time.monotonic()
    child.send_signal(number)
    _, errors = child.communicate(timeout=PATIENCE_S)
    return child.returncode, errors, time.monotonic() - began


def complaints(errors: str) -> list[str]:
    """The lines of standard error that say why a command failed."""
    return [line for line in errors.splitlines() if line.startswith("backfill: ")]


def _bare_environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8", "COLUMNS": "200"}


@cache
def _template() -> Path:
    """What `backfill init` writes, made once."""
    folder = Path(mkdtemp(prefix="backfill-project-")) / "project"
    atexit.register(shutil.rmtree, folder.parent, ignore_errors=True)
    subprocess.run([COMMAND, "init", str(folder)], env=_bare_environment(), check=True, capture_output=True)
    return folder
