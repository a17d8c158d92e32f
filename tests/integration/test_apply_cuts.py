"""An `apply` that is killed at any step goes on, also with other settings, and leaves what the verdicts derive then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backfill.ledger import Ledger
from tests.integration.test_crash_points import Fresh, Runner, fresh, runner
from tests.support.world import CUT, Diary, World, WorldMarker

__all__ = ["fresh", "runner"]  # fixtures

MAILS = 8
JUDGED = World(mails=MAILS)
VERBS = (
    *("applying.begin", "applying.take_up", "receipts.intend", "results.commit", "items.claim", "items.begin"),
    *("runs.begin", "runs.end", "jobs.settle", "outcomes.advance", "server.add", "server.remove", "source.fetch"),
)
STEPS = [
    *(f"{when} {verb}" for verb in VERBS for when in ("before", "after")),
    *("before notes.apply", "within notes.apply"),
]
#: What is applied when it is killed, and what the settings say when it goes on.
RENAMED = replace(JUDGED, applies=True, tag="Wichtig")
HIGHER = replace(JUDGED, applies=True, threshold=10)
CHANGES = {
    "the same settings": (HIGHER, HIGHER),
    "other settings": (RENAMED, HIGHER),
    "the settings of before": (HIGHER, replace(JUDGED, applies=True)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("step", STEPS)
def test_an_apply_that_is_killed_at_any_step_goes_on_to_what_the_settings_say_then(
    runner: Runner, fresh: Fresh, tmp_path: Path, step: str, change: str
) -> None:
    if not fresh.is_thorough and (step.startswith("before") or change != "other settings"):
        pytest.skip("on PostgreSQL only after each step, unless BACKFILL_CRASH_POINTS=all")
    killed, final = CHANGES[change]
    with fresh.ledger(tmp_path) as url:
        assert runner.run(JUDGED, tmp_path, url)["code"] == 0

        answer = runner.run(killed, tmp_path, url, (step, 1))
        is_cut = answer["code"] == CUT
        assert runner.run(final, tmp_path, url, shift_s=120.0)["code"] == 0

        assert is_cut or answer["reached"].get(step) is None, answer
        assert_it_follows(final, tmp_path, url)


def test_every_step_is_reached_by_one_of_the_changes(runner: Runner, fresh: Fresh, tmp_path: Path) -> None:
    reached: set[str] = set()
    with fresh.ledger(tmp_path) as url:
        runner.run(JUDGED, tmp_path, url)
        for world in (RENAMED, HIGHER):
            reached |= runner.run(world, tmp_path, url)["reached"].keys()

    assert {*STEPS} - reached == set()


def assert_it_follows(world: World, folder: Path, url: str) -> None:
    labels = ["important"] if world.threshold <= 9 else []
    expected = {"AIProcessed", *([world.tag] if labels else [])}
    marker = WorldMarker(world, Diary(folder / "stores.jsonl"))
    ledger = Ledger.open(url)
    (job,) = ledger.jobs.all()
    differences, summary = ledger.audit.differences(job.id, ["flags", "notes"]), ledger.report.summary(job)
    stale = ledger.database.read(
        lambda connection: connection.exec_driver_sql("SELECT COUNT(*) FROM receipt WHERE stale").scalar_one()
    )
    ledger.close()
    notes = [path.read_text().splitlines()[1] for path in (folder / "notes").rglob("*") if path.is_file()]

    assert marker.mails == dict.fromkeys(range(1, MAILS + 1), expected)
    assert notes == ['["important"]' if labels else "[]"] * MAILS
    assert differences == []
    assert stale == 0
    assert (summary.counts.done, summary.counts.pending, summary.job.state) == (MAILS, 0, "done")
    assert len(Diary(folder / "calls.jsonl").entries()) == MAILS
