"""What outputs left on a job's mails and is not there any more, and what today's settings would derive instead.

`verify` asks the world in a fresh session. A server may show a keyword and not keep it (a full disk), and the owner of
the mail may remove one, or delete a note. The receipt is then no longer true. After `verify --repair` the next run
brings the output about again, without a call.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from backfill.clock import StopRequest
from backfill.errors import FolderUnusable, MailboxChanged
from backfill.ledger import Ledger
from backfill.ledger.receipts import Standing
from backfill.ledger.rows import Job
from backfill.lifecycle import ItemStatus
from backfill.message import MailboxKey, MessageRef
from backfill.operations.apply_preview import changing
from backfill.ports import Effect, Lost, Receipt, ReceiptState
from backfill.rubric import Rubric

PAGE = 1000


@dataclass(frozen=True, slots=True)
class LostOutput:
    """An output that is no longer as its receipt says."""

    standing: Standing
    lost: Lost


@dataclass(frozen=True, slots=True)
class Outdated:
    """A mail whose outputs, or label, follow other settings than today's."""

    ref: MessageRef
    outputs: tuple[str, ...]


def lost_outputs(
    ledger: Ledger, effects: Sequence[Effect], job: Job, closed: Collection[str], stop: StopRequest
) -> list[LostOutput]:
    """What is lost of this job's own outputs. `closed`: folders that are passed over. Heeds a stop between two pages.

    A mail for which a newer job's verdict counts has that job's receipts, so it is not looked at.
    """
    by_name = {effect.name: effect for effect in effects}
    found = []
    for page in _pages(ledger, job, stop):
        for (mailbox, name), standings in page.items():
            if mailbox.folder not in closed and name in by_name:
                of = {each.receipt.ref: each for each in standings}
                lost = _lost(by_name[name], [each.receipt for each in standings])
                found += [LostOutput(of[each.ref], each) for each in lost]
    return found


def outdated(
    ledger: Ledger, effects: Sequence[Effect], rubric: Rubric, job: Job, pages: int | None = None
) -> Iterator[Outdated]:
    """The done mails that `apply` would change although each of their outputs has a receipt of their verdict.

    `pages`: how many thousands of the job's mails are looked at; None: all of them.
    """
    for _, changes in islice(changing(ledger, effects, rubric, job), pages):
        for change in changes:
            judged = change.judged
            kept = [judged.kept.get(name) for name in change.outputs]
            verdict = judged.item.verdict
            is_made = all(each is not None and verdict is not None and each.verdict_id == verdict.id for each in kept)
            if judged.item.status is ItemStatus.DONE and is_made:
                yield Outdated(judged.item.ref, change.outputs)


def _pages(ledger: Ledger, job: Job, stop: StopRequest) -> Iterator[dict[tuple[MailboxKey, str], list[Standing]]]:
    after = 0
    while not stop.is_set() and (page := ledger.receipts.standing(job.id, after, PAGE)):
        after = page[-1].id
        alike: dict[tuple[MailboxKey, str], list[Standing]] = defaultdict(list)
        for each in page:
            if each.receipt.state is ReceiptState.APPLIED and each.is_own:
                alike[each.receipt.ref.mailbox, each.receipt.effect].append(each)
        yield alike


def _lost(effect: Effect, receipts: Sequence[Receipt]) -> list[Lost]:
    try:
        return list(effect.lost(receipts))
    except (FolderUnusable, MailboxChanged):  # the comparison of the folders has reported this
        return []
