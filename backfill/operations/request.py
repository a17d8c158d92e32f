"""Which job a command means: resume one, extend one, begin one, or refuse a near miss.

The same account, selection, fingerprint and mode (dry or real) is the same job. Where an unfinished job has the same
selection and another model or prompt, nothing is mixed and nothing begins anew silently: the difference is shown and
the operator decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from backfill.errors import ConfigError, FolderUnusable, MailThrottled, ServerUnavailable
from backfill.fingerprint import Fingerprint
from backfill.folders import FolderPatterns, resolve
from backfill.ledger import Ledger
from backfill.ledger.rows import Job, describe
from backfill.lifecycle import GIVEN_UP, UNFINISHED, JobState
from backfill.message import HIGHEST_UID
from backfill.operations.earlier import Outputs, earlier_ledger, why_there_is_no_job
from backfill.operations.parts import Audience, Parts
from backfill.ports import UidWindow
from backfill.rubric import Rubric, changes
from backfill.selection import Selection, job_key

#: The largest number that a database's column takes.
MOST_JOB: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Request:
    """What the operator asked for. `selection` is None when no SELECTION option was given.

    `folders`, where they are patterns, take the place of the selection's folders once they are resolved.
    """

    selection: Selection | None = None
    dry_run: bool = False
    ask_again: bool = False
    job: int | None = None
    new_job: bool = False
    as_planned: bool = False
    folders: FolderPatterns | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What would be asked by today's settings."""

    fingerprint: Fingerprint
    rubric: Rubric

    def differences(self, job: Job) -> list[str]:
        """What the job asks otherwise, old and new side by side, a line for each part.

        Another rubric has another prompt and schema, so these are not told then.
        """
        told = changes(job.rubric, self.rubric)
        return [*told, *job.planned_with.differences(self.fingerprint, has_other_rubric=bool(told))]


class Intent(StrEnum):
    """What will be done with the job."""

    BEGIN = "begin"
    RESUME = "resume"
    EXTEND = "extend"  # it is done; newer mail within the selection is added
    REVIVE = "revive"  # it was cancelled, and named by its number


