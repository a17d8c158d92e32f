"""Which mails a job is about, and the canonical form by which equal selections are the same job.

Folder names are literal here. Patterns are resolved before, against the folders that the server has at that moment, so
that a stored job means the same folders tomorrow.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Final

from backfill.errors import ConfigError


class DateField(StrEnum):
    """The date of a mail that a date range is compared with."""

    SENT = "sent"  # the Date header's calendar day as written; falls back to received
    RECEIVED = "received"  # INTERNALDATE's calendar day as the server writes it


#: IMAP writes a year with four digits (RFC 9051 §9, `date-year`), and servers are asked for a day more at both ends.
FIRST_DAY: Final = date(1000, 1, 1)
LAST_DAY: Final = date(9998, 12, 31)


@dataclass(frozen=True, slots=True)
class Selection:
    """Folders, dates and search criteria of a job. Dates are calendar days and both ends are included.

    Each folder is named once. INBOX is the same folder in upper and lower case (RFC 9051 §5.1).
    """

    folders: tuple[str, ...] = ("INBOX",)
    start_date: date | None = None
    end_date: date | None = None
    date_field: DateField = DateField.SENT
    search: str | None = None  # raw IMAP criteria of the operator, ASCII, one line
    force_reprocess: bool = True  # False: mail that bears the processed keyword is skipped

    def __post_init__(self) -> None:
        if not self.folders:
            raise ConfigError("No folder is selected; name one with --folder.")
        names = ("INBOX" if name.upper() == "INBOX" else name for name in self.folders)
        object.__setattr__(self, "folders", tuple(dict.fromkeys(names)))
        if self.start_date and self.end_date and self.start_date > self.end_date:
            raise ConfigError(f"The start date {self.start_date} is after the end date {self.end_date}; swap them.")
        if self.search is not None and not (self.search.isascii() and self.search.isprintable()):
            raise ConfigError("--search takes IMAP criteria on one line in ASCII, e.g. 'FROM bob LARGER 1000'.")

    def check(self) -> None:
        """Raises `ConfigError` for days and criteria that no new job may have.

        A job of an earlier version may have them (`--end-date 9999-12-31`), and is read and worked all the same.
        """
        for day in filter(None, (self.start_date, self.end_date)):
            if not FIRST_DAY <= day <= LAST_DAY:
                raise ConfigError(f"The day {day} is out of range; take one from {FIRST_DAY} to {LAST_DAY}.")
        if self.search is not None and (length := re.search(r"~?\{\d+\+?\}$", self.search.rstrip())):
            raise ConfigError(
                f"--search ends in {length[0]}, which a server takes for the length of a text that follows; "
                f'put the words to search for between quotes: "{length[0]}".'
            )

    def canonical(self) -> str:
        """JSON with sorted keys: equal for equal selections, whatever the order in which folders were named."""
        fields: dict[str, Any] = asdict(self)
        fields["folders"] = sorted(set(self.folders))
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), default=str)

    @classmethod
    def from_canonical(cls, text: str) -> Selection:
        """The selection that `canonical` wrote. Raises `ConfigError` for a key this version does not know."""
        try:
            fields = json.loads(text)
            return cls(
                folders=tuple(fields.pop("folders")),
                start_date=_day(fields.pop("start_date")),
                end_date=_day(fields.pop("end_date")),
                date_field=DateField(fields.pop("date_field")),
                search=fields.pop("search"),
                force_reprocess=fields.pop("force_reprocess"),
                **fields,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"The ledger holds a selection of another version of backfill: {error}") from error

    def differences(self, other: Selection) -> list[str]:
        """Field by field, for people: `end_date: 2024-12-31 -> None`."""
        return [
            f"{name}: {getattr(self, name)} -> {getattr(other, name)}"
            for name in self.__slots__
            if getattr(self, name) != getattr(other, name)
        ]


def job_key(account: str, selection: Selection, fingerprint: str, *, dry_run: bool, generation: int = 0) -> str:
    """SHA-256 (hex) of what makes a job the same job. Cap, order, rate and effects are not in it."""
    parts = (account, selection.canonical(), fingerprint, "dry" if dry_run else "real", str(generation))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)
