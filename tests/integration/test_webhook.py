"""A verdict is posted once, to whom it is meant for, and a receiver in trouble is waited for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from backfill.clock import SystemClock
from backfill.effects.webhook import WebhookEffect, WebhookSettings
from backfill.errors import (
    ConfigError,
    EffectDenied,
    EffectRefused,
    EffectRejected,
    EffectThrottled,
    EffectUnreachable,
)
from backfill.lifecycle import ExitCode, RunOutcome
from backfill.ports import Judged, Receipt, Unapplied
from tests.support.bench import Bench, PowerCut
from tests.support.hook_server import HookServer, Post, Say
from tests.support.judged import judged

SECRET = "hook-secret-0123456789"
Script = Callable[[Post], Say | None]


@contextmanager
def hook(script: Script = lambda post: None, **settings: Any) -> Iterator[tuple[HookServer, WebhookEffect]]:
    """A receiver, and the output that posts to it."""
    with HookServer(script) as server:
        effect = WebhookEffect(WebhookSettings(**{"url": server.url, "timeout_s": 5.0, **settings}), SystemClock())
        try:
            yield server, effect
        finally:
            effect.close()


def answering(*statuses: int, **headers: str) -> Script:
    """Answer the posts with these, and every later one with 204."""
    left = list(statuses)
    said = {name.replace("_", "-"): text for name, text in headers.items()}
    return lambda post: Say(left.pop(0), said) if left else None


def outcomes(answers: Sequence[Receipt | Unapplied]) -> dict[int, str]:
    return {
        answer.ref.uid: "delivered" if isinstance(answer, Receipt) else type(answer.error).__name__
        for answer in answers
    }


def test_what_is_posted_names_the_mail_and_its_verdict_and_no_text():
    with hook() as (server, effect):
        list(effect.apply([replace(judged(17, "important", body="for nobody else"), job_id=3)]))

    (post,) = server.posts
    assert (post.method, post.path, post.headers["content-type"]) == ("POST", "/hooks/mail", "application/json")
    assert post.body == {
        "event": "verdict",
        "account": "owner@example.org",
        "folder": "INBOX",
        "uidvalidity": 7,
        "uid": 17,
        "message_key": judged(17, body="for nobody else").verdict.message_key,
        "message_id": "<17@example.com>",
        "date": "2024-05-03T09:30:00+00:00",
        "sender": "Jo Doe <jo@example.com>",
        "subject": "Your invoice",
        "scores": {"importance": 8, "spam": 1},
        "category": None,
        "reason": None,
        "labels": ["important"],
        "model": "a-model",
        "source": "chat",
        "job": 3,
    }


def test_the_text_is_posted_where_it_was_asked_for():
    with hook(include_body=True) as (server, effect):
        list(effect.apply([judged(17, body="for the receiver")]))

    assert (server.posts[0].body["body"], server.posts[0].body["truncated"]) == ("for the receiver", False)


@pytest.mark.parametrize("subject", ['"}\r\nX-Evil: 1', "\x1b[31m\u202e", "\ud800", "x" * 5000, "</script>", ""])
def test_a_hostile_subject_is_a_text_like_any_other(subject):
    with hook() as (server, effect):
        list(effect.apply([judged(1, subject=subject)]))

    assert server.posts[0].body["subject"] == subject.encode("utf-8", "replace").decode()
    assert "x-evil" not in server.posts[0].headers


@pytest.mark.parametrize(
    ("header", "secret", "sent"),
    [
        ("Authorization", SECRET, f"Bearer {SECRET}"),
        ("Authorization", f"Basic {SECRET}", f"Basic {SECRET}"),
        ("X-Secret", SECRET, SECRET),
    ],
)
def test_the_secret_goes_into_its_header_and_nowhere_else(header, secret, sent):
    with hook(secret=secret, secret_header=header) as (server, effect):
        (receipt,) = effect.apply([judged(1)])
        probes = list(effect.probe(None))

    post, probe = server.posts
    assert post.headers[header.lower()] == sent
    assert SECRET not in json.dumps(dict(post.body)) + repr(receipt) + repr(probes)
    assert header.lower() not in probe.headers
    assert SECRET not in repr(WebhookSettings("https://h/x", secret))


def test_a_redirect_is_not_followed_and_stops_the_run():
    with (
        HookServer() as other,
        hook(lambda post: Say(307, {"Location": other.url}), secret=SECRET) as (_, effect),
    ):
        (answer,) = effect.apply([judged(1)])

    assert other.posts == []
    assert isinstance(answer.error, EffectDenied)
    assert "redirects are not followed, so put the final address into webhook.url" in str(answer.error)
    assert answer.error.exit_code is ExitCode.REFUSED


@pytest.mark.parametrize("status", [401, 403, 404, 405, 410])
def test_a_refusal_of_the_first_post_is_a_wrong_setting_and_nothing_more_is_posted(status):
    with hook(answering(status), secret=SECRET) as (server, effect):
        answers = list(effect.apply([judged(1), judged(2)]))

    assert len(server.posts) == 1
    assert outcomes(answers) == {1: "EffectDenied", 2: "EffectDenied"}
    assert f"HTTP {status}; check webhook." in str(answers[0].error)
    assert "/hooks/mail" not in str(answers[0].error)


@pytest.mark.parametrize("status", [400, 404, 409, 413, 415, 422, 451])
def test_a_refusal_after_a_delivery_concerns_that_mail_alone(status):
    with hook(lambda post: Say(status) if post.body["uid"] == 2 else None) as (server, effect):
        answers = list(effect.apply([judged(1), judged(2), judged(3)]))

    assert outcomes(answers) == {1: "delivered", 2: "EffectRejected", 3: "delivered"}
    (refused,) = [answer.error for answer in answers if isinstance(answer, Unapplied)]
    assert (refused.reason, refused.disposition) == (f"webhook_http_{status}", EffectRejected.disposition)
    assert server.uids == [1, 2, 3]


def test_a_refusal_that_is_no_matter_of_settings_concerns_the_first_mail_alone():
    with hook(answering(422)) as (_, effect):
        answers = list(effect.apply([judged(1), judged(2)]))

    assert outcomes(answers) == {1: "EffectRejected", 2: "delivered"}


def test_a_secret_that_is_revoked_meanwhile_stops_the_run_after_five_mails():
    with hook(lambda post: Say(401) if post.body["uid"] > 2 else None) as (server, effect):
        answers = list(effect.apply([judged(uid) for uid in range(1, 21)]))

    assert server.uids == [1, 2, 3, 4, 5, 6, 7]
    assert {uid: what for uid, what in outcomes(answers).items() if what != "EffectRejected"} == {
        **dict.fromkeys((1, 2), "delivered"),
        **dict.fromkeys(range(7, 21), "EffectDenied"),
    }


@pytest.mark.parametrize("trouble", [Say(500), Say(502), Say(503), Say(408), Say(hangs_up=True)])
def test_a_receiver_in_trouble_fails_no_mail(trouble):
    with hook(lambda post: trouble) as (server, effect):
        answers = list(effect.apply([judged(uid) for uid in range(1, 21)]))

    assert set(outcomes(answers).values()) == {"EffectUnreachable"}
    assert server.uids == [1, 2, 3]


def test_where_the_receiver_takes_others_only_the_mail_that_it_chokes_on_is_tried_again_later():
    with hook(lambda post: Say(500) if post.body["uid"] == 2 else None) as (_, effect):
        answers = list(effect.apply([judged(1), judged(2), judged(3)]))

    assert outcomes(answers) == {1: "delivered", 2: "EffectRefused", 3: "delivered"}
    assert [answer.error.disposition for answer in answers if isinstance(answer, Unapplied)] == [
        EffectRefused.disposition
    ]


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"), [(429, {}, None), (429, {"Retry_After": "7"}, 7), (503, {"Retry_After": "9"}, 9)]
)
def test_a_receiver_that_asks_for_patience_is_asked_nothing_more(status, headers, wait_s):
    with hook(answering(204, status, **headers)) as (server, effect):
        answers = list(effect.apply([judged(uid) for uid in range(1, 6)]))

    assert server.uids == [1, 2]
    assert set(outcomes(answers[1:]).values()) == {"EffectThrottled"}
    assert {answer.error.wait_s for answer in answers[1:]} == {wait_s}


@pytest.mark.parametrize(
    "endless",
    [Say(200, {}, b"x" * 200, drip_s=0.05), Say(200, {"Content-Length": "999999999"}, b"x" * 3_000_000)],
    ids=["slow", "large"],
)
def test_a_reply_without_end_ends_in_time(endless):
    with hook(lambda post: endless, timeout_s=0.4) as (_, effect):
        (answer,) = effect.apply([judged(1)])

    assert outcomes([answer])[1] in {"delivered", "EffectUnreachable"}


def test_a_receiver_that_is_not_there_is_named_by_its_host_only():
    effect = WebhookEffect(WebhookSettings("http://127.0.0.1:9/hooks/SECRET-PATH?t=1", SECRET), SystemClock())

    (answer,) = effect.apply([judged(1)])

    assert isinstance(answer.error, EffectUnreachable)
    assert "127.0.0.1" in str(answer.error)
    assert "SECRET-PATH" not in str(answer.error)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"url": None}, r"webhook\.url is not set"),
        ({"url": "http://hooks.example.com/x"}, "unencrypted"),
        ({"url": "ftp://hooks.example.com/x"}, "https://"),
        ({"url": "https://user:pw@hooks.example.com/x"}, "without user name"),
        ({"url": "https://[::1"}, "not a URL"),
        ({"url": "https:///x"}, "https://host"),
        ({"url": "https://h/x", "secret": "a\r\nX-Evil: 1"}, "secret"),
        ({"url": "https://h/x", "secret": ""}, "secret"),
        ({"url": "https://h/x", "secret": "schlüssel"}, "secret"),
    ],
)
def test_settings_that_cannot_work_or_would_reveal_the_secret_are_refused_at_once(settings, sentence):
    with pytest.raises(ConfigError, match=sentence) as refused:
        WebhookEffect(WebhookSettings(**settings), SystemClock())

    assert "pw" not in str(refused.value)


def test_a_path_and_a_query_of_the_address_are_kept():
    with HookServer() as server:
        effect = WebhookEffect(WebhookSettings(f"{server.url}?token=a%20b&x=1"), SystemClock())
        list(effect.apply([judged(1)]))
        effect.close()

    assert server.posts[0].path == "/hooks/mail?token=a%20b&x=1"


def test_another_label_is_another_post_and_the_same_verdict_never_is():
    with hook() as (server, effect):
        for mail in (judged(1), replace(judged(1), job_id=9), judged(1, "spam"), judged(2)):
            list(effect.apply([mail]))

    first, again, other_label, other_mail = (post.key for post in server.posts)
    assert first == again
    assert len({first, other_label, other_mail}) == 3


def test_taken_back_the_receiver_is_told_which_verdict_no_longer_holds():
    with hook() as (server, effect):
        receipts = list(effect.apply([judged(1)]))
        list(effect.undo(receipts))
        list(effect.undo(receipts))

    verdict, undone, again = server.posts
    assert undone.body == {
        **{name: verdict.body[name] for name in ("account", "folder", "uidvalidity", "uid")},
        "event": "undone",
        "undoes": verdict.key,
    }
    assert undone.key == again.key != verdict.key


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


@dataclass
class CutAfterPost:
    """The output, and a power cut once a mail was posted and before its receipt."""

    real: WebhookEffect
    uid: int
    is_cut: bool = False
    name = "webhook"
    needs_message = True

    def apply(self, mails: Sequence[Judged]) -> Iterator[Receipt | Unapplied]:
        for answer in self.real.apply(mails):
            if answer.ref.uid == self.uid and not self.is_cut:
                self.is_cut = True
                raise PowerCut
            yield answer

    def close(self) -> None:
        self.real.close()


def test_after_a_power_cut_between_post_and_receipt_it_is_posted_again_under_the_same_key(bench):
    bench.mailbox.holds(11, 12, 13)
    with hook() as (server, effect):
        bench.effect = CutAfterPost(effect, uid=12)

        with pytest.raises(PowerCut):
            bench.run()
        bench.run()

    assert bench.statuses() == {11: "done", 12: "done", 13: "done"}
    assert len({(post.body["uid"], post.key) for post in server.posts}) == 3
    assert len(server.uids) > 3
    assert sorted(bench.classifier.asked_about) == [11, 12, 13]


def test_a_run_waits_for_a_receiver_that_comes_back_and_fails_no_mail(bench):
    bench.mailbox.holds(11, 12, 13)
    with hook(answering(503, 503, 503, 500, 502)) as (server, effect):
        bench.effect = effect

        bench.run()

    assert bench.statuses() == {11: "done", 12: "done", 13: "done"}
    assert any("webhook" in sentence for sentence in bench.observer.waited_for)
    assert sorted(uid for _, _, uid in server.world) == [11, 12, 13]


def test_a_receiver_that_stays_away_ends_the_run_and_the_next_one_posts_without_a_call(bench):
    bench.mailbox.holds(11, 12, 13)
    is_down = True
    with hook(lambda post: Say(503) if is_down else None) as (server, effect):
        bench.effect = effect
        with pytest.raises(EffectUnreachable) as stopped:
            bench.run()
        is_down = False

        bench.run()

    assert stopped.value.exit_code is ExitCode.UNREACHABLE
    assert bench.statuses() == {11: "done", 12: "done", 13: "done"}
    assert sorted(bench.classifier.asked_about) == [11, 12, 13]
    assert len(server.world) == 3


def test_a_wait_of_hours_that_the_receiver_names_ends_the_run_and_is_remembered(bench):
    bench.mailbox.holds(11, 12)
    with hook(answering(429, Retry_After="7200")) as (server, effect):
        bench.effect = effect
        for _ in range(2):
            with pytest.raises(EffectThrottled, match="7200") as stopped:
                bench.run()
        asked = len(server.posts)
        bench.clock.turn(7200)

        bench.run()

    assert (asked, stopped.value.exit_code) == (1, ExitCode.STOPPED_EARLY)
    assert bench.statuses() == {11: "done", 12: "done"}


def test_a_receiver_with_a_rate_limit_gets_everything_in_its_time(bench):
    bench.mailbox.holds(*range(1, 31))
    budget = [5]

    def limited(post: Post) -> Say | None:
        if budget[0] == 0:
            budget[0] = 5
            return Say(429, {"Retry-After": "1"})
        budget[0] -= 1
        return None

    with hook(limited) as (server, effect):
        bench.effect = effect

        bench.run()

    assert set(bench.statuses().values()) == {"done"}
    assert len(server.world) == 30


def test_a_mail_that_the_receiver_refuses_fails_with_the_reason_and_the_others_are_done(bench):
    bench.mailbox.holds(11, 12, 13)
    with hook(lambda post: Say(422) if post.body["uid"] == 12 else None) as (server, effect):
        bench.effect = effect

        bench.run()

    assert bench.statuses() == {11: "done", 12: "failed", 13: "done"}
    assert bench.reasons() == {12: "webhook_http_422"}
    assert server.uids.count(12) == 1


def test_a_wrong_secret_ends_the_run_and_what_was_delivered_before_is_not_posted_again(bench):
    bench.mailbox.holds(*range(1, 21))
    is_revoked = True
    with hook(lambda post: Say(401) if is_revoked and post.body["uid"] > 2 else None) as (server, effect):
        bench.effect = effect
        with pytest.raises(EffectDenied):
            bench.run()
        is_revoked = False

        bench.run()

    assert [server.uids.count(uid) for uid in (1, 2)] == [1, 1]
    assert set(bench.statuses()) == set(range(1, 21))
    assert "classified" not in bench.statuses().values()


def test_a_stop_while_the_receiver_is_waited_for_keeps_what_was_delivered(bench):
    bench.mailbox.holds(11, 12, 13)

    def interrupting(post: Post) -> Say | None:
        if post.body["uid"] == 11:
            return None
        bench.stop.set("SIGINT")
        return Say(503)

    with hook(interrupting) as (server, effect):
        bench.effect = effect
        ended = bench.run()

    assert ended.outcome is RunOutcome.INTERRUPTED
    assert bench.statuses() == {11: "done", 12: "classified", 13: "classified"}
    assert server.uids.count(11) == 1


def test_a_mail_on_which_the_receiver_always_fails_fails_alone_and_the_run_comes_to_its_end(bench):
    bench.mailbox.holds(11, 12, 13)
    with hook(lambda post: Say(500) if post.body["uid"] == 12 else None) as (server, effect):
        bench.effect = effect

        ended = bench.run()

    assert ended.outcome is RunOutcome.FINISHED
    assert bench.statuses() == {11: "done", 12: "failed", 13: "done"}
    assert bench.reasons() == {12: "webhook_fails"}
    assert server.uids.count(12) == 3
