"""What is said of a job at this moment: what binds it, when it ends, who is at work; nothing steers a terminal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from backfill.estimates.outlook import outlook
from backfill.fingerprint import Fingerprint
from backfill.hours import Hours
from backfill.ledger.reads.rates import PerMail, RecentRates
from backfill.ledger.reads.status import AtWork, JobStatus, LastError, Speed, Tally, ThrottleReading, ThrottleReadings
from backfill.ledger.rows import Job, RunInfo
from backfill.lifecycle import JobState
from backfill.message import MailboxKey, MessageRef
from backfill.report import status as report_status
from backfill.rubric import Category, Rubric, Score
from backfill.selection import Selection
from backfill.summary import Counts

NOW = datetime(2024, 5, 3, 12, 0, tzinfo=UTC)
JOB = Job(
    id=3,
    key="key",
    account="owner@example.org",
    selection=Selection(),
    fingerprint="print",
    planned_with=Fingerprint("{}"),
    rubric=Rubric.default(),
    dry_run=False,
    generation=0,
    state=JobState.OPEN,
    state_reason=None,
    has_consent=True,
)
RUN = RunInfo("uuid", "run", "mill", 4711, NOW - timedelta(hours=1), None, None, None)
AT_WORK = AtWork(RUN, NOW, None, concurrency=4, api="calls:api", in_flight=2)
CALLS = ThrottleReading(per_minute=60.0, lead_s=0.0, is_waited_for=False, blocked_until=None, reason="")
RECENT = RecentRates(seconds=300.0, mails=100, worked=100, calls=100, busy_seconds=60.0, tokens=50_000)
COUNTS = Counts(found=1000, done=380, failed=10, skipped=5, vanished=5, pending=600)
TALLY = Tally(JobState.OPEN, None, COUNTS, NOW - timedelta(days=1), NOW - timedelta(hours=1))
SPEED = Speed(NOW, (AT_WORK,), RECENT, ThrottleReadings(CALLS))
STATUS = JobStatus(TALLY, SPEED, RUN, Decimal("1.5"), ())


def paced(
    recent: RecentRates = RECENT, run: AtWork = AT_WORK, tokens: ThrottleReading | None = None, **calls: object
) -> Speed:
    return Speed(NOW, (run,), recent, ThrottleReadings(replace(CALLS, **calls), tokens))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("speed", "kind", "words"),
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
            "until 2024-05-03 12:05:00 UTC: rate limited",
            id="the API asks for patience",
        ),
        pytest.param(
            paced(replace(RECENT, busy_seconds=1150.0, answered=80, answer_seconds=1000.0)),
            "latency",
            "(4 calls at a time, 12.5 s each)",
            id="busy",
        ),
        pytest.param(
            paced(replace(RECENT, calls=4, seconds=20.0, busy_seconds=80.0)),
            "latency",
            "latency (4 calls at a time)",
            id="none has been answered yet",
        ),
        pytest.param(paced(run=replace(AT_WORK, waiting_for="the night")), "waiting", "the night", id="a gate"),
    ],
)
def test_what_binds_a_run_is_named(speed: Speed, kind: str, words: str) -> None:
    bound = report_status.binding(speed)

    assert bound is not None
    assert bound.kind == kind
    assert words in bound.sentence


@pytest.mark.parametrize(
    "speed",
    [Speed(NOW, (), None, ThrottleReadings()), paced(replace(RECENT, calls=1))],
    ids=["nobody is at work", "it has just begun"],
)
def test_nothing_is_said_to_bind_where_it_is_not_known(speed: Speed) -> None:
    assert report_status.binding(speed) is None


def test_the_end_is_a_time_of_day_at_the_present_rate() -> None:
    assert report_status.ends_at(STATUS) == NOW + timedelta(minutes=30)
    assert "Ends:      12:30 UTC at this rate" in report_status.render(STATUS, JOB)


def test_the_end_has_a_date_when_it_is_not_today() -> None:
    status = replace(STATUS, tally=replace(TALLY, counts=replace(COUNTS, pending=60 * 24 * 20)))

    assert "Ends:      2024-05-04 12:00 UTC at this rate" in report_status.render(status, JOB)


@pytest.mark.parametrize(
    "status",
    [
        replace(STATUS, speed=paced(blocked_until=NOW + timedelta(hours=20), reason="rate limited")),
        replace(STATUS, speed=paced(run=replace(AT_WORK, waiting_for="the mail server cannot be reached"))),
        replace(STATUS, tally=replace(TALLY, state=JobState.PAUSED, reason="by Ada")),
    ],
    ids=["blocked", "waiting", "paused"],
)
def test_a_run_that_waits_has_neither_a_rate_nor_an_end_by_it(status: JobStatus) -> None:
    said = report_status.render(status, JOB)

    assert report_status.ends_at(status) is None
    assert "Ends:      not known while it waits" in said or "Ends:   not known while it waits" in said
    assert "Rate:" not in said
    assert report_status.as_json(status)["mails_per_minute"] is None


def test_verdicts_that_were_known_already_do_not_bring_the_end_nearer() -> None:
    reused = paced(replace(RECENT, seconds=60, mails=137, worked=30, calls=30), per_minute=30.0)

    assert report_status.ends_at(replace(STATUS, speed=reused)) == NOW + timedelta(minutes=20)


def test_where_all_verdicts_were_known_the_end_is_reckoned_by_the_pace() -> None:
    reused = paced(replace(RECENT, seconds=5, mails=10, worked=0, calls=0), per_minute=30.0)

    assert report_status.ends_at(replace(STATUS, speed=reused)) == NOW + timedelta(minutes=20)


def test_mail_that_a_gate_decides_takes_no_share_of_the_pace() -> None:
    gated = replace(paced(replace(RECENT, seconds=60, mails=120, worked=120, calls=30)), takes=PerMail(calls=0.25))

    assert report_status.ends_at(replace(STATUS, speed=gated)) == NOW + timedelta(minutes=5)


hours = Hours.parse


def limited(at: datetime = NOW, pending: int = 600, made_today: int = 0, **run: object) -> JobStatus:
    """A run at 60 calls a minute that keeps to hours or to a number of calls a day."""
    speed = replace(paced(run=replace(AT_WORK, **run)), at=at, throttle=ThrottleReadings(CALLS, made_today=made_today))  # type: ignore[arg-type]
    recent = replace(RECENT, mails=300, worked=300, calls=300)
    return replace(
        STATUS, tally=replace(TALLY, counts=replace(COUNTS, pending=pending)), speed=replace(speed, recent=recent)
    )


@pytest.mark.parametrize(
    ("status", "ends_at"),
    [
        pytest.param(limited(max_per_day=1000), "2024-05-03 12:10", id="all of it fits into today's calls"),
        pytest.param(limited(max_per_day=1000, made_today=900), "2024-05-04 00:08", id="a part of it"),
        pytest.param(
            limited(max_per_day=60, made_today=60, waiting_for="today's 60 calls are made"),
            "2024-05-13 00:01",
            id="today's calls are made",
        ),
        pytest.param(limited(between=hours("10:00-14:00")), "2024-05-03 12:10", id="all of it fits into the hours"),
        pytest.param(limited(between=hours("10:00-12:05")), "2024-05-04 10:05", id="a part of it"),
        pytest.param(
            limited(between=hours("22:00-07:00"), waiting_for="outside of 22:00-07:00"),
            "2024-05-03 22:10",
            id="by night",
        ),
        pytest.param(
            limited(between=hours("22:00-23:00"), pending=9000, waiting_for="outside of 22:00-23:00"),
            "2024-05-05 22:30",
            id="some nights",
        ),
        pytest.param(
            limited(
                between=hours("22:00-07:00"),
                max_per_day=60,
                made_today=60,
                pending=60,
                waiting_for="today's calls",
            ),
            "2024-05-04 00:01",
            id="by night, and the calls of today are made",
        ),
        pytest.param(
            limited(
                between=hours("10:00-13:00"),
                max_per_day=60,
                made_today=60,
                pending=60,
                waiting_for="today's calls",
            ),
            "2024-05-04 10:01",
            id="by day, and the calls of today are made",
        ),
    ],
)
def test_the_end_of_a_run_that_keeps_to_hours_or_to_calls_a_day_is_reckoned_by_those(
    status: JobStatus, ends_at: str
) -> None:
    expected = outlook(status, zone=UTC)

    assert expected is not None
    assert f"{expected.ends_at:%Y-%m-%d %H:%M}" == ends_at


def test_what_the_end_was_reckoned_by_is_said() -> None:
    by_calls = outlook(limited(max_per_day=60, made_today=60), zone=UTC)
    by_hours = outlook(limited(between=hours("13:00-14:00")), zone=UTC)

    assert by_calls is not None
    assert by_hours is not None
    assert (by_calls.basis, by_hours.basis) == ("at 60 calls a day", "within 13:00-14:00")


def paid(*limits: str | None, taken: str = "3.8", cost: str | None = "0.004", **speed: object) -> JobStatus:
    """Runs with such limits on a job's cost, of which so much is used up; 600 mails are left, at so much each."""
    runs = tuple(replace(AT_WORK, max_cost_usd=None if limit is None else Decimal(limit)) for limit in limits)
    takes = PerMail(1.0, None if cost is None else Decimal(cost))
    changed = replace(paced(), runs=runs, takes=takes, taken_usd=Decimal(taken), **speed)  # type: ignore[arg-type]
    return replace(STATUS, speed=changed)


