"""A mail source that waits, visibly, if its server asks it to wait or says that it is in trouble.

For commands that look at folders. `fetch` does not wait: the executor's reader waits itself, since it has claims to
release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from backfill.clock import Clock, StopRequest
from backfill.errors import MailThrottled, ServerTroubled
from backfill.message import MailboxKey, Message
from backfill.ports import Folder, MailboxState, MailSource, Surveyed, UidWindow, Unfetched
from backfill.selection import Selection

#: The pauses between the tries of a command that the server cannot do at the moment.
PAUSES_S = (2.0, 5.0, 15.0)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PatientSource:
    """Asks `source` again after a pause.

    `longest_s`: the seconds that one command may wait in all for times that the server names.
    """

    source: MailSource
    clock: Clock
    stop: StopRequest
    longest_s: float
    tell: Callable[[str], None]

    def list_folders(self) -> list[Folder]:
        return self._patiently(self.source.list_folders)

    def examine(self, folder: str) -> MailboxState:
        return self._patiently(lambda: self.source.examine(folder))

    def windows(self, mailbox: MailboxKey, low: int, high: int) -> list[UidWindow]:
        return self._patiently(lambda: self.source.windows(mailbox, low, high))

    def survey(self, mailbox: MailboxKey, window: UidWindow, selection: Selection) -> list[Surveyed]:
        return self._patiently(lambda: self.source.survey(mailbox, window, selection))

    def fetch(self, mailbox: MailboxKey, uids: Sequence[int]) -> Iterator[Message | Unfetched]:
        return self.source.fetch(mailbox, uids)

    def close(self) -> None:
        self.source.close()

    def _patiently(self, work: Callable[[], T]) -> T:
        pauses, waited_s = list(PAUSES_S), 0.0
        while True:
            try:
                return work()
            except MailThrottled as error:
                pause = error.wait_s or PAUSES_S[-1]
                if waited_s + pause > self.longest_s:
                    raise
                waited_s += pause
                if self._rests(pause, str(error)):
                    raise
            except ServerTroubled as error:
                if not pauses or self._rests(pauses.pop(0), str(error)):
                    raise

    def _rests(self, seconds: float, why: str) -> bool:
        """Say why, and pause. True: a stop was asked for."""
        self.tell(f"Waiting {seconds:.0f} s: {why}")
        return self.clock.sleep(seconds, self.stop)