#: With these a job may be about to make its first call.
BEGINNING: Final = frozenset({Intent.BEGIN, Intent.RESUME})
#: The words before a job's description, by what will be done with it.
SAID: Final = {
    Intent.BEGIN: "New:",
    Intent.RESUME: "Going on with",
    Intent.EXTEND: "Looking for newer mail of",
    Intent.REVIVE: "Taking up again",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """The job, which is in the ledger from now on, and what is done with it."""

    job: Job
    intent: Intent


def choose(parts: Parts, audience: Audience, request: Request, said: str | None = None) -> Decision:
    """The job that a request means, with the server's folders in the place of patterns. The parts are set to fit it.

    Tells the audience which job it is; `said` takes the place of the words of `SAID`. Raises as `decide` does. Before
    anything is written it also raises `FolderUnknown`, and `ConfigError` for criteria that the server does not
    understand or for a broken note template.
    """
    fingerprint = parts.classifier.fingerprint  # before anything is asked of the mail server: a key may be missing
    if request.selection is not None and request.folders is not None and not request.folders.is_literal:
        literal = resolve(request.folders, parts.source.list_folders())
        request = replace(request, selection=replace(request.selection, folders=literal))

    def check(selection: Selection) -> None:
        """Raise what makes a new job impossible: its folders, its criteria or the note template."""
        for folder in selection.folders:
            try:
                state = parts.source.examine(folder)
            except MailThrottled:
                raise
            except (FolderUnusable, ServerUnavailable):
                # The planner leaves out a folder that the server lists and does not open, so that the others are
                # worked. A name that the server does not list is misspelt, and refused. In an outage the list does
                # not come either.
                is_listed = folder in {each.name for each in parts.source.list_folders()}
                if is_listed and len(selection.folders) > 1:
                    continue
                raise
            if selection.search:  # no mail has this UID yet, but the server reads the criteria all the same
                beyond = min(state.uid_next, HIGHEST_UID)
                parts.source.survey(state.key, UidWindow(beyond, beyond), selection)
        for effect in () if request.dry_run else parts.effects():
            effect.close()

    decision = decide(parts.ledger, parts.account, request, fingerprint, parts.default, check, parts.rubric)
    if fingerprint.digest() != decision.job.fingerprint:  # only by --as-planned
        parts.as_planned(decision.job)
    if not decision.job.dry_run:
        parts.allow_writing()
    if told := otherwise(parts.ledger, decision, Question(fingerprint, parts.rubric)):
        audience.tell(told)
    audience.tell(f"{said or SAID[decision.intent]} {describe(decision.job)}")
    return decision


def decide(
    ledger: Ledger,
    account: str,
    request: Request,
    fingerprint: Fingerprint,
    default: Selection,
    check: Callable[[Selection], None] = lambda selection: None,
    rubric: Rubric | None = None,
) -> Decision:
    """The job that a request means. A new one is written, after `check` has raised nothing about its selection.

    Raises `ConfigError`: no such job, several open jobs, a near miss that needs --new-job or --as-planned, or a
    selection that no new job may have.
    """
    question = Question(fingerprint, rubric or Rubric.default())
    if request.job is not None:
        return _named(ledger, account, request, question)
    selection = request.selection
    if selection is None and not request.dry_run and not request.ask_again and not request.new_job:
        open_jobs = [job for job in ledger.jobs.unfinished(account) if not job.dry_run]
        if len(open_jobs) > 1:
            raise ConfigError(_several(open_jobs))
        if open_jobs:
            return _same_question(ledger, open_jobs[0], request, question)
    selection = selection or default
    digest = fingerprint.digest()
    generation = ledger.jobs.next_generation(account, selection, digest) if request.ask_again else 0
    found = ledger.jobs.find(job_key(account, selection, digest, dry_run=request.dry_run, generation=generation))
    is_given_up = found is not None and found.state in GIVEN_UP
    if found is not None and not (is_given_up and request.new_job):
        refuse_undone(ledger, found)
        # Otherwise the next run from cron would undo what the operator has decided.
        if found.state is JobState.CANCELLED or (request.selection is None and found.state in GIVEN_UP):
            raise ConfigError(
                f"This job was {found.state}: {describe(found)}. Take it up again with: backfill run --job {found.id}; "
                "or begin anew with --new-job, which pays for no known verdict."
            )
        if request.new_job:
            raise ConfigError(
                f"Job {found.id} is this very job: the same mail and the same classifier. Leave out --new-job to go on "
                "with it, or pay again for known verdicts with --ask-again."
            )
        return _resumed(found)
    if not request.dry_run and not request.new_job and not request.ask_again:
        for job in ledger.jobs.unfinished(account):
            if not job.dry_run and job.selection.canonical() == selection.canonical():
                return _same_question(ledger, job, request, question)
    selection.check()
    check(selection)
    job = ledger.jobs.open(
        account,
        selection,
        fingerprint,
        question.rubric,
        dry_run=request.dry_run,
        generation=generation,
        anew=is_given_up,
    )
    return Decision(job, Intent.BEGIN)


def otherwise(ledger: Ledger, decision: Decision, question: Question) -> str | None:
    """What the latest real job about the same mail asked otherwise, for people, until the job has made a call.

    None or "": there is no such job that counts, or it asked the same. The difference is told, and refuses nothing.
    """
    job = decision.job
    is_asked_today = job.fingerprint == question.fingerprint.digest()
    if decision.intent not in BEGINNING or not is_asked_today or ledger.attempts.latest(job.id) is not None:
        return None
    about = job.selection.canonical()
    for earlier in reversed(ledger.jobs.all()):
        if earlier.is_cleanup or earlier.dry_run or earlier.state is JobState.UNDONE:
            continue
        if earlier.id < job.id and earlier.account == job.account and earlier.selection.canonical() == about:
            differences = "; ".join(question.differences(earlier))
            return differences and (
                f"Job {earlier.id} asked otherwise about the same mail: {differences}. Its verdicts do not answer "
                "today's question, so mail without an answer to it is asked about anew. With the settings of job "
                f"{earlier.id}, its verdicts are used and cost nothing."
            )
    return None


def refuse_undone(ledger: Ledger, job: Job) -> None:
    """Raise `ConfigError` for an undone job: a run from cron would bring back what the operator has taken back."""
    if job.state is JobState.UNDONE:
        rest = ""
        if ledger.undoing.is_left_unfinished(job.id):
            rest = f" The undo is not finished; go on with: backfill undo {job.id}."
        raise ConfigError(
            f"This job was undone: {describe(job)}.{rest} Bring about again what it wrote with: backfill apply "
            f"{job.id}; or classify its mail anew with --new-job."
        )


def insist_on_account(account: str, job: Job) -> None:
    """Raise `ConfigError` for a job about another account: its mails would be taken for mails that are gone."""
    if job.account != account:
        raise ConfigError(
            f"Job {job.id} is about the account {job.account}, and the configuration names {account}. Use the "
            "configuration that the job was run with."
        )


def known_job(ledger: Ledger, number: int | None, outputs: Outputs | None = None) -> Job:
    """The job of this number, by default of the latest run. Raises `ConfigError` when there is none."""
    wanted = number if number is not None else ledger.jobs.latest()
    if wanted is None:
        raise ConfigError(why_there_is_no_job(ledger, outputs))
    job = ledger.jobs.get(wanted) if 0 < wanted <= MOST_JOB else None
    if job is None:
        if gone := earlier_ledger(ledger, outputs):
            raise ConfigError(gone)
        raise ConfigError(f"There is no job {wanted} in this ledger; `backfill jobs` lists them.")
    if job.is_cleanup:
        raise ConfigError(
            f"Job {job.id} removed keywords of older systems, and judged nothing; `backfill undo {job.id}` takes it "
            "back."
        )
    return job


def _named(ledger: Ledger, account: str, request: Request, question: Question) -> Decision:
    if request.new_job or request.ask_again:
        raise ConfigError("--job goes on with a job; leave out --new-job and --ask-again.")
    job = known_job(ledger, request.job)
    insist_on_account(account, job)
    refuse_undone(ledger, job)
    if request.selection is not None and request.selection.canonical() != job.selection.canonical():
        raise ConfigError(f"Job {job.id} has a selection of its own; leave out either --job or the selection.")
    return _same_question(ledger, job, request, question)


def _same_question(ledger: Ledger, job: Job, request: Request, question: Question) -> Decision:
    if job.fingerprint == question.fingerprint.digest() or request.as_planned:
        return _resumed(job)
    differences = "; ".join(question.differences(job))
    raise ConfigError(
        f"Job {job.id} was planned with another classifier ({differences}). Go on as it was planned with "
        f"--as-planned, or classify its mail anew with --new-job, which {_price_of_anew(ledger, job)}."
    )


def _price_of_anew(ledger: Ledger, job: Job) -> str:
    """What beginning anew costs, for people: what would be asked again, and what the job's attempts have cost."""
    summary = ledger.report.summary(job)
    found, calls, tokens = summary.total_emails, summary.calls.made, summary.tokens.prompt + summary.tokens.completion
    if not calls:
        return f"judges all of its {found:,} mails again"
    cost = "at an unknown cost" if summary.cost_usd is None else f"for ${summary.cost_usd:.4f}"
    made = f"{calls:,} calls with {tokens:,} tokens were made {cost}"
    return f"asks about all of its {found:,} mails again; until now {made}"


def _resumed(job: Job) -> Decision:
    if job.state in GIVEN_UP:
        return Decision(job, Intent.REVIVE)
    return Decision(job, Intent.RESUME if job.state in UNFINISHED else Intent.EXTEND)


def _several(jobs: list[Job]) -> str:
    listed = "; ".join(describe(job) for job in jobs)
    return f"Several jobs are unfinished ({listed}); name one with --job N, or give a selection."
