"""`analytics.jsonl` under rotation: all files together hold each outcome once, whatever rotates them and whenever."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backfill.analytics import AnalyticsFile
from backfill.analytics.lines import line
from backfill.errors import EffectUnavailable
from backfill.ledger import Ledger
from backfill.ledger.outcomes import Sink
from tests.support.clocks import TurnedClock
from tests.support.ledgers import Bench

MAILS = 60


@dataclass
class Desk:
    """A ledger whose mails become done one by one, its analytics file, and the ways in which files are rotated."""

    folder: Path
    bench: Bench = field(init=False)
    rotations: int = 0

    def __post_init__(self) -> None:
        self.bench = Bench(Ledger.open(f"sqlite:///{self.folder}/ledger.db"), TurnedClock())
        self.bench.plan(*range(1, MAILS + 1))
        self.run = self.bench.run()

    @property
    def path(self) -> Path:
        return self.folder / "analytics.jsonl"

    @property
    def file(self) -> AnalyticsFile:
        return AnalyticsFile(self.bench.ledger, self.path)

    def sink(self) -> Sink:
        return next(iter(self.bench.ledger.outcomes.sinks()), Sink(0, 0, 0))

    def work(self, mails: int) -> None:
        for item in self.bench.claim(self.run, mails):
            self.bench.finish(self.run, item, self.bench.record(self.run, item).verdict)

    def die_writing(self, share: float) -> None:
        """A writer brings the file up to date, appends this share of three more lines, and dies before it commits."""
        self.file.catch_up()
        self.work(3)
        missing = b"".join(map(line, self.bench.ledger.outcomes.after(self.sink().last_outcome_id, 100)))
        with self.path.open("ab") as file:
            file.write(missing[: round(len(missing) * share)])

    def rotate(self, kind: str) -> None:
        if not self.path.exists():
            return
        self.rotations += 1
        rotated = self.folder / f"analytics.jsonl-{self.rotations:03d}"
        match kind:
            case "rename":
                self.path.rename(rotated)
            case "rename, create":
                self.path.rename(rotated)
                self.path.touch()
            case "rename, compress":
                self.path.rename(rotated)
                with rotated.open("rb") as plain, gzip.open(f"{rotated}.gz", "wb") as compressed:
                    shutil.copyfileobj(plain, compressed)
                rotated.unlink()
            case "copytruncate":
                shutil.copyfile(self.path, rotated)
                os.truncate(self.path, 0)
            case "copytruncate, lines in between":
                shutil.copyfile(self.path, rotated)
                self.work(2)
                self.file.catch_up()
                os.truncate(self.path, 0)

    def uids(self) -> Counter[int]:
        """The UIDs in the whole lines of all files."""
        found: Counter[int] = Counter()
        for path in self.folder.glob("analytics.jsonl*"):
            if path.suffix != ".lock":
                content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
                found.update(json.loads(each)["uid"] for each in content.split(b"\n")[:-1])
        return found

    def done(self) -> Counter[int]:
        return Counter(uid for uid, _, _ in self.bench.outcomes())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.bench.close()


KINDS = ["rename", "rename, create", "rename, compress", "copytruncate", "copytruncate, lines in between"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_rotation_loses_and_doubles_no_line(desk: Desk, kind: str) -> None:
    desk.work(10)
    desk.file.catch_up()
    desk.rotate(kind)
    difference = desk.file.difference()
    desk.work(10)

    desk.file.catch_up()

    assert difference is None or "lines in between" in kind
    assert desk.uids() == desk.done()
    assert desk.file.difference() is None
    assert len(desk.path.read_bytes().splitlines()) < len(desk.done())  # the rotated lines are not written again


STEPS = st.one_of(
    st.tuples(st.just("work"), st.integers(1, 4)),
    st.tuples(st.just("catch up")),
    st.tuples(st.just("die writing"), st.floats(0, 1)),
    st.tuples(st.just("rotate"), st.sampled_from(KINDS)),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, max_size=14))
@example(steps=[("catch up",), ("rotate", "copytruncate, lines in between")])
@example(steps=[("die writing", 1.0), ("rotate", "copytruncate, lines in between")])
@example(steps=[("die writing", 0.25), ("rotate", "copytruncate, lines in between")])
def test_any_order_of_writing_dying_and_rotating_leaves_each_outcome_once(steps: list[tuple[object, ...]]) -> None:
    with TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        for step in steps:
            match step:
                case "work", int(mails):
                    desk.work(mails)
                case "catch up", *_:
                    desk.file.catch_up()
                case "die writing", float(share):
                    desk.die_writing(share)
                case "rotate", str(kind):
                    desk.rotate(kind)

        desk.file.catch_up()

        found, done = desk.uids(), desk.done()
        desk.bench.close()
    assert found == done


def test_a_deleted_file_is_written_again_from_the_last_rotation_on(desk: Desk) -> None:
    desk.work(10)
    desk.file.catch_up()
    desk.rotate("rename")
    desk.work(10)
    desk.file.catch_up()
    desk.path.unlink()

    desk.file.catch_up()

    assert desk.uids() == desk.done()


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[:3],
        lambda lines: lines[1:],
        lambda lines: [*lines[:4], lines[4][:10]],
        lambda lines: [lines[0].replace(b"{", b'{"mine": 1, '), *lines[1:]],
        lambda lines: [lines[1], lines[0], *lines[2:-1]],
    ],
    ids=["last line gone", "cut", "first line gone", "torn", "edited", "sorted anew and cut"],
)
def test_a_shortened_or_edited_file_is_refused_and_the_command_named_writes_it_anew(desk: Desk, damage) -> None:
    desk.work(10)
    desk.file.catch_up()
    whole = desk.path.read_bytes()
    desk.path.write_bytes(b"".join(damage(whole.splitlines(keepends=True))))
    damaged = desk.path.read_bytes()
    desk.work(2)

    with pytest.raises(EffectUnavailable, match=r"backfill export --all-jobs --format jsonl --output .* --force"):
        desk.file.catch_up()
    left = desk.path.read_bytes()
    rebuilt = desk.file.rebuild()

    assert left == damaged
    assert rebuilt == 12
    assert desk.path.read_bytes().startswith(whole)
    assert desk.file.difference() is None
    assert desk.uids() == desk.done()


def test_a_rebuilt_file_goes_on_exactly_and_repeats_nothing_of_the_rotated_files(desk: Desk) -> None:
    desk.work(10)
    desk.file.catch_up()
    desk.rotate("copytruncate")
    desk.work(10)
    desk.file.catch_up()
    desk.path.write_bytes(b"mine\n" + desk.path.read_bytes())

    desk.file.rebuild()
    desk.work(5)
    desk.file.catch_up()

    assert desk.uids() == desk.done()
    assert desk.path.stat().st_mode & 0o777 == 0o600


def test_a_file_with_the_wrong_lines_after_a_rotation_is_not_cut(desk: Desk) -> None:
    desk.work(10)
    desk.file.catch_up()
    desk.rotate("rename, create")
    desk.file.catch_up()
    desk.path.write_text("an owner's own line\n")
    desk.work(5)

    with pytest.raises(EffectUnavailable, match="was edited"):
        desk.file.catch_up()

    assert desk.path.read_text() == "an owner's own line\n"


def _write_on(ledger_url: str, path: Path) -> None:
    """What a run's process does with the file, until it is killed."""
    ledger = Ledger.open(ledger_url)
    while True:
        AnalyticsFile(ledger, path).catch_up()


@pytest.mark.parametrize("kind", ["rename", "rename, create", "copytruncate"])
def test_a_writer_that_is_killed_again_and_again_while_files_are_rotated_loses_nothing(desk: Desk, kind: str) -> None:
    forked = multiprocessing.get_context("spawn")
    url = f"sqlite:///{desk.folder}/ledger.db"
    for _ in range(3):
        writer = forked.Process(target=_write_on, args=(url, desk.path))
        writer.start()
        written = desk.sink().last_outcome_id
        desk.work(4)
        while desk.sink().last_outcome_id == written:  # it is at work
            writer.join(0.01)
            assert writer.is_alive()
        for _ in range(3):
            desk.work(3)
            if kind != "copytruncate":
                desk.rotate(kind)
        writer.kill()
        writer.join()
        desk.rotate(kind)

    desk.file.catch_up()

    assert desk.uids() == desk.done()
    assert len(desk.done()) > 30
