"""The names that a program imports from `backfill`, which are loaded when they are first used."""

import pytest

import backfill


@pytest.mark.parametrize("name", backfill.__all__)
def test_each_public_name_can_be_imported(name: str) -> None:
    assert getattr(backfill, name) is not None


def test_a_name_that_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Mailbox'"):
        _ = backfill.Mailbox
