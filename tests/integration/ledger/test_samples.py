"""What a forecast reads of a job: as many mails as it asked for, from all of it."""

from __future__ import annotations

from tests.support.ledgers import Bench, inbox


def test_a_sample_is_spread_over_what_is_open(bench: Bench) -> None:
    bench.plan(*range(1, 100))

    assert [ref.uid for ref in bench.ledger.open_items.sample(bench.job.id, 3)] == [33, 66, 99]
    assert len(bench.ledger.open_items.sample(bench.job.id, 50)) == 50
    assert len(bench.ledger.open_items.sample(bench.job.id, 500)) == 99


def test_only_the_present_epoch_of_a_folder_is_open(bench: Bench) -> None:
    bench.plan(1, 2)
    newer = bench.ledger.plans.open_mailbox(inbox(8))
    bench.ledger.plans.freeze(bench.job.id, newer, 2)

    assert bench.ledger.plans.open_mailboxes(bench.job.id) == {newer}
