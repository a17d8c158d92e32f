"""What every effect promises, whatever it writes, and the ones that stand in for it in tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from backfill.clock import SystemClock
from backfill.effects.flags import FlagsEffect
from backfill.effects.notes import NotesEffect
from backfill.effects.webhook import WebhookEffect, WebhookSettings
from backfill.ports import Effect, Receipt, ReceiptState, State, Undone
from backfill.rubric import Rubric
from tests.support.bench import BenchEffect
from tests.support.hook_server import HookServer
from tests.support.judged import INBOX, judged
from tests.support.memory_marker import MemoryMarker
from tests.support.world import Diary, RefusingOnce

NOTE_TEMPLATE = Path(__file__).parents[2] / "config" / "note.md.j2"


@dataclass
class Bench:
    """An effect, a way to make a fresh one over the same world, and a look at that world."""

    make: Callable[[], Effect]
    world: Callable[[], Any]


@pytest.fixture(params=["flags", "notes", "webhook", "bench", "world"])
def bench(request, tmp_path) -> Iterator[Bench]:
    if request.param != "webhook":
        yield offline(request.param, tmp_path)
        return
    with HookServer() as server, closing(WebhookEffect(WebhookSettings(server.url), SystemClock())) as webhook:
        yield Bench(make=lambda: webhook, world=lambda: dict(server.world))


def offline(output: str, tmp_path: Path) -> Bench:
    if output == "bench":
        applied: list[int] = []
        return Bench(make=lambda: BenchEffect(applied), world=lambda: set(applied))
    if output in ("notes", "world"):
        notes = NotesEffect(tmp_path / "notes", NOTE_TEMPLATE.read_text("utf-8"))
        return Bench(
            make=lambda: notes if output == "notes" else RefusingOnce(notes, (), Diary(tmp_path / "refusals")),
            world=lambda: {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()},
        )
    marker = MemoryMarker(INBOX)
    marker.holds(*range(1, 21))
    return Bench(
        make=lambda: FlagsEffect(marker, processed_tag="AIProcessed", keywords=Rubric.default().keywords),
        world=lambda: {uid: set(keywords) for uid, keywords in marker.mails.items()},
    )


MAILS = [judged(uid, *(["important"] if uid % 3 == 0 else [])) for uid in range(1, 21)]


def test_each_mail_is_answered_exactly_once(bench):
    effect = bench.make()

    answers = list(effect.apply(MAILS))

    assert sorted(answer.ref for answer in answers) == sorted(mail.ref for mail in MAILS)
    assert {answer.effect for answer in answers} == {effect.name}


def test_applying_twice_leaves_the_world_and_the_receipts_as_applying_once(bench):
    before = list(bench.make().apply(MAILS))
    world = bench.world()

    after = list(bench.make().apply(MAILS))

    assert world
    assert bench.world() == world
    assert [(answer.ref, answer.state, answer.detail) for answer in after] == [
        (answer.ref, answer.state, answer.detail) for answer in before
    ]


def test_in_batches_or_one_by_one_the_world_is_the_same(bench):
    effect = bench.make()
    together = {answer.ref: answer for answer in effect.apply(MAILS)}
    world = bench.world()

    apart = {answer.ref: answer for mail in MAILS for answer in effect.apply([mail])}

    assert (apart, bench.world()) == (together, world)


@pytest.mark.parametrize("answered", [0, 1, 7, 19])
def test_after_a_crash_in_the_middle_applying_again_leaves_nothing_half_written(bench, answered):
    list(islice(bench.make().apply(MAILS), answered))  # nobody asks for the rest

    receipts = list(bench.make().apply(MAILS))

    world = bench.world()
    assert list(bench.make().apply(MAILS)) == receipts
    assert bench.world() == world
    list(bench.make().undo(receipts))
    list(bench.make().apply(MAILS))
    assert bench.world() == world


def test_other_labels_change_what_it_wrote_itself_and_are_taken_back_whole(bench):
    untouched = bench.world()
    before = {receipt.ref: receipt for receipt in bench.make().apply(MAILS)}
    changed = [replace(mail, labels=("spam",), previous=before[mail.ref].detail) for mail in MAILS]

    receipts = list(bench.make().apply(changed))

    world = bench.world()
    assert {receipt.state for receipt in receipts} == {ReceiptState.APPLIED}
    list(bench.make().undo(receipts))
    assert bench.world() == untouched
    list(bench.make().apply([replace(mail, previous=None) for mail in changed]))
    assert bench.world() == world


def test_no_mail_asks_nothing_of_the_world(bench):
    world = bench.world()

    assert list(bench.make().apply([])) == []
    assert bench.world() == world


def test_undone_it_leaves_the_world_as_it_was(bench):
    world = bench.world()
    receipts = list(bench.make().apply(MAILS))

    answers = list(bench.make().undo(receipts))

    assert sorted(answer.ref for answer in answers) == sorted(mail.ref for mail in MAILS)
    assert {(answer.effect, type(answer)) for answer in answers} == {(bench.make().name, Undone)}
    assert bench.world() == world


def test_undoing_twice_is_as_once_and_an_error_neither_time(bench):
    receipts = list(bench.make().apply(MAILS))
    before = list(bench.make().undo(receipts))
    world = bench.world()

    assert list(bench.make().undo(receipts)) == before
    assert bench.world() == world


def test_applied_after_an_undo_it_is_there_again(bench):
    receipts = list(bench.make().apply(MAILS))
    world = bench.world()
    list(bench.make().undo(receipts))

    again = list(bench.make().apply(MAILS))

    assert bench.world() == world
    assert [(answer.ref, answer.detail) for answer in again] == [(answer.ref, answer.detail) for answer in receipts]


def test_an_undo_of_some_mails_leaves_the_others(bench):
    list(bench.make().apply(MAILS[:7]))
    world = bench.world()
    rest = list(bench.make().apply(MAILS[7:]))

    list(bench.make().undo(rest))

    assert bench.world() == world


def test_what_may_have_been_written_when_it_crashed_can_be_taken_back_without_a_receipt(bench):
    world = bench.world()
    list(bench.make().apply(MAILS[:7]))  # a crash: its receipts were not recorded

    presumed = list(bench.make().presumed(MAILS))
    list(bench.make().undo(presumed))

    assert bench.world() == world


def test_presuming_and_naming_what_would_be_taken_back_changes_nothing(bench):
    receipts = list(bench.make().apply(MAILS))
    world = bench.world()

    list(bench.make().presumed(MAILS))
    traces = [bench.make().traces(receipt) for receipt in receipts]

    assert all(traces)
    assert bench.world() == world


def test_foreseeing_asks_nothing_of_the_world_and_names_something_that_it_does(bench):
    world = bench.world()

    foreseen = [bench.make().foreseen(labels) for labels in ((), ("important",))]

    assert all(deeds and all(deed.times(2) for deed in deeds) for deeds in foreseen)
    assert bench.world() == world


def test_no_receipt_asks_nothing_of_the_world(bench):
    assert list(bench.make().undo([])) == []


def test_what_it_has_brought_about_holds_until_the_labels_change(bench):
    receipts = {answer.ref: answer for answer in bench.make().apply(MAILS)}

    assert all(bench.make().holds(receipts[mail.ref].detail, mail.labels) for mail in MAILS)
    assert not any(bench.make().holds(receipts[mail.ref].detail, (*mail.labels, "spam")) for mail in MAILS)


def test_a_changed_verdict_leaves_the_world_as_if_it_had_been_the_first(bench):
    others = [replace(mail, labels=("spam",)) for mail in MAILS]
    receipts = {answer.ref: answer for answer in bench.make().apply(MAILS)}
    world = bench.world()
    changed = [replace(mail, previous=receipts[mail.ref].detail) for mail in others]
    receipts = {answer.ref: answer for answer in bench.make().apply(changed)}

    list(bench.make().apply([replace(mail, previous=receipts[mail.ref].detail) for mail in MAILS]))

    assert bench.world() == world


def test_receipts_can_be_stored_as_json(bench):
    for answer in bench.make().apply(MAILS):
        assert isinstance(answer, Receipt)
        assert json.loads(json.dumps(answer.detail)) == answer.detail


def test_looking_at_an_output_changes_nothing_and_says_something(bench):
    world = bench.world()

    probes = list(bench.make().probe(INBOX))

    assert probes
    assert {probe.state for probe in probes} == {State.OK}
    assert bench.world() == world
