"""The machine's clock: a sleep that heeds a stop, and a laptop's lid."""

from __future__ import annotations

from backfill.clock import StopRequest, SystemClock


class Laptop(SystemClock):
    """Its lid is closed for an hour whenever somebody waits, which nobody notices but its clock."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


class Unheard(StopRequest):
    """Nobody asks for a stop; waiting for it takes no time."""

    def __init__(self, laptop: Laptop) -> None:
        super().__init__()
        self._laptop = laptop
        self.waits: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self._laptop.seconds += 3600
        return False


def test_a_sleep_that_a_laptop_slept_through_is_over_soon_after_its_lid_is_opened() -> None:
    laptop = Laptop()
    stop = Unheard(laptop)

    is_stopped = laptop.sleep(1800, stop)

    assert not is_stopped
    assert len(stop.waits) == 1
    assert stop.waits[0] <= 10


def test_a_stop_that_came_before_keeps_anybody_from_sleeping() -> None:
    stop = StopRequest()
    stop.set("SIGTERM")

    assert SystemClock().sleep(3600, stop)
    assert SystemClock().sleep(0, stop)


def test_seconds_only_grow() -> None:
    clock = SystemClock()

    readings = [clock.monotonic() for _ in range(100)]

    assert readings == sorted(readings)
