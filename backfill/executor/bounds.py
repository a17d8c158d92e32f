"""The bounds of a run: how many mails it may hold claimed and not recorded, and how many it may take in all."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime

from backfill.clock import StopRequest


class Window:
    """Limits the items that are claimed and not recorded yet: the reader waits for room before it claims."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.inside = 0
        self._changed = threading.Condition()

    def room(self, wanted: int, stop: StopRequest) -> int:
        """Wait until there is room for at least half of `wanted`. Returns how many fit; 0: a stop came first."""
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
        """Count one item less: it is recorded, final or given back."""
        with self._changed:
            self.inside -= 1
            self._changed.notify_all()

    def resize(self, size: int) -> None:
        with self._changed:
            self.size = size
            self._changed.notify_all()

    def wait_for_change(self, seconds: float) -> None:
        """Wait until an item leaves, at most for `seconds`."""
        with self._changed:
            self._changed.wait(seconds)


class Cap:
    """The mails that a run has taken, if it has a limit on their number. A mail counts once, however often it is tried.

    A postponed mail still counts, because it may have cost a call. A mail that is given back does not count. Items are
    named by their numbers. Each change is one operation on a set or dict, so it needs no lock.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._taken: set[int] = set()
        self._postponed: dict[int, datetime] = {}  # taken mails, and when (UTC) this run may try each again

    def room(self, wanted: int) -> int:
        """How many of `wanted` new mails may be taken."""
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
        """When the first postponed mail is due (UTC); None: there is none."""
        return min(self._postponed.copy().values(), default=None)

    def take_due(self, now: datetime) -> list[int]:
        """The postponed mails that are due. They no longer count as postponed."""
        due = [item_id for item_id, until in self._postponed.copy().items() if until <= now]
        for item_id in due:
            self._postponed.pop(item_id, None)
        return due
