"""Whatever is done in whatever order: keywords and notes are exactly what the current verdicts derive.

A sequence of runs, dry runs, other thresholds, applies, undos and new jobs over the same mails, and what the owner does
in between. A model says which job's verdict counts; the mailbox and the notes folder are compared with it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backfill.effects.flags import FlagsEffect
from backfill.effects.notes import NotesEffect
from backfill.fingerprint import Fingerprint
from backfill.ledger import Ledger
from backfill.limits import GivenLimits
from backfill.message import Message
from backfill.operations.apply import apply
from backfill.operations.request import Request
from backfill.operations.run import run
from backfill.operations.undo import undo
from backfill.ports import Effect
from backfill.rubric import Rubric
from backfill.selection import Selection
from backfill.verdict import Scores
from tests.support.bench import INBOX, Bench, BenchClassifier, BenchParts
from tests.support.memory_marker import MemoryMarker

UIDS = range(1, 6)
#: What each classifier says of a mail's importance and spam, by UID.
SCORES = {
    "a": {1: (9, 1), 2: (9, 9), 3: (1, 9), 4: (1, 1), 5: (6, 4)},
    "b": {1: (1, 9), 2: (9, 1), 3: (6, 4), 4: (9, 9), 5: (1, 1)},
    "c": {1: (6, 4), 2: (1, 1), 3: (9, 1), 4: (1, 9), 5: (9, 9)},
}
BEFORE = {1: {"Keep", "\\Seen"}, 2: {"IMPORTANT"}, 3: {"aiprocessed", "Spam"}, 4: set(), 5: {"$Label1"}}
THRESHOLDS = ((8, 5), (5, 3), (10, 10))
NOTE = "{{ subject | quoted }} {{ labels }}\n"


@dataclass
class Story:
    """The mailbox, the jobs, and the model of both. Jobs are named by their classifiers."""

    bench: Bench
    marker: MemoryMarker = field(default_factory=lambda: MemoryMarker(INBOX))
    thresholds: tuple[int, int] = THRESHOLDS[0]
    judged_by: dict[int, str] = field(default_factory=dict)  # job → its classifier
    undone: set[int] = field(default_factory=set)
    owners: dict[int, set[str]] = field(default_factory=lambda: {uid: {*words} for uid, words in BEFORE.items()})
    has_edited: set[str] = field(default_factory=set)  # names of notes
    is_settled: bool = True  # nothing waits for an apply

    def __post_init__(self) -> None:
        self.bench.mailbox.holds(*UIDS)
        self.marker.mails = self.bench.mailbox.keywords
        for uid, words in BEFORE.items():
            self.marker.mails[uid] = {*words}

    def parts(self, name: str = "a") -> BenchParts:
        def answers(message: Message) -> Scores:
            importance, spam = SCORES[name][message.ref.uid]
            return Scores.of(importance=importance, spam=spam)

        self.bench.classifier = BenchClassifier(answers, fingerprint=Fingerprint.of(name, classifier="bench"))
        rubric = Rubric.default(*self.thresholds)
        return replace(
            self.bench.parts(analytics=True), rubric=rubric, outputs=self.outputs, effect_names=("notes", "flags")
        )

    def outputs(self) -> tuple[Effect, ...]:
        keywords = {"important": "Important", "spam": "Spam"}
        flags = FlagsEffect(self.marker, processed_tag="AIProcessed", keywords=keywords)
        return NotesEffect(self.bench.folder / "notes", NOTE), flags

    def run(self, name: str) -> None:
        """A run; where the job of this classifier was undone, a new job."""
        jobs = [job for job, judge in self.judged_by.items() if judge == name]
        anew = bool(jobs) and jobs[-1] in self.undone
        request = Request(Selection(), new_job=anew)
        result = run(self.parts(name), self.bench.audience(), request, GivenLimits())
        if result.job.id not in self.judged_by:
            self.judged_by[result.job.id] = name
            # Mails whose verdict the new job shares keep their outputs until the next apply.
            self.is_settled = self.is_settled and not anew

    def dry_run(self, name: str) -> None:
        run(self.parts(name), self.bench.audience(), Request(Selection(), dry_run=True), GivenLimits())

    def think_again(self, thresholds: tuple[int, int]) -> None:
        self.is_settled = self.is_settled and thresholds == self.thresholds
        self.thresholds = thresholds

    def apply(self, place: int) -> None:
        if job := self.job_at(place):
            apply(self.parts(), self.bench.audience(), job)
            self.undone.discard(job)
            self.is_settled = job == self.current()

    def undo(self, place: int) -> None:
        if job := self.job_at(place):
            was_current = job == self.current()
            undo(self.parts(), self.bench.audience(), job)
            self.undone.add(job)
            self.is_settled = self.is_settled or (was_current and self.current() is None)

    def owner(self, uid: int) -> None:
        """The owner sets a keyword of his own, and reads the mail."""
        for words in (self.owners[uid], self.marker.mails[uid]):
            words |= {"Mine", "\\Seen"}

    def job_at(self, place: int) -> int | None:
        jobs = sorted(self.judged_by)
        return jobs[place % len(jobs)] if jobs else None

    def current(self) -> int | None:
        return max((job for job in self.judged_by if job not in self.undone), default=None)

    def expected(self) -> dict[int, tuple[set[str], str | None]]:
        """The keywords of each mail, in small letters, and the text of its note."""
        current = self.current()
        found: dict[int, tuple[set[str], str | None]] = {}
        for uid in UIDS:
            words, note = {word.lower() for word in self.owners[uid]}, None
            if current is not None:
                importance, spam = SCORES[self.judged_by[current]][uid]
                held = {"important": importance >= self.thresholds[0], "spam": spam >= self.thresholds[1]}
                labels = [label for label, holds in held.items() if holds]
                words |= {"aiprocessed", *labels}
                note = f'"mail {uid}" {labels}\n'
            found[uid] = words, note
        return found

    def found(self) -> dict[int, tuple[set[str], str | None]]:
        texts = [path.read_text() for path in (self.bench.folder / "notes").rglob("*") if path.is_file()]
        notes = {uid: [text for text in texts if text.startswith(f'"mail {uid}"')] for uid in UIDS}
        assert sum(map(len, notes.values())) == len(texts)
        return {uid: ({word.lower() for word in self.marker.mails[uid]}, "".join(notes[uid]) or None) for uid in UIDS}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    Ledger.open(f"sqlite:///{path}").close()
    return path


@contextmanager
def story(template: Path) -> Iterator[Story]:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(template, Path(folder) / "ledger.db")
        bench = Bench(Path(folder))
        try:
            yield Story(bench)
        finally:
            bench.close()


STEPS = st.one_of(
    st.tuples(st.just("run"), st.sampled_from("abc")),
    st.tuples(st.just("dry_run"), st.sampled_from("abc")),
    st.tuples(st.just("think_again"), st.sampled_from(THRESHOLDS)),
    st.tuples(st.just("apply"), st.integers(0, 3)),
    st.tuples(st.just("undo"), st.integers(0, 3)),
    st.tuples(st.just("owner"), st.sampled_from(UIDS)),
)


@pytest.mark.timeout(3600)
@given(steps=st.lists(STEPS, min_size=2, max_size=7))
@settings(
    max_examples=int(os.environ.get("SEQUENCES") or 5),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    deadline=None,
)
def test_any_sequence_leaves_exactly_what_the_current_verdicts_derive(
    template: Path, steps: list[tuple[str, object]]
) -> None:
    with story(template) as told:
        for verb, given_to in steps:
            getattr(told, verb)(given_to)
            if told.is_settled:
                assert told.found() == told.expected(), (verb, given_to)

        if (current := told.current()) is not None:
            apply(told.parts(), told.bench.audience(), current)
        assert told.found() == told.expected()
        for job in sorted(told.judged_by, key=lambda job: (job * 7) % 5):
            undo(told.parts(), told.bench.audience(), job)
            told.undone.add(job)
        assert told.found() == told.expected()
        assert {uid: {*words} for uid, words in told.marker.mails.items()} == told.owners
