"""An operator who runs backfill against any mail server: real ledger, real API, and a clock that sleeps turn."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from backfill.clock import StopRequest
from backfill.ledger import Ledger
from backfill.operations.request import Request
from backfill.processor import BackfillProcessor, Result
from backfill.selection import Selection
from backfill.settings import Settings
from tests.support.api_server import ApiServer
from tests.support.bench import BenchClock

ROOT = Path(__file__).parents[2]


class Desk:
    """An operator with a ledger of their own, an API and a clock that sleeps turn."""

    def __init__(self, folder: Path, api: ApiServer) -> None:
        self.folder = folder
        self.api = api
        self.clock = BenchClock()
        self.said: list[str] = []
        self.stop = StopRequest()

    def run(
        self, port: int, user: str = "bob", *, selection: Selection | None = None, dry_run: bool = False, **imap: Any
    ) -> Result:
        """`backfill run`, as another process would do it."""
        request = Request(selection or Selection(), dry_run)
        return self.processor(port, user, **imap).run(request)

    def processor(self, port: int, user: str = "bob", **imap: Any) -> BackfillProcessor:
        settings = Settings.model_validate(
            {
                "imap": {"server": "127.0.0.1", "port": port, "security": "none", "username": user, **imap},
                "llm": {"api_url": self.api.url, "api_key_env": None, "model": "test/model-1"},
                "processing": {"calls_per_minute": 60_000},
                "effects": ["flags"],
                "paths": {
                    "ledger_url": f"sqlite:///{self.folder / 'ledger.db'}",
                    "analytics_file": None,
                    "prompt_file": ROOT / "config/prompt.md",
                },
            }
        )
        return BackfillProcessor(settings=settings, clock=self.clock, tell=self.said.append, stop=self.stop)

    def ledger(self) -> Ledger:
        return Ledger.open(f"sqlite:///{self.folder / 'ledger.db'}", self.clock)


def letter(number: int, size: int = 0) -> bytes:
    return f"From: a@b\r\nSubject: Letter {number}\r\n\r\nThis is {number}.\r\n{'text ' * (size // 5)}\r\n".encode()


def counts(result: Result) -> dict[str, int]:
    return {name: value for name, value in asdict(result.summary.counts).items() if value and name != "found"}
