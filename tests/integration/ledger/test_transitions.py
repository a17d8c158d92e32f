"""Statuses move along the edges of `lifecycle.TRANSITIONS` and along no other, whoever asks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backfill.errors import ClaimLost
from backfill.ledger.rows import Item, Run
from backfill.lifecycle import TRANSITIONS, IllegalTransition, ItemStatus, JobState, check_transition
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


# Through the ledger's own verbs.


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
    bench.ledger.plans.open_mailbox(inbox(uidvalidity=8))

    taken = bench.ledger.items.retry(bench.run(), ["vanished"])

    assert taken == 0
    assert bench.status(11) is VANISHED


# Apply and undo.


@pytest.fixture
def done(bench):
    """A done job about three mails, two of them done with a receipt of the keywords, one failed."""
    bench.plan(11, 12, 13)
    run = bench.run()
    *good, bad = bench.claim(run)
    for item in good:
        assert bench.finish(run, item, bench.record(run, item).verdict, "flags")
    bench.ledger.items.fail(run, bad, "refused")
    bench.end(run)
    assert bench.ledger.jobs.settle(bench.job.id) is JobState.DONE
    return bench


def state(bench, job=None):
    return bench.ledger.jobs.get((job or bench.job).id).state


def test_an_added_output_takes_up_done_mail_which_is_not_asked_about_again(done):
    taken = done.ledger.receipts.reapply(done.job.id, ["flags", "notes"])

    assert taken == 2
    assert state(done) is JobState.PLANNING
    assert done.statuses() == {11: "classified", 12: "classified", 13: "failed"}
    items = done.claim(done.run())
    assert [item.verdict is not None for item in items] == [True, True]
    assert [set(found) for found in done.current_receipts(*items)] == [{"flags"}, {"flags"}]


def test_nothing_is_taken_up_when_every_output_is_there(done):
    taken = done.ledger.receipts.reapply(done.job.id, ["flags"])

    assert taken == 0
    assert state(done) is JobState.DONE


def test_other_thresholds_take_up_all_done_mail_and_its_receipts_stand_until_they_are_made_anew(done):
    taken = done.ledger.receipts.reapply(done.job.id, ["flags"], stale=True)

    run = done.run()
    items = done.claim(run)
    assert taken == 2
    assert done.current_receipts(*items) == [{} for _ in items]
    assert len(done.ledger.receipts.standing(done.job.id)) == 2
    for item in items:
        assert done.finish(run, item, item.verdict, "flags")
    assert done.ledger.receipts.reapply(done.job.id, ["flags"]) == 0
    assert done.ledger.audit.differences(done.job.id, ["flags"]) == []


def test_what_is_taken_back_can_be_brought_about_again_and_is_told_again(done):
    receipts = done.ledger.receipts
    standing = done.ledger.undoing.written(done.job.id)

    taken = done.undo()

    assert [each.receipt.effect for each in standing] == ["flags", "flags"]
    assert taken == 2
    assert state(done) is JobState.UNDONE
    assert done.statuses() == {11: "classified", 12: "classified", 13: "failed"}
    assert receipts.standing(done.job.id) == []
    assert done.outcomes()[-2:] == [(11, "undone", True), (12, "undone", True)]
    assert receipts.reapply(done.job.id, ["flags"]) == 0
    assert state(done) is JobState.PLANNING
    done.work_off(done.run(), "flags")
    assert done.outcomes()[-2:] == [(11, "done", True), (12, "done", True)]


def test_an_undo_that_was_interrupted_goes_on_where_it_was(done):
    undoing, told, run = done.ledger.undoing, done.outcomes(), done.run(command="undo")
    undoing.begin(run)
    first = undoing.written(done.job.id, limit=1)
    undoing.close([each.id for each in first])
    done.end(run)

    rest = undoing.written(done.job.id)

    assert [each.receipt.ref.uid for each in rest] == [12]
    assert state(done) is JobState.UNDONE
    assert done.ledger.audit.differences(done.job.id, ["flags"]) == []
    assert done.outcomes() == told
    assert done.undo() == 1
    assert done.outcomes() == [*told, (11, "undone", True), (12, "undone", True)]
    assert done.statuses() == {11: "classified", 12: "classified", 13: "failed"}


def test_a_mail_on_which_something_of_ours_still_stands_stays_done(done):
    undoing = done.ledger.undoing
    run = done.run(command="undo")
    undoing.begin(run)
    undoing.close([each.id for each in undoing.written(done.job.id, limit=1)])

    undoing.settle(run)

    assert done.statuses() == {11: "classified", 12: "done", 13: "failed"}
    assert done.ledger.audit.differences(done.job.id, ["flags"]) == []


def test_what_another_job_has_judged_alike_stays_with_that_job(done):
    wider = done.open_job(folders=("INBOX", "Archive"))
    done.plan(11, job=wider)
    done.work_off(done.run(wider))
    done.ledger.jobs.settle(wider.id)

    taken = done.undo()

    assert taken == 1
    assert [each.receipt.ref.uid for each in done.ledger.receipts.standing(wider.id)] == [11]
    assert state(done) is JobState.UNDONE
    assert done.statuses() == {11: "classified", 12: "classified", 13: "failed"}
    assert done.statuses(wider) == {11: "done"}
    assert done.ledger.audit.differences(wider.id, ["flags"]) == []


def test_the_verdict_of_an_older_job_counts_again(done):
    newer = done.open_job(generation=1)
    done.plan(11, job=newer)
    done.work_off(done.run(newer), "flags")

    (receipt, *others) = done.ledger.undoing.written(newer.id)

    assert others == []
    assert (receipt.counting_job, receipt.other_job) == (newer.id, done.job.id)
    assert receipt.other.verdict.id == done.item(11).verdict_id != receipt.verdict_id
    assert [each.other_job for each in done.ledger.undoing.written(done.job.id)] == [newer.id, None]


def test_a_dry_run_has_no_outputs_to_bring_about(bench):
    dry = bench.open_job(dry_run=True)
    bench.plan(11, job=dry)
    bench.work_off(bench.run(dry))
    bench.ledger.jobs.settle(dry.id)

    taken = bench.ledger.receipts.reapply(dry.id, ["flags"], stale=True)

    assert taken == 0
    assert state(bench, dry) is JobState.DONE


def test_what_was_done_before_a_uidvalidity_change_is_left_as_it_is(done):
    done.ledger.plans.open_mailbox(inbox(uidvalidity=8))

    taken = done.ledger.receipts.reapply(done.job.id, ["flags", "notes"], stale=True)

    assert taken == 0
    assert done.ledger.receipts.standing(done.job.id) == []
    assert done.statuses() == {11: "done", 12: "done", 13: "failed"}


def test_the_database_itself_refuses_a_final_item_that_is_claimed(bench):
    bench.plan(11)
    run = bench.run()
    bench.claim(run)

    with pytest.raises(Exception, match=r"ck_item_(claim|final)"):
        bench.write("UPDATE item SET status = 'skipped', final_at = 1")

    assert bench.status(11) is PENDING
