"""What is said of a job at this moment: what binds it, when it ends, who is at work; nothing steers a terminal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from backfill.ledger.live import AtWork, Limit, Limits, Pace, Recent, Standing, Trouble, Watched
from backfill.ledger.rows import Job, RunInfo
from backfill.lifecycle import JobState
from backfill.message import MailboxKey, MessageRef
from backfill.report import live
from backfill.selection import Selection

NOW = datetime(2024, 5, 3, 12, 0, tzinfo=UTC)
JOB = Job(3, "key", "owner@example.org", Selection(), "print", "{}", "", False, 0, JobState.OPEN, None, True)
RUN = RunInfo("uuid", "run", "mill", 4711, NOW - timedelta(hours=1), None, None, None)
AT_WORK = AtWork(RUN, NOW, None, concurrency=4, api="calls:api", in_flight=2)
CALLS = Limit(per_minute=60.0, lead_s=0.0, is_waited_for=False, blocked_until=None, reason="")
RECENT = Recent(seconds=300.0, mails=100, calls=100, busy_seconds=60.0, tokens=50_000)
STANDING = Standing(JobState.OPEN, None, 1000, 380, 10, 5, 5, 600, NOW - timedelta(days=1), NOW - timedelta(hours=1))
PACE = Pace((AT_WORK,), RECENT, Limits(CALLS))
WATCHED = Watched(NOW, STANDING, PACE, RUN, Decimal("1.5"), ())


def paced(recent: Recent = RECENT, run: AtWork = AT_WORK, tokens: Limit | None = None, **calls: object) -> Pace:
    return Pace((run,), recent, Limits(replace(CALLS, **calls), tokens))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pace", "kind", "words"),
    [
        pytest.param(paced(), "machine", "this machine", id="nothing else is used up"),
        pytest.param(paced(is_waited_for=True), "calls_per_minute", "(60)", id="slots are waited for"),
        pytest.param(paced(replace(RECENT, calls=290)), "calls_per_minute", "(60)", id="as many calls as allowed"),
        pytest.param(paced(per_minute=0.5, is_waited_for=True), "calls_per_minute", "(0.5)", id="a slow pace"),
        pytest.param(
            paced(tokens=replace(CALLS, per_minute=40.0, lead_s=9.0), is_waited_for=True, lead_s=2.0),
            "tokens_per_minute",
            "(40,000)",
            id="tokens are free later than calls",
        ),
        pytest.param(
            paced(blocked_until=NOW + timedelta(minutes=5), reason="rate limited"),
            "blocked",
            "until 2024-05-03 12:05 UTC: rate limited",
            id="the API asks for patience",
        ),
        pytest.param(
            paced(replace(RECENT, busy_seconds=1150.0)), "latency", "4 calls at a time, 11.5 s each", id="busy"
        ),
        pytest.param(paced(run=replace(AT_WORK, waiting_for="the night")), "waiting", "the night", id="a gate"),
    ],
)
def test_what_binds_a_run_is_named(pace: Pace, kind: str, words: str) -> None:
    bound = live.binding(pace)

    assert bound is not None
    assert bound.kind == kind
    assert words in bound.sentence


@pytest.mark.parametrize(
    "pace", [Pace((), None, Limits()), paced(replace(RECENT, calls=1))], ids=["nobody is at work", "it has just begun"]
)
def test_nothing_is_said_to_bind_where_it_is_not_known(pace: Pace) -> None:
    assert live.binding(pace) is None


def test_the_end_is_a_time_of_day_at_the_present_rate() -> None:
    assert live.ends_at(WATCHED) == NOW + timedelta(minutes=30)
    assert "Ends:      12:30 UTC at this rate" in live.render(WATCHED, JOB)


def test_the_end_comes_later_by_the_time_for_which_calls_are_blocked() -> None:
    blocked = replace(WATCHED, pace=paced(blocked_until=NOW + timedelta(hours=20), reason="rate limited"))

    assert live.ends_at(blocked) == NOW + timedelta(hours=20, minutes=30)
    assert "2024-05-04 08:30 UTC" in live.render(blocked, JOB)


@pytest.mark.parametrize(
    "watched",
    [
        replace(WATCHED, standing=replace(STANDING, state=JobState.PAUSED)),
        replace(WATCHED, standing=replace(STANDING, pending=0)),
        replace(WATCHED, pace=Pace((), None, Limits())),
    ],
    ids=["paused", "nothing left", "nobody at work"],
)
def test_no_end_is_promised_where_none_is_known(watched: Watched) -> None:
    assert live.ends_at(watched) is None


DEAD = Pace((), None, Limits())
ENDED = replace(RUN, ended_at=NOW, outcome="interrupted", outcome_reason="SIGTERM")


@pytest.mark.parametrize(
    ("state", "pace", "last", "words"),
    [
        (JobState.OPEN, PACE, RUN, "IN PROGRESS: `backfill run`, process 4711 on mill"),
        (JobState.OPEN, DEAD, RUN, "no run is working on it (the last one died); go on with: backfill run --job 3"),
        (JobState.OPEN, DEAD, ENDED, "interrupted, SIGTERM); go on with: backfill run --job 3"),
        (JobState.OPEN, DEAD, None, "PLANNED; begin with: backfill run --job 3"),
        (JobState.PAUSED, PACE, RUN, "PAUSED (by Ada); `backfill resume 3` goes on"),
        (JobState.PAUSED, DEAD, RUN, "PAUSED (by Ada), and no run is working on it; go on with: backfill run --job 3"),
        (JobState.CANCELLED, DEAD, ENDED, "CANCELLED (by Ada); take it up again with: backfill run --job 3"),
        (JobState.DONE, DEAD, ENDED, "DONE"),
        (JobState.UNDONE, DEAD, ENDED, "UNDONE"),
    ],
)
def test_the_headline_says_who_is_at_work_and_how_to_go_on(
    state: JobState, pace: Pace, last: RunInfo | None, words: str
) -> None:
    standing = replace(
        STANDING, state=state, reason="by Ada" if state in (JobState.PAUSED, JobState.CANCELLED) else None
    )

    assert words in live.headline(replace(WATCHED, standing=standing, pace=pace, last_run=last), 3)


def test_a_job_without_a_living_run_is_never_called_in_progress() -> None:
    said = live.render(replace(WATCHED, pace=DEAD), JOB) + live.line(replace(WATCHED, pace=DEAD))

    assert "IN PROGRESS" not in said
    assert "no run is working on it" in live.line(replace(WATCHED, pace=DEAD))


def test_nothing_that_a_server_or_a_reason_says_steers_the_terminal() -> None:
    evil = "\x1b[2J\n\u202e"
    ref = MessageRef(MailboxKey("owner@example.org", f"IN{evil}BOX", 7), 17)
    watched = replace(
        WATCHED,
        standing=replace(STANDING, reason=evil),
        pace=paced(run=replace(AT_WORK, waiting_for=evil)),
        troubles=(Trouble(NOW, evil, 503, ref),),
    )
    job = replace(JOB, selection=Selection(folders=(f"IN{evil}BOX",)))

    said = live.render(watched, job) + live.line(watched) + "".join(live.troubles(watched))

    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "17" in said


def test_the_answer_for_machines_has_the_keys_that_were_promised() -> None:
    said = live.as_json(WATCHED)

    assert set(said) == {
        *("at", "at_work", "last_run_died", "runs", "mails_per_minute", "calls_per_minute", "in_flight", "limit"),
        *("ends_at", "spent_usd", "last_errors"),
    }
    assert (said["at_work"], said["last_run_died"], said["in_flight"]) == (True, False, 2)
    assert (said["mails_per_minute"], said["ends_at"]) == (20.0, "2024-05-03T12:30:00+00:00")
    assert live.as_json(replace(WATCHED, pace=DEAD))["last_run_died"] is True
