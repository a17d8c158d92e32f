"""A ledger with a job, and short names for what tests do with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from backfill.errors import BackfillError
from backfill.fingerprint import Fingerprint
from backfill.ledger import Ledger
from backfill.ledger.attempts import Call
from backfill.ledger.locks import RunLock
from backfill.ledger.parameters import RunParameters
from backfill.ledger.results import Finished, Recorded
from backfill.ledger.rows import Item, Job, Run
from backfill.ledger.verdicts import Answered, Reused
from backfill.lifecycle import ItemStatus
from backfill.message import Content, MailboxKey, Message, MessageRef
from backfill.ports import Receipt, ReceiptState, Surveyed
from backfill.selection import Selection
from backfill.verdict import Answer, Scores, Usage, Verdict
from tests.support.clocks import TurnedClock

ACCOUNT = "owner@example.org"
FINGERPRINT = Fingerprint.of("Judge.", model="a-model")


def inbox(uidvalidity: int = 7, folder: str = "INBOX") -> MailboxKey:
    return MailboxKey(ACCOUNT, folder, uidvalidity)


def mail(item: Item, subject: str | None = None, **facts: Any) -> Message:
    """The mail of an item. Mails with the same subject have the same content."""
    content = Content(subject=subject or f"mail {item.ref.uid}", sender="jo@example.com", body="Hello.")
    return Message(item.ref, content, facts.get("flags", frozenset()), None, None, 100)


def answer(importance: int = 8, spam: int = 1, **usage: Any) -> Answer:
    return Answer(Scores.of(importance=importance, spam=spam), "chat", "a-model", usage=Usage(**usage))


def open_attempt(ledger: Ledger, run: Run, item: Item, *reserved: Any, **asked: Any) -> int:
    """Open the attempt of a call. Returns its number, or raises the reason why the call must not be made."""
    [answer] = ledger.results.commit(run, calls=[Call(item, *reserved, **asked)]).opened
    if isinstance(answer, BackfillError):
        raise answer
    return answer


@dataclass
class Bench:
    """A ledger, its turned clock, and a job about INBOX."""

    ledger: Ledger
    clock: TurnedClock
    job: Job = field(init=False)
    locks: list[RunLock] = field(default_factory=list)
    lock_of: dict[int, RunLock] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.job = self.open_job()

    def open_job(self, *, dry_run: bool = False, generation: int = 0, **selection: Any) -> Job:
        return self.ledger.jobs.open(
            ACCOUNT, Selection(**selection), FINGERPRINT, dry_run=dry_run, generation=generation
        )

    def plan(
        self,
        *uids: int,
        job: Job | None = None,
        mailbox: MailboxKey | None = None,
        skipped: dict[int, str] | None = None,
    ) -> int:
        """Plan these UIDs in one window, behind those that are planned. Returns the mailbox's number."""
        plans, job = self.ledger.plans, job or self.job
        number = plans.open_mailbox(mailbox or inbox())
        rules = skipped or {}
        high = max([*uids, *rules], default=0)
        window = plans.freeze(job.id, number, high)
        mails = [Surveyed(uid, rules.get(uid)) for uid in sorted({*uids, *rules})]
        plans.plan_window(window, high, mails)
        self.ledger.jobs.settle(job.id)
        return number

    def run(self, job: Job | None = None, command: str = "run") -> Run:
        """Begin a run of this process, and take its lock. On SQLite the earlier run loses the lock."""
        ledger = self.ledger
        if ledger.database.is_sqlite:
            for former in self.locks:
                former.drop()
        lock = ledger.runs.lock()
        ledger.runs.take(lock)
        self.locks.append(lock)
        run = ledger.runs.begin(lock, (job or self.job).id, command, "0", RunParameters())
        self.lock_of[run.id] = lock
        return run

    def claim(self, run: Run, limit: int = 100, **scope: bool) -> list[Item]:
        return self.ledger.items.claim(run, limit, **scope)

    def record(
        self, run: Run, item: Item, subject: str | None = None, known: Verdict | None = None, **answered: Any
    ) -> Recorded:
        """The answer for a mail, or a verdict that is `known`."""
        message = mail(item, subject)
        if known is not None:
            return self.ledger.results.commit(run, judged=[Reused(item, message, known)]).recorded[0]
        answered.setdefault("answer", answer())
        return self.ledger.results.commit(run, judged=[Answered(item, message, **answered)]).recorded[0]

    def open_attempt(self, run: Run, item: Item, *reserved: Any, **asked: Any) -> int:
        return open_attempt(self.ledger, run, item, *reserved, **asked)

    def current_receipts(self, *items: Item) -> list[dict[str, int]]:
        """Each item's receipts that need not be applied again: effect → the verdict that it was made from."""
        kept = self.ledger.receipts.kept(items)
        return [
            {effect: each.verdict_id for effect, each in kept[item.id].items() if not each.is_stale} for item in items
        ]

    def finish(self, run: Run, item: Item, verdict: Verdict, *effects: str, labels: Sequence[str] = ()) -> bool:
        receipts = tuple(receipt(item.ref, effect) for effect in effects)
        return self.ledger.results.commit(run, finished=[Finished(item, verdict, tuple(labels), receipts)]).done[0]

    def work_off(self, run: Run, *effects: str) -> None:
        """Work on every item that is due, until it is DONE."""
        for item in self.claim(run):
            verdict = item.verdict or self.record(run, item).verdict
            assert self.finish(run, item, verdict, *effects)

    def undo(self, job: Job | None = None) -> int:
        """As `backfill undo`, when nothing else counts for the job's mails; how many receipts were closed."""
        job = job or self.job
        run = self.run(job, "undo")
        self.ledger.undoing.begin(run)
        standing = [each.id for each in self.ledger.undoing.written(job.id) if each.other is None]
        self.ledger.undoing.close(standing)
        self.ledger.undoing.settle(run)
        self.end(run)
        return len(standing)

    def end(self, run: Run, outcome: str = "interrupted") -> None:
        self.ledger.runs.end(run, outcome, None, 0)  # type: ignore[arg-type]  # a word will do
        if not self.ledger.database.is_sqlite:
            self.lock_of[run.id].drop()

    # What the tables say.

    def rows(self, sql: str, **parameters: Any) -> list[Any]:
        return self.ledger.database.read(lambda connection: list(connection.execute(text(sql), parameters)))

    def value(self, sql: str, **parameters: Any) -> Any:
        return self.rows(sql, **parameters)[0][0]

    def write(self, sql: str, **parameters: Any) -> int:
        """Write by SQL what no verb of the ledger writes."""
        return self.ledger.database.write(lambda connection: connection.execute(text(sql), parameters).rowcount)

    def item(self, uid: int, job: Job | None = None) -> Any:
        """The newest row of this UID in the job."""
        return self.rows(
            "SELECT * FROM item WHERE uid = :uid AND job_id = :job ORDER BY id DESC LIMIT 1",
            uid=uid,
            job=(job or self.job).id,
        )[0]

    def status(self, uid: int, job: Job | None = None) -> ItemStatus:
        return ItemStatus(self.item(uid, job).status)

    def statuses(self, job: Job | None = None) -> dict[int, str]:
        rows = self.rows("SELECT uid, status FROM item WHERE job_id = :job ORDER BY id", job=(job or self.job).id)
        return {row.uid: row.status for row in rows}

    def outcomes(self) -> list[tuple[int, str, bool]]:
        """UID, status, supersedes, in order."""
        return [
            (row.uid, row.status, bool(row.supersedes))
            for row in self.rows(
                "SELECT i.uid, o.status, o.supersedes FROM outcome o JOIN item i ON i.id = o.item_id ORDER BY o.id"
            )
        ]

    def close(self) -> None:
        for lock in self.locks:
            lock.drop()
        self.ledger.close()


def receipt(ref: MessageRef, effect: str, **detail: Any) -> Receipt:
    return Receipt(ref, effect, ReceiptState.APPLIED, detail)
