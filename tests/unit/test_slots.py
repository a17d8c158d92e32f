"""The slots of a run: fixed as configured, or as many as the pace and the latency take."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from backfill.executor.slots import FEWEST, FIRST, MOST, Slots, most


class Crew:
    """Slots with threads that are only counted. `calls` are under way; when one ends, it is committed at once."""

    def __init__(self, concurrency: object = "auto", most_threads: int = 10_000) -> None:
        self.started = 0
        self.sizes: list[int] = []
        self.most_threads = most_threads
        self.slots = Slots(concurrency)  # type: ignore[arg-type]
        self.calls: list[ExitStack] = []
        self.slots.open(self._start, self.sizes.append)

    def _start(self, number: int) -> None:
        if self.started == self.most_threads:
            raise RuntimeError("can't start new thread")
        self.started += 1

    def begin(self) -> bool:
        """A thread gets a slot and calls; False when it was one too many."""
        if not self.slots.acquire():
            return False
        call = ExitStack()
        call.enter_context(self.slots.call_under_way())
        self.calls.append(call)
        return True

    def answer(self) -> None:
        self.calls.pop(0).close()
        self.slots.answered()

    def end(self) -> None:
        self.answer()
        self.slots.commit()

    def keep(self, under_way: int, calls: int) -> None:
        """So many calls, one after the other, of which so many are under way at once."""
        for _ in range(calls):
            while len(self.calls) >= under_way:
                self.end()
            self.begin()


def test_a_fixed_number_stays_what_it_is():
    crew = Crew(4)

    crew.keep(4, calls=100)
    crew.keep(1, calls=100)

    assert (crew.slots.size, crew.started, crew.sizes) == (4, 4, [])


@pytest.mark.parametrize("under_way", [3, 40, 260])
def test_there_is_always_a_thread_for_the_next_call_and_not_many_more(under_way):
    crew = Crew()

    crew.keep(under_way, calls=2000)

    assert under_way < crew.slots.size <= max(under_way * 1.1 + 4, FIRST)


def test_the_number_is_bounded_however_slow_the_service_is():
    crew = Crew()

    crew.keep(most(), calls=most() + 20)

    assert crew.slots.size == crew.started == most() <= MOST


def test_threads_go_when_the_service_is_quick_again():
    crew = Crew()
    crew.keep(200, calls=600)

    crew.keep(4, calls=3000)

    assert 4 < crew.slots.size < 12
    assert crew.sizes[-1] == crew.slots.size


def test_a_few_stay_when_hardly_any_call_is_made():
    crew = Crew()

    crew.keep(1, calls=3000)

    assert FEWEST <= crew.slots.size <= 4


def test_answers_that_wait_for_the_ledger_are_no_reason_for_more():
    crew = Crew()

    for _ in range(FIRST):
        crew.begin()
        crew.answer()

    assert crew.slots.size <= FIRST + 2


def test_a_machine_that_gives_no_more_threads_goes_on_with_those_it_has():
    crew = Crew(most_threads=20)

    crew.keep(19, calls=500)

    assert crew.slots.size == crew.started == 20


def test_a_slot_that_is_taken_before_its_thread_is_refused_is_not_taken_twice():
    def start(number: int) -> None:
        if number > FIRST:
            assert slots.acquire()  # by a thread that was waiting for one
            raise RuntimeError("can't start new thread")

    def take() -> None:
        while len(taken) < 50 and slots.acquire():
            taken.append(True)

    slots, taken = Slots("auto"), list[bool]()
    slots.open(start, lambda size: None)
    for _ in range(FIRST):
        assert slots.acquire()
    with ExitStack() as calls:
        for _ in range(FIRST):
            calls.enter_context(slots.call_under_way())

        taker = threading.Thread(target=take, daemon=True)
        taker.start()
        taker.join(0.2)  # it waits for a slot, or has had 50 long before
        slots.close()

    assert slots.size == FIRST
    assert taken == []


def test_who_comes_for_a_slot_after_the_end_gets_none():
    crew = Crew(2)

    crew.slots.close()

    assert not crew.slots.acquire()