def capped(*caps: int | None, pending: int = 600) -> JobStatus:
    runs = tuple(replace(AT_WORK, max_emails=cap) for cap in caps)
    return replace(
        STATUS, tally=replace(TALLY, counts=replace(COUNTS, pending=pending)), speed=replace(paced(), runs=runs)
    )


BOTH = paid("5")
BOTH = replace(BOTH, speed=replace(BOTH.speed, runs=(replace(BOTH.speed.runs[0], max_emails=500),)))
REUSED = replace(RECENT, worked=0)


@pytest.mark.parametrize(
    ("status", "early"),
    [
        pytest.param(paid("5"), "the budget lasts for about 300 mails", id="half of it"),
        pytest.param(paid("5", taken="6"), "the budget lasts for about 0 mails", id="it was lowered"),
        pytest.param(paid("5", taken="2.6"), None, id="it lasts"),
        pytest.param(paid("5", cost="0"), None, id="it costs nothing"),
        pytest.param(paid("5", cost=None), None, id="nobody knows the price"),
        pytest.param(paid("5", None), None, id="another run has no limit"),
        pytest.param(paid("4", "5"), "the budget lasts for about 300 mails", id="another run has a lower one"),
        pytest.param(paid("5", recent=REUSED), None, id="the verdicts of now are known"),
        pytest.param(capped(500), "this run takes at most 500 mails", id="a cap"),
        pytest.param(capped(500, 400), "these runs take at most 900 mails", id="two caps"),
        pytest.param(capped(500, None), None, id="another run has none"),
        pytest.param(capped(1000), None, id="a cap that holds the whole job"),
        pytest.param(BOTH, "this run takes at most 500 mails; the budget lasts for about 300 mails", id="both"),
    ],
)
def test_what_ends_runs_before_all_is_done_is_said_beside_the_end(status: JobStatus, early: str | None) -> None:
    (ends,) = (line for line in report_status.render(status, JOB).splitlines() if line.startswith("Ends:"))

    assert report_status.as_json(status)["ends_early"] == early
    assert ends.endswith(f"at this rate; {early}" if early else "at this rate")


