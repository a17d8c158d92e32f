"""What Ctrl-C does to a process that is in the middle of something."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from backfill.cli.terminal import stop_on_signals
from backfill.clock import StopRequest


class Waited(StopRequest):
    """Notes which threads set it."""

    def __init__(self) -> None:
        super().__init__()
        self.set_by: list[threading.Thread] = []

    def set(self, reason: str) -> None:
        self.set_by.append(threading.current_thread())
        super().set(reason)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_never_set_by_the_thread_that_a_signal_interrupts(number):
    stop = Waited()

    with stop_on_signals(stop):
        signal.raise_signal(number)

    assert stop.is_set()
    assert stop.reason == number.name
    assert threading.current_thread() not in stop.set_by


def test_nothing_is_left_of_the_listening_when_it_ends():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), threading.active_count()
    descriptors = os.listdir("/dev/fd")
    stop = StopRequest()

    with stop_on_signals(stop):
        pass

    assert not stop.is_set()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), threading.active_count()) == before
    assert os.listdir("/dev/fd") == descriptors
