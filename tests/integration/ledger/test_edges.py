"""The two state tables are what the ledger does: a verb walks each edge, and none is walked that a table lacks."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import backfill
from backfill.ledger.item_states import leaves
from backfill.ledger.rows import Item, Run
from backfill.lifecycle import JOB_TRANSITIONS, TRANSITIONS, IllegalTransition, ItemStatus, JobState
from tests.support.ledgers import Bench, inbox

PENDING, CLASSIFIED, DONE = ItemStatus.PENDING, ItemStatus.CLASSIFIED, ItemStatus.DONE
FAILED, SKIPPED, VANISHED = ItemStatus.FAILED, ItemStatus.SKIPPED, ItemStatus.VANISHED

SOURCES = Path(backfill.__file__).parent
SETS_STATE = re.compile(r"\bUPDATE\s+job\s+SET\b(?:(?!\bWHERE\b).)*\bstate\s*=", re.IGNORECASE | re.DOTALL)

Verb = Callable[[Bench], object]


def work_off(bench: Bench) -> None:
    run = bench.run()
    bench.work_off(run)
    bench.end(run)
    bench.ledger.jobs.settle(bench.job.id)


def undo(bench: Bench) -> None:
    bench.undo()


def pause(bench: Bench) -> None:
    bench.ledger.steering.pause(bench.job.id, "somebody has to look")


def cancel(bench: Bench) -> None:
    bench.ledger.steering.cancel(bench.job.id, "cancelled")


def reopen(bench: Bench) -> None:
    bench.ledger.jobs.reopen(bench.job.id)


#: How a new job comes to a state.
BROUGHT_TO: dict[JobState, tuple[Verb, ...]] = {
    JobState.PLANNING: (),
    JobState.OPEN: (lambda bench: bench.plan(11),),
    JobState.PAUSED: (pause,),
    JobState.DONE: (lambda bench: bench.plan(11), work_off),
    JobState.CANCELLED: (cancel,),
    JobState.UNDONE: (undo,),
}
#: Every edge that a job may walk, with a verb that walks it. Written down here, and not taken from the table.
JOB_EDGES: dict[tuple[JobState, JobState], Verb] = {
    (JobState.PLANNING, JobState.OPEN): lambda bench: bench.plan(11),
    (JobState.OPEN, JobState.PLANNING): lambda bench: bench.ledger.plans.open_mailbox(inbox(uidvalidity=8)),
    (JobState.OPEN, JobState.DONE): work_off,
    (JobState.DONE, JobState.PLANNING): reopen,
    (JobState.PLANNING, JobState.PAUSED): pause,
    (JobState.OPEN, JobState.PAUSED): pause,
    (JobState.PAUSED, JobState.PLANNING): lambda bench: bench.ledger.steering.resume(bench.job.id),
    (JobState.PLANNING, JobState.CANCELLED): cancel,
    (JobState.OPEN, JobState.CANCELLED): cancel,
    (JobState.PAUSED, JobState.CANCELLED): cancel,
    (JobState.CANCELLED, JobState.PLANNING): reopen,
    (JobState.PLANNING, JobState.UNDONE): undo,
    (JobState.OPEN, JobState.UNDONE): undo,
    (JobState.PAUSED, JobState.UNDONE): undo,
    (JobState.DONE, JobState.UNDONE): undo,
    (JobState.CANCELLED, JobState.UNDONE): undo,
    (JobState.UNDONE, JobState.PLANNING): reopen,
}


def job_state(bench: Bench) -> JobState:
    found = bench.ledger.jobs.get(bench.job.id)
    assert found is not None
    return found.state


def brought_to(bench: Bench, state: JobState) -> Bench:
    for step in BROUGHT_TO[state]:
        step(bench)
    assert job_state(bench) is state
    return bench


@pytest.mark.parametrize(("before", "after"), sorted(JOB_EDGES))
def test_a_job_moves_along_each_edge_of_the_table(bench, before, after):
    brought_to(bench, before)

    JOB_EDGES[before, after](bench)

    assert job_state(bench) is after


def test_the_table_of_jobs_lists_no_edge_that_no_verb_walks():
    assert set(JOB_TRANSITIONS) == set(JOB_EDGES)


@pytest.mark.parametrize(("before", "after"), sorted(JOB_EDGES))
def test_a_job_does_not_move_along_an_edge_that_the_table_lacks(bench, monkeypatch, before, after):
    brought_to(bench, before)
    monkeypatch.delitem(JOB_TRANSITIONS, (before, after))

    with suppress(IllegalTransition):  # where no other state leads there either
        JOB_EDGES[before, after](bench)

    assert job_state(bench) is before


def test_one_statement_alone_sets_the_state_of_a_job():
    places = {
        path.relative_to(SOURCES).as_posix()
        for path in sorted(SOURCES.rglob("*.py"))
        if any(map(SETS_STATE.search, texts(path))) or "update(job)" in path.read_text(encoding="utf-8")
    }

    assert places == {"ledger/job_states.py"}


# Items: what each edge is walked by, from a claimed and pending item on.


@contextmanager
def claimed(bench: Bench) -> Iterator[tuple[Run, Item]]:
    run = bench.run()
    [item] = bench.claim(run)
    yield run, item
    bench.end(run)


def fail(bench: Bench) -> None:
    with claimed(bench) as (run, item):
        bench.ledger.items.fail(run, item, "refused")


def vanish(bench: Bench) -> None:
    with claimed(bench) as (run, item):
        bench.ledger.items.vanish(run, item)


def skip(bench: Bench) -> None:
    with claimed(bench) as (run, item):
        bench.ledger.items.skip(run, item, "has_keyword")


def classify(bench: Bench) -> None:
    with claimed(bench) as (run, item):
        bench.record(run, item)


def finish(bench: Bench) -> None:
    with claimed(bench) as (run, item):
        assert bench.finish(run, item, item.verdict, "flags")


def retry(bench: Bench) -> None:
    bench.ledger.items.retry(bench.run(command="retry"), ["refused", "vanished"])


ITEM_EDGES: dict[tuple[ItemStatus | None, ItemStatus], tuple[Verb, ...]] = {
    (None, PENDING): (lambda bench: bench.plan(11),),
    (None, SKIPPED): (lambda bench: bench.plan(skipped={11: "has_keyword"}),),
    (PENDING, CLASSIFIED): (lambda bench: bench.plan(11), classify),
    (PENDING, SKIPPED): (lambda bench: bench.plan(11), skip),
    (PENDING, VANISHED): (lambda bench: bench.plan(11), vanish),
    (PENDING, FAILED): (lambda bench: bench.plan(11), fail),
    (CLASSIFIED, DONE): (lambda bench: bench.plan(11), classify, finish),
    (CLASSIFIED, VANISHED): (lambda bench: bench.plan(11), classify, vanish),
    (CLASSIFIED, FAILED): (lambda bench: bench.plan(11), classify, fail),
    (FAILED, PENDING): (lambda bench: bench.plan(11), fail, retry),
    (FAILED, CLASSIFIED): (lambda bench: bench.plan(11), classify, fail, retry),
    (VANISHED, PENDING): (lambda bench: bench.plan(11), vanish, retry),
    (DONE, CLASSIFIED): (lambda bench: bench.plan(11), classify, finish, undo),
}


@pytest.mark.parametrize(("before", "after"), sorted(ITEM_EDGES, key=str))
def test_an_item_moves_along_each_edge_of_the_table(bench, before, after):
    *led_to, verb = ITEM_EDGES[before, after]
    for step in led_to:
        step(bench)
    assert before is None or bench.status(11) is before

    verb(bench)

    assert bench.status(11) is after


def test_the_table_of_items_lists_no_edge_that_no_verb_walks():
    assert set(TRANSITIONS) == set(ITEM_EDGES)


@pytest.mark.parametrize(("before", "after"), sorted(edge for edge in ITEM_EDGES if edge[0] is not None))
def test_no_statement_can_be_written_for_an_edge_that_the_table_of_items_lacks(monkeypatch, before, after):
    written = leaves(after, before)
    monkeypatch.delitem(TRANSITIONS, (before, after))

    with pytest.raises(IllegalTransition):
        leaves(after, before)

    assert written == f"status = '{before}'"


def test_every_statement_that_sets_the_status_of_items_takes_its_condition_from_the_table():
    sets_status = re.compile(r"\bUPDATE\s+item\s+SET\s+status\b", re.IGNORECASE)

    statements = [
        source for path in sorted(SOURCES.rglob("*.py")) for source in texts(path) if sets_status.search(source)
    ]

    assert statements
    assert [source for source in statements if "{leaves(" not in source and "{before}" not in source] == []


def texts(path: Path) -> Iterator[str]:
    """The strings of a module as they are written, each once."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in parts:
            yield ast.unparse(node)
