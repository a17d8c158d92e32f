"""Writes about items: claim, begin, postpone, release, lose, skip, vanish, fail, retry.

Each is one short transaction. Its WHERE names the status and the claim that it relies on, and its row count says
whether they held. The steps forward, from a call to the outcome, are in `results`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, text

from backfill.clock import Clock, micros
from backfill.errors import ClaimLost
from backfill.ledger.databases.database import Database
from backfill.ledger.item_states import leaves
from backfill.ledger.job_states import reopen_done
from backfill.ledger.open_items import not_in
from backfill.ledger.outcomes import write_outcome
from backfill.ledger.rows import Item, Run
from backfill.ledger.runs import LOSSES_BEFORE_ALONE, fail_poison, go_on
from backfill.ledger.schema import ITEM_CLAIMABLE, ITEM_FAILED, ITEM_RETRIED, item, mailbox, one_of
from backfill.ledger.throttles import SKEW_US
from backfill.ledger.verdicts import refuse_illegal, verdicts_by_id
from backfill.lifecycle import TRANSITIONS, ItemStatus, OutcomeStatus
from backfill.message import MailboxKey, MessageRef
from backfill.redaction import redacted_own
from backfill.verdict import Verdict

PENDING, CLASSIFIED, FAILED = ItemStatus.PENDING, ItemStatus.CLASSIFIED, ItemStatus.FAILED

CLAIM = f"""UPDATE item SET claimed_by = :run, claim_no = claim_no + 1, begun = FALSE
     WHERE id IN (SELECT id FROM item
                   WHERE {{job}} AND {ITEM_CLAIMABLE} AND due_at <= :now AND losses {{losses}} {{scope}}
                   ORDER BY due_at, rank LIMIT :limit)
 RETURNING id, mailbox_id, uid, status, claim_no, failures, verdict_id, flags_before, rank"""
CLAIM_POSTGRESQL = f"""WITH due AS MATERIALIZED (
        SELECT id FROM item
         WHERE {{job}} AND {ITEM_CLAIMABLE} AND due_at <= :now AND losses {{losses}} {{scope}}
         ORDER BY due_at, rank LIMIT :limit FOR UPDATE SKIP LOCKED)
    UPDATE item SET claimed_by = :run, claim_no = claim_no + 1, begun = FALSE
      FROM due WHERE item.id = due.id
 RETURNING item.id, mailbox_id, uid, status, claim_no, failures, verdict_id, flags_before, rank"""

# If the clock was set back after a mail was postponed, keep the length of its wait, measured from the present clock.
# Done only when nothing is due: such mails are few, and the claim can use its index.
SET_RIGHT = text(
    f"""UPDATE item SET due_at = :now + due_at - due_set_at, due_set_at = :now
         WHERE job_id = :job AND {ITEM_CLAIMABLE} AND due_at > :now AND due_set_at > :now + {SKEW_US}"""
)
BEGIN = text("UPDATE item SET begun = TRUE WHERE id = :item AND claimed_by = :run AND claim_no = :claim_no")
REST = text("UPDATE item SET begun = FALSE WHERE id IN :ids AND claimed_by = :run").bindparams(
    bindparam("ids", expanding=True)
)
POSTPONE = text(
    """UPDATE item SET claimed_by = NULL, begun = FALSE, failures = failures + 1, due_at = :until, due_set_at = :now,
              reason = :reason
        WHERE id = :item AND status IN ('pending', 'classified') AND claimed_by = :run AND claim_no = :claim_no"""
)
END = """UPDATE item SET status = :status, final_at = :now, claimed_by = NULL, begun = FALSE, reason = :reason,
              failures = failures + :counted
        WHERE id = :item AND {before} AND claimed_by = :run AND claim_no = :claim_no RETURNING verdict_id"""
RELEASE = text(
    """UPDATE item SET claimed_by = NULL, begun = FALSE, due_at = :until, due_set_at = :now
        WHERE id = :item AND claimed_by = :run AND claim_no = :claim_no"""
)
# due_at = now: it comes after the mails that were not begun, as after the death of a run.
LOSE = text(
    """UPDATE item SET claimed_by = NULL, begun = FALSE, losses = losses + 1, due_at = :now, due_set_at = :now,
              reason = :reason
        WHERE id = :item AND status IN ('pending', 'classified') AND claimed_by = :run AND claim_no = :claim_no
    RETURNING losses"""
)
LOSE_CALLS = text(
    """UPDATE attempt SET outcome = 'unknown', ended_at = :now
        WHERE item_id = :item AND run_id = :run AND outcome = 'open'"""
)
# The UIDs of a closed epoch name no mail any more; its mails are planned again in the new epoch.
# `+` makes SQLite use the short index of failed items, and not read whole folders.
OPEN_EPOCH = "+mailbox_id IN (SELECT id FROM mailbox WHERE closed_at IS NULL)"
RETRY = f"""UPDATE item SET status = CASE WHEN verdict_id IS NULL THEN 'pending' ELSE 'classified' END,
              final_at = NULL, reason = NULL, failures = 0, losses = 0, due_at = 0, retried_by = :run
        WHERE job_id = :job AND {leaves(PENDING, FAILED)} AND {leaves(CLASSIFIED, FAILED)}
          AND {OPEN_EPOCH}"""
REVIVE = f"""UPDATE item SET status = 'pending', final_at = NULL, reason = NULL, failures = 0, losses = 0, due_at = 0,
              verdict_id = NULL, retried_by = :run
        WHERE job_id = :job AND {leaves(PENDING, ItemStatus.VANISHED)} AND {OPEN_EPOCH}"""
REVIVE_UIDS = text(f"{REVIVE} AND mailbox_id = :mailbox AND uid IN :uids").bindparams(bindparam("uids", expanding=True))


@dataclass(frozen=True, slots=True)
class Items:
    """The item table, and the outcomes of failed items."""

    database: Database
    clock: Clock

    def claim(
        self,
        run: Run,
        limit: int,
        *,
        alone: bool = False,
        only_retried: bool = False,
        only: Collection[int] = (),
        left_out: Collection[int] = (),
    ) -> list[Item]:
        """Take up to `limit` items that are due, the earliest due first. Returns them by rank.

        Writes. An item is due if it is PENDING or CLASSIFIED, its `due_at` has passed (UTC) and no run holds it.
        Returns [] if nothing is due; later, items may be due again. `alone`: only items with at least two losses, which
        are left out otherwise. `only_retried`: only items that this run took up again. `only`: only the items with
        these numbers. `left_out`: the numbers of mailboxes whose items are not claimed. Raises `LedgerHeld` if the run
        has ended, or another run has taken its place.
        """
        template = CLAIM if self.database.is_sqlite else CLAIM_POSTGRESQL
        losses = f"{'>=' if alone else '<'} {LOSSES_BEFORE_ALONE}"
        # `+` makes the database use the short index of retried items, and not read all that is pending.
        of_job = "+job_id = :job" if only_retried else "job_id = :job"
        scope = f"AND retried_by = :run AND {ITEM_RETRIED}" if only_retried else ""
        if only:
            scope += f" AND id IN ({', '.join(str(int(number)) for number in sorted(only))})"
        scope += not_in(left_out)
        statement = text(template.format(job=of_job, losses=losses, scope=scope))
        now = micros(self.clock.now())
        parameters = {"run": run.id, "job": run.job_id, "now": now, "limit": limit}

        def work(connection: Connection) -> list[Item]:
            go_on(self.database, connection, run, now)
            rows = sorted(connection.execute(statement, parameters).all(), key=lambda row: int(row.rank))
            if not rows:
                connection.execute(SET_RIGHT, {"job": run.job_id, "now": now})
            verdicts = verdicts_by_id(connection, [row.verdict_id for row in rows if row.verdict_id is not None])
            keys = _mailboxes(connection, {row.mailbox_id for row in rows})
            return [item_of(row, keys[row.mailbox_id], verdicts.get(row.verdict_id)) for row in rows]

        return self.database.write(work)

    def begin(self, run: Run, items: Sequence[Item]) -> None:
        """Note that parsing or asking begins: if the run dies from now on, these items count a loss. Writes."""
        rows = [{"item": held.id, "run": run.id, "claim_no": held.claim_no} for held in items]
        if rows:
            self.database.write(lambda connection: connection.execute(BEGIN, rows).rowcount)

    def rest(self, run: Run, items: Sequence[Item]) -> None:
        """Note that these items only wait: until `begin` or a call, the death of the run is no loss of them. Writes."""
        parameters = {"run": run.id, "ids": [item.id for item in items]}
        self.database.write(lambda connection: connection.execute(REST, parameters).rowcount)

    def postpone(self, run: Run, held: Item, until: datetime, reason: str) -> None:
        """Count a failure, and try again at `until` (UTC). Writes; raises `ClaimLost`."""
        self._guarded(
            POSTPONE, run, held, until=micros(until), now=micros(self.clock.now()), reason=redacted_own(reason)
        )

    def release(self, run: Run, items: Sequence[Item], until: datetime | None = None) -> None:
        """Give items back without counting a failure. They are due at `until` (UTC); None: at once. Writes."""
        times = {"until": 0 if until is None else micros(until), "now": micros(self.clock.now())}
        rows = [{"item": held.id, "run": run.id, "claim_no": held.claim_no, **times} for held in items]
        if rows:
            self.database.write(lambda connection: connection.execute(RELEASE, rows).rowcount)

    def lose(self, run: Run, held: Item, reason: str) -> bool:
        """Count a loss and give the item back. At the third loss → FAILED with the reason; has it failed?

        Its open call gets an unknown outcome. Writes; raises `ClaimLost`.
        """
        now = micros(self.clock.now())
        claim = {"item": held.id, "run": run.id, "claim_no": held.claim_no, "reason": reason, "now": now}

        def work(connection: Connection) -> bool | None:
            connection.execute(LOSE_CALLS, claim)
            losses = connection.execute(LOSE, claim).scalar()
            return None if losses is None else fail_poison(connection, run, held.id, losses, reason, now)

        has_failed = self.database.write(work)
        if has_failed is None:
            raise ClaimLost
        return has_failed

    def skip(self, run: Run, held: Item, rule: str) -> None:
        """PENDING → SKIPPED with the rule. Writes; raises `ClaimLost`."""
        self._end(run, held, ItemStatus.SKIPPED, rule)

    def vanish(self, run: Run, held: Item) -> None:
        """PENDING or CLASSIFIED → VANISHED: the mail is proved to be gone. Writes; raises `ClaimLost`."""
        self._end(run, held, ItemStatus.VANISHED, "vanished")

    def fail(self, run: Run, held: Item, reason: str) -> None:
        """PENDING or CLASSIFIED → FAILED with the reason, and the outcome row. Writes; raises `ClaimLost`."""
        self._end(run, held, ItemStatus.FAILED, reason)

    def retry(self, run: Run, reasons: Sequence[str] = (), limit: int | None = None) -> int:
        """FAILED → CLASSIFIED if the item has a verdict, else → PENDING, for this run; how many. Writes.

        `reasons`: only items that failed for one of these reasons; with "vanished", vanished items are taken up, too.
        `limit`: take up at most this many failed items.
        """
        parameters: dict[str, Any] = {"job": run.job_id, "run": run.id}
        of_reasons = " AND reason IN :reasons" if reasons else ""
        statement = RETRY + of_reasons
        if reasons:
            parameters["reasons"] = list(reasons)
        if limit is not None:
            first = f"SELECT id FROM item WHERE job_id = :job AND {ITEM_FAILED} AND {OPEN_EPOCH}{of_reasons}"
            statement += f" AND id IN ({first} ORDER BY rank LIMIT :limit)"
            parameters["limit"] = limit

        def work(connection: Connection) -> int:
            prepared = text(statement)
            if reasons:
                prepared = prepared.bindparams(bindparam("reasons", expanding=True))
            taken: int = connection.execute(prepared, parameters).rowcount
            if "vanished" in reasons:
                taken += connection.execute(text(REVIVE), {"job": run.job_id, "run": run.id}).rowcount
            if taken:
                reopen_done(connection, run.job_id)
            return taken

        return self.database.write(work)

    def statuses(self, job_id: int, mailbox_id: int, low: int, high: int) -> dict[int, ItemStatus]:
        """The status of each item with low <= UID <= high, by UID."""
        statement = select(item.c.uid, item.c.status).where(
            item.c.job_id == job_id, item.c.mailbox_id == mailbox_id, item.c.uid.between(low, high)
        )
        return self.database.read(
            lambda connection: {row.uid: ItemStatus(row.status) for row in connection.execute(statement)}
        )

    def revive(self, job_id: int, mailbox_id: int, uids: Sequence[int]) -> int:
        """VANISHED → PENDING for mails that were found again; how many. Writes."""
        parameters = {"job": job_id, "mailbox": mailbox_id, "uids": list(uids), "run": None}

        def work(connection: Connection) -> int:
            revived: int = connection.execute(REVIVE_UIDS, parameters).rowcount
            if revived:
                reopen_done(connection, job_id)
            return revived

        return self.database.write(work)

    def _guarded(self, statement: Any, run: Run, held: Item, **values: Any) -> None:
        parameters = {"item": held.id, "run": run.id, "claim_no": held.claim_no, **values}
        if self.database.write(lambda connection: connection.execute(statement, parameters).rowcount) != 1:
            raise ClaimLost

    def _end(self, run: Run, held: Item, status: ItemStatus, reason: str) -> None:
        now = micros(self.clock.now())
        failed = status is ItemStatus.FAILED
        parameters = {
            "item": held.id,
            "run": run.id,
            "claim_no": held.claim_no,
            "status": status,
            "reason": redacted_own(reason),
            "counted": int(failed),
            "now": now,
        }

        before = frozenset(before for before, after in TRANSITIONS if after is status and before is not None)
        statement = text(END.format(before=one_of("status", before)))

        def work(connection: Connection) -> bool:
            row = connection.execute(statement, parameters).one_or_none()
            if row is None:
                refuse_illegal(connection, parameters, status)
                return False
            if failed:
                write_outcome(connection, run, held.id, OutcomeStatus.FAILED, row.verdict_id, reason, (), now)
            return True

        if not self.database.write(work):
            raise ClaimLost


def _mailboxes(connection: Connection, ids: Iterable[int]) -> dict[int, MailboxKey]:
    columns = (mailbox.c.id, mailbox.c.account, mailbox.c.folder, mailbox.c.uidvalidity)
    rows = connection.execute(select(*columns).where(mailbox.c.id.in_(sorted(ids))))
    return {row[0]: MailboxKey(*row[1:]) for row in rows}


def item_of(row: Row[Any], key: MailboxKey, known: Verdict | None) -> Item:
    """The item of a row with its columns. `known`: its verdict."""
    return Item(
        id=row.id,
        ref=MessageRef(key, row.uid),
        mailbox_id=row.mailbox_id,
        status=ItemStatus(row.status),
        claim_no=row.claim_no,
        failures=row.failures,
        verdict=known,
        flags_before=frozenset(json.loads(row.flags_before or "[]")),
    )
