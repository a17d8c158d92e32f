"""A ledger of a million mails answers as quickly as a small one, by its indexes and of the database's own accord.

Run by `make deep`, which prints the figures; DEEP_MAILS=10000000 is for ten million.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median

import pytest
from sqlalchemy import text

from backfill.ports import Surveyed
from tests.support.bench import WINDOW
from tests.support.ledgers import Bench, inbox
from tests.support.query_plans import assert_uses, plans

pytestmark = [pytest.mark.deep, pytest.mark.timeout(0)]

MAILS = int(os.environ.get("DEEP_MAILS", "1000000"))
LEFT = 1000
# Some ten times what it takes: a machine may have other things to do, reading a million rows takes longer still.
QUICK_MS = 100


def plan(bench: Bench) -> None:
    """As the planner does, window by window."""
    number = bench.ledger.plans.open_mailbox(inbox())
    window = bench.ledger.plans.freeze(bench.job.id, number, MAILS)
    while not window.is_planned:
        up_to = min(window.next_uid + WINDOW - 1, MAILS)
        bench.ledger.plans.plan_window(window, up_to, [Surveyed(uid) for uid in range(window.next_uid, up_to + 1)])
        window = bench.ledger.plans.freeze(bench.job.id, number, MAILS)
    bench.ledger.jobs.settle(bench.job.id)


def finish_most(bench: Bench) -> None:
    """All but the last are done, with a verdict of their own and a receipt each."""
    bench.write(
        "INSERT INTO verdict (message_key, fingerprint, generation, scores, reason, source, explanation, truncated,"
        " created_at) SELECT 'key ' || uid, 'print', 0, '{}', '', 'chat', '', FALSE, 1 FROM item"
    )
    bench.write(
        "UPDATE item SET status = 'done', final_at = 1,"
        " verdict_id = (SELECT id FROM verdict WHERE message_key = 'key ' || uid AND fingerprint = 'print'"
        " AND generation = 0) WHERE uid <= :most",
        most=MAILS - LEFT,
    )
    bench.write(
        "INSERT INTO receipt (mailbox_id, uid, effect, verdict_id, state, detail, applied_at)"
        " SELECT mailbox_id, uid, 'flags', verdict_id, 'applied', '{}', 1 FROM item WHERE status = 'done'"
    )
    if not bench.ledger.database.is_sqlite:
        with bench.ledger.database.session() as session:
            session.execute(text("VACUUM ANALYZE"))  # as it does by itself within a minute


def median_ms(work: Callable[[], object], times: int = 21) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - began))
    return median(taken)


def test_a_ledger_of_a_million_mails_is_asked_by_index_and_answers_at_once(bench: Bench) -> None:
    database = "SQLite" if bench.ledger.database.is_sqlite else "PostgreSQL"
    open_items, job = bench.ledger.open_items, bench.job.id
    began = time.perf_counter()
    plan(bench)
    print(f"\n{database}, {MAILS:,} mails planned in {time.perf_counter() - began:.1f} s")
    run = bench.run()

    for most_are in ("pending", "done"):
        if most_are == "done":
            bench.ledger.runs.release_claims(run)
            finish_most(bench)
        figures = {
            "claim of 50": median_ms(lambda: bench.claim(run, 50), 10),
            "when the next is due": median_ms(lambda: open_items.next_due(job)),
        }
        assert_uses(plans(bench, lambda: bench.claim(run, 50), as_it_likes=True), "ix_item_claimable")
        assert_uses(plans(bench, lambda: open_items.next_due(job), as_it_likes=True), "ix_item_claimable")
        print(f"most {most_are}: " + ", ".join(f"{what} {ms:.2f} ms" for what, ms in figures.items()))
        assert max(figures.values()) < QUICK_MS

    items = bench.claim(run, 50)
    keys = [f"key {uid}" for uid in range(1, 101)]
    left: dict[str, tuple[Callable[[], object], tuple[str, ...]]] = {
        "what is open": (lambda: open_items.count(job), ("ix_item_claimable",)),
        "whether the job is done": (lambda: bench.ledger.jobs.settle(job), ("ix_item_claimable",)),
        "receipts of 50": (
            lambda: bench.ledger.receipts.kept(items),
            ("sqlite_autoindex_receipt", "uq_receipt_mailbox_id"),
        ),
        "100 known verdicts": (
            lambda: bench.ledger.verdicts.known("print", 0, keys),
            ("sqlite_autoindex_verdict", "uq_verdict_message_key"),
        ),
        "giving back": (lambda: bench.ledger.runs.release_claims(run), ("ix_item_claimed",)),
    }
    for what, (question, indexes) in left.items():
        assert_uses(plans(bench, question, as_it_likes=True), *indexes)
        taken = median_ms(question)
        print(f"{what}: {taken:.2f} ms")
        assert taken < QUICK_MS
