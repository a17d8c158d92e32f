"""What every effect promises, whatever it writes, and the ones that stand in for it in tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backfill.effects.flags import FlagsEffect
from backfill.effects.notes import NotesEffect
from backfill.ports import Effect, Receipt
from backfill.verdict import Label
from tests.support.bench import BenchEffect
from tests.support.judged import INBOX, judged
from tests.support.memory_marker import MemoryMarker
from tests.support.world import Diary, RefusingOnce

NOTE_TEMPLATE = Path(__file__).parents[2] / "config" / "note.md.j2"


@dataclass
class Bench:
    """An effect, a way to make a fresh one over the same world, and a look at that world."""

    make: Callable[[], Effect]
    world: Callable[[], Any]


@pytest.fixture(params=["flags", "notes", "bench", "world"])
def bench(request, tmp_path) -> Bench:
    if request.param == "bench":
        applied: list[int] = []
        return Bench(make=lambda: BenchEffect(applied), world=lambda: set(applied))
    if request.param in ("notes", "world"):
        notes = NotesEffect(tmp_path / "notes", NOTE_TEMPLATE.read_text("utf-8"))
        return Bench(
            make=lambda: notes if request.param == "notes" else RefusingOnce(notes, (), Diary(tmp_path / "refusals")),
            world=lambda: {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()},
        )
    marker = MemoryMarker(INBOX)
    marker.holds(*range(1, 21))
    return Bench(
        make=lambda: FlagsEffect(marker, processed_tag="AIProcessed", important_tag="Important", spam_tag="Spam"),
        world=lambda: {uid: set(keywords) for uid, keywords in marker.mails.items()},
    )


MAILS = [judged(uid, *([Label.IMPORTANT] if uid % 3 == 0 else [])) for uid in range(1, 21)]


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


def test_no_mail_asks_nothing_of_the_world(bench):
    world = bench.world()

    assert list(bench.make().apply([])) == []
    assert bench.world() == world


def test_receipts_can_be_stored_as_json(bench):
    for answer in bench.make().apply(MAILS):
        assert isinstance(answer, Receipt)
        assert json.loads(json.dumps(answer.detail)) == answer.detail
