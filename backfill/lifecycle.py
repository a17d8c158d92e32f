"""The states of items, jobs, runs and attempts, and the allowed transitions between them, as data.

An item's status says what has been *achieved*. Which run works on it is told by its claim; which runs are alive, by
the locks that are held. A transition that is not listed here is a bug: it raises `IllegalTransition`, which no code
catches.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final


class ItemStatus(StrEnum):
    """What has been achieved for one message of a job."""

    PENDING = "pending"  # planned, no verdict yet
    CLASSIFIED = "classified"  # the verdict is committed, some effects are not applied yet
    DONE = "done"  # every configured effect has a receipt
    FAILED = "failed"  # refused for good, or too many failures or losses; `retry` takes it up again
    SKIPPED = "skipped"  # excluded by a rule; the reason is the rule
    VANISHED = "vanished"  # a search in a fresh session proved that it is gone from the server


OPEN: Final = frozenset({ItemStatus.PENDING, ItemStatus.CLASSIFIED})
FINAL: Final = frozenset(ItemStatus) - OPEN

Edge = tuple[ItemStatus | None, ItemStatus]

#: Every allowed edge, with a sentence that explains it. `None`: not in the ledger yet.
TRANSITIONS: Final[dict[Edge, str]] = {
    (None, ItemStatus.PENDING): "planned",
    (None, ItemStatus.SKIPPED): "planned, and excluded by a rule of the selection",
    (ItemStatus.PENDING, ItemStatus.CLASSIFIED): "verdict recorded: asked, or already known",
    (ItemStatus.PENDING, ItemStatus.SKIPPED): "excluded by a rule; the reason is the rule",
    (ItemStatus.PENDING, ItemStatus.VANISHED): "a search in a fresh session says it is gone",
    (ItemStatus.PENDING, ItemStatus.FAILED): "refused for good, or failures exhausted",
    (ItemStatus.CLASSIFIED, ItemStatus.DONE): "every configured effect has a receipt",
    (ItemStatus.CLASSIFIED, ItemStatus.VANISHED): "expunged before its effects were applied",
    (ItemStatus.CLASSIFIED, ItemStatus.FAILED): "an effect refuses this mail; the verdict is kept",
    (ItemStatus.FAILED, ItemStatus.PENDING): "retry, without a verdict",
    (ItemStatus.FAILED, ItemStatus.CLASSIFIED): "retry, with a verdict: no second call is made",
    (ItemStatus.VANISHED, ItemStatus.PENDING): "found again by verify --repair or retry --reason vanished",
    (
        ItemStatus.DONE,
        ItemStatus.CLASSIFIED,
    ): "an effect was added, thresholds changed, or the job was undone",
}


class IllegalTransition(RuntimeError):
    """A transition outside `TRANSITIONS` was attempted. This is a bug in backfill, never the mail's fault."""


def check_transition(before: ItemStatus | None, after: ItemStatus) -> None:
    """Raise `IllegalTransition` unless the edge is listed."""
    if (before, after) not in TRANSITIONS:
        raise IllegalTransition(f"{before or '(none)'} -> {after}")


class Disposition(StrEnum):
    """What an error does to its item, or to the run as a whole."""

    RETRY = "retry"  # the mail may be at fault: postponed and counted; it fails when its failures are exhausted
    RELEASE = "release"  # a server, the network or the machine is at fault: the item is given back, not counted
    SKIP = "skip"  # a rule excludes the mail
    VANISH = "vanish"  # the mail is proved to be gone
    FAIL = "fail"  # refused for good
    LOSE = "lose"  # an unexpected error: counts as a loss of the mail, which fails after the third loss
    DROP = "drop"  # this run no longer holds the claim: nothing may be written
    HALT = "halt"  # the run cannot go on; everything claimed is given back
    REPLAN = "replan"  # the folder has a new UIDVALIDITY: close the epoch, plan the folder anew


class JobState(StrEnum):
    """The state of a job."""

    PLANNING = "planning"  # some folder is not fully planned
    OPEN = "open"  # planned, work left
    PAUSED = "paused"  # it waits for the operator; the reason says why
    DONE = "done"  # every item is final, and every effect has its receipt
    CANCELLED = "cancelled"  # given up by the operator; what was achieved stays
    UNDONE = "undone"  # its effects were undone


