"""Commands that steer a job from another terminal: pause, resume, cancel, pace.

Each writes a wish into the ledger and ends. A run at work reads it within a second. None takes the ledger's lock.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from backfill.cli.command import Command
from backfill.cli.options import EVERYWHERE, GeneralOptions, JobNumber
from backfill.errors import ConfigError
from backfill.lifecycle import UNFINISHED, ExitCode, JobState
from backfill.limits import refusal

if TYPE_CHECKING:
    from backfill.ledger import Ledger
    from backfill.ledger.rows import Job


def pause(job: JobNumber = None, *, general: GeneralOptions = EVERYWHERE) -> int:
    """Let a job rest: a run at work begins no new call, records answers under way, and waits for `backfill resume`."""
    with _steered(general, job) as steered:
        if steered.job.state is JobState.PAUSED:
            return steered.say(f"is paused already ({steered.job.state_reason}).")
        steered.insist(steered.ledger.steering.pause(steered.job.id, f"paused by {_who()}"), "pause")
        if steered.is_at_work():
            return steered.say("is paused; its run waits. Go on with: backfill resume")
        return steered.say(f"is paused; no run is working on it. Go on with: {steered.go_on}")


def resume(job: JobNumber = None, *, general: GeneralOptions = EVERYWHERE) -> int:
    """Go on with a paused job: a run that waits goes on within a second."""
    with _steered(general, job) as steered:
        if steered.job.state is JobState.CANCELLED:
            raise ConfigError(f"Job {steered.job.id} is cancelled; take it up again with: {steered.go_on}")
        if steered.job.state is JobState.PAUSED:
            steered.insist(steered.ledger.steering.resume(steered.job.id), "resume")
            steered.ledger.jobs.settle(steered.job.id)
            said = "is no longer paused"
        else:
            steered.insist(steered.job.state in UNFINISHED, "resume")
            said = "was not paused"
        if steered.is_at_work():
            return steered.say(f"{said}; its run goes on.")
        return steered.say(f"{said}; no run is working on it; start one with: {steered.go_on}")


def cancel(job: JobNumber = None, *, general: GeneralOptions = EVERYWHERE) -> int:
    """Give a job up: a run at work records the answers under way and ends. What was achieved stays.

    Only `backfill run --job N` takes it up again.
    """
    with _steered(general, job) as steered:
        if steered.job.state is JobState.CANCELLED:
            return steered.say(f"is cancelled already ({steered.job.state_reason}).")
        steered.insist(steered.ledger.steering.cancel(steered.job.id, f"cancelled by {_who()}"), "cancel")
        ends = "; its run ends" if steered.is_at_work() else ""
        return steered.say(f"is cancelled{ends}. What was achieved stays; take it up again with: {steered.go_on}")


def pace(
    calls_per_minute: Annotated[float, Parameter(help="Calls a minute, e.g. 30, or 0.5 for one in two minutes.")],
    /,
    job: JobNumber = None,
    *,
    general: GeneralOptions = EVERYWHERE,
) -> int:
    """Set the pace of a job's calls: a run at work keeps to it within a second.

    Later runs of the job keep to it as well, until another pace is set or a run is given --calls-per-minute. Runs
    that call the same API through this ledger share one pace.
    """
    if reason := refusal("calls_per_minute", calls_per_minute):
        raise ConfigError(f"The pace, in calls a minute, {reason}; `backfill pause` stops the calls.")
    with _steered(general, job) as steered:
        steered.ledger.steering.set_pace(steered.job.id, calls_per_minute)
        who = "its run keeps" if steered.is_at_work() else "its next run will keep"
        return steered.say(f"has a pace of {calls_per_minute:g} calls a minute; {who} to it.")


@dataclass(frozen=True)
class _Steered:
    """The job that a command steers, and the sentences that it prints about it."""

    ledger: "Ledger"
    job: "Job"
    print: Callable[[str], None]

    @property
    def go_on(self) -> str:
        return f"backfill run --job {self.job.id}"

    def is_at_work(self) -> bool:
        return self.ledger.status.is_at_work(self.job.id)

    def insist(self, is_so: bool, wish: str) -> None:
        """Raise `ConfigError` unless the job's state allows the command; `wish`: its name, e.g. "pause"."""
        if not is_so:
            state = self.ledger.steering.read(self.job.id).state
            raise ConfigError(f"Job {self.job.id} is {state}; there is nothing to {wish}.")

    def say(self, what: str) -> int:
        self.print(f"Job {self.job.id} {what}")
        return ExitCode.OK


@contextmanager
def _steered(general: GeneralOptions, number: int | None) -> Iterator[_Steered]:
    from backfill.operations.request import known_job  # start-up: brings the ledger
    from backfill.wording import printable  # start-up: only where something is said

    command = Command.begin(general)
    with command.ledger() as ledger:
        yield _Steered(
            ledger,
            known_job(ledger, number, command.settings.paths),
            lambda sentence: print(printable(sentence)),
        )


def _who() -> str:
    import getpass  # start-up: only where something is wished
    import socket  # start-up: as above

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"somebody on {socket.gethostname()}"
    return f"{user} on {socket.gethostname()}"
