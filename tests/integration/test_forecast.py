"""What a plan says of calls, money and hours: from a sample, and never a guess for what nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from backfill.estimates.forecast import Forecast, Forecaster
from backfill.hours import Hours
from backfill.limits import RunLimits
from backfill.ports import Price
from backfill.rubric import Category, Rubric, Score
from tests.support.bench import Bench

PRICE = Price(Decimal("0.000001"), Decimal("0.00001"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    bench.mailbox.holds(*range(1, 1001))
    yield bench
    bench.ledger.close()


def forecast(bench: Bench, price: Price | None = PRICE, max_emails: int | None = None, **limits: Any) -> Forecast:
    forecaster = Forecaster(
        bench.ledger, bench.mailbox, bench.classifier, price, RunLimits(calls_per_minute=50, **limits)
    )
    return forecaster.forecast(bench.plan(), max_emails)


def test_the_rest_of_a_job_is_reckoned_from_a_sample(bench: Bench) -> None:
    expected = forecast(bench)

    assert (expected.mails, expected.calls, expected.tokens_in, expected.tokens_out) == (1000, 1000, 100_000, 30_000)
    assert expected.cost_usd == Decimal("0.4")
    assert round(expected.hours, 2) == 0.33
    assert expected.sampled == 50
    assert "50 calls a minute" in expected.binding_limit


def test_more_questions_make_longer_answers(bench: Bench) -> None:
    own = Rubric(
        (Score("tax", "the tax office wants it", 7, None),), (Category("Bill", "asks for money", None),), reason=True
    )
    forecaster = Forecaster(bench.ledger, bench.mailbox, bench.classifier, PRICE, RunLimits(), own)

    expected = forecaster.forecast(bench.plan())

    assert expected.tokens_out == 1000 * (10 + 10 + 12 + 35)
    assert expected.cost_usd == Decimal("0.1") + Decimal("0.67")


def test_an_unknown_price_is_unknown_and_not_nothing(bench: Bench) -> None:
    expected = forecast(bench, price=None)

    assert expected.cost_usd is None
    assert "unknown price" in expected.sentence()


def test_mail_whose_verdict_is_known_costs_no_call(bench: Bench) -> None:
    bench.run(dry_run=True)

    expected = forecast(bench)

    assert (expected.mails, expected.calls, expected.cost_usd) == (1000, 0, Decimal(0))


@pytest.mark.parametrize("mails", [49, 50, 51, 99, 101, 999])
def test_the_sample_is_spread_over_all_of_the_job(bench: Bench, mails: int) -> None:
    bench.mailbox.contents.clear()
    bench.mailbox.holds(*range(1, mails + 1))
    job = bench.plan()

    uids = [ref.uid for ref in bench.ledger.open_items.sample(job.id, 50)]

    assert len(uids) == min(mails, 50)
    assert uids[-1] == mails
    gaps = {later - earlier for earlier, later in pairwise(uids)}
    assert max(gaps) - min(gaps) <= 1


def test_what_the_sample_cannot_tell_is_unknown_and_not_nothing(bench: Bench) -> None:
    bench.mailbox.gone = set(bench.mailbox.contents)

    expected = forecast(bench)

    assert expected.mails == 1000
    assert (expected.calls, expected.tokens_in, expected.tokens_out) == (None, None, None)
    assert (expected.cost_usd, expected.hours) == (None, None)
    assert "1,000 mails to do. What they will take is not known" in expected.sentence()


def test_when_nothing_is_left_it_takes_nothing(bench: Bench) -> None:
    bench.mailbox.contents.clear()

    expected = forecast(bench)

    assert (expected.mails, expected.calls, expected.tokens_in, expected.cost_usd) == (0, 0, 0, Decimal(0))


def test_a_budget_that_does_not_do_is_the_binding_limit(bench: Bench) -> None:
    assert "budget" in forecast(bench, max_cost_usd=Decimal("0.1")).binding_limit


@pytest.mark.parametrize(
    ("limits", "hours", "binding"),
    [
        ({"max_per_day": 400}, 2 * 24 + 200 / 50 / 60, "400 calls a day"),
        ({"max_per_day": 500}, 24 + 500 / 50 / 60, "500 calls a day"),
        ({"max_per_day": 1000}, 1000 / 50 / 60, "50 calls a minute"),
        ({"between": Hours.parse("22:00-07:00")}, 1000 / 50 / 60, "50 calls a minute between 22:00-07:00"),
        ({"between": Hours.parse("23:55-00:05")}, 24 + 10 / 60, "50 calls a minute between 23:55-00:05"),
        ({"between": Hours.parse("23:55-00:05"), "max_per_day": 400}, 2 * 24 + 4 / 60, "400 calls a day"),
        ({"between": Hours.parse("23:55-00:05"), "max_per_day": 600}, 24 + 10 / 60, "50 calls a minute between"),
    ],
)
def test_hours_and_a_daily_number_are_reckoned_with_and_named_where_they_bind(
    bench: Bench, limits: dict[str, Any], hours: float, binding: str
) -> None:
    expected = forecast(bench, **limits)

    assert expected.hours == pytest.approx(hours)
    assert binding in expected.binding_limit


def test_the_next_mails_only_are_reckoned_when_so_many_are_named(bench: Bench) -> None:
    assert forecast(bench, max_emails=10).calls == 10


def test_reckoning_asks_the_classifier_nothing(bench: Bench) -> None:
    forecast(bench)

    assert bench.classifier.asked_about == []


def test_one_mail_is_a_mail_and_one_call_a_call(bench: Bench) -> None:
    bench.plan()

    expected = forecast(bench, max_emails=1).sentence()

    assert expected.startswith("1 mail to do: about 1 call with ")
    assert "in 0 minutes" in expected
    assert "in 1 minute;" in replace(forecast(bench, max_emails=1), hours=1 / 60).sentence()
