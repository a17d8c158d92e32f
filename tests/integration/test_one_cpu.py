"""Threads that take turns keep to one CPU while they work for a run."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext

import pytest

from backfill.executor.one_cpu import on_one_cpu

ALL = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
pytestmark = pytest.mark.skipif(len(ALL) < 2, reason="there is no choice of CPUs on this machine")


def cpus_of_a_thread(*, is_kept: bool) -> set[int]:
    """The CPUs that a new thread may use at its work."""
    found: list[set[int]] = []

    def work() -> None:
        with on_one_cpu() if is_kept else nullcontext():
            found.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    return found[0]


def test_the_threads_of_a_run_keep_to_the_same_cpu_and_others_are_left_alone():
    first, second, stranger = (cpus_of_a_thread(is_kept=is_kept) for is_kept in (True, True, False))

    assert first == second
    assert len(first) == 1
    assert stranger == ALL


def test_a_thread_that_a_kept_one_starts_keeps_to_the_same_cpu():
    with on_one_cpu():
        kept = os.sched_getaffinity(0)
        started = cpus_of_a_thread(is_kept=True)

    assert started == kept


def test_a_thread_is_free_again_when_its_work_is_done_even_with_an_error():
    with pytest.raises(ValueError, match="odd"), on_one_cpu():
        raise ValueError("odd")

    assert os.sched_getaffinity(0) == ALL


def test_where_the_choice_is_refused_the_run_goes_on(monkeypatch):
    def refuse(thread: int, cpus: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)  # as in some containers

    with on_one_cpu():
        assert os.sched_getaffinity(0) == ALL


def test_where_there_is_no_choice_the_run_goes_on(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS and Windows
    monkeypatch.delattr(os, "sched_setaffinity")

    with on_one_cpu():
        pass
