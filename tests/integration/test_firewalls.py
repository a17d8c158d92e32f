"""What stands before an API may turn away one mail for its words, or all of them: told apart by who is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backfill.classifiers.chat import ChatClassifier, ChatSettings
from backfill.errors import BackfillError, ConnectionMisconfigured, KeyRefused, RateLimited, ServiceUnavailable
from tests.support.api_server import ApiServer, Call, Response, scores_for, verdict
from tests.support.bench import Bench

PAGE = b"<html><h1>Request blocked</h1>Support ID 4711</html>"


@pytest.fixture
def bench(tmp_path: Path, api: ApiServer) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    classifier = ChatClassifier(ChatSettings(api.url, "test/model-1", "Judge.", "sk-1", timeout_s=5), secret=b"secret")
    bench.classifier = classifier  # type: ignore[assignment]
    yield bench
    classifier.close()
    bench.ledger.close()


def judge(call: Call) -> Response:
    return verdict(*scores_for(call.mail))


def blocks(subject: str, otherwise: Response) -> Callable[[Call], Response]:
    return lambda call: otherwise if call.subject == subject else judge(call)


BLOCKED = [
    Response(403, PAGE),
    Response(401, PAGE),
    Response(406, PAGE),
    Response(429, PAGE),
    Response(403, b""),
    Response(403, {"message": "Forbidden"}),
    Response(405, PAGE),
    Response(404, PAGE),
    Response(451, b"no"),
    Response(418, PAGE),
    Response(200, PAGE),
    Response(302, b"", {"Location": "/blocked"}),
]


@pytest.mark.parametrize("answer", BLOCKED, ids=lambda answer: f"{answer.status}-{len(answer.payload)}")
@pytest.mark.parametrize("uid", [1, 4], ids=["the first mail", "a later mail"])
def test_a_mail_that_is_turned_away_fails_alone(api: ApiServer, bench: Bench, answer: Response, uid: int) -> None:
    bench.mailbox.holds(*range(1, 9))
    api.answer_with(blocks(f"mail {uid}", answer))

    bench.run()

    assert bench.reasons() == {uid: "turned_away"}
    assert list(bench.statuses().values()).count("done") == 7


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Response(403, PAGE), KeyRefused),
        (Response(401, b""), KeyRefused),
        (Response(406, PAGE), ServiceUnavailable),
        (Response(429, PAGE), RateLimited),
        (Response(404, b"404 page not found"), ConnectionMisconfigured),
        (Response(200, PAGE), ConnectionMisconfigured),
    ],
    ids=["403", "401", "406", "429", "404", "200"],
)
@pytest.mark.parametrize("answered", [0, 6])
def test_where_all_mail_is_turned_away_the_run_stops_and_fails_none(
    api: ApiServer, bench: Bench, answer: Response, kind: type[BackfillError], answered: int
) -> None:
    bench.mailbox.holds(*range(1, 41))
    api.answer_with(lambda call: judge(call) if api.call_count <= answered else answer)

    with pytest.raises(kind):
        bench.run()

    assert "failed" not in bench.statuses().values()
    assert list(bench.statuses().values()).count("done") == answered


@pytest.mark.parametrize("answer", [Response(500, {"error": {"code": 500}}), Response(502, PAGE)])
def test_a_mail_at_which_the_api_itself_breaks_fails_alone_when_others_are_answered(
    api: ApiServer, bench: Bench, answer: Response
) -> None:
    bench.mailbox.holds(*range(1, 41))
    api.answer_with(blocks("mail 4", answer))

    bench.run()

    assert bench.reasons() == {4: "turned_away"}
    assert list(bench.statuses().values()).count("done") == 39


def test_the_last_mail_of_a_job_that_is_turned_away_does_not_stop_every_run(api: ApiServer, bench: Bench) -> None:
    bench.mailbox.holds(1)
    api.answer_with(lambda _: Response(403, PAGE))
    errors: list[Any] = []

    for _ in range(5):
        try:
            bench.run()
        except KeyRefused as error:
            errors.append(error)

    assert 1 <= len(errors) <= 3
    assert bench.reasons() == {1: "turned_away"}
