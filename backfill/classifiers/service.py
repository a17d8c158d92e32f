"""The models of an OpenAI-compatible API with their list prices, and the credit of the key.

These calls are free of charge. A value that an API does not tell is None, never 0: local servers name no prices,
OpenAI names neither prices nor credit. List prices are estimates, since several providers may serve one model. The true
cost of a call is in its answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

from backfill.classifiers.endpoint import Endpoint
from backfill.classifiers.replies import refusal
from backfill.classifiers.untrusted import (
    MAX_CALL_USD,
    MAX_TOKEN_USD,
    amount,
    clean,
    json_object,
    mapping,
)
from backfill.clock import Clock, SystemClock
from backfill.errors import ClassifierError, KeyRefused, RateLimited, ServiceUnavailable
from backfill.http.client import Reply
from backfill.ports import Credit, ModelInfo, Price

MAX_LIST_BYTES: Final = 20_000_000  # OpenRouter's list of some 400 models has about one million


class ApiService:
    """Asks `GET /models` once and keeps the answer; asks `GET /key` each time. Raises `ConfigError` like `Endpoint`."""

    def __init__(
        self, api_url: str, api_key: str | None = None, *, timeout_s: float = 60.0, clock: Clock | None = None
    ) -> None:
        self._clock: Clock = clock or SystemClock()
        self._endpoint = Endpoint(api_url, api_key, timeout_s=timeout_s, clock=self._clock)
        self._lock = threading.Lock()
        self._models: tuple[ModelInfo, ...] | None = None
        self._is_asked = False

    def models(self) -> tuple[ModelInfo, ...] | None:
        """All models, in the API's order; None when it has no list."""
        with self._lock:
            if not self._is_asked:
                document = self._document(lambda: self._endpoint.get("/models", max_bytes=MAX_LIST_BYTES))
                self._models, self._is_asked = _models(document), True
            return self._models

    def model(self, name: str) -> ModelInfo | None:
        """The model of exactly this name; None: it is not listed, or there is no list."""
        return next((known for known in self.models() or () if known.name == name), None)

    def price_of(self, model: str) -> Price | None:
        """The list price of the model of exactly this name."""
        known = self.model(model)
        return None if known is None else known.price

    def credit(self) -> Credit | None:
        """The key's credit by OpenRouter's `GET /key`; None for other services, which have no such call."""
        document = self._document(lambda: self._endpoint.get("/key"))
        data = mapping(mapping(document).get("data"))
        if not data:
            return None
        left = data.get("limit_remaining")
        is_overdrawn = isinstance(left, int | Decimal) and left < 0
        return Credit(Decimal(0) if is_overdrawn else amount(left))

    def close(self) -> None:
        self._endpoint.close()

    def _document(self, ask: Callable[[], Reply]) -> dict[str, Any] | None:
        """The reply's JSON object; None when the API lacks the call.

        Raises `KeyRefused`, `RateLimited`, `ServiceUnavailable`, and what `Endpoint.get` raises.
        """
        reply = ask()
        if 200 <= reply.status < 300:
            return json_object(reply.body)
        error: ClassifierError = refusal(reply, self._clock.now(), api_url=self._endpoint.url)
        if isinstance(error, KeyRefused | RateLimited | ServiceUnavailable):
            raise error
        return None


def _models(document: dict[str, Any] | None) -> tuple[ModelInfo, ...] | None:
    listed = mapping(document).get("data")
    return tuple(_read(listed)) if isinstance(listed, list) else None


def _read(listed: list[Any]) -> Iterator[ModelInfo]:
    for entry in listed:
        if isinstance(entry, dict) and (name := clean(entry.get("id"))):
            parameters = entry.get("supported_parameters")
            yield ModelInfo(
                name,
                _price(entry.get("pricing")),
                frozenset(map(clean, parameters)) if isinstance(parameters, list) else None,
            )


def _price(pricing: object) -> Price | None:
    """The price from an API's strings, in USD per token.

    None when either is missing or negative; a negative one is OpenRouter's "varies".
    """
    if not isinstance(pricing, dict):
        return None
    prompt, completion = (amount(pricing.get(name), MAX_TOKEN_USD) for name in ("prompt", "completion"))
    if prompt is None or completion is None:
        return None
    return Price(prompt, completion, amount(pricing.get("request"), MAX_CALL_USD) or Decimal(0))
