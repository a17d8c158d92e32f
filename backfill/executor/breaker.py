"""The circuit breaker: ends a run when the service is at fault, and not the mails.

Failures of several different mails in a row mean an outage. The breaker opens at the first failure if no call of the
run has succeeded yet; else after five different mails in a row, or when more than half of the last 100 mails failed.
An answer that is no verdict may be the mail's fault, so the run ends only at ten such mails in a row, or at five if no
call has succeeded. A firewall or proxy before the service may refuse one mail for its words, or all mails; the same
numbers decide.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

LONGEST_ROW = 5
LONGEST_UNUSABLE_ROW = 10
# Unexpected errors after paid calls, for 20 different mails in a row, mean a bug: then the mails are not at fault.
LONGEST_UNEXPECTED_ROW = 20
# If the service answers this many mails between the failures of one mail, that mail is at fault.
ANSWERS_BETWEEN = 10
LAST = 100


class Befalls(Enum):
    """Which mails a firewall or proxy before the service refuses."""

    ONE = auto()  # this mail
    UNCLEAR = auto()  # no mail was answered yet, so it is not known
    ALL = auto()  # all mails


@dataclass(slots=True)
class Breaker:
    """Counts the successes and failures of mails, by item number. Used by one thread."""

    has_succeeded: bool = False
    refusals: int = 0  # rate limits without a named time, in a row
    _row: set[int] = field(default_factory=set)  # the mails that failed since the last success
    _answers: int = 0  # mails answered
    _answers_at: dict[int, int] = field(default_factory=dict)  # item → `_answers` when the service first failed it
    _last: deque[bool] = field(default_factory=lambda: deque(maxlen=LAST))  # the last mails: did each succeed?

    def succeeded(self) -> None:
        """A mail was answered."""
        self.has_succeeded, self.refusals = True, 0
        self._answers += 1
        self._row.clear()
        self._last.append(True)

    def failed(self, item_id: int) -> bool:
        """The service failed a mail in all its tries. True: the run must stop."""
        self._row.add(item_id)
        self._last.append(False)
        too_many = len(self._last) == LAST and self._last.count(False) * 2 > LAST
        return not self.has_succeeded or len(self._row) >= LONGEST_ROW or too_many

    def unusable(self, item_id: int) -> bool:
        """The answer about a mail was no verdict. True: the run must stop."""
        self._row.add(item_id)
        self._last.append(False)
        return len(self._row) >= (LONGEST_UNUSABLE_ROW if self.has_succeeded else LONGEST_ROW)

    def unexpected(self, item_id: int) -> bool:
        """A call about a mail ended with an unexpected error. True: the run must stop."""
        self._row.add(item_id)
        self._last.append(False)
        return len(self._row) >= LONGEST_UNEXPECTED_ROW

    def turned_away(self, item_id: int) -> Befalls:
        """A firewall or proxy before the service refused a mail. Does it refuse this mail, or all?"""
        is_again = item_id in self._row
        self._row.add(item_id)
        self._last.append(False)
        if self.has_succeeded:
            return Befalls.ALL if len(self._row) >= LONGEST_UNUSABLE_ROW else Befalls.ONE
        return Befalls.ALL if is_again or len(self._row) >= LONGEST_ROW else Befalls.UNCLEAR

    def is_alone(self, item_id: int) -> bool:
        """Is it the only mail that failed since the last success?"""
        return self._row == {item_id}

    def answers_others(self, item_id: int) -> bool:
        """Has the service answered many mails since it first failed this one? To be called at each failure of it."""
        return self._answers - self._answers_at.setdefault(item_id, self._answers) >= ANSWERS_BETWEEN
