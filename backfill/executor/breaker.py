"""The circuit breaker: a row of failures over different mails is an outage, not a row of bad mails.

It opens before the mailbox is worn out on a dead service: at once when not a single call of the run has succeeded,
later after five different mails in a row, or when more than half of the last hundred failed. Answers that are no
verdicts may be the mails' fault, so more of them are borne; but a service that gives nothing else is set up wrongly.
So is what a firewall or a proxy before the service says: it may turn away one mail for its words, or all.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

LONGEST_ROW = 5
LONGEST_UNUSABLE_ROW = 10
# An error that nobody expected, after a call that was paid for, says more of a bug than of so many mails.
LONGEST_UNEXPECTED_ROW = 20
# Where the service has answered so many mails and goes on failing one, that one is at fault.
ANSWERS_BETWEEN = 10
LAST = 100


class Befalls(Enum):
    """Whom a refusal befalls that is not the service's own."""

    ONE = auto()
    UNCLEAR = auto()  # nobody was answered yet
    ALL = auto()


@dataclass(slots=True)
class Breaker:
    """Counts how mails fared with the service, by item number. Used by one thread."""

    has_succeeded: bool = False
    refusals: int = 0  # rate limits without a named time, in a row
    _row: set[int] = field(default_factory=set)
    _answers: int = 0
    _answers_at: dict[int, int] = field(default_factory=dict)  # when the service first failed a mail, by item number
    _last: deque[bool] = field(default_factory=lambda: deque(maxlen=LAST))

    def succeeded(self) -> None:
        """A mail was answered."""
        self.has_succeeded, self.refusals = True, 0
        self._answers += 1
        self._row.clear()
        self._last.append(True)

    def failed(self, item_id: int) -> bool:
        """The service failed a mail with all its patience; True when the run had better stop."""
        self._row.add(item_id)
        self._last.append(False)
        too_many = len(self._last) == LAST and self._last.count(False) * 2 > LAST
        return not self.has_succeeded or len(self._row) >= LONGEST_ROW or too_many

    def unusable(self, item_id: int) -> bool:
        """The answer for a mail was no verdict; True when the run had better stop."""
        self._row.add(item_id)
        self._last.append(False)
        return len(self._row) >= (LONGEST_UNUSABLE_ROW if self.has_succeeded else LONGEST_ROW)

    def unexpected(self, item_id: int) -> bool:
        """A call for a mail ended as nobody expected; True when the run had better stop."""
        self._row.add(item_id)
        self._last.append(False)
        return len(self._row) >= LONGEST_UNEXPECTED_ROW

    def turned_away(self, item_id: int) -> Befalls:
        """A mail was refused, and not in the service's own words."""
        is_again = item_id in self._row
        self._row.add(item_id)
        self._last.append(False)
        if self.has_succeeded:
            return Befalls.ALL if len(self._row) >= LONGEST_UNUSABLE_ROW else Befalls.ONE
        return Befalls.ALL if is_again or len(self._row) >= LONGEST_ROW else Befalls.UNCLEAR

    def is_alone(self, item_id: int) -> bool:
        """Is it the only mail that the service failed since it answered one?"""
        return self._row == {item_id}

    def answers_others(self, item_id: int) -> bool:
        """Has the service answered many mails since it first failed this one? Asked at each of its failures."""
        return self._answers - self._answers_at.setdefault(item_id, self._answers) >= ANSWERS_BETWEEN
