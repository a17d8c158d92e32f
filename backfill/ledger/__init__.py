"""The state store: backfill's only memory. All SQL is in this folder.

`Ledger` groups its methods by what they write: `jobs`, `plans`, `runs`, `items` (claim, postpone, release, skip,
vanish, fail, retry), `results` (from a call to the outcome), `verdicts`, `receipts` (reapply, doubt), `applying` (bring
about anew), `undoing` (take a job back), `removals` (keywords of older systems), `attempts`, `throttles`, `budgets`,
`outcomes`, `steering` (pause, resume, cancel, pace), `secrets`. Five only read: `open_items` (what is left), `current`
(which verdict counts for a mail that several jobs judged), `report` (the figures of a job), `exports` (every verdict of
a job with its mail), `status` (a job at this moment). `audit` compares the tables, and repairs what needs no mail
server. One public method is one short transaction.

Beside these: `schema` (the tables) · `rows` and `parameters` (the values that are returned) · `item_states` and
`job_states` (the conditions of each change of a state) · `locks` (which runs are alive) · `reads` (figures for people)
· `databases` (SQLite and PostgreSQL).
"""

from __future__ import annotations

from dataclasses import dataclass

from backfill.clock import Clock, StopRequest, SystemClock
from backfill.ledger.applying import Applying
from backfill.ledger.attempts import Attempts
from backfill.ledger.budgets import Budgets
from backfill.ledger.current import Current
from backfill.ledger.databases import migrate
from backfill.ledger.databases.database import Database
from backfill.ledger.items import Items
from backfill.ledger.jobs import Jobs
from backfill.ledger.open_items import OpenItems
from backfill.ledger.outcomes import Outcomes
from backfill.ledger.plans import Plans
from backfill.ledger.reads.audit import Audit
from backfill.ledger.reads.export import ExportReads
from backfill.ledger.reads.report import ReportReads
from backfill.ledger.reads.status import StatusReads
from backfill.ledger.receipts import Receipts
from backfill.ledger.removals import Removals
from backfill.ledger.results import Results
from backfill.ledger.runs import Runs
from backfill.ledger.secrets import Secrets
from backfill.ledger.steering import JobSteering
from backfill.ledger.throttles import Throttles
from backfill.ledger.undoing import Undoing
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
    current: Current
    report: ReportReads
    exports: ExportReads
    status: StatusReads
    audit: Audit
    secrets: Secrets
    budgets: Budgets
    steering: JobSteering
    undoing: Undoing
    removals: Removals
    applying: Applying

    @classmethod
    def open(cls, url: str, clock: Clock | None = None, stop: StopRequest | None = None) -> Ledger:
        """Open the ledger, and create or upgrade its schema if needed. After `stop`, a call waits at most 5 s.

        Raises `ConfigError` for a URL that names neither SQLite nor PostgreSQL, `SchemaOutdated` for a newer ledger,
        `LedgerHeld` if an upgrade is needed while a run writes, `LedgerUnusable` if the database cannot be used.
        """
        clock = clock or SystemClock()
        database = Database(url, clock, stop)
        try:
            migrate.prepare(database, clock)
        except BaseException:  # the caller gets no ledger that it could close
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
            current=Current(database),
            report=ReportReads(database),
            exports=ExportReads(database),
            status=StatusReads(database, clock),
            audit=Audit(database, clock),
            secrets=Secrets(database),
            budgets=Budgets(database),
            steering=JobSteering(database, clock),
            undoing=Undoing(database, clock),
            removals=Removals(database, clock),
            applying=Applying(database, clock),
        )

    def close(self) -> None:
        """Close every connection."""
        self.database.close()
