"""The slots of a run: fixed as configured, or as many as the pace and the latency take."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from backfill.executor.askers import FEWEST, FIRST, MOST, AskingThreads, most


class Crew:
    """Asking threads that are only counted. `calls` are under way."""

    def __init__(self, concurrency: object = "auto", most_threads: int = 10_000) -> None:
        self.started = 0
        self.sizes: list[int] = []
        self.most_threads = most_threads
        self.threads = AskingThreads(concurrency)  # type: ignore[arg-type]
        self.calls: list[ExitStack] = []
        self.threads.open(self._start, self.sizes.append)

    def _start(self, number: int) -> None:
        if self.started == self.most_threads:
            raise RuntimeError("can't start new thread")
        self.started += 1

    def begin(self) -> bool:
        """A thread calls; False when it was one too many."""
        if not self.threads.goes_on():
            return False
        call = ExitStack()
        call.enter_context(self.threads.call_under_way())
        self.calls.append(call)
        return True

    def end(self) -> None:
        self.calls.pop(0).close()

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

    assert (crew.threads.size, crew.started, crew.sizes) == (4, 4, [])


@pytest.mark.parametrize("under_way", [3, 40, 260])
def test_there_is_always_a_thread_for_the_next_call_and_not_many_more(under_way):
    crew = Crew()

    crew.keep(under_way, calls=2000)

    assert under_way < crew.threads.size <= max(under_way * 1.1 + 4, FIRST)


def test_the_number_is_bounded_however_slow_the_service_is():
    crew = Crew()

    crew.keep(most(), calls=most() + 20)

    assert crew.threads.size == crew.started == most() <= MOST


def test_threads_go_when_the_service_is_quick_again():
    crew = Crew()
    crew.keep(200, calls=600)

    crew.keep(4, calls=3000)

    assert 4 < crew.threads.size < 12
    assert crew.sizes[-1] == crew.threads.size


def test_a_few_stay_when_hardly_any_call_is_made():
    crew = Crew()

    crew.keep(1, calls=3000)

    assert FEWEST <= crew.threads.size <= 4


def test_calls_that_wait_for_the_ledger_are_no_reason_for_more():
    crew = Crew()

    with ExitStack() as waiting:
        for _ in range(FIRST):
            crew.begin()
            waiting.enter_context(crew.threads.opening())

        assert crew.threads.size <= FIRST + 2


def test_calls_that_all_waited_for_the_ledger_get_more_threads_without_another_call():
    crew = Crew()
    openings = [ExitStack() for _ in range(FIRST)]
    for opening in openings:
        crew.begin()
        opening.enter_context(crew.threads.opening())

    for opening in openings:
        opening.close()

    assert len(crew.calls) < crew.threads.size == crew.started == crew.sizes[-1]


def test_a_fixed_number_does_not_grow_when_the_calls_no_longer_wait_for_the_ledger():
    crew = Crew(4)

    for _ in range(4):
        crew.begin()
        with crew.threads.opening():
            pass

    assert (crew.threads.size, crew.started, crew.sizes) == (4, 4, [])


def test_a_machine_that_gives_no_more_threads_goes_on_with_those_it_has():
    crew = Crew(most_threads=20)

    crew.keep(19, calls=500)

    assert crew.threads.size == crew.started == 20


def test_no_thread_goes_on_after_the_end():
    crew = Crew(2)

    crew.threads.close()

    assert not crew.threads.goes_on()
