"""`cleanup-flags` in folders that do not play along, cut short at any step, and taken back all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest

from backfill.errors import MailboxChanged, ServerTroubled
from backfill.folders import FolderPatterns
from backfill.ledger import Ledger
from backfill.lifecycle import JobState
from backfill.message import MailboxKey
from backfill.operations.cleanup import Cleaned, cleanup, put_back
from backfill.ports import Folder, MailboxState, MailMarker, Surveyed, UidWindow
from backfill.selection import Selection
from tests.support.bench import INBOX, Bench, BenchParts, PowerCut
from tests.support.memory_marker import MemoryMarker

ARCHIVE = MailboxKey(INBOX.account, "Archive", 9)


@dataclass
class Folders:
    """A source and a marker over several folders in memory."""

    markers: dict[str, MemoryMarker] = field(default_factory=dict)
    cut: Callable[[str], None] = lambda step: None

    def list_folders(self) -> list[Folder]:
        return [Folder(name) for name in self.markers]

    def examine(self, folder: str) -> MailboxState:
        marker = self.markers[folder]
        return MailboxState(marker.mailbox, len(marker.mails), max(marker.mails, default=0) + 1)

    def windows(self, mailbox: MailboxKey, low: int, high: int) -> list[UidWindow]:
        return [UidWindow(low, high)]

    def survey(self, mailbox: MailboxKey, window: UidWindow, selection: Selection) -> list[Surveyed]:
        keyword = str(selection.search).removeprefix("KEYWORD ")
        marker = self.markers[mailbox.folder]
        return [Surveyed(uid) for uid in sorted(marker.bearing(marker.mailbox, keyword, sorted(marker.mails)))]

    def add(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        return self._changed("add", mailbox, keyword, uids)

    def remove(self, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        return self._changed("remove", mailbox, keyword, uids)

    def present(self, mailbox: MailboxKey, uids: Sequence[int]) -> frozenset[int]:
        return self.markers[mailbox.folder].present(mailbox, uids)

    def close(self) -> None:
        return

    def _changed(self, verb: str, mailbox: MailboxKey, keyword: str, uids: Sequence[int]) -> frozenset[int]:
        self.cut(f"before {verb}")
        changed: frozenset[int] = getattr(self.markers[mailbox.folder], verb)(mailbox, keyword, uids)
        self.cut(f"after {verb}")
        return changed

    def keywords(self) -> dict[str, dict[int, set[str]]]:
        return {name: {uid: {*words} for uid, words in marker.mails.items()} for name, marker in self.markers.items()}


class CleanupBench(BenchParts):
    """The parts of a cleanup, in memory."""

    own_keywords = frozenset({"AIProcessed"})

    def marker(self) -> MailMarker:
        return self.source  # type: ignore[return-value]  # `Folders` is both

    def bearing_key(self, keyword: str) -> str:
        return f"KEYWORD {keyword}"


@pytest.fixture
def bench(tmp_path: Path, ledger_url: str) -> Iterator[Bench]:
    bench = Bench(tmp_path, url=ledger_url)
    yield bench
    bench.close()


@pytest.fixture
def folders() -> Folders:
    found = Folders({"INBOX": MemoryMarker(INBOX), "Archive": MemoryMarker(ARCHIVE)})
    for marker in found.markers.values():
        marker.holds(1, 2, 3, keywords=["OldTag", "Keep"])
        marker.holds(4, keywords=["Keep"])
    return found


def parts(bench: Bench, folders: Folders) -> CleanupBench:
    known = bench.parts()
    made = {each.name: getattr(known, each.name) for each in fields(BenchParts)}
    return CleanupBench(**{**made, "source": folders})


def clean(bench: Bench, folders: Folders, *keywords: str) -> Cleaned:
    selection = Selection(folders=tuple(folders.markers))
    patterns = FolderPatterns(selection.folders)
    return cleanup(parts(bench, folders), bench.audience(), keywords or ("OldTag",), selection, patterns)


def restore(bench: Bench, folders: Folders) -> Cleaned:
    (job,) = bench.ledger.jobs.all()
    return put_back(parts(bench, folders), bench.audience(), job)


def test_a_keyword_that_is_put_back_counts_as_the_owners_for_a_run_that_came_between(
    bench: Bench, folders: Folders
) -> None:
    done = clean(bench, folders)
    bench.mailbox.holds(1)
    bench.mailbox.keywords[1] = {"Keep"}
    bench.run()
    job = bench.ledger.jobs.all()[-1].id
    assert done.job is not None

    put_back(parts(bench, folders), bench.audience(), done.job)

    (judged,) = bench.ledger.applying.page(job)
    assert judged.item.flags_before == {"Keep", "OldTag"}


def test_a_folder_that_is_read_only_is_named_and_the_others_are_cleaned(bench: Bench, folders: Folders) -> None:
    folders.markers["INBOX"].deaf.update({1, 2, 3})

    cleaned = clean(bench, folders)

    assert [(trouble.folder, trouble.mails) for trouble in cleaned.troubles] == [("INBOX", 3)]
    assert "read-only" in cleaned.troubles[0].reason
    assert cleaned.changed == 3
    assert folders.keywords()["Archive"] == {uid: {"Keep"} for uid in (1, 2, 3, 4)}


def test_what_could_not_be_removed_is_not_put_back(bench: Bench, folders: Folders) -> None:
    folders.markers["INBOX"].deaf.update({1, 2, 3})
    clean(bench, folders)
    folders.markers["INBOX"].deaf.clear()
    folders.markers["INBOX"].remove(INBOX, "OldTag", [1])  # the owner's doing

    restore(bench, folders)

    assert folders.keywords()["INBOX"][1] == {"Keep"}


@pytest.mark.parametrize("error", [ServerTroubled, MailboxChanged])
def test_a_folder_in_which_the_server_cannot_work_does_not_stop_the_others(
    bench: Bench, folders: Folders, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Folders._changed

    def changed(self: Folders, verb: str, mailbox: MailboxKey, *rest: Any) -> frozenset[int]:
        if mailbox == INBOX:
            raise error
        return real(self, verb, mailbox, *rest)

    monkeypatch.setattr(Folders, "_changed", changed)

    cleaned = clean(bench, folders)

    assert cleaned.changed == 3
    assert (cleaned.gone, len(cleaned.troubles)) == ((3, 0) if error is MailboxChanged else (0, 1))


def test_a_stop_between_two_batches_leaves_the_rest_and_the_same_command_goes_on(
    bench: Bench, folders: Folders
) -> None:
    before = folders.keywords()
    folders.cut = lambda step: bench.stop.set("SIGINT")

    stopped = clean(bench, folders)
    folders.cut = lambda step: None
    bench.stop = type(bench.stop)()
    again = clean(bench, folders)

    assert (stopped.stopped, stopped.changed) == ("SIGINT", 3)
    assert (again.stopped, again.changed) == (None, 3)
    assert again.job is not None
    assert again.job.id == bench.ledger.jobs.all()[0].id
    restore(bench, folders)
    assert folders.keywords() == before


STEPS = [
    *(f"{when} {verb}" for verb in ("open", "note", "forget", "settle") for when in ("before", "after")),
    *("before remove", "after remove"),
]
UNDO_STEPS = [f"{when} {verb}" for verb in ("begin_undo", "add", "close") for when in ("before", "after")]


@pytest.mark.parametrize("occurrence", [1, 2])
@pytest.mark.parametrize("step", STEPS)
def test_a_cleanup_that_is_cut_at_any_step_can_be_gone_on_with_or_taken_back(
    bench: Bench, folders: Folders, step: str, occurrence: int
) -> None:
    before = folders.keywords()
    folders.markers["Archive"].deaf.add(3)
    cut_at(bench, folders, step, occurrence, clean)

    if occurrence == 1:
        clean(bench, folders)
        assert all("OldTag" not in words for words in folders.keywords()["INBOX"].values())
    if bench.ledger.jobs.all():
        restore(bench, folders)

    assert folders.keywords() == before


@pytest.mark.parametrize("occurrence", [1, 2])
@pytest.mark.parametrize("step", UNDO_STEPS)
def test_an_undo_of_a_cleanup_that_is_cut_at_any_step_goes_on(
    bench: Bench, folders: Folders, step: str, occurrence: int
) -> None:
    before = folders.keywords()
    clean(bench, folders)
    cut_at(bench, folders, step, occurrence, restore)

    restore(bench, folders)

    assert folders.keywords() == before
    (job,) = bench.ledger.jobs.all()
    assert job.state is JobState.UNDONE
    assert bench.ledger.removals.count(job.id) == 0


def cut_at(bench: Bench, folders: Folders, step: str, occurrence: int, work: Callable[..., Any]) -> None:
    """Work until the step is reached for the time `occurrence`; then the process is gone."""
    reached: list[str] = []

    def cut(now: str) -> None:
        reached.append(now)
        if now == step and reached.count(step) == occurrence:
            raise PowerCut

    whole = bench.ledger
    folders.cut = cut
    bench.ledger = stepped(whole, cut)
    with suppress(PowerCut):
        work(bench, folders)
    folders.cut = lambda step: None
    bench.ledger = whole
    assert step in reached or occurrence == 2 or step.endswith("forget")


def stepped(ledger: Ledger, cut: Callable[[str], None]) -> Ledger:
    """The same ledger, with a step before and after each verb about removals."""
    real = ledger.removals

    def step(verb: str) -> Callable[..., Any]:
        def stepped(self: Any, *given: Any) -> Any:
            cut(f"before {verb}")
            answer = getattr(type(real), verb)(self, *given)
            cut(f"after {verb}")
            return answer

        return stepped

    verbs = ("open", "note", "forget", "close", "settle", "begin_undo")
    own = object.__new__(type("Stepped", (type(real),), {verb: step(verb) for verb in verbs}))
    for held in fields(real):
        object.__setattr__(own, held.name, getattr(real, held.name))
    every = {part.name: getattr(ledger, part.name) for part in fields(Ledger)}
    return Ledger(**{**every, "removals": own})