def test_nothing_ends_early_what_is_done_already() -> None:
    assert report_status.as_json(capped(500, pending=0))["ends_early"] is None


def test_an_end_that_is_centuries_away_is_not_told() -> None:
    status = replace(STATUS, tally=replace(TALLY, counts=replace(COUNTS, pending=10**15)))

    assert report_status.ends_at(status) is None


def test_the_pace_that_was_set_is_shown_also_when_nobody_is_at_work() -> None:
    idle = replace(STATUS, tally=replace(TALLY, pace=30.0), speed=Speed(NOW, (), None, ThrottleReadings()))

    assert "30 calls a minute, set by `backfill pace`" in report_status.render(idle, JOB)
    assert report_status.as_json(idle)["pace"] == 30.0


def test_one_call_is_a_call() -> None:
    status = replace(STATUS, speed=paced(run=replace(AT_WORK, in_flight=1)))

    assert "In flight: 1 call\n" in report_status.render(status, JOB)


@pytest.mark.parametrize("state", [JobState.PAUSED, JobState.OPEN, JobState.CANCELLED])
@pytest.mark.parametrize(
    "speed",
    [SPEED, Speed(NOW, (AT_WORK, AT_WORK), RECENT, ThrottleReadings(CALLS)), Speed(NOW, (), None, ThrottleReadings())],
)
def test_no_line_of_the_headline_is_too_long_for_a_terminal(state: JobState, speed: Speed) -> None:
    tally = replace(TALLY, state=state, reason="paused by somebody on some-machine")

    lines = report_status.headline(replace(STATUS, tally=tally, speed=speed, last_run=ENDED), 3).splitlines()

    assert max(map(len, lines)) <= 100
    assert all(line.count("`") % 2 == 0 for line in lines)


