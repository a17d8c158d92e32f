"""Do the mails still bear the keywords that their receipts name? `verify` asks the server in a fresh session.

A server may show a keyword and not keep it (a full disk), and the owner of the mail may remove one. The receipt is
then no longer true. After `verify --repair` the next run sets the keyword again, without a call.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from backfill.clock import StopRequest
from backfill.errors import FolderUnusable, MailboxChanged
from backfill.ledger import Ledger
from backfill.ledger.receipts import Standing
from backfill.ledger.rows import Job
from backfill.message import MailboxKey
from backfill.ports import MailMarker, ReceiptState

PAGE = 1000


@dataclass(frozen=True, slots=True)
class MarkCheck:
    """Compares the receipts of keywords with the server, once; then closes `marker`."""

    ledger: Ledger
    marker: MailMarker
    keyword: str  # the one that every processed mail bears
    stop: StopRequest

    def missing(self, job: Job, closed: Collection[str] = ()) -> list[Standing]:
        """The receipts that name the keyword although their mails are on the server without it.

        `closed`: folders that are passed over. Heeds a stop request between two pages.
        """
        found: list[Standing] = []
        with closing(self.marker):
            for page in self._pages(job):
                for mailbox, receipts in page.items():
                    if mailbox.folder not in closed:
                        found += self._of_mailbox(mailbox, receipts)
        return found

    def _pages(self, job: Job) -> Iterator[dict[MailboxKey, list[Standing]]]:
        after = 0
        while not self.stop.is_set() and (page := self.ledger.receipts.standing(job.id, after, PAGE)):
            after = page[-1].id
            by_mailbox: dict[MailboxKey, list[Standing]] = defaultdict(list)
            for each in page:
                if each.receipt.state is ReceiptState.APPLIED and self._is_told_of(each):
                    by_mailbox[each.receipt.ref.mailbox].append(each)
            yield by_mailbox

    def _is_told_of(self, standing: Standing) -> bool:
        told = standing.receipt.detail.get("keywords")
        return isinstance(told, list) and self.keyword.casefold() in {str(word).casefold() for word in told}

    def _of_mailbox(self, mailbox: MailboxKey, receipts: Sequence[Standing]) -> list[Standing]:
        uids = {each.receipt.ref.uid for each in receipts}
        try:
            lacking = uids - self.marker.bearing(mailbox, self.keyword, sorted(uids))
            there = self.marker.present(mailbox, lacking) if lacking else frozenset()
        except (FolderUnusable, MailboxChanged):  # the comparison of the folders has reported this
            return []
        return [each for each in receipts if each.receipt.ref.uid in there]
