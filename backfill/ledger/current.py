"""Which verdict is a mail's current one, in SQL. `STANDING` in `lifecycle` states the rule; this is its one home here.

The functions return SQL text for a statement. Their arguments are SQL, too: an alias of `item`, or a column.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, text

from backfill.ledger.databases.bulk import RowStatement
from backfill.ledger.databases.database import Database
from backfill.ledger.rows import Item
from backfill.ledger.schema import ITEM_JUDGED, one_of
from backfill.lifecycle import STANDING, JobState


def _stands(item: str, job: str) -> str:
    """Does the verdict of this item stand? With literals."""
    jobs_of: dict[str, list[JobState]] = {}  # by the predicate of the item
    for state, statuses in STANDING.items():
        if statuses:
            jobs_of.setdefault(one_of(f"{item}.status", statuses), []).append(state)
    cases = [f"{one_of(f'{job}.state', states)} AND {of_item}" for of_item, states in jobs_of.items()]
    return f"{item}.{ITEM_JUDGED} AND NOT {job}.dry_run AND (({') OR ('.join(cases)}))"


def current_verdict(mailbox: str, uid: str, *, which: str = "TRUE", column: str = "verdict_id") -> str:
    """The number of the current verdict of a mail, as a scalar subquery; NULL: no verdict stands.

    `which`: further conditions on the item, whose alias is `standing`; e.g. `standing.job_id <> :job` for the verdict
    that is current once that job is undone. `column`: another column of the current verdict's item, e.g. `job_id`.
    """
    return f"""(SELECT standing.{column} FROM item standing JOIN job standing_job ON standing_job.id = standing.job_id
         WHERE standing.mailbox_id = {mailbox} AND standing.uid = {uid} AND {_stands("standing", "standing_job")}
           AND {which} ORDER BY standing.job_id DESC LIMIT 1)"""


def superseded(item: str) -> str:
    """Is this item, which has a verdict, superseded: does a newer job's verdict, another one, count for its mail?"""
    newest = current_verdict(f"{item}.mailbox_id", f"{item}.uid", which=f"standing.job_id > {item}.job_id")
    return f"COALESCE({newest}, {item}.verdict_id) <> {item}.verdict_id"


SUPERSEDED = RowStatement(
    f"SELECT i.id FROM {{rows}} JOIN item i ON i.id = given.item WHERE {superseded('i')}", item="BIGINT"
)
# A job that no newer job overlaps is not superseded anywhere: then its items need not be read.
OVERLAPPED = text(
    """SELECT 1 FROM plan_range p JOIN plan_range newer ON newer.mailbox_id = p.mailbox_id
        WHERE p.job_id = :job AND newer.job_id > :job LIMIT 1"""
)
COUNT = text(
    f"""SELECT {current_verdict("i.mailbox_id", "i.uid", column="job_id")} AS newer, COUNT(*) AS mails
          FROM item i WHERE i.job_id = :job AND i.status = 'done' AND {superseded("i")} GROUP BY 1 ORDER BY 1"""
)


@dataclass(frozen=True, slots=True)
class Current:
    """Reads which items are superseded by newer jobs."""

    database: Database

    def superseded(self, items: Iterable[Item]) -> Collection[int]:
        """The numbers of those of these items that are superseded. Each of them must have a verdict."""
        rows = [{"item": each.id} for each in items]
        return self.database.read(lambda connection: frozenset(SUPERSEDED.execute(connection, rows).scalars()))

    def count(self, job_id: int) -> dict[int, int]:
        """How many DONE mails of a job are superseded, by the number of the newer job."""
        return self.database.read(lambda connection: count_superseded(connection, job_id))


def count_superseded(connection: Connection, job_id: int) -> dict[int, int]:
    """As `Current.count`, within a transaction."""
    parameters = {"job": job_id}
    if connection.execute(OVERLAPPED, parameters).first() is None:
        return {}
    return {row.newer: row.mails for row in connection.execute(COUNT, parameters)}
