"""An undo that is cut short at any step goes on, and leaves exactly what the verdicts that still count call for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from backfill.effects.flags import FlagsEffect
from backfill.effects.notes import NotesEffect
from backfill.errors import (
    EffectRefused,
    EffectUnavailable,
    EffectUnreachable,
    FolderUnusable,
    ServerUnavailable,
    StoreUnavailable,
)
from backfill.fingerprint import Fingerprint
from backfill.ledger import Ledger
from backfill.ledger.undoing import Undoing
from backfill.lifecycle import JobState
from backfill.message import Content, MailboxKey, Message, MessageRef
from backfill.operations.undo import TakenBack, undo
from backfill.ports import Effect, Unfetched
from backfill.report.status import render
from backfill.verdict import Scores
from tests.support.bench import INBOX, Bench, BenchClassifier, BenchParts, PowerCut
from tests.support.memory_marker import MemoryMarker

NOTE = "{{ subject | quoted }} {{ labels }}\n"
MAILS = 6


class Marker(MemoryMarker):
    """The mailbox's keywords, each command a step that may be cut or fail."""

    step: Callable[[str], None] = staticmethod(lambda step: None)

    def add(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        return self._stepped("add", mailbox, keyword, uids)

    def remove(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        return self._stepped("remove", mailbox, keyword, uids)

    def _stepped(self, verb: str, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        self.step(f"before {verb}")
        changed: frozenset[int] = getattr(super(), verb)(mailbox, keyword, uids)
        self.step(f"after {verb}")
        return changed


@dataclass
class Table:
    """A mailbox that two jobs have judged differently, with keywords and notes."""

    bench: Bench
    marker: Marker = field(default_factory=lambda: Marker(INBOX))
    before: dict[int, set[str]] = field(default_factory=dict)
    between: Any = None  # what the first job had left
    note: str = NOTE

    def __post_init__(self) -> None:
        bench = self.bench
        bench.mailbox.holds(*range(1, MAILS + 1))
        bench.mailbox.keywords[1] = {"Keep", "\\Seen"}
        bench.mailbox.keywords[2] = {"IMPORTANT"}
        bench.mailbox.keywords[3] = {"aiprocessed", "Spam"}
        self.marker.mails = bench.mailbox.keywords
        self.before = self.keywords()
        bench.parts = self.parts  # type: ignore[method-assign]
        self.judge("first", important=(1, 2, 3), spam=(3, 4))
        self.between = self.world()
        self.judge("second", important=(3, 4, 5), spam=(1, 4))

    def judge(self, name: str, *, important: Sequence[int], spam: Sequence[int]) -> None:
        def answers(message: Message) -> Scores:
            uid = message.ref.uid
            return Scores.of(importance=9 if uid in important else 1, spam=9 if uid in spam else 1)

        self.bench.classifier = BenchClassifier(answers, fingerprint=Fingerprint.of(name, classifier="bench"))
        self.bench.run(analytics=True)

    def parts(self, *, analytics: bool = True) -> BenchParts:
        made = {each.name: getattr(Bench.parts(self.bench, analytics=True), each.name) for each in fields(BenchParts)}
        return BenchParts(**{**made, "outputs": self.outputs, "effect_names": ("notes", "flags")})

    def outputs(self) -> tuple[Effect, ...]:
        keywords = {"important": "Important", "spam": "Spam"}
        flags = FlagsEffect(self.marker, processed_tag="AIProcessed", keywords=keywords)
        return NotesEffect(self.bench.folder / "notes", self.note), flags

    def undo(self, job: int, *only: str) -> TakenBack:
        return undo(self.parts(), self.bench.audience(), job, only)

    def keywords(self) -> dict[int, set[str]]:
        return {uid: {*words} for uid, words in self.bench.mailbox.keywords.items()}

    def notes(self) -> dict[str, str]:
        folder = self.bench.folder / "notes"
        return {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}

    def world(self) -> Any:
        return self.keywords(), self.notes()

    def lines(self) -> list[tuple[int, str]]:
        text = (self.bench.folder / "analytics.jsonl").read_text()
        return [(line["uid"], line["status"]) for line in map(json.loads, text.splitlines())]

    def status(self, job: int) -> str:
        found = self.bench.ledger.jobs.get(job)
        assert found is not None
        return render(self.bench.ledger.status.of(job), found)

    def state(self, job: int) -> JobState:
        found = self.bench.ledger.jobs.get(job)
        assert found is not None
        return found.state


@pytest.fixture
def table(tmp_path: Path, ledger_url: str) -> Iterator[Table]:
    bench = Bench(tmp_path, url=ledger_url)
    yield Table(bench)
    bench.close()


STEPS = [
    *(f"{when} {verb}" for verb in ("begin", "intend", "keep", "close", "settle") for when in ("before", "after")),
    *(f"{when} {verb}" for verb in ("remove", "add") for when in ("before", "after")),
]


@pytest.mark.parametrize("occurrence", [1, 2, 3])
@pytest.mark.parametrize("step", STEPS)
def test_an_undo_that_is_cut_at_any_step_goes_on_to_exactly_what_still_counts(
    table: Table, step: str, occurrence: int
) -> None:
    is_reached = cut(table, step, occurrence, 2)
    assert is_reached or occurrence > 1

    table.bench.clock.turn(120)
    table.undo(2)

    assert table.world() == table.between
    assert (table.state(1), table.state(2)) == (JobState.DONE, JobState.UNDONE)
    assert sorted(table.lines()[2 * MAILS :]) == [(uid, "undone") for uid in range(1, MAILS + 1)]
    assert table.bench.ledger.audit.differences(1, ["flags", "notes"]) == []

    cut(table, step, occurrence, 1)
    table.bench.clock.turn(120)
    table.undo(1)

    assert table.world() == (table.before, {})
    assert sorted(table.lines()[3 * MAILS :]) == [(uid, "undone") for uid in range(1, MAILS + 1)]


@pytest.mark.parametrize("step", ["after begin", "after intend", "after add", "before close", "before settle"])
def test_status_names_the_command_that_goes_on_with_a_cut_undo(table: Table, step: str) -> None:
    cut(table, step, 1, 2)
    table.bench.clock.turn(120)

    assert "The undo is not finished; go on with: backfill undo 2" in table.status(2)

    table.undo(2)

    assert "not finished" not in table.status(2)  # job 1 has what was handed over
    assert "not finished" not in table.status(1)


def test_status_names_the_command_that_takes_back_what_an_undo_could_not(table: Table) -> None:
    def refuse(step: str) -> None:
        if step == "before remove":
            raise FolderUnusable("[INUSE] locked by another program")

    table.undo(1)
    table.marker.step = refuse  # type: ignore[method-assign]
    assert table.undo(2).refused
    table.marker.step = lambda step: None  # type: ignore[method-assign]

    assert "The undo is not finished; go on with: backfill undo 2" in table.status(2)

    table.undo(2)

    assert "not finished" not in table.status(2)


@pytest.mark.parametrize("occurrence", [1, 2, 3])
@pytest.mark.parametrize("step", ["before intend", "after intend", "after add", "after remove", "before keep"])
def test_what_a_cut_undo_had_handed_over_goes_with_the_other_job(table: Table, step: str, occurrence: int) -> None:
    cut(table, step, occurrence, 2)

    table.bench.clock.turn(120)
    table.undo(1)
    table.undo(2)

    assert table.world() == (table.before, {})


def test_of_a_mail_that_is_gone_nothing_stays_although_an_older_job_judged_it(table: Table) -> None:
    table.bench.mailbox.gone = {5}
    del table.marker.mails[5]

    taken = table.undo(2)

    assert not taken.refused
    assert len(table.notes()) == MAILS - 1
    table.undo(1)
    assert table.notes() == {}


def test_a_note_that_is_handed_over_still_links_to_that_of_the_mail_it_answers(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    def answer() -> Message:
        ref = MessageRef(INBOX, 2)
        return Message(ref, Content(), frozenset(), None, None, 10, "<2@example.com>", ancestors=("<1@example.com>",))

    bench.mailbox.odd[1] = lambda: Message(
        MessageRef(INBOX, 1), Content(), frozenset(), None, None, 10, "<1@example.com>"
    )
    bench.mailbox.odd[2] = answer
    table = Table(bench, note="{{ answered }} {{ labels }}\n")
    assert any("name" in note for note in table.notes().values())
    bench.mailbox.odd[1] = lambda: Unfetched(MessageRef(INBOX, 1), EffectRefused("unreadable"))

    table.undo(2)

    child = next(name for name, note in table.between[1].items() if "name" in note)
    assert table.notes()[child] == table.between[1][child]
    bench.close()


def cut(table: Table, step: str, occurrence: int, job: int) -> bool:
    """Undo until the step is reached for the time `occurrence`; then the process is gone. Was it reached?"""
    reached: list[str] = []

    def at(now: str) -> None:
        reached.append(now)
        if now == step and reached.count(step) == occurrence:
            raise PowerCut

    whole = table.bench.ledger
    table.marker.step = at  # type: ignore[method-assign]
    table.bench.ledger = stepped(whole, at)
    with suppress(PowerCut):
        table.undo(job)
    table.marker.step = lambda step: None  # type: ignore[method-assign]
    table.bench.ledger = whole
    return step in reached


def stepped(ledger: Ledger, at: Callable[[str], None]) -> Ledger:
    """The same ledger, with a step before and after each verb of an undo."""

    def step(verb: str) -> Callable[..., Any]:
        def stepped(self: Any, *given: Any) -> Any:
            at(f"before {verb}")
            answer = getattr(Undoing, verb)(self, *given)
            at(f"after {verb}")
            return answer

        return stepped

    verbs = {verb: step(verb) for verb in ("begin", "intend", "keep", "close", "settle")}
    own = object.__new__(type("Stepped", (Undoing,), verbs))
    for held in fields(Undoing):
        object.__setattr__(own, held.name, getattr(ledger.undoing, held.name))
    return replace(ledger, undoing=own)


def test_the_older_job_first_changes_nothing_and_the_newer_one_then_everything(table: Table) -> None:
    there = table.world()

    table.undo(1)

    assert table.world() == there
    table.undo(2)
    assert table.world() == (table.before, {})


def test_only_one_output_is_taken_back_from_the_mails_that_the_job_rules(table: Table) -> None:
    there = table.world()

    table.undo(1, "notes")  # superseded everywhere
    assert table.world() == there
    table.undo(2, "notes")

    assert table.world() == (there[0], {})
    assert (table.state(1), table.state(2)) == (JobState.DONE, JobState.DONE)
    assert table.bench.ledger.audit.differences(2, ["flags", "notes"]) == []
    table.bench.run(analytics=True)
    assert table.world() == (there[0], {})


def test_what_a_cancelled_job_wrote_of_mails_that_were_not_done_is_taken_back_alone_too(table: Table) -> None:
    table.undo(1)
    ledger = table.bench.ledger
    ledger.receipts.doubt(ledger.receipts.standing(2))  # its mails are not done any more
    ledger.steering.cancel(2, "enough")
    there = table.world()

    table.undo(2, "notes")

    assert table.world() == (there[0], {})
    table.undo(2)
    assert table.world() == (table.before, {})


@pytest.mark.parametrize("error", [StoreUnavailable, EffectUnavailable, ServerUnavailable])
def test_a_full_account_a_full_disk_or_an_outage_stops_it_and_the_same_command_goes_on(
    table: Table, error: type[Exception]
) -> None:
    def fail(step: str) -> None:
        if step == "before remove":
            raise error

    table.marker.step = fail  # type: ignore[method-assign]
    with pytest.raises(error):
        table.undo(2)
    table.marker.step = lambda step: None  # type: ignore[method-assign]

    assert "go on with: backfill undo 2" in table.bench.told[-1]
    assert table.state(2) is JobState.UNDONE
    table.undo(2)
    assert table.world() == table.between


def test_an_output_whose_server_is_away_is_named_and_the_others_are_taken_back(table: Table) -> None:
    table.undo(1)

    def fail(step: str) -> None:
        if step == "before remove":
            raise EffectUnreachable

    table.marker.step = fail  # type: ignore[method-assign]
    result = table.undo(2)
    table.marker.step = lambda step: None  # type: ignore[method-assign]

    assert table.notes() == {}
    assert [refused.mails for refused in result.refused] == [MAILS]
    assert table.undo(2).refused == ()
    assert table.world() == (table.before, {})


@pytest.mark.parametrize("trouble", ["read-only", "closed", "odd"])
def test_a_folder_or_a_mail_in_trouble_does_not_stop_the_rest_and_is_taken_back_later(
    table: Table, trouble: str
) -> None:
    table.undo(1)

    def fail(step: str) -> None:
        if step == "before remove" and trouble != "read-only":
            raise FolderUnusable if trouble == "closed" else ArithmeticError

    table.marker.deaf.update(range(1, MAILS + 1) if trouble == "read-only" else ())
    table.marker.step = fail  # type: ignore[method-assign]
    result = table.undo(2)
    table.marker.step = lambda step: None  # type: ignore[method-assign]
    table.marker.deaf.clear()

    assert table.notes() == {}
    assert sum(refused.mails for refused in result.refused) == MAILS
    assert table.bench.statuses()  # the mails that still bear our keywords are not told to be undone
    assert [status for _, status in table.lines()].count("undone") == MAILS
    again = table.undo(2)
    assert again.refused == ()
    assert table.world() == (table.before, {})
    assert [status for _, status in table.lines()].count("undone") == 2 * MAILS


def test_a_stop_between_two_outputs_leaves_the_rest_to_the_next_undo(table: Table) -> None:
    table.undo(1)

    def stop(step: str) -> None:
        if step == "after remove":
            table.bench.stop.set("SIGINT")

    table.marker.step = stop  # type: ignore[method-assign]
    result = table.undo(2)
    table.marker.step = lambda step: None  # type: ignore[method-assign]
    table.bench.stop = type(table.bench.stop)()

    assert result.stopped == "SIGINT"
    assert len(table.notes()) == MAILS
    assert table.undo(2).stopped is None
    assert table.world() == (table.before, {})
