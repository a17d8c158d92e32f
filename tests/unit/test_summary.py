"""The figures of a job, and the JSON that other programs rely on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from backfill.lifecycle import ItemStatus
from backfill.rubric import Rubric
from backfill.summary import Counts, EffectCounts, FailedMail, Failure, ScoreCounts
from tests.support.summaries import COMPLETE, HOSTILE, INTERRUPTED, UNTOUCHED, WITH_HOSTILE_NAMES

#: The keys that the command line's contract names, in its order.
CONTRACT = {
    "job": ["id", "state", "dry_run", "account", "fingerprint", "selection"],
    "counts": ["found", "done", "failed", "skipped", "vanished", "pending"],
    "conserved": None,
    "calls": ["made", "succeeded", "rate_limited", "failed", "unknown_outcome", "reused"],
    "tokens": ["prompt", "completion", "cached"],
    "cost_usd": None,
    "effects": ["flags", "notes", "not_applicable"],
    "time": ["started_at", "ended_at", "running_seconds", "average_seconds_per_email"],
    "failures": None,
}


@pytest.mark.parametrize("summary", [COMPLETE, INTERRUPTED, UNTOUCHED])
def test_the_json_has_the_promised_keys_in_the_promised_order(summary):
    told = json.loads(summary.to_json())

    assert list(told)[: len(CONTRACT)] == list(CONTRACT)
    for key, names in CONTRACT.items():
        if names:
            assert list(told[key])[: len(names)] == names


def test_the_json_has_the_figures():
    told = json.loads(COMPLETE.to_json())

    assert told["job"]["state"] == "done"
    assert told["job"]["selection"]["start_date"] == "2024-01-01"
    assert told["counts"]["found"] == 100
    assert told["conserved"] is True
    assert told["cost_usd"] == 0.0123
    assert told["time"]["started_at"] == "2026-11-20T08:00:00+00:00"
    assert told["time"]["average_seconds_per_email"] == 0.5
    assert told["failures"] == [
        {"reason": "refused", "count": 2, "uids": [{"folder": "INBOX", "uid": 17}, {"folder": "INBOX", "uid": 4}]}
    ]
    assert told["labels"] == {"important": 30, "spam": 10}


def test_an_untouched_job_has_no_times_no_cost_and_no_rate():
    told = json.loads(UNTOUCHED.to_json())

    assert told["time"] == {
        "started_at": None,
        "ended_at": None,
        "running_seconds": 0.0,
        "average_seconds_per_email": 0.0,
    }
    assert told["cost_usd"] is None
    assert UNTOUCHED.success_rate == 0.0


def test_at_most_a_hundred_mails_are_named_for_a_reason():
    mails = tuple(FailedMail("INBOX", uid) for uid in range(250))

    (failure,) = json.loads(replace(COMPLETE, failures=(Failure("refused", 250, mails),)).to_json())["failures"]

    assert failure["count"] == 250
    assert len(failure["uids"]) == 100


def test_the_json_cannot_steer_a_terminal():
    text = WITH_HOSTILE_NAMES.to_json()

    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert json.loads(text)["folders"][0]["name"] == HOSTILE


def test_each_folder_tells_what_became_of_all_its_mails():
    (folder,) = json.loads(COMPLETE.to_json())["folders"]

    assert folder == {
        "name": "INBOX",
        "found": 100,
        "done": 90,
        "failed": 2,
        "skipped": 5,
        "vanished": 3,
        "pending": 0,
        "cost_usd": None,
    }


def test_mail_with_outstanding_effects_counts_as_pending():
    statuses = {ItemStatus.PENDING: 3, ItemStatus.CLASSIFIED: 2, ItemStatus.DONE: 5, ItemStatus.VANISHED: 1}

    counts = Counts.of(11, statuses)

    assert counts == Counts(found=11, done=5, vanished=1, pending=5)
    assert counts.is_conserved
    assert counts + counts == Counts(found=22, done=10, vanished=2, pending=10)


def test_the_programmatic_names_say_what_the_counts_say():
    assert (COMPLETE.total_emails, COMPLETE.processed, COMPLETE.failed, COMPLETE.skipped) == (100, 90, 2, 5)
    assert (COMPLETE.start_time, COMPLETE.end_time) == (COMPLETE.time.started_at, COMPLETE.time.ended_at)
    assert (COMPLETE.total_time, COMPLETE.average_time) == (46.0, 0.5)


def test_the_success_rate_is_of_the_mails_tried():
    assert COMPLETE.success_rate == pytest.approx(100 * 90 / 92)


@pytest.mark.parametrize(
    ("counts", "is_conserved"),
    [
        (Counts(), True),
        (Counts(found=6, done=1, failed=1, skipped=1, vanished=1, pending=2), True),
        (Counts(found=6, done=5), False),
        (Counts(found=6, done=7), False),
    ],
)
def test_a_mail_without_a_fate_is_noticed(counts, is_conserved):
    assert replace(COMPLETE, counts=counts).is_conserved is is_conserved


def test_a_histogram_has_a_place_for_each_score():
    with pytest.raises(ValueError, match="each score"):
        ScoreCounts(Rubric.default().scores[0], (1, 2, 3))


def test_an_output_that_came_later_is_counted_after_the_promised_keys():
    effects = EffectCounts((("another", 7), ("flags", 90), ("notes", 89)), not_applicable=1, foreign=2)

    told = json.loads(replace(COMPLETE, effects=effects).to_json())["effects"]

    assert list(told.items()) == [
        ("flags", 90),
        ("notes", 89),
        ("not_applicable", 1),
        ("foreign", 2),
        ("another", 7),
    ]
