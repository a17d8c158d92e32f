"""What a run tells whoever watches it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Observer(Protocol):
    """Is told what has been committed and what is being waited for. Called from several threads."""

    def begins(self, total: int) -> None:
        """So many mails are to be worked on."""
        ...

    def record(
        self, *, processed: int = 0, failed: int = 0, skipped: int = 0, vanished: int = 0, reused: int = 0
    ) -> None: ...

    def waiting(self, reason: str | None) -> None:
        """The run waits, for this reason; None: it works again."""
        ...

    def limited_by(self, limit: str | None, ends_at: datetime | None = None) -> None:
        """What binds the run, in a few words; None: that is not known.

        `ends_at`: when it will be done where its rate alone does not tell, since it rests at times.
        """
        ...
