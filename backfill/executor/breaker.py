"""The circuit breaker: a row of failures over different mails is an outage, not a row of bad mails.

It opens before the mailbox is worn out on a dead service: at once when not a single call of the run has succeeded,
later after five different mails in a row, or when more than half of the last hundred failed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

LONGEST_ROW = 5
LAST = 100


@dataclass(slots=True)
class Breaker:
    """Counts how mails fared with the service. Used by one thread."""

    row: int = 0
    has_succeeded: bool = False
    _last: deque[bool] = field(default_factory=lambda: deque(maxlen=LAST))

    def succeeded(self) -> None:
        """A mail was answered."""
        self.row, self.has_succeeded = 0, True
        self._last.append(True)

    def failed(self) -> bool:
        """The service failed a mail with all its patience; True when the run had better stop."""
        self.row += 1
        self._last.append(False)
        too_many = len(self._last) == LAST and self._last.count(False) * 2 > LAST
        return not self.has_succeeded or self.row >= LONGEST_ROW or too_many
