"""Summaries for tests of reports."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

from backfill.lifecycle import JobState, RunOutcome
from backfill.rubric import Rubric, Score
from backfill.selection import Selection
from backfill.summary import (
    Calls,
    Counts,
    EffectCounts,
    Example,
    FailedMail,
    Failure,
    FolderCounts,
    JobFacts,
    LastRun,
    ScoreCounts,
    Summary,
    TimeSpan,
    Tokens,
)

IMPORTANCE, SPAM = Rubric.default().scores
JOB = JobFacts(3, JobState.DONE, False, "owner@example.org", "f" * 64, Selection(("INBOX",), date(2024, 1, 1)))

COMPLETE = Summary(
    job=JOB,
    counts=Counts(found=100, done=90, failed=2, skipped=5, vanished=3),
    calls=Calls(made=95, succeeded=84, rate_limited=3, failed=8, reused=6),
    tokens=Tokens(prompt=52_000, completion=1_200, cached=9_000),
    cost_usd=Decimal("0.0123"),
    effects=EffectCounts((("flags", 90), ("notes", 89)), foreign=1),
    time=TimeSpan(
        datetime(2026, 11, 20, 8, 0, tzinfo=UTC), datetime(2026, 11, 20, 9, 0, tzinfo=UTC), running_seconds=46.0
    ),
    failures=(Failure("refused", 2, (FailedMail("INBOX", 17), FailedMail("INBOX", 4))),),
    folders=(FolderCounts("INBOX", Counts(found=100, done=90, failed=2, skipped=5, vanished=3)),),
    scores=(
        ScoreCounts(IMPORTANCE, (10, 20, 30, 0, 0, 0, 0, 0, 10, 15, 5)),
        ScoreCounts(SPAM, (80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10)),
    ),
    labels=(("important", 30), ("spam", 10)),
    last_run=LastRun(RunOutcome.FINISHED),
)
INTERRUPTED = replace(
    COMPLETE,
    job=replace(JOB, state=JobState.OPEN),
    counts=Counts(found=100, done=50, failed=2, pending=48),
    last_run=LastRun(RunOutcome.INTERRUPTED, "SIGINT"),
)
UNTOUCHED = Summary(job=replace(JOB, state=JobState.OPEN), counts=Counts(found=100, pending=100))

HOSTILE = "\x1b[2J\u202e<script>alert(1)</script>|`*\n# x"
WITH_HOSTILE_NAMES = replace(
    INTERRUPTED,
    job=replace(INTERRUPTED.job, account=HOSTILE, selection=Selection((HOSTILE,))),
    failures=(Failure(HOSTILE, 1, (FailedMail(HOSTILE, 1),)),),
    folders=(
        FolderCounts(HOSTILE, Counts(60, 30, 1, pending=29)),
        FolderCounts("INBOX", Counts(40, 20, 1, pending=19)),
    ),
    last_run=LastRun(RunOutcome.HALTED, HOSTILE),
)

OTHER_NAMES = ("no", "null", "2024-01-01", "=SUM(A1:A9)", "Rechnung für Müller & Söhne", "x" * 60, "领收书", HOSTILE)
#: The most that a rubric may ask for, with names that are more than words.
OWN_RUBRIC = replace(
    COMPLETE,
    scores=tuple(
        ScoreCounts(
            Score(name, "", 7 - number % 4, None), tuple((number + 1) * 10**value % 9_999_999 for value in range(11))
        )
        for number, name in enumerate(OTHER_NAMES)
    ),
    categories=(
        *((name, 10**number) for number, name in enumerate(OTHER_NAMES)),
        *((f"Category number {number}", number * 1000) for number in range(32)),
    ),
    labels=tuple((name, 1) for name in OTHER_NAMES),
    examples=tuple(Example(name, HOSTILE, 4_000_000_000, f"Because of {name}") for name in OTHER_NAMES),
)
