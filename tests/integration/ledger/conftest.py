"""Every promise of the ledger is tried on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backfill.ledger import Ledger
from tests.support.clocks import TurnedClock
from tests.support.ledgers import Bench


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def ledger(ledger_url: str, clock: TurnedClock) -> Iterator[Ledger]:
    opened = Ledger.open(ledger_url, clock)
    yield opened
    opened.close()


@pytest.fixture
def bench(ledger: Ledger, clock: TurnedClock) -> Iterator[Bench]:
    opened = Bench(ledger, clock)
    yield opened
    opened.close()