@pytest.mark.parametrize(
    "status",
    [
        replace(STATUS, tally=replace(TALLY, state=JobState.PAUSED)),
        replace(STATUS, tally=replace(TALLY, counts=replace(COUNTS, pending=0))),
        replace(STATUS, speed=Speed(NOW, (), None, ThrottleReadings())),
    ],
    ids=["paused", "nothing left", "nobody at work"],
)
def test_no_end_is_promised_where_none_is_known(status: JobStatus) -> None:
    assert report_status.ends_at(status) is None


DEAD = Speed(NOW, (), None, ThrottleReadings())
CAPPED = replace(RUN, ended_at=NOW, outcome="capped")
ENDED = replace(RUN, ended_at=NOW, outcome="interrupted", outcome_reason="SIGTERM")


@pytest.mark.parametrize(
    ("state", "speed", "last", "words"),
    [
        (JobState.OPEN, SPEED, RUN, "IN PROGRESS: `backfill run`, process 4711 on mill"),
        (JobState.OPEN, DEAD, RUN, "no run is working on it (the last one died); go on with: backfill run --job 3"),
        (JobState.OPEN, DEAD, ENDED, "interrupted, SIGTERM)\n  go on with: backfill run --job 3"),
        (JobState.OPEN, DEAD, None, "PLANNED; begin with: backfill run --job 3"),
        (JobState.PAUSED, SPEED, RUN, "PAUSED (by Ada); `backfill resume 3` goes on"),
        (JobState.PAUSED, DEAD, RUN, "PAUSED (by Ada); no run is working on it; go on with: backfill run --job 3"),
        (JobState.OPEN, DEAD, CAPPED, "reached --max-emails)\n  go on with: backfill run --job 3"),
        (JobState.CANCELLED, DEAD, ENDED, "CANCELLED (by Ada); take it up again with: backfill run --job 3"),
        (JobState.DONE, DEAD, ENDED, "DONE"),
        (JobState.UNDONE, DEAD, ENDED, "UNDONE"),
    ],
)
def test_the_headline_says_who_is_at_work_and_how_to_go_on(
    state: JobState, speed: Speed, last: RunInfo | None, words: str
) -> None:
    tally = replace(TALLY, state=state, reason="by Ada" if state in (JobState.PAUSED, JobState.CANCELLED) else None)

    assert words in report_status.headline(replace(STATUS, tally=tally, speed=speed, last_run=last), 3)


def test_a_job_without_a_living_run_is_never_called_in_progress() -> None:
    said = report_status.render(replace(STATUS, speed=DEAD), JOB) + report_status.line(replace(STATUS, speed=DEAD))

    assert "IN PROGRESS" not in said
    assert "no run is working on it" in report_status.line(replace(STATUS, speed=DEAD))


def test_nothing_that_a_server_or_a_reason_says_steers_the_terminal() -> None:
    evil = "\x1b[2J\n\u202e"
    ref = MessageRef(MailboxKey("owner@example.org", f"IN{evil}BOX", 7), 17)
    status = replace(
        STATUS,
        tally=replace(TALLY, reason=evil),
        speed=paced(run=replace(AT_WORK, waiting_for=evil)),
        last_errors=(LastError(NOW, evil, 503, ref),),
    )
    job = replace(JOB, selection=Selection(folders=(f"IN{evil}BOX",)))

    said = report_status.render(status, job) + report_status.line(status) + "".join(report_status.last_errors(status))

    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "17" in said


def test_the_answer_for_machines_has_the_keys_that_were_promised() -> None:
    said = report_status.as_json(STATUS)

    assert set(said) == {
        *("at", "at_work", "last_run_died", "runs", "mails_per_minute", "calls_per_minute", "in_flight", "limit"),
        *("pace", "ends_early"),
        *("ends_at", "spent_usd", "last_errors"),
    }
    assert (said["at_work"], said["last_run_died"], said["in_flight"]) == (True, False, 2)
    assert (said["mails_per_minute"], said["ends_at"]) == (20.0, "2024-05-03T12:30:00+00:00")
    assert report_status.as_json(replace(STATUS, speed=DEAD))["last_run_died"] is True


def test_a_job_with_questions_of_its_own_names_them():
    own = Rubric(
        (Score("tax", "the tax office wants it", 7, None), Score("keep", "it is proof", 7, None)),
        (Category("Bill", "asks for money", None), Category("Other", "all else", None)),
        reason=True,
    )

    assert "Asked for: tax, keep; one of 2 categories; a reason" in report_status.render(
        STATUS, replace(JOB, rubric=own)
    )
    assert "Asked for" not in report_status.render(STATUS, JOB)
