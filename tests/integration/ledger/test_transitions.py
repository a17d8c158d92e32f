"""Statuses move along the edges of `lifecycle.TRANSITIONS` and along no other, whoever asks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backfill.errors import ClaimLost
from backfill.ledger.rows import Item, Run
from backfill.lifecycle import TRANSITIONS, IllegalTransition, ItemStatus, check_transition
from tests.support.ledgers import Bench, inbox

PENDING, CLASSIFIED, DONE = ItemStatus.PENDING, ItemStatus.CLASSIFIED, ItemStatus.DONE
FAILED, SKIPPED, VANISHED = ItemStatus.FAILED, ItemStatus.SKIPPED, ItemStatus.VANISHED

EVERY_EDGE = [(before, after) for before in (None, *ItemStatus) for after in ItemStatus]


@pytest.mark.parametrize(("before", "after"), sorted(TRANSITIONS, key=str))
def test_an_allowed_edge_is_allowed(before, after):
    check_transition(before, after)


@pytest.mark.parametrize(("before", "after"), [edge for edge in EVERY_EDGE if edge not in TRANSITIONS])
def test_any_other_edge_is_a_bug(before, after):
    with pytest.raises(IllegalTransition):
        check_transition(before, after)


# ── through the ledger's own verbs ───────────────────────────────────────────────────────────────────────


def bring_to(bench: Bench, run: Run, item: Item, status: ItemStatus) -> None:
    """Lead a claimed, pending item to a status; it stays claimed while it is open."""
    if status in (CLASSIFIED, DONE):
        verdict = bench.record(run, item).verdict
        if status is DONE:
            assert bench.finish(run, item, verdict)
    elif status is FAILED:
        bench.ledger.items.fail(run, item, "refused")
    elif status is SKIPPED:
        bench.ledger.items.skip(run, item, "has_keyword")
    elif status is VANISHED:
        bench.ledger.items.vanish(run, item)


STEPS: dict[ItemStatus, Callable[[Bench, Run, Item], None]] = {
    SKIPPED: lambda bench, run, item: bench.ledger.items.skip(run, item, "has_keyword"),
    VANISHED: lambda bench, run, item: bench.ledger.items.vanish(run, item),
    FAILED: lambda bench, run, item: bench.ledger.items.fail(run, item, "refused"),
}


@pytest.mark.parametrize("after", STEPS)
@pytest.mark.parametrize("before", ItemStatus)
def test_a_verb_takes_an_item_along_an_allowed_edge_only(bench, before, after):
    bench.plan(11)
    run = bench.run()
    (item,) = bench.claim(run)
    bring_to(bench, run, item, before)
    expected = {
        (PENDING, SKIPPED): None,
        (PENDING, VANISHED): None,
        (PENDING, FAILED): None,
        (CLASSIFIED, VANISHED): None,
        (CLASSIFIED, FAILED): None,
        (CLASSIFIED, SKIPPED): IllegalTransition,
    }.get((before, after), ClaimLost)  # what is final is held by nobody

    if expected is None:
        STEPS[after](bench, run, item)
    else:
        with pytest.raises(expected):
            STEPS[after](bench, run, item)

    assert bench.status(11) is (after if expected is None else before)
    assert ((before, after) in TRANSITIONS) is (expected is None) or expected is ClaimLost


def test_a_pending_item_cannot_be_finished(bench):
    bench.plan(11, 12)
    run = bench.run()
    judged, pending = bench.claim(run)
    verdict = bench.record(run, judged).verdict

    with pytest.raises(IllegalTransition):
        bench.finish(run, pending, verdict)

    assert bench.status(12) is PENDING


@pytest.mark.parametrize("final", [DONE, FAILED, SKIPPED, VANISHED])
def test_a_verdict_that_comes_too_late_changes_no_final_item(bench, final):
    bench.plan(11)
    run = bench.run()
    (item,) = bench.claim(run)
    bring_to(bench, run, item, final)

    recorded = bench.record(run, item)

    assert not recorded.is_ours
    assert bench.status(11) is final


def test_planning_makes_pending_items_and_skipped_ones_with_their_rule(bench):
    bench.plan(11, skipped={12: "has_keyword"})

    assert bench.statuses() == {11: "pending", 12: "skipped"}
    assert bench.item(12).reason == "has_keyword"


def test_retry_leads_a_failed_mail_back_to_what_it_had_reached(bench):
    bench.plan(11, 12)
    run = bench.run()
    unjudged, judged = bench.claim(run)
    bench.ledger.items.fail(run, unjudged, "unreadable")
    bring_to(bench, run, judged, CLASSIFIED)
    bench.ledger.items.fail(run, judged, "effect_refused")

    taken = bench.ledger.items.retry(bench.run(command="retry"))

    assert taken == 2
    assert bench.statuses() == {11: "pending", 12: "classified"}
    assert (bench.item(11).failures, bench.item(11).final_at) == (0, None)


def test_retry_takes_up_only_the_reasons_it_is_given(bench):
    bench.plan(11, 12)
    run = bench.run()
    first, second = bench.claim(run)
    bench.ledger.items.fail(run, first, "unreadable")
    bench.ledger.items.fail(run, second, "refused")

    taken = bench.ledger.items.retry(bench.run(), ["refused"])

    assert taken == 1
    assert bench.statuses() == {11: "failed", 12: "pending"}


def test_vanished_mail_is_taken_up_again_when_asked_for_by_that_reason(bench):
    bench.plan(11)
    run = bench.run()
    (item,) = bench.claim(run)
    bench.record(run, item)
    bench.ledger.items.vanish(run, item)

    without = bench.ledger.items.retry(bench.run())
    taken = bench.ledger.items.retry(bench.run(), ["vanished"])

    assert (without, taken) == (0, 1)
    assert bench.status(11) is PENDING


def test_retry_leaves_what_vanished_with_its_uidvalidity(bench):
    bench.plan(11)
    bench.ledger.jobs.open_mailbox(inbox(uidvalidity=8))

    taken = bench.ledger.items.retry(bench.run(), ["vanished"])

    assert taken == 0
    assert bench.status(11) is VANISHED


def test_the_database_itself_refuses_a_final_item_that_is_claimed(bench):
    bench.plan(11)
    run = bench.run()
    bench.claim(run)

    with pytest.raises(Exception, match=r"ck_item_(claim|final)"):
        bench.write("UPDATE item SET status = 'skipped', final_at = 1")

    assert bench.status(11) is PENDING
