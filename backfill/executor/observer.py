"""What a run reports while it works."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from backfill.ports import Judged

#: Gets each mail that a dry run has judged, with its words: for a terminal only, never for a log.
Show = Callable[[Judged], None]


class Observer(Protocol):
    """Gets the counts of committed mails and the reasons of waits. Called from several threads."""

    def begins(self, total: int) -> None:
        """The run will work on `total` mails."""
        ...

    def record(
        self, *, processed: int = 0, failed: int = 0, skipped: int = 0, vanished: int = 0, reused: int = 0
    ) -> None: ...

    def waiting(self, reason: str | None) -> None:
        """The run waits for this reason. None: it works again."""
        ...

    def limited_by(self, limit: str | None, ends_at: datetime | None = None) -> None:
        """What limits the speed of the run, in a few words. None: it is not known.

        `ends_at`: when the run will be done (UTC), if it rests at times and its rate alone does not show it.
        """
        ...
