"""A busy run keeps its threads on one CPU; one that waits is left alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from backfill.executor.one_cpu import BUSY, LOOK_S, QUIET, OneCpu
from tests.support.clocks import TurnedClock

ALL = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
pytestmark = pytest.mark.skipif(len(ALL) < 2, reason="there is no choice of CPUs on this machine")


class Working:
    """A thread that works until it is told to go."""

    def __init__(self) -> None:
        self._goes = threading.Event()
        self._is_there = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def join(self, cpu: OneCpu | None) -> Working:
        self._cpu = cpu
        self._thread.start()
        assert self._is_there.wait(10)
        return self

    def _work(self) -> None:
        with ExitStack() as stack:
            if self._cpu is not None:
                stack.enter_context(self._cpu.member())
            self._is_there.set()
            self._goes.wait(60)

    @property
    def cpus(self) -> set[int]:
        assert self._thread.native_id is not None
        return os.sched_getaffinity(self._thread.native_id)

    def go(self) -> None:
        self._goes.set()
        if self._thread.ident is not None:
            self._thread.join(10)


class Machine:
    """A clock to turn, and how much of a CPU the process has used."""

    def __init__(self, *cpus: int) -> None:
        self.clock = TurnedClock()
        self.used_s = 0.0
        self.cpu = OneCpu(self.clock, lambda: self.used_s, cpus or None)

    def passes(self, share: float, seconds: float = 1.0) -> None:
        self.clock.turn(seconds)
        self.used_s += share * seconds
        self.cpu.look()


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def workers() -> Iterator[list[Working]]:
    started = [Working() for _ in range(3)]
    yield started
    for worker in started:
        worker.go()


def test_a_busy_run_keeps_its_threads_on_one_cpu_and_leaves_others_alone(machine, workers):
    first, second, stranger = workers
    for worker, cpu in ((first, machine.cpu), (second, machine.cpu), (stranger, None)):
        worker.join(cpu)

    machine.passes(BUSY)

    assert first.cpus == second.cpus
    assert len(first.cpus) == 1
    assert stranger.cpus == ALL


def test_a_run_that_waits_most_of_the_time_is_left_alone(machine, workers):
    worker = workers[0].join(machine.cpu)

    machine.passes(BUSY - 0.01)

    assert worker.cpus == ALL


def test_a_run_that_is_no_longer_busy_is_free_again(machine, workers):
    worker = workers[0].join(machine.cpu)
    machine.passes(BUSY)

    machine.passes(QUIET + 0.01)
    kept = worker.cpus
    machine.passes(QUIET - 0.01)

    assert len(kept) == 1
    assert worker.cpus == ALL


def test_a_thread_that_joins_a_busy_run_is_kept_with_the_others(machine, workers):
    early = workers[0].join(machine.cpu)
    machine.passes(BUSY)

    late = workers[1].join(machine.cpu)

    assert late.cpus == early.cpus


def test_a_thread_that_a_kept_one_has_started_is_free_when_its_run_is(machine, workers):
    kept = Machine()

    with kept.cpu.member():
        kept.passes(BUSY)
        worker = workers[0].join(machine.cpu)

    assert worker.cpus == ALL


def test_a_thread_is_free_again_when_its_work_is_done(machine):
    with machine.cpu.member():
        machine.passes(BUSY)
        kept = os.sched_getaffinity(0)

    assert len(kept) == 1
    assert os.sched_getaffinity(0) == ALL


def test_a_moment_is_too_short_to_tell(machine, workers):
    worker = workers[0].join(machine.cpu)

    machine.passes(1.0, seconds=LOOK_S / 2)

    assert worker.cpus == ALL


def test_where_the_choice_is_refused_the_run_goes_on(workers):
    machine = Machine(max(ALL) + 4096, max(ALL) + 4097)  # CPUs that were taken away since
    worker = workers[0].join(machine.cpu)

    machine.passes(BUSY)

    assert worker.cpus == ALL


def test_where_there_is_no_choice_the_run_goes_on(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS and Windows
    monkeypatch.delattr(os, "sched_setaffinity")
    machine = Machine()

    with machine.cpu.member():
        machine.passes(BUSY)
