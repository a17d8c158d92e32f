"""The condition of each statement that sets the status of items, taken from `TRANSITIONS`."""

from __future__ import annotations

from backfill.ledger.schema import one_of
from backfill.lifecycle import ItemStatus, check_transition


def leaves(after: ItemStatus, *before: ItemStatus) -> str:
    """The predicate of a statement that moves items from these statuses to `after`, with literals.

    Raises `IllegalTransition` where `TRANSITIONS` lacks one of the edges: such a statement cannot be written.
    """
    for status in before:
        check_transition(status, after)
    return f"status = '{before[0]}'" if len(before) == 1 else one_of("status", before)
