"""An invented mailbox of twenty years: varied, labelled, and the same at every start.

No real person, address or company is in it, and every host lies under a name that RFC 2606 reserves. Every mail has
the labels that a person would give it, so that a classifier can be measured on the mailbox.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from random import Random

from backfill.demo.compose import OWNER, Person, SampleMail
from backfill.demo.texts.business import calendar, invoice, newsletter, notification, receipt
from backfill.demo.texts.letters import letter, thread
from backfill.demo.texts.malformed import malformed
from backfill.demo.texts.scams import phishing, spam

__all__ = ["ARCHIVE", "INBOX", "OWNER", "Person", "SampleMail", "sample_mailbox"]

INBOX = "INBOX"
ARCHIVE = "Archive/2023"

_SEED = 2822  # the RFC that most of this mail would obey
_ARCHIVED = 12
_BEGIN, _END = datetime(2005, 1, 1, tzinfo=UTC), datetime(2024, 12, 20, tzinfo=UTC)
_ZONES = [timezone(timedelta(hours=hours)) for hours in (-8, -5, 0, 0, 1, 1, 2, 3, 9)]

_Maker = Callable[[Random, datetime], SampleMail]
#: How many of a hundred mails each maker makes; the rest are threads.
_MIX: tuple[tuple[_Maker, int], ...] = (
    (letter, 25),
    (newsletter, 17),
    (receipt, 9),
    (notification, 9),
    (spam, 9),
    (invoice, 7),
    (phishing, 5),
    (calendar, 5),
)
_LONGEST_THREAD = 8


def sample_mailbox(count: int = 320, seed: int = _SEED) -> dict[str, list[SampleMail]]:
    """`count` mails by folder, oldest first; malformed mails stand where they were delivered.

    The same `count` and `seed` give the same bytes. Every malformed mail is always included.
    """
    rng = Random(seed)
    archived = [
        maker(rng, _moment(rng, 2023)) for maker in (letter, newsletter, receipt) for _ in range(_ARCHIVED // 3)
    ]
    broken = malformed()
    dated = _dated(rng, count - len(archived) - len(broken))
    inbox = [mail for _, mail in sorted(dated, key=lambda pair: pair[0])]
    for mail in broken:
        inbox.insert(rng.randint(0, len(inbox)), mail)
    return {INBOX: inbox, ARCHIVE: archived}


def _dated(rng: Random, count: int) -> list[tuple[datetime, SampleMail]]:
    """`count` mails with the times of their arrival, in no order."""
    made: list[tuple[datetime, SampleMail]] = []
    for maker, percent in _MIX:
        for _ in range(count * percent // 100):
            when = _moment(rng)
            made.append((when, maker(rng, when)))
    while len(made) < count:
        made.extend(thread(rng, _moment(rng), min(rng.randint(3, _LONGEST_THREAD), count - len(made))))
    return made


def _moment(rng: Random, year: int | None = None) -> datetime:
    first = datetime(year, 1, 1, tzinfo=UTC) if year else _BEGIN
    last = datetime(year, 12, 31, tzinfo=UTC) if year else _END
    moment = first + timedelta(seconds=rng.randrange(int((last - first).total_seconds())))
    return moment.astimezone(rng.choice(_ZONES))
