"""The condition of every statement that sets items' status, made from `TRANSITIONS`."""

from __future__ import annotations

from backfill.ledger.schema import one_of
from backfill.lifecycle import ItemStatus, check_transition


def leaves(after: ItemStatus, *before: ItemStatus) -> str:
    """The predicate, with literals, of a statement that moves items from the statuses `before` to `after`.

    Raises `IllegalTransition` if `TRANSITIONS` lacks one of the edges, so no statement can use such an edge.
    """
    for status in before:
        check_transition(status, after)
    return f"status = '{before[0]}'" if len(before) == 1 else one_of("status", before)
