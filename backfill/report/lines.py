"""The words that all forms of a report share.

The headline is true: a job is called complete only when no mail of it is left.
"""

from __future__ import annotations

from backfill.lifecycle import JobState, RunOutcome
from backfill.summary import Failure, Summary
from backfill.wording import Row, duration, moment, number, percent, printable

# In seconds. Beginning and ending a run takes less, so a longer difference is time without a run.
MANIFEST_S = 60

MOST_NAME = 32  # characters of a name in a table of text

_UNFINISHED_WORD = {
    JobState.PAUSED: "PAUSED",
    JobState.CANCELLED: "CANCELLED",
    JobState.UNDONE: "UNDONE",
}
_OUTCOME_WORD = {
    RunOutcome.CAPPED: "STOPPED AT ITS LIMIT",
    RunOutcome.HALTED: "HALTED",
    RunOutcome.INTERRUPTED: "INTERRUPTED",
    RunOutcome.LOST: "INTERRUPTED",
    RunOutcome.FINISHED: "NOT COMPLETE",  # the run ended with nothing to do; `apply` or a later plan has added work
}


def headline(summary: Summary) -> str:
    """BACKFILL OPERATION COMPLETE, or what is true instead; BACKFILL DRY RUN … for a dry run."""
    subject = "BACKFILL DRY RUN" if summary.job.dry_run else "BACKFILL OPERATION"
    return f"{subject} {_standing(summary)}"


def _standing(summary: Summary) -> str:
    state, last_run = summary.job.state, summary.last_run
    if state in _UNFINISHED_WORD:
        return _UNFINISHED_WORD[state]
    if state is JobState.DONE and not summary.counts.pending:
        return "COMPLETE"
    if last_run is None:
        return "PLANNED"
    return _OUTCOME_WORD[last_run.outcome] if last_run.outcome else "IN PROGRESS"


def figures(summary: Summary) -> tuple[Row, ...]:
    """Label and value, in the usual order. An unusual figure, such as vanished mails, is left out when it is zero."""
    counts, calls = summary.counts, summary.calls
    rows: list[Row | None] = [
        ("Total emails found", number(counts.found)),
        ("✓ Successfully processed", number(counts.done)),
        ("  of these superseded", superseded(summary)) if summary.superseded else None,
        ("✗ Failed", number(counts.failed)),
        ("⊘ Skipped", number(counts.skipped)),
        ("Vanished from the server", number(counts.vanished)) if counts.vanished else None,
        ("Pending", number(counts.pending)) if counts.pending else None,
        ("Success rate", percent(counts.done, summary.tried) if summary.tried else "n/a"),
        ("Total time", _total_time(summary)),
        ("Average time per email", _average(summary)),
        ("Start time", moment(summary.start_time)),
        ("End time", moment(summary.end_time)),
        ("Calls", _calls(summary)) if calls.made else None,
        ("Verdicts reused", number(calls.reused)) if calls.reused else None,
        ("Decided by the gate", f"{number(calls.gated)} without a call") if calls.gated else None,
        ("Tokens", _tokens(summary)) if summary.tokens.prompt or summary.tokens.completion else None,
        ("Cost", _cost(summary)) if summary.cost_usd is not None else None,
        ("Output", _effects(summary)) if not summary.job.dry_run else None,
        ("Labels", ", ".join(f"{shortened(label)} {number(count)}" for label, count in summary.labels))
        if summary.labels
        else None,
    ]
    return tuple(row for row in rows if row)


def warnings(summary: Summary) -> tuple[str, ...]:
    """What a reader must not miss, each a sentence."""
    texts: list[str] = []
    if not summary.is_conserved:
        texts.append("These counts do not add up; run: backfill verify")
    if summary.last_run and summary.last_run.reason:
        texts.append(f"The last run stopped: {printable(summary.last_run.reason)}")
    if summary.job.dry_run:
        texts.append("Dry run: no keyword was set and no note was written.")
    if summary.counts.failed:
        texts.append(f"{number(summary.counts.failed)} failed; retry with: backfill retry --job {summary.job.id}")
    return tuple(texts)


def superseded(summary: Summary) -> str:
    """`80 by job 2, 3 by job 4`: for how many mails which newer job's verdicts count."""
    return ", ".join(f"{number(mails)} by job {job}" for job, mails in summary.superseded_by)


def first_mails(failure: Failure, limit: int) -> str:
    """`INBOX 17, 18; Archive 4 …`: the failed mails by folder, the first `limit` of them."""
    by_folder: dict[str, list[str]] = {}
    for mail in failure.mails[:limit]:
        by_folder.setdefault(mail.folder, []).append(str(mail.uid))
    named = "; ".join(f"{printable(folder)} {', '.join(uids)}" for folder, uids in by_folder.items())
    return f"{named} …" if failure.count > min(limit, len(failure.mails)) and named else named


def shortened(name: str) -> str:
    """The name of a score or category for a column of a table: printable, and cut where it is long."""
    shown = printable(name)
    return shown if len(shown) <= MOST_NAME else f"{shown[: MOST_NAME - 1]}…"


def _average(summary: Summary) -> str:
    return f"{summary.average_time:.2f}s" if summary.tried else "n/a"


def _total_time(summary: Summary) -> str:
    """The time that runs were at work; a note says so where start and end lie further apart."""
    time = summary.time
    if time.started_at is None or time.ended_at is None:
        return duration(summary.total_time)
    between = (time.ended_at - time.started_at).total_seconds() - summary.total_time
    explained = " (while a run was at work)" if between > MANIFEST_S else ""
    return f"{duration(summary.total_time)}{explained}"


def _calls(summary: Summary) -> str:
    calls = summary.calls
    parts = (
        ("rate limited", calls.rate_limited),
        ("failed", calls.failed),
        ("outcome unknown", calls.unknown_outcome),
    )
    unusual = ", ".join(f"{number(count)} {word}" for word, count in parts if count)
    return f"{number(calls.made)} ({unusual})" if unusual else number(calls.made)


def _cost(summary: Summary) -> str:
    parts = [f"${summary.cost_usd:.4f}"]
    if summary.cost_per_thousand_usd is not None:
        parts.append(f"${summary.cost_per_thousand_usd:.4f} per thousand mails")
    if summary.saved_usd:
        parts.append(f"about ${summary.saved_usd:.4f} saved")
    return ", ".join(parts)


def _tokens(summary: Summary) -> str:
    tokens = summary.tokens
    cached = f" ({number(tokens.cached)} cached)" if tokens.cached else ""
    return f"{number(tokens.prompt)} in{cached}, {number(tokens.completion)} out"


def _effects(summary: Summary) -> str:
    effects = summary.effects
    parts = [f"{name} {number(count)}" for name, count in effects.applied if count] or ["none"]
    if effects.not_applicable:
        parts.append(f"{number(effects.not_applicable)} not applicable")
    if effects.foreign:
        parts.append(f"{number(effects.foreign)} left alone (another file was there)")
    return ", ".join(parts)
