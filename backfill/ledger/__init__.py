"""The state store: the only memory there is, and the only house that SQL lives in.

`Ledger` groups its verbs by what they write: `jobs` (plan), `runs` (who works), `items` (claim, postpone, release,
skip, vanish, fail, retry), `forward` (from a call to the outcome), `verdicts`, `receipts` (reapply, take back),
`attempts`, `throttle`, `outcomes`, `wishes` (pause, resume, cancel, pace); `queries` and `live` only read, and
`audit` asks whether the tables agree.
One public method is one short transaction.
"""

from __future__ import annotations

from dataclasses import dataclass

from backfill.clock import Clock, StopRequest, SystemClock
from backfill.ledger.attempts import Attempts
from backfill.ledger.budgets import Budgets
from backfill.ledger.databases import migrate
from backfill.ledger.databases.database import Database
from backfill.ledger.holdings import Holdings
from backfill.ledger.items import Items
from backfill.ledger.jobs import Jobs
from backfill.ledger.outcomes import Outcomes
from backfill.ledger.reads.audit import Audit
from backfill.ledger.reads.report import Queries
from backfill.ledger.reads.status import Live
from backfill.ledger.receipts import Receipts
from backfill.ledger.results import Forward
from backfill.ledger.runs import Runs
from backfill.ledger.secrets import Secrets
from backfill.ledger.steering import Wishes
from backfill.ledger.throttles import Throttles
from backfill.ledger.verdicts import Verdicts


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger database, opened. Thread-safe."""

    database: Database
    jobs: Jobs
    runs: Runs
    items: Items
    forward: Forward
    verdicts: Verdicts
    receipts: Receipts
    attempts: Attempts
    throttle: Throttles
    outcomes: Outcomes
    queries: Queries
    audit: Audit
    secrets: Secrets
    holdings: Holdings
    budgets: Budgets
    wishes: Wishes
    live: Live

    @classmethod
    def open(cls, url: str, clock: Clock | None = None, stop: StopRequest | None = None) -> Ledger:
        """Open the ledger, creating or upgrading its schema where needed. After `stop` nothing is waited for long.

        Raises `ConfigError` for a URL that is none of ours, `SchemaOutdated` for a newer ledger,
        `LedgerUnusable` when the database cannot be used.
        """
        clock = clock or SystemClock()
        database = Database(url, clock, stop)
        try:
            migrate.prepare(database, clock)
        except BaseException:  # whatever it is, nobody else can close what was opened here
            database.close()
            raise
        return cls(
            database=database,
            jobs=Jobs(database, clock),
            runs=Runs(database, clock),
            items=Items(database, clock),
            forward=Forward(database, clock),
            verdicts=Verdicts(database, clock),
            receipts=Receipts(database, clock),
            attempts=Attempts(database, clock),
            throttle=Throttles(database, clock),
            outcomes=Outcomes(database),
            queries=Queries(database),
            audit=Audit(database),
            secrets=Secrets(database),
            holdings=Holdings(database),
            budgets=Budgets(database),
            wishes=Wishes(database, clock),
            live=Live(database, clock),
        )

    def close(self) -> None:
        """Close every connection."""
        self.database.close()
