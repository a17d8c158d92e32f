"""The bounds of a run: how many mails it has claimed and not recorded, and how many it may take in all."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime

from backfill.clock import StopRequest


class Window:
    """Counts the items that are claimed and not recorded yet; whoever wants to claim waits for room."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.inside = 0
        self._changed = threading.Condition()

    def room(self, wanted: int, stop: StopRequest) -> int:
        """Wait until at least half of `wanted` fits; how many do. 0 when a stop came first."""
        with self._changed:
            while not stop.is_set():
                free = min(wanted, self.size - self.inside)
                if free >= max(1, wanted // 2):
                    return free
                self._changed.wait(0.5)
        return 0

    def enter(self, items: int) -> None:
        with self._changed:
            self.inside += items

    def leave(self) -> None:
        """One item is recorded, or final, or given back."""
        with self._changed:
            self.inside -= 1
            self._changed.notify_all()

    def resize(self, size: int) -> None:
        with self._changed:
            self.size = size
            self._changed.notify_all()

    def wait_for_change(self, seconds: float) -> None:
        """Until something leaves, or so long."""
        with self._changed:
            self._changed.wait(seconds)


class Cap:
    """Which mails a run has taken, where it may take only so many: each counts once, however often it is tried.

    A mail that is postponed keeps its place, for it may have cost a call; one that the world was at fault for gives
    it back. Items are named by number; each change is one operation on a set or dict, so it needs no lock.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._taken: set[int] = set()
        self._postponed: dict[int, datetime] = {}  # taken, and to be tried again by this run from then on

    def room(self, wanted: int) -> int:
        """How many of so many new mails may be taken."""
        return wanted if self._limit is None else min(wanted, self._limit - len(self._taken))

    def takes(self, item_ids: Iterable[int]) -> None:
        if self._limit is not None:
            for item_id in item_ids:
                self._taken.add(item_id)
                self._postponed.pop(item_id, None)

    def postpones(self, item_id: int, until: datetime) -> None:
        if self._limit is not None:
            self._postponed[item_id] = until

    def gives_back(self, item_id: int) -> None:
        self._taken.discard(item_id)

    def next_due(self) -> datetime | None:
        """When the first of the postponed mails is due; None when there is none."""
        return min(self._postponed.copy().values(), default=None)

    def take_due(self, now: datetime) -> list[int]:
        """The postponed mails that are due, which are no longer waited for."""
        due = [item_id for item_id, until in self._postponed.copy().items() if until <= now]
        for item_id in due:
            self._postponed.pop(item_id, None)
        return due
