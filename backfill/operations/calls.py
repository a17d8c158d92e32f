"""Makes the `MeteredCalls` of commands that work on no job, and the `Budget` of all calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Protocol

from backfill.clock import Clock
from backfill.errors import Concession, ConfigError
from backfill.ledger import Ledger
from backfill.limits import RunLimits
from backfill.metered import MeteredCalls
from backfill.operations.parts import Api, Audience
from backfill.ports import Classifier, Price
from backfill.throttle.budget import Budget, DayLimit
from backfill.throttle.calls import Throttler
from backfill.throttle.gates import Gates

#: Seconds. These commands keep no verdict, so they end when the day's limit is reached, instead of waiting.
NO_WAIT_S: Final = 0.0


class CallParts(Protocol):
    """The parts that `MeteredCalls` and `Budget` are made of."""

    @property
    def ledger(self) -> Ledger: ...
    @property
    def limits(self) -> RunLimits: ...
    @property
    def api(self) -> Api: ...
    @property
    def classifier(self) -> Classifier: ...
    def price(self) -> Price | None: ...


def calls_for_no_run(parts: CallParts, audience: Audience, *, only_one: bool = False) -> MeteredCalls:
    """The calls of `evaluate` and `check` to a metered classifier.

    They keep to the pace and the blocks of the runs at work, and count among the day's calls and cost. Writes.
    `only_one`: when the service is in trouble or cuts an answer, the call is not tried again.
    Raises `ConfigError` as `budget_of` does.
    """
    ledger, clock, stop, limits, api = parts.ledger, audience.clock, audience.stop, parts.limits, parts.api
    limits = replace(limits, retry_attempts=1) if only_one else limits
    concessions = {Concession.RENAMED} if only_one else Concession
    rates = limits.calls_per_minute, limits.tokens_per_minute
    # `keeps_pace`: the pace of a run at work is not changed.
    throttler = Throttler(ledger, clock, api.throttle, *rates, api.max_answer_tokens, keeps_pace=True)
    day = day_limit(ledger, clock, limits, api)
    tell = audience.observer.waiting
    return MeteredCalls(
        ledger,
        parts.classifier,
        throttler,
        clock,
        stop,
        Gates(() if day is None else (day,), clock, stop, tell),
        limits,
        tell,
        budget_of(parts, clock, None, day),
        concessions=frozenset(concessions),
        gate_patience_s=NO_WAIT_S,
    )


def day_limit(ledger: Ledger, clock: Clock, limits: RunLimits, api: Api) -> DayLimit | None:
    """The limit on a day's calls; None without one."""
    return None if limits.max_per_day is None else DayLimit(ledger, clock, api.throttle, limits.max_per_day)


def budget_of(
    parts: CallParts, clock: Clock, job_id: int | None, calls: DayLimit | None, limits: RunLimits | None = None
) -> Budget | None:
    """The budget of a job's calls, or with `job_id` None of calls for no job; None where there is no limit.

    `limits` None: those of `parts`. Raises `ConfigError` for a limit on money where the price is not known.
    """
    limits = limits or parts.limits
    of_job, of_day = None if job_id is None else limits.max_cost_usd, limits.max_cost_usd_per_day
    listed = None
    if of_job is not None or of_day is not None:
        listed = parts.price()
        if listed is None:
            raise ConfigError(
                f"What {parts.api.model} costs at {parts.api.url} is not known, so a limit on the cost cannot be kept; "
                "leave it out (--max-emails bounds a run as well), or choose a model with a listed price."
            )
    elif calls is None:
        return None
    return Budget(parts.ledger, clock, job_id, listed, parts.api.max_answer_tokens, of_job, of_day, calls)
