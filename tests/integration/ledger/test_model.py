"""Whatever is done with a ledger, in whatever order: it says what a model of twenty lines says.

BACKFILL_MODEL_EXAMPLES=2000 looks longer than the usual handful.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from backfill.clock import micros
from backfill.errors import ClaimLost
from backfill.ledger import Ledger
from backfill.ledger.rows import Item, Run
from backfill.ledger.schema import metadata
from backfill.ledger.throttles import SKEW_US
from backfill.lifecycle import FINAL, OPEN, TRANSITIONS, IllegalTransition, ItemStatus, JobState
from tests.support.clocks import TurnedClock
from tests.support.ledgers import Bench, inbox

PENDING, CLASSIFIED, DONE = ItemStatus.PENDING, ItemStatus.CLASSIFIED, ItemStatus.DONE
FAILED, SKIPPED, VANISHED = ItemStatus.FAILED, ItemStatus.SKIPPED, ItemStatus.VANISHED
SETTINGS = settings(
    max_examples=int(os.environ.get("BACKFILL_MODEL_EXAMPLES", "8")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
which = st.integers(0, 50)  # one of those there are, counted round


@dataclass
class Mail:
    """What the model knows of an item."""

    status: ItemStatus = PENDING
    reason: str | None = None
    due_us: int = 0
    due_set_us: int = 0
    holder: tuple[int, int] | None = None  # run and claim number
    begun: bool = False
    failures: int = 0
    losses: int = 0
    has_verdict: bool = False
    told: int = 0  # outcomes

    def let_go(self) -> None:
        self.holder, self.begun = None, False

    def be_due(self, due_us: int, now_us: int) -> None:
        self.due_us, self.due_set_us = due_us, now_us

    def become(self, status: ItemStatus, reason: str | None = None) -> None:
        self.status, self.reason = status, reason
        if status in FINAL:
            self.let_go()
        if status in (DONE, FAILED):
            self.told += 1


class LedgerMachine(RuleBasedStateMachine):
    """The ledger's verbs, tried on a real ledger and on the model."""

    def __init__(self, open_ledger: Callable[[TurnedClock], Ledger]) -> None:
        super().__init__()
        self.clock = TurnedClock()
        self.bench = Bench(open_ledger(self.clock), self.clock)
        self.ledger = self.bench.ledger
        self.mails: dict[tuple[int, int], Mail] = {}  # by mailbox and UID, in the order of their rank
        self.claims: list[tuple[Run, Item]] = []  # that ever were
        self.next_uid: Counter[int] = Counter()
        self.seen: dict[int, str] = {}
        self.uidvalidity = 7
        self.mailbox = self.ledger.plans.open_mailbox(inbox(7))
        self.planned: set[int] = set()  # the mailboxes of the job's plan
        self.run: Run = self.bench.run()
        self.plan(5, skipped=False)
        self.claim(3, alone=False)  # or most of what can be done would be done to nothing

    def teardown(self) -> None:
        self.bench.close()

    def mail(self, item: Item) -> Mail:
        return self.mails[item.mailbox_id, item.ref.uid]

    def claim_at(self, number: int) -> tuple[Run, Item, Mail, bool]:
        """Some claim there ever was, its mail, and whether it is still held."""
        run, item = self.claims[-1 - number % len(self.claims)]
        mail = self.mail(item)
        return run, item, mail, mail.holder == (run.id, item.claim_no)

    # The verbs.

    @rule(mails=st.integers(1, 4), skipped=st.booleans())
    def plan(self, mails: int, skipped: bool) -> None:
        first = self.next_uid[self.mailbox] + 1
        uids = range(first, first + mails)
        self.next_uid[self.mailbox] += mails
        self.planned.add(self.mailbox)
        rules = {first: "has_keyword"} if skipped else {}
        self.bench.plan(*(uid for uid in uids if uid not in rules), mailbox=inbox(self.uidvalidity), skipped=rules)
        for uid in uids:
            self.mails[self.mailbox, uid] = Mail(SKIPPED, "has_keyword") if uid in rules else Mail()

    @rule(limit=st.integers(1, 4), alone=st.booleans())
    def claim(self, limit: int, alone: bool) -> None:
        now = self.clock.now_us()
        due = [
            (mail.due_us, key)
            for key, mail in self.mails.items()
            if mail.status in OPEN and mail.holder is None and mail.due_us <= now and (mail.losses >= 2) == alone
        ]
        expected = sorted(key for _, key in sorted(due)[:limit])
        for mail in self.mails.values() if not due else ():
            if mail.status in OPEN and mail.holder is None and mail.due_us > now < mail.due_set_us - SKEW_US:
                mail.be_due(now + mail.due_us - mail.due_set_us, now)

        items = self.bench.claim(self.run, limit, alone=alone)

        assert [(item.mailbox_id, item.ref.uid) for item in items] == expected
        for item in items:
            self.mail(item).holder, self.mail(item).begun = (self.run.id, item.claim_no), False
            self.claims.append((self.run, item))

    @precondition(lambda self: self.claims)
    @rule(number=which)
    def begin(self, number: int) -> None:
        run, item, mail, is_held = self.claim_at(number)
        self.ledger.items.begin(run, [item])
        mail.begun = mail.begun or is_held

    @precondition(lambda self: self.claims)
    @rule(number=which, copies=st.booleans())
    def record(self, number: int, copies: bool) -> None:
        run, item, mail, is_held = self.claim_at(number)
        recorded = self.bench.record(run, item, "the same" if copies else f"mail {item.mailbox_id} {item.ref.uid}")
        assert recorded.is_ours == (is_held and mail.status in OPEN)
        if mail.status is PENDING:
            mail.become(CLASSIFIED)
            mail.has_verdict, mail.begun, mail.due_us = True, False, 0  # from now on no parser can be to blame

    @precondition(lambda self: self.claims)
    @rule(number=which)
    def finish(self, number: int) -> None:
        run, item, mail, is_held = self.claim_at(number)
        verdict = self.bench.rows("SELECT * FROM verdict WHERE id = (SELECT verdict_id FROM item WHERE id = :id)",
                                  id=item.id)  # fmt: skip
        if not verdict:
            return
        try:
            finished = self.bench.finish(run, item, verdict[0], "flags")
        except IllegalTransition:
            assert is_held and mail.status is PENDING  # noqa: PT018
        else:
            assert finished == (is_held and mail.status is CLASSIFIED)
            if finished:
                mail.become(DONE)

    @precondition(lambda self: self.claims)
    @rule(number=which, seconds=st.integers(0, 600))
    def postpone(self, number: int, seconds: int) -> None:
        run, item, mail, is_held = self.claim_at(number)
        until = self.clock.now() + timedelta(seconds=seconds)
        try:
            self.ledger.items.postpone(run, item, until, "unreadable")
        except ClaimLost:
            assert not is_held
        else:
            assert is_held
            mail.let_go()
            mail.failures, mail.reason = mail.failures + 1, "unreadable"
            mail.be_due(micros(until), self.clock.now_us())

    @precondition(lambda self: self.claims)
    @rule(number=which, seconds=st.sampled_from([None, 60]))
    def release(self, number: int, seconds: int | None) -> None:
        run, item, mail, is_held = self.claim_at(number)
        until = None if seconds is None else self.clock.now() + timedelta(seconds=seconds)
        self.ledger.items.release(run, [item], until)
        if is_held:
            mail.let_go()
            mail.be_due(0 if until is None else micros(until), self.clock.now_us())

    @precondition(lambda self: self.claims)
    @rule(number=which)
    def lose(self, number: int) -> None:
        run, item, mail, is_held = self.claim_at(number)
        try:
            has_failed = self.ledger.items.lose(run, item, "unexpected")
        except ClaimLost:
            assert not is_held
        else:
            assert is_held
            mail.let_go()
            mail.losses, mail.reason = mail.losses + 1, "unexpected"
            mail.be_due(self.clock.now_us(), self.clock.now_us())
            assert has_failed == (mail.losses > 2)
            if has_failed:
                mail.become(FAILED, "unexpected")

    @precondition(lambda self: self.claims)
    @rule(number=which, status=st.sampled_from([SKIPPED, VANISHED, FAILED]))
    def end_item(self, number: int, status: ItemStatus) -> None:
        run, item, mail, is_held = self.claim_at(number)
        items = self.ledger.items
        try:
            match status:
                case ItemStatus.SKIPPED:
                    items.skip(run, item, "has_keyword")
                case ItemStatus.VANISHED:
                    items.vanish(run, item)
                case _:
                    items.fail(run, item, "refused")
        except ClaimLost:
            assert not is_held
        except IllegalTransition:
            assert is_held
            assert (mail.status, status) not in TRANSITIONS
        else:
            assert is_held
            assert (mail.status, status) in TRANSITIONS
            reason = {SKIPPED: "has_keyword", VANISHED: "vanished", FAILED: "refused"}[status]
            mail.failures += status is FAILED
            mail.become(status, reason)

    @rule(reasons=st.sampled_from([(), ("refused",), ("lost", "unexpected"), ("vanished",)]))
    def retry(self, reasons: tuple[str, ...]) -> None:
        taken = 0
        for (mailbox, _), mail in self.mails.items():
            if mailbox != self.mailbox:
                continue  # its UIDs name other mails now
            failed = mail.status is FAILED and (not reasons or mail.reason in reasons)
            found = "vanished" in reasons and mail.status is VANISHED and mail.reason == "vanished"
            if failed or found:
                mail.has_verdict = mail.has_verdict and failed
                mail.become(CLASSIFIED if mail.has_verdict else PENDING)
                mail.failures = mail.losses = mail.due_us = 0
                taken += 1
        assert self.ledger.items.retry(self.run, reasons) == taken

    def done_mails(self) -> list[Mail]:
        """Those whose effects could be brought about anew: of epochs that are not closed."""
        return [mail for (mailbox, _), mail in self.mails.items() if mail.status is DONE and mailbox == self.mailbox]

    @rule(effects=st.sampled_from([("flags",), ("flags", "notes")]), stale=st.booleans())
    def apply(self, effects: tuple[str, ...], stale: bool) -> None:
        expected = self.done_mails() if stale or "notes" in effects else []
        assert self.ledger.receipts.reapply(self.bench.job.id, effects, stale=stale) == len(expected)
        for mail in expected:
            mail.become(CLASSIFIED)
            mail.failures = mail.losses = mail.due_us = 0

    @rule(limit=st.integers(1, 5))
    def undo(self, limit: int) -> None:
        """Some of what was brought about, as a command that is interrupted does; the job may be worked on again."""
        job = self.bench.job.id
        standing = self.ledger.receipts.standing(job, limit=limit)
        uids = {each.receipt.ref.uid for each in standing}
        self.ledger.undoing.begin(self.run)
        self.ledger.undoing.close([each.id for each in standing])
        self.ledger.undoing.settle(self.run)
        assert self.ledger.jobs.get(job).state is JobState.UNDONE
        for (mailbox, uid), mail in self.mails.items():
            if mailbox == self.mailbox and uid in uids and mail.status is DONE:
                mail.become(CLASSIFIED)
                mail.failures = mail.losses = mail.due_us = 0
        self.ledger.receipts.reapply(job, ["flags"])
        assert (self.ledger.jobs.get(job).state is JobState.PLANNING) == any(
            mail.status in OPEN for mail in self.mails.values()
        )

    # The world.

    @rule()
    def end_run(self) -> None:
        self.bench.end(self.run)
        for mail in self.mails.values():
            mail.let_go()
        self.run = self.bench.run()

    @rule(begins=st.booleans())
    def crash(self, begins: bool) -> None:
        """The process is gone, perhaps with something begun; its successor comes after a minute."""
        for run, item in self.claims if begins else ():
            self.ledger.items.begin(run, [item])
            mail = self.mail(item)
            mail.begun = mail.begun or mail.holder == (run.id, item.claim_no)
        self.ledger.runs.beat(self.run, 0)
        for lock in self.bench.locks:
            lock.drop()
        self.bench.locks.clear()
        self.clock.turn(61)
        self.run = self.bench.run()
        self.lose_claims()

    def lose_claims(self) -> None:
        """The run was taken for dead."""
        for mail in self.mails.values():
            if mail.holder is not None:
                if mail.begun:
                    mail.losses += 1
                    mail.be_due(self.clock.now_us(), self.clock.now_us())
                mail.let_go()
                if mail.losses > 2:
                    mail.become(FAILED, "lost")

    @precondition(lambda self: not self.ledger.database.is_sqlite)
    @rule(silent_s=st.sampled_from([0, 61]))
    def lose_lock(self, silent_s: int) -> None:
        """The line breaks, another run begins, and the heart beats again: in time, or not."""
        self.ledger.runs.beat(self.run, 0)
        self.bench.rows("SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory'"
                        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")  # fmt: skip
        self.clock.turn(silent_s)
        self.bench.end(self.bench.run())
        if silent_s:
            self.lose_claims()
        assert self.ledger.runs.beat(self.run, 0)

    @rule(seconds=st.integers(-10_000, 10_000))
    def set_clock(self, seconds: int) -> None:
        self.clock.turn(seconds)
        self.ledger.runs.beat(self.run, 0)

    @rule(uidvalidity=st.integers(7, 9))
    def change_uidvalidity(self, uidvalidity: int) -> None:
        """To another one, or back to one that was there before."""
        before, self.mailbox = self.mailbox, self.ledger.plans.open_mailbox(inbox(uidvalidity))
        self.uidvalidity = uidvalidity
        for (mailbox, _), mail in self.mails.items() if before != self.mailbox else ():
            if mailbox == before and mail.status in OPEN:
                mail.become(VANISHED, "uidvalidity_changed")
            elif mailbox == self.mailbox and mail.reason == "uidvalidity_changed":
                mail.become(PENDING)
                mail.has_verdict, mail.due_us = False, 0

    @rule(plans=st.booleans())
    def settle(self, plans: bool) -> None:
        """As a run does when it begins, or when it ends."""
        jobs, job = self.ledger.jobs, self.bench.job.id
        before = jobs.get(job).state
        if plans:
            jobs.reopen(job)
            before = JobState.OPEN if before is JobState.OPEN else JobState.PLANNING
            number = self.ledger.plans.open_mailbox(inbox(self.uidvalidity))
            assert self.ledger.plans.freeze(job, number, self.next_uid[number]).is_planned
            self.planned.add(number)
        match before:
            case JobState.PLANNING if self.mailbox not in self.planned:
                expected = before  # its folder is another one now
            case JobState.PLANNING | JobState.OPEN:
                expected = JobState.OPEN if any(mail.status in OPEN for mail in self.mails.values()) else JobState.DONE
            case _:
                expected = before
        assert jobs.settle(job) is expected

    # What always holds.

    @invariant()
    def the_ledger_says_what_the_model_says(self) -> None:
        rows = self.bench.rows("SELECT * FROM item ORDER BY rank")
        assert len(rows) == len(self.mails)
        for row in rows:
            mail = self.mails[row.mailbox_id, row.uid]
            holder = None if row.claimed_by is None else (row.claimed_by, row.claim_no)
            assert (row.status, holder, bool(row.begun)) == (mail.status, mail.holder, mail.begun)
            assert (row.failures, row.losses) == (mail.failures, mail.losses)
            assert (row.verdict_id is not None) == mail.has_verdict
            if mail.status in OPEN:
                assert row.due_at == mail.due_us
            else:
                assert row.reason == mail.reason

    @invariant()
    def statuses_move_along_known_edges_only(self) -> None:
        for row in self.bench.rows("SELECT id, status FROM item"):
            before = self.seen.get(row.id)
            assert (
                before == row.status
                or (before and ItemStatus(before), ItemStatus(row.status)) in TRANSITIONS
                or (before is None and row.status == SKIPPED)
            )
            self.seen[row.id] = row.status

    @invariant()
    def nothing_is_lost_told_twice_or_held_by_the_dead(self) -> None:
        assert self.ledger.audit.differences(self.bench.job.id, ["flags"]) == []
        summary = self.ledger.report.summary(self.bench.job)
        assert summary.is_conserved
        assert summary.total_emails == len(self.mails)
        assert len(self.bench.outcomes()) == sum(mail.told for mail in self.mails.values())
        assert self.ledger.open_items.count(self.bench.job.id) == sum(
            mail.status in OPEN for mail in self.mails.values()
        )


def test_the_ledger_does_what_its_model_does_on_sqlite(migrated_file, tmp_path):
    def open_ledger(clock: TurnedClock) -> Ledger:
        for old in tmp_path.glob("ledger.db*"):
            old.unlink()
        shutil.copy(migrated_file, tmp_path / "ledger.db")
        return Ledger.open(f"sqlite:///{tmp_path}/ledger.db", clock)

    run_state_machine_as_test(lambda: LedgerMachine(open_ledger), settings=SETTINGS)


def test_the_ledger_does_what_its_model_does_on_postgresql(postgres_url: str):
    def open_ledger(clock: TurnedClock) -> Ledger:
        ledger = Ledger.open(postgres_url, clock)
        tables = ", ".join(metadata.tables)
        ledger.database.write(
            lambda connection: connection.exec_driver_sql(f"TRUNCATE {tables} RESTART IDENTITY CASCADE").rowcount
        )
        return ledger

    run_state_machine_as_test(lambda: LedgerMachine(open_ledger), settings=SETTINGS)
