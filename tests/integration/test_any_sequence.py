"""Any sequence of runs, dry runs, changed settings, applies, undos and new jobs leaves what current verdicts derive.

What is expected is derived here a second time, from the rows of the ledger and the rule in `lifecycle`: not by SQL.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from backfill.effects.flags import FlagsEffect
from backfill.effects.notes import NotesEffect
from backfill.errors import ConfigError
from backfill.fingerprint import Fingerprint
from backfill.ledger import Ledger
from backfill.ledger.schema import metadata
from backfill.lifecycle import STANDING, ItemStatus, JobState
from backfill.limits import GivenLimits, RunLimits
from backfill.operations.apply import apply
from backfill.operations.request import Request
from backfill.operations.run import run
from backfill.operations.undo import undo
from backfill.ports import Effect
from backfill.rubric import Rubric
from backfill.selection import Selection
from backfill.verdict import Scores
from tests.support.bench import INBOX, Bench, BenchClassifier, BenchClock, BenchParts
from tests.support.memory_marker import MemoryMarker

UIDS = (1, 2, 3, 4)
NOTE = "{{ labels | quoted }}\n"
MODELS = ("a", "b", "c")
CAPS = (None, 1, 2)
BEFORE = {1: {"\\Seen", "Mine"}, 2: {"spam"}, 3: {"Important", "AIProcessed"}, 4: set()}
SETTINGS = settings(
    max_examples=int(os.environ.get("BACKFILL_SEQUENCES", "12")),
    stateful_step_count=10,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


def scores(model: str, uid: int) -> Scores:
    """Each model has an opinion of its own about each mail."""
    number = MODELS.index(model) * 7 + uid * 5
    return Scores.of(importance=number % 11, spam=number * 3 % 11)


class Sequence(RuleBasedStateMachine):
    """Four mails, three models, and an operator who changes his mind."""

    def __init__(self, url: Callable[[Path], str]) -> None:
        super().__init__()
        self.folder = Path(mkdtemp(prefix="backfill-sequence-"))
        self.bench = Bench(self.folder, BenchClock(), url(self.folder))
        self.bench.mailbox.holds(*UIDS)
        self.bench.mailbox.keywords = {uid: {*words} for uid, words in BEFORE.items()}
        self.marker = MemoryMarker(INBOX)
        self.marker.mails = self.bench.mailbox.keywords
        self.thresholds, self.spam_tag, self.template = (8, 5), "Spam", NOTE
        self.models: dict[int, str] = {}  # job → the model that it asks

    def teardown(self) -> None:
        try:
            self.everything_is_as_it_should_be()
        finally:
            self.bench.close()
            shutil.rmtree(self.folder)

    # What the operator does

    @rule(
        model=st.sampled_from(MODELS), dry_run=st.booleans(), new_job=st.booleans(), cap=st.sampled_from([None, 1, 2])
    )
    def run(self, model: str, dry_run: bool, new_job: bool, cap: int | None) -> None:
        request = Request(Selection(), dry_run=dry_run, new_job=new_job)
        with suppress(ConfigError):  # it was undone, or another model is not done yet
            self.work(model, request, cap)

    @rule(pick=st.integers(0, 9), cap=st.sampled_from([None, 1]))
    def resume(self, pick: int, cap: int | None) -> None:
        if self.models:
            job = sorted(self.models)[pick % len(self.models)]
            with suppress(ConfigError):
                self.work(self.models[job], Request(job=job), cap)

    @rule(importance=st.sampled_from([0, 4, 8]), spam=st.sampled_from([2, 5, 10]))
    def change_thresholds(self, importance: int, spam: int) -> None:
        self.thresholds = importance, spam

    @rule(tag=st.sampled_from(["Spam", "Junk", "Mine"]))
    def rename_a_keyword(self, tag: str) -> None:
        self.spam_tag = tag

    @rule(template=st.sampled_from([NOTE, "# {{ labels | quoted }}\n"]))
    def change_the_template(self, template: str) -> None:
        self.template = template

    @rule(pick=st.integers(0, 9))
    def apply(self, pick: int) -> None:
        if self.models:
            self.apply_job(sorted(self.models)[pick % len(self.models)])

    @rule(pick=st.integers(0, 9), only=st.sampled_from([(), ("flags",), ("notes",)]))
    def undo(self, pick: int, only: tuple[str, ...]) -> None:
        if self.models:
            with suppress(ConfigError):  # a dry run
                undo(self.parts("a"), self.bench.audience(), sorted(self.models)[pick % len(self.models)], only)

    @rule(pick=st.integers(0, 9))
    def cancel(self, pick: int) -> None:
        if self.models:
            self.bench.ledger.steering.cancel(sorted(self.models)[pick % len(self.models)], "cancelled")

    # How it is done

    def parts(self, model: str) -> BenchParts:
        bench = self.bench
        bench.classifier = BenchClassifier(
            lambda message: scores(model, message.ref.uid), fingerprint=Fingerprint.of(model, classifier="bench")
        )
        return BenchParts(
            ledger=bench.ledger,
            source=bench.mailbox,
            classifier=bench.classifier,
            outputs=self.outputs,
            limits=RunLimits(calls_per_minute=60_000, concurrency=2),
            rubric=self.rubric,
            effect_names=("notes", "flags"),
        )

    def outputs(self) -> tuple[Effect, ...]:
        flags = FlagsEffect(self.marker, processed_tag="AIProcessed", keywords=self.rubric.keywords)
        return NotesEffect(self.folder / "notes", self.template), flags

    @property
    def rubric(self) -> Rubric:
        return Rubric.default(*self.thresholds, spam_tag=self.spam_tag)

    def work(self, model: str, request: Request, cap: int | None) -> None:
        result = run(self.parts(model), self.bench.audience(), request, GivenLimits(max_emails=cap))
        self.models[result.job.id] = model

    def apply_job(self, job: int) -> None:
        with suppress(ConfigError):  # a dry run
            applied = apply(self.parts("a"), self.bench.audience(), job)
            assert applied.failed == applied.vanished == 0
            again = apply(self.parts("a"), self.bench.audience(), job)
            assert again.expected.mails == 0, again.expected

    # What must hold

    def everything_is_as_it_should_be(self) -> None:
        """After every job that is not undone is brought in step: keywords, notes, and what verify compares."""
        for job in sorted(self.models, reverse=True):
            found = self.bench.ledger.jobs.get(job)
            assert found is not None
            if found.state is not JobState.UNDONE:
                self.apply_job(job)
        expected = {uid: self.current(uid) for uid in UIDS}
        keywords = {uid: {word.casefold() for word in words} for uid, words in self.marker.mails.items()}

        assert keywords == {uid: self.keywords(uid, expected[uid]) for uid in UIDS}
        assert sorted(path.read_text() for path in (self.folder / "notes").rglob("*.md")) == sorted(
            self.template.replace("{{ labels | quoted }}", self.quoted(labels))
            for labels in expected.values()
            if labels is not None
        )
        for job in self.models:
            assert self.bench.ledger.audit.differences(job, ["flags", "notes"]) == []

    def current(self, uid: int) -> tuple[str, ...] | None:
        """The labels of the mail's current verdict; None: no verdict stands."""
        rows = self.bench.rows(
            "SELECT i.job_id, i.status, j.state, j.dry_run FROM item i JOIN job j ON j.id = i.job_id"
            f" WHERE i.uid = {uid} AND i.verdict_id IS NOT NULL"
        )
        standing = [
            job for job, status, state, dry in rows if not dry and ItemStatus(status) in STANDING[JobState(state)]
        ]
        if not standing:
            return None
        given = scores(self.models[max(standing)], uid)
        reached = (
            ("important", given["importance"] >= self.thresholds[0]),
            ("spam", given["spam"] >= self.thresholds[1]),
        )
        return tuple(label for label, holds in reached if holds)

    def keywords(self, uid: int, labels: tuple[str, ...] | None) -> set[str]:
        of = {"important": "important", "spam": self.spam_tag.casefold()}
        ours = set() if labels is None else {"aiprocessed", *(of[label] for label in labels)}
        return {word.casefold() for word in BEFORE[uid]} | ours

    def quoted(self, labels: tuple[str, ...]) -> str:
        return "[" + ", ".join(f'"{label}"' for label in labels) + "]"


@pytest.mark.timeout(300)
def test_any_sequence_of_commands_leaves_what_the_current_verdicts_derive_on_sqlite(tmp_path: Path) -> None:
    template = tmp_path / "template.db"
    Ledger.open(f"sqlite:///{template}").close()

    def url(folder: Path) -> str:
        shutil.copy(template, folder / "ledger.db")  # migrating takes longer than the work
        return f"sqlite:///{folder}/ledger.db"

    run_state_machine_as_test(lambda: Sequence(url), settings=SETTINGS)


@pytest.mark.timeout(300)
def test_any_sequence_of_commands_leaves_what_the_current_verdicts_derive_on_postgresql(postgres_url: str) -> None:
    def url(folder: Path) -> str:
        ledger = Ledger.open(postgres_url)
        tables = ", ".join(metadata.tables)
        ledger.database.write(
            lambda connection: connection.exec_driver_sql(f"TRUNCATE {tables} RESTART IDENTITY CASCADE").rowcount
        )
        ledger.close()
        return postgres_url

    run_state_machine_as_test(lambda: Sequence(url), settings=settings(SETTINGS, max_examples=2))
