"""Numbers of a reply that nobody can have meant: they are unknown, and end nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from backfill.classifiers.replies import read_reply
from backfill.classifiers.untrusted import MAX_CALL_USD, MAX_TOKENS, amount, count, json_object
from backfill.errors import ServiceUnavailable
from backfill.http.client import Reply
from backfill.rubric import Rubric
from backfill.verdict import Scores, Usage

NOW = datetime(2024, 5, 3, tzinfo=UTC)
LARGEST_INTEGER = 2**31 - 1  # of PostgreSQL's INTEGER
LARGEST_BIGINT = 2**63 - 1


def usage(**reported: str) -> Usage:
    """What is read from a reply with a good verdict whose usage has these numbers, as they are written."""
    answer = {"choices": [{"message": {"content": '{"importance_score": 7, "spam_score": 2}'}}]}
    numbers = ", ".join(f'"{name}": {number}' for name, number in reported.items())
    body = f'{json.dumps(answer)[:-1]}, "usage": {{{numbers}}}}}'
    read = read_reply(Reply(200, {}, body.encode()), NOW, Rubric.default())
    assert read.scores == Scores.of(importance=7, spam=2)
    return read.usage


@pytest.mark.parametrize("cost", ["1e999999", "1e30", "1000.01", '"1e999999"', '"1e99999999999999999999"', "9" * 4000])
def test_a_cost_that_no_call_has_is_unknown(cost):
    assert usage(cost=cost).cost_usd is None


@pytest.mark.parametrize(
    "tokens", ["99999999999", "1000000001", "9" * 4000, "1e10", "1.5", '"1.5"', '"many"', "-1.0", "true", "[]"]
)
def test_tokens_that_no_call_takes_are_unknown(tokens):
    found = usage(
        prompt_tokens=tokens, completion_tokens=tokens, prompt_tokens_details=f'{{"cached_tokens": {tokens}}}'
    )

    assert (found.tokens_in, found.tokens_out, found.tokens_cached) == (None, None, None)


@pytest.mark.parametrize("tokens", ["345", "345.0", '"345"', '"345.0"', "3.45e2"])
def test_whole_tokens_are_read_however_they_are_written(tokens):
    assert usage(prompt_tokens=tokens).tokens_in == 345


@pytest.mark.parametrize("cost", ["0.0000001", "1e-07", "1E-7", '"1E-7"', '"0.0000001"', '" 1e-7 "'])
def test_a_cost_that_is_a_plain_number_is_read(cost):
    assert usage(cost=cost).cost_usd == Decimal("1E-7")


@pytest.mark.parametrize(
    "cost",
    [
        '"$0.01"',
        '"0.01 USD"',
        '"0,01"',
        '"1_000"',
        '"١"',
        '{"total": 0.01}',
        "[0.01]",
        "true",
        "null",
        '""',
        '"free"',
        "-1",
        '"-0.01"',
    ],
)
def test_a_cost_that_is_no_plain_number_is_unknown(cost):
    assert usage(cost=cost).cost_usd is None


def test_what_is_dear_or_large_but_possible_is_believed():
    found = usage(cost="999.99", prompt_tokens="1000000")

    assert (str(found.cost_usd), found.tokens_in) == ("999.99", 1_000_000)


def test_what_is_believed_fits_into_the_ledger_and_so_do_millions_of_it():
    assert count(MAX_TOKENS) == MAX_TOKENS
    assert count(MAX_TOKENS + 1) is None
    assert MAX_TOKENS * 2 <= LARGEST_INTEGER
    assert amount(MAX_CALL_USD, MAX_CALL_USD) == MAX_CALL_USD
    assert MAX_CALL_USD * 10**9 * 9_000_000 <= LARGEST_BIGINT


@pytest.mark.parametrize("number", ["1e99999999999999999999", "-1e99999999999999999999", "1e-99999999999999999999"])
def test_a_number_that_has_no_room_anywhere_is_the_services_fault(number):
    body = f'{{"model": "m", "odd": {number}}}'.encode()

    assert json_object(body) == {}
    with pytest.raises(ServiceUnavailable):
        read_reply(Reply(200, {}, body), NOW, Rubric.default())
