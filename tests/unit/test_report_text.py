"""The summary that people read on the terminal and in the log, and its Markdown."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from backfill.lifecycle import JobState, RunOutcome
from backfill.report.markdown import render_markdown
from backfill.report.text import render_text
from backfill.summary import Counts, FailedMail, Failure, LastRun
from backfill.wording import duration, percent, printable
from tests.support.summaries import COMPLETE, HOSTILE, INTERRUPTED, JOB, OWN_RUBRIC, UNTOUCHED, WITH_HOSTILE_NAMES


def test_the_summary_keeps_the_wording_people_know():
    lines = render_text(COMPLETE).splitlines()

    assert "BACKFILL OPERATION COMPLETE" in lines
    for line in [
        "Total emails found:       100",
        "✓ Successfully processed: 90",
        "✗ Failed:                 2",
        "⊘ Skipped:                5",
        "Vanished from the server: 3",
        "Success rate:             97.8%",
        "Total time:               46.0s (while a run was at work)",
        "Average time per email:   0.50s",
        "Start time:               2026-11-20 08:00:00 UTC",
        "End time:                 2026-11-20 09:00:00 UTC",
        "Cost:                     $0.0123, $0.1367 per thousand mails, about $0.0009 saved",
        "Verdicts reused:          6",
    ]:
        assert line in lines


def test_failures_are_listed_by_reason_with_the_way_to_retry():
    text = render_text(COMPLETE)

    assert "  refused: 2 · INBOX 17, 4\n" in text
    assert "retry with: backfill retry --job 3" in text


def test_many_failures_are_cut_and_say_so():
    mails = tuple(FailedMail("INBOX", uid) for uid in range(1, 101))

    text = render_text(replace(COMPLETE, failures=(Failure("refused", 400, mails),)))

    assert "  refused: 400 · INBOX 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 …\n" in text


@pytest.mark.parametrize(
    ("state", "dry_run", "last_run", "title"),
    [
        (JobState.OPEN, False, None, "BACKFILL OPERATION PLANNED"),
        (JobState.OPEN, False, LastRun(None), "BACKFILL OPERATION IN PROGRESS"),
        (JobState.OPEN, False, LastRun(RunOutcome.INTERRUPTED), "BACKFILL OPERATION INTERRUPTED"),
        (JobState.OPEN, False, LastRun(RunOutcome.LOST), "BACKFILL OPERATION INTERRUPTED"),
        (JobState.OPEN, False, LastRun(RunOutcome.HALTED), "BACKFILL OPERATION HALTED"),
        (JobState.OPEN, False, LastRun(RunOutcome.CAPPED), "BACKFILL OPERATION STOPPED AT ITS LIMIT"),
        (JobState.OPEN, True, LastRun(RunOutcome.INTERRUPTED), "BACKFILL DRY RUN INTERRUPTED"),
        (JobState.PAUSED, False, LastRun(RunOutcome.INTERRUPTED), "BACKFILL OPERATION PAUSED"),
        (JobState.CANCELLED, False, LastRun(RunOutcome.INTERRUPTED), "BACKFILL OPERATION CANCELLED"),
        (JobState.DONE, False, LastRun(RunOutcome.FINISHED), "BACKFILL OPERATION NOT COMPLETE"),
    ],
)
def test_a_job_with_mail_left_is_not_called_complete(state, dry_run, last_run, title):
    summary = replace(UNTOUCHED, job=replace(JOB, state=state, dry_run=dry_run), last_run=last_run)

    assert title in render_text(summary).splitlines()


def test_a_dry_run_says_that_nothing_was_written():
    text = render_text(replace(COMPLETE, job=replace(JOB, dry_run=True)))

    assert "BACKFILL DRY RUN COMPLETE" in text
    assert "no keyword was set and no note was written" in text
    assert "flagged" not in text


def test_pending_mail_and_the_reason_for_stopping_are_told():
    text = render_text(INTERRUPTED)

    assert "Pending:                  48" in text
    assert "The last run stopped: SIGINT" in text


def test_figures_that_do_not_add_up_are_not_passed_over():
    text = render_text(replace(COMPLETE, counts=Counts(found=100, done=99)))

    assert "backfill verify" in text


def test_an_untouched_job_claims_no_rate_and_no_time():
    lines = render_text(UNTOUCHED).splitlines()

    assert "Success rate:             n/a" in lines
    assert any(re.fullmatch(r"End time: +–", line) for line in lines)


@pytest.mark.parametrize("render", [render_text, render_markdown])
def test_hostile_names_cannot_steer_a_terminal_or_add_lines(render):
    text = render(WITH_HOSTILE_NAMES)

    assert text.replace("\n", "").isprintable()
    assert "\n# x" not in text


def test_hostile_names_stay_text_in_markdown():
    text = render_markdown(WITH_HOSTILE_NAMES)

    assert not re.search(r"(?<!\\)<script", text)
    rows = [line for line in text.splitlines() if "alert" in line and line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [6, 4]  # folders, failures: no cell was added


def test_markdown_has_the_same_figures():
    text = render_markdown(COMPLETE)

    assert text.startswith("# BACKFILL OPERATION COMPLETE\n")
    assert "| ✓ Successfully processed | 90 |" in text
    assert "| refused | 2 | INBOX 17, 4 |" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0s"),
        (0, "0.0s"),
        (45.2, "45.2s"),
        (119.9, "119.9s"),
        (725, "12m 05s"),
        (11520, "3h 12m"),
        (274320, "3d 4h 12m"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"), [(0, 0, "100.0%"), (2, 3, "66.7%"), (49_999, 50_000, "99.9%"), (5, 5, "100.0%")]
)
def test_only_all_is_a_hundred_percent(part, whole, text):
    assert percent(part, whole) == text


def test_control_characters_are_shown_not_sent():
    assert printable("Entwürfe 会") == "Entwürfe 会"
    assert printable("\x1b\n\u202e\ud800\U000e0001") == "\\x1b\\x0a\\u202e\\ud800\\U000e0001"
    assert printable(HOSTILE).isprintable()


def test_scores_are_a_table_with_the_threshold_marked_and_categories_have_bars():
    lines = render_text(OWN_RUBRIC).splitlines()

    no = next(line for line in lines if line.startswith("  no "))
    assert [cell.replace(",", "") for cell in no.partition("|")[2].split()] == [
        str(count) for count in OWN_RUBRIC.scores[0].mails[7:]
    ]
    assert next(line for line in lines if line.startswith("  领收书") and "#" not in line).count("|") == 1
    assert lines[lines.index("Categories") + 7].split()[1:] == ["1,000,000", "##"]
    assert "  null: Because of null (" in "\n".join(lines)


@pytest.mark.parametrize("render", [render_text, render_markdown])
def test_hostile_names_of_scores_and_categories_are_shown_as_text(render):
    shown = render(OWN_RUBRIC)

    assert shown.replace("\n", "").isprintable()
    assert HOSTILE not in shown


def test_markdown_marks_what_reaches_the_threshold():
    page = render_markdown(OWN_RUBRIC)

    row = next(line for line in page.splitlines() if line.startswith("| 4 |"))
    assert [cell.strip().startswith("**") for cell in row.split("|")[2:-1]] == [False] * 3 + [True] + [False] * 3 + [
        True
    ]
    assert "| 2024-01-01 | 100 |" in page
