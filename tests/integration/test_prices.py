"""What an API says of itself: models, prices and credit, with what it does not say left unknown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from backfill.classifiers.service import ApiService
from backfill.errors import ConfigError, KeyRefused, RateLimited, ServiceUnavailable
from backfill.ports import Credit, Price
from tests.support.api_server import ApiServer

ANSWERS = Path(__file__, "../../answers").resolve()
KEY = "sk-very-secret-0123456789"


def document(name: str) -> Any:
    return json.loads((ANSWERS / f"{name}.json").read_text("utf-8"))


@pytest.fixture
def service(api: ApiServer) -> Iterator[ApiService]:
    service = ApiService(api.url, KEY, timeout_s=5)
    yield service
    service.close()


def test_a_price_is_exact_and_costs_add_up(api: ApiServer, service: ApiService) -> None:
    api.offer("/models", document("models_openrouter"))

    price = service.price_of("test/model-1")

    assert price == Price(Decimal("0.00000005"), Decimal("0.0000001"))
    assert price.cost(400, 17) == Decimal("0.0000217")
    assert service.price_of("test/model-2") == Price(Decimal("0.000001"), Decimal("0.000002"), Decimal("0.005"))


@pytest.mark.parametrize("model", ["openrouter/auto", "test/model-9", "", "TEST/MODEL-1"])
def test_a_price_that_is_not_listed_is_unknown_and_not_nothing(api: ApiServer, service: ApiService, model: str) -> None:
    api.offer("/models", document("models_openrouter"))

    assert service.price_of(model) is None


@pytest.mark.parametrize("number", ["1.01", "1e30", "1e999999", "1e99999999999999999999"])
def test_a_price_that_nobody_asks_is_unknown(api: ApiServer, service: ApiService, number: str) -> None:
    api.offer("/models", {"data": [{"id": "m", "pricing": {"prompt": number, "completion": "0"}}]})

    assert service.price_of("m") is None


def test_a_local_server_lists_models_without_prices(api: ApiServer, service: ApiService) -> None:
    api.offer("/models", document("models_ollama"))

    [model] = service.models() or ()
    assert model.name == "llama3.2:latest"
    assert (model.price, model.parameters) == (None, None)


def test_a_price_of_each_request_is_counted_for_every_call() -> None:
    price = Price(Decimal("0.001"), Decimal("0.002"), Decimal("0.01"))

    assert price.cost(10, 5) == Decimal("0.03")
    assert price.cost(10, 5, calls=3) == Decimal("0.05")


def test_the_list_is_asked_for_once(api: ApiServer, service: ApiService) -> None:
    api.offer("/models", document("models_openrouter"))

    for _ in range(3):
        service.price_of("test/model-1")

    [call] = api.pages_asked_for
    assert (call.path, call.headers["authorization"]) == ("/v1/models", f"Bearer {KEY}")


def test_a_service_without_a_list_is_asked_once_too(api: ApiServer, service: ApiService) -> None:
    assert service.models() is None
    assert service.models() is None
    assert len(api.pages_asked_for) == 1


@pytest.mark.parametrize(
    "body",
    [b"<html>", [], {"data": None}, {"data": [None, {}, {"id": 7}]}, {"data": [{"id": "m", "pricing": "free"}]}],
)
def test_an_odd_list_has_no_prices(api: ApiServer, service: ApiService, body: Any) -> None:
    api.offer("/models", body)

    assert service.price_of("m") is None


@pytest.mark.parametrize(
    ("pricing", "known"),
    [
        ({"prompt": "0", "completion": "0"}, True),
        ({"prompt": "0.1"}, False),
        ({"prompt": "NaN", "completion": "1"}, False),
        ({"prompt": True, "completion": True}, False),
        ({"prompt": "-1", "completion": "-1"}, False),
    ],
)
def test_only_two_real_amounts_are_a_price(api: ApiServer, service: ApiService, pricing: Any, known: bool) -> None:
    api.offer("/models", {"data": [{"id": "m", "pricing": pricing}]})

    assert (service.price_of("m") is not None) is known


@pytest.mark.parametrize(
    ("body", "credit"),
    [
        (document("key_openrouter"), Credit(Decimal("7.43"))),
        ({"data": {"limit": None, "limit_remaining": None}}, Credit(None)),
        ({"data": {"limit_remaining": -0.5}}, Credit(Decimal(0))),
        ({"data": {"limit_remaining": 0}}, Credit(Decimal(0))),
        ({"data": []}, None),
        (b"nothing", None),
    ],
)
def test_the_keys_credit_is_what_the_service_says(
    api: ApiServer, service: ApiService, body: Any, credit: Credit | None
) -> None:
    api.offer("/key", body)

    assert service.credit() == credit


def test_a_service_without_a_page_for_the_key_tells_no_credit(service: ApiService) -> None:
    assert service.credit() is None


@pytest.mark.parametrize(
    ("status", "kind"), [(401, KeyRefused), (403, KeyRefused), (429, RateLimited), (503, ServiceUnavailable)]
)
@pytest.mark.parametrize("ask", [ApiService.models, ApiService.credit])
def test_what_concerns_key_or_service_is_told_apart(
    api: ApiServer, service: ApiService, status: int, kind: type[Exception], ask: Callable[[ApiService], object]
) -> None:
    for path in ("/models", "/key"):
        api.offer(path, {"error": {"code": status, "message": KEY}}, status=status)

    with pytest.raises(kind) as caught:
        ask(service)

    assert KEY not in str(caught.value)


def test_the_key_never_goes_out_in_clear() -> None:
    with pytest.raises(ConfigError):
        ApiService("http://api.example.com/v1", KEY)
