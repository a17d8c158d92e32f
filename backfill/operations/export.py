"""`backfill export`: every verdict with its mail, in a form for other programs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backfill import files
from backfill.analytics import AnalyticsFile
from backfill.errors import ConfigError, EffectUnavailable
from backfill.exports.forms import form_of, opened
from backfill.exports.target import Target
from backfill.ledger import Ledger
from backfill.ledger.rows import Job
from backfill.operations.earlier import Outputs
from backfill.operations.request import known_job

ANALYTICS: Final = (
    "{path} is the analytics file of this configuration, which holds the lines of all jobs. Name another file, or "
    "write it anew with: {rebuild}"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator asked for. `job` None: that of the latest run. `form` None: what the file's name says.

    `path` None: standard output. `force`: replace the file if it is there already.
    """

    job: int | None = None
    all_jobs: bool = False
    form: str | None = None
    path: Path | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """`mails`: how many rows were written. `path`: where to; None: standard output. `is_complete`: not ended early."""

    mails: int
    path: Path | None
    is_complete: bool = True


def export(
    ledger: Ledger, wanted: Wanted, outputs: Outputs, standard_output: Target, goes_on: Callable[[], bool]
) -> Exported:
    """Write every verdict of a job, or of all real jobs, with its mail. A file is whole or not there, and its owner's.

    `goes_on` is asked now and then; a file that it ends early is not left behind. Into the analytics file go the
    analytics lines, and nothing else. Raises `ConfigError`, `EffectUnavailable`, and `OSError` from `standard_output`.
    """
    form = form_of(wanted.form, wanted.path)
    if wanted.all_jobs and wanted.job is not None:
        raise ConfigError("--all-jobs takes every job; leave out the number.")
    path = None if wanted.path is None else _checked(ledger, wanted.path, force=wanted.force)
    if path is not None and outputs.analytics_file is not None and _is_same(path, outputs.analytics_file):
        analytics = AnalyticsFile(ledger, outputs.analytics_file)
        if not wanted.all_jobs or form != "jsonl":
            raise ConfigError(ANALYTICS.format(path=path, rebuild=analytics.rebuild_command))
        return Exported(analytics.rebuild(), path)
    if wanted.all_jobs:
        jobs = [job for job in ledger.jobs.all() if not job.dry_run]
    else:
        jobs = [known_job(ledger, wanted.job, outputs)]
    if path is None:
        return _write(ledger, jobs, form, standard_output, None, goes_on)
    with _translated(path):
        if path.exists() and not path.is_file():  # a pipe or a device cannot be replaced
            with open(path, "wb") as device:
                return _write(ledger, jobs, form, device, path, goes_on)
        with files.unfinished(path) as new:
            exported = _write(ledger, jobs, form, new.file, path, goes_on)
            if exported.is_complete:
                new.finish(replace=wanted.force)
            return exported


def _write(
    ledger: Ledger, jobs: Sequence[Job], form: str, target: Target, path: Path | None, goes_on: Callable[[], bool]
) -> Exported:
    written = opened(form, target, ledger.exports.score_names([job.id for job in jobs]))
    mails = 0
    for job in jobs:
        for rows in ledger.exports.windows(job.id):
            if not goes_on():
                return Exported(mails, path, is_complete=False)
            written.add(rows)
            mails += len(rows)
    written.close()
    return Exported(mails, path)


def _checked(ledger: Ledger, path: Path, *, force: bool) -> Path:
    """The file that is meant. A symbolic link stays, and the file that it leads to is written."""
    path = Path(os.path.realpath(files.expanded(path)))
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name a file in it.")
    if not path.parent.is_dir():
        raise ConfigError(f"The folder {path.parent} is not there; make it, or name another file.")
    own = ledger.database.path
    if own is not None and path.name.startswith(own.name) and _is_same(path.parent, own.parent):
        raise ConfigError(f"{path} belongs to the ledger; name another file.")
    if path.is_file() and not force:
        raise ConfigError(f"{path} is there already; add --force to replace it, or name another file.")
    return path


def _is_same(one: Path, other: Path) -> bool:
    """Do both names stand for one file, whether it is there or not?"""
    return os.path.realpath(one) == os.path.realpath(other)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise ConfigError(f"{path} was made by another program meanwhile; nothing was replaced.") from error
    except OSError as error:
        raise EffectUnavailable(f"The export {path} cannot be written: {error.strerror or error}.") from error
