"""The state store: the only memory there is, and the only house that SQL lives in.

`Ledger` groups its verbs by what they write: `jobs`, `plans`, `runs` (who works), `items` (claim, postpone, release,
skip, vanish, fail, retry), `results` (from a call to the outcome), `verdicts`, `receipts` (reapply, take back),
`attempts`, `throttles`, `budgets`, `outcomes`, `steering` (pause, resume, cancel, pace), `secrets`. Four only read:
`open_items` (what is left), `report` (what has become of a job), `status` (how it stands at this moment) and `audit`
(do the tables agree). One public method is one short transaction.
"""

from __future__ import annotations

from dataclasses import dataclass

from backfill.clock import Clock, StopRequest, SystemClock
from backfill.ledger.attempts import Attempts
from backfill.ledger.budgets import Budgets
from backfill.ledger.databases import migrate
from backfill.ledger.databases.database import Database
from backfill.ledger.items import Items
from backfill.ledger.jobs import Jobs
from backfill.ledger.open_items import OpenItems
from backfill.ledger.outcomes import Outcomes
from backfill.ledger.plans import Plans
from backfill.ledger.reads.audit import Audit
from backfill.ledger.reads.report import ReportReads
from backfill.ledger.reads.status import StatusReads
from backfill.ledger.receipts import Receipts
from backfill.ledger.results import Results
from backfill.ledger.runs import Runs
from backfill.ledger.secrets import Secrets
from backfill.ledger.steering import JobSteering
from backfill.ledger.throttles import Throttles
from backfill.ledger.verdicts import Verdicts


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger database, opened. Thread-safe."""

    database: Database
    jobs: Jobs
    plans: Plans
    runs: Runs
    items: Items
    results: Results
    verdicts: Verdicts
    receipts: Receipts
    attempts: Attempts
    throttles: Throttles
    outcomes: Outcomes
    open_items: OpenItems
    report: ReportReads
    status: StatusReads
    audit: Audit
    secrets: Secrets
    budgets: Budgets
    steering: JobSteering

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
            plans=Plans(database, clock),
            runs=Runs(database, clock),
            items=Items(database, clock),
            results=Results(database, clock),
            verdicts=Verdicts(database, clock),
            receipts=Receipts(database, clock),
            attempts=Attempts(database, clock),
            throttles=Throttles(database, clock),
            outcomes=Outcomes(database),
            open_items=OpenItems(database),
            report=ReportReads(database),
            status=StatusReads(database, clock),
            audit=Audit(database, clock),
            secrets=Secrets(database),
            budgets=Budgets(database),
            steering=JobSteering(database, clock),
        )

    def close(self) -> None:
        """Close every connection."""
        self.database.close()
