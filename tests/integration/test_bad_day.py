"""A service's bad day, played on a clock that is turned: no mail is failed by it, and every run says why it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backfill.classifiers.chat import ChatClassifier, ChatSettings
from backfill.errors import KeyRefused, ServiceUnavailable
from backfill.lifecycle import RunOutcome
from backfill.message import Message
from backfill.verdict import Answer, Scores
from tests.support.api_server import ApiServer, Call, Response, scores_for, verdict
from tests.support.bench import Bench, BenchClassifier

BUSY = Response(429, {"error": {"code": 429}})
QUOTA = Response(429, {"error": {"code": "insufficient_quota", "type": "insufficient_quota"}})
KEY = Response(401, {"error": {"code": "invalid_api_key"}})


@pytest.fixture
def bench(tmp_path: Path, api: ApiServer) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    chat = ChatClassifier(ChatSettings(api.url, "test/model-1", "Judge.", timeout_s=30), secret=b"secret")
    bench.classifier = chat  # type: ignore[assignment]
    yield bench
    chat.close()
    bench.ledger.close()


def test_an_hour_of_429_then_a_quota_then_a_dead_key_fails_no_mail(bench: Bench, api: ApiServer) -> None:
    began = bench.clock.monotonic()
    later = QUOTA

    def answer(call: Call) -> Response:
        if bench.clock.monotonic() - began < 3600:
            return BUSY
        return later if later.status != 200 else verdict(*scores_for(call.mail))

    api.answer_with(answer)
    bench.mailbox.holds(*range(1, 21))

    with pytest.raises(KeyRefused, match="no credit left"):
        bench.run()

    hour = bench.attempts()
    assert set(bench.statuses().values()) == {"pending"}
    assert hour.count("rate_limited") < 60  # patience, not one call after the other
    assert bench.clock.monotonic() - began >= 3600

    later = KEY
    with pytest.raises(KeyRefused, match="refused the key"):
        bench.run()

    assert set(bench.statuses().values()) == {"pending"}
    assert len(bench.attempts()) - len(hour) <= 4

    later = verdict(1, 1)
    ended = bench.run()

    assert ended.outcome is RunOutcome.FINISHED
    assert set(bench.statuses().values()) == {"done"}
    assert bench.reasons() == {}
    assert bench.attempts().count("ok") == 20


class HalfFree(BenchClassifier):
    """Decides every second mail without a call, as a gate does; nobody answers the calls."""

    def decide_free(self, message: Message) -> Answer | None:
        return Answer(Scores.of(importance=0, spam=10), "gate") if message.ref.uid % 2 else None


def test_what_a_gate_decides_does_not_hide_that_the_service_is_dead(bench: Bench) -> None:
    def fail(_: Message) -> Scores:
        raise ServiceUnavailable

    bench.classifier = HalfFree(fail)
    bench.mailbox.holds(*range(1, 101))

    with pytest.raises(ServiceUnavailable, match="the run stops"):
        bench.run()

    assert len(bench.classifier.asked_about) < 20
    assert set(bench.statuses().values()) <= {"pending", "classified", "done"}