UNFINISHED: Final = frozenset({JobState.PLANNING, JobState.OPEN, JobState.PAUSED})
#: The operator has ended the job: only a run that names it goes on with it.
GIVEN_UP: Final = frozenset({JobState.CANCELLED, JobState.UNDONE})

#: Every allowed edge of a job, with a sentence that explains it.
JOB_TRANSITIONS: Final[dict[tuple[JobState, JobState], str]] = {
    (JobState.PLANNING, JobState.OPEN): "every folder is planned",
    (JobState.OPEN, JobState.PLANNING): "a folder was rebuilt, and its new epoch is to be planned",
    (JobState.OPEN, JobState.DONE): "no mail is left",
    (JobState.DONE, JobState.PLANNING): "newer mail, a retry, or effects to be brought about anew",
    (JobState.PLANNING, JobState.PAUSED): "by the operator, or by a run that needs the operator's decision",
    (JobState.OPEN, JobState.PAUSED): "by the operator, or by a run that needs the operator's decision",
    (JobState.PAUSED, JobState.PLANNING): "resumed",
    (JobState.PLANNING, JobState.CANCELLED): "given up by the operator",
    (JobState.OPEN, JobState.CANCELLED): "given up by the operator",
    (JobState.PAUSED, JobState.CANCELLED): "given up by the operator",
    (JobState.CANCELLED, JobState.PLANNING): "taken up again by a run that names it",
    **{(state, JobState.UNDONE): "its effects were taken back" for state in JobState if state is not JobState.UNDONE},
    (JobState.UNDONE, JobState.PLANNING): "`apply`: its effects are brought about again",
}


#: Which verdict is a mail's current one: that of the newest job, by its number, whose verdict on the mail *stands*. The
#: mail is one UID of one mailbox epoch. A verdict stands if its job is real (a dry run writes nothing), and the item
#: has one of these statuses while the job has this state. An older job is *superseded* for a mail if the current
#: verdict is a newer job's and another one: then it neither applies its verdict nor reports a difference. A resume, a
#: retry or the time of an answer change nothing: only the job's number counts, so any order of runs ends alike.
STANDING: Final[dict[JobState, frozenset[ItemStatus]]] = {
    **dict.fromkeys(JobState, frozenset({ItemStatus.CLASSIFIED, ItemStatus.DONE, ItemStatus.FAILED})),
    # Nobody brings about the rest of a cancelled job. What it judged and did not apply must not hold up an older job.
    JobState.CANCELLED: frozenset({ItemStatus.DONE}),
    JobState.UNDONE: frozenset(),
}


class OutcomeStatus(StrEnum):
    """What became of a mail, as the log of outcomes and analytics.jsonl tell it."""

    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"  # the job was taken back


class RunOutcome(StrEnum):
    """How one process's work on a job ended."""

    FINISHED = "finished"  # nothing is left
    CAPPED = "capped"  # --max-emails reached
    INTERRUPTED = "interrupted"  # a signal, or everything left is due later
    HALTED = "halted"  # an error stopped the run; the run's reason names it
    LOST = "lost"  # the process died; another run found its lock free


class AttemptOutcome(StrEnum):
    """What became of one call to a metered classifier."""

    OPEN = "open"  # the call is about to be made, or its answer is not recorded yet
    OK = "ok"  # answered with a valid verdict
    LATE = "late"  # a valid answer that came after another one was recorded: only its cost counts
    RATE_LIMITED = "rate_limited"  # 429: not the mail's fault
    UNAVAILABLE = "unavailable"  # the service was down, or the connection broke
    UNUSABLE = "unusable"  # the answer is no verdict
    REFUSED = "refused"  # the service will not judge this mail
    HALTED = "halted"  # refused for a reason that stops the run: key, credit, model
    UNSENT = "unsent"  # the request was not sent: this does not count as a call
    UNKNOWN = "unknown"  # the run died during the call; it may have cost


class ExitCode(IntEnum):
    """The command line's exit codes: a contract with scripts, listed in the README."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    BUDGET = 5
    HELD = 6
    DIFFERENCE = 7
    BUG = 70
    UNUSABLE_DISK = 74
    STOPPED_EARLY = 75
    KILLED_INT = 130
    KILLED_TERM = 143
