"""What commands have in common: settings, log, terminal, signals, and how a result is shown.

A module that is slow to import is imported where it is needed, so that `backfill --help` is quick.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from backfill.cli.options import GeneralOptions, JobOptions, SelectionOptions
from backfill.clock import StopRequest
from backfill.lifecycle import GIVEN_UP, ExitCode, RunOutcome
from backfill.limits import GivenLimits

if TYPE_CHECKING:
    from backfill.cli.terminal import Terminal
    from backfill.ledger import Ledger
    from backfill.operations.request import Request
    from backfill.ports import Judged
    from backfill.processor import BackfillProcessor, Result
    from backfill.settings import Settings
    from backfill.summary import Summary


@dataclass(frozen=True)
class Command:
    """What a command works with: its settings, the terminal and the stop request."""

    settings: "Settings"
    terminal: "Terminal"
    quiet: bool = False
    verbose: bool = False
    stop: StopRequest = field(default_factory=StopRequest)

    @classmethod
    def begin(cls, general: GeneralOptions) -> "Command":
        from backfill import logs, settings  # start-up: brings pydantic
        from backfill.cli.terminal import Terminal  # start-up: brings rich

        terminal = Terminal(quiet=general.quiet)
        loaded = settings.initialize(general.config_path)
        logs.configure(loaded.paths.log_file, verbose=general.verbose, quiet=general.quiet, console_write=terminal.warn)
        return cls(loaded, terminal, general.quiet, general.verbose)

    def request(self, selection: SelectionOptions | None, job: JobOptions | None) -> "Request":
        from backfill.operations.request import Request  # start-up: brings the ledger

        options, job = selection or SelectionOptions(), job or JobOptions()
        chosen = options.selection(self.settings.imap.query)
        return Request(chosen, job.dry_run, job.ask_again, job.job, job.new_job, job.as_planned, options.patterns)

    def processor(self, *, assume_yes: bool = False, as_json: bool = False) -> "BackfillProcessor":
        from backfill.processor import BackfillProcessor  # start-up: brings everything

        return BackfillProcessor(
            settings=self.settings,
            stop=self.stop,
            observer=self.terminal,
            confirm=None if assume_yes else self.terminal.confirm,
            tell=self.terminal.say,
            show=self._show(as_json=as_json),
        )

    def _show(self, *, as_json: bool) -> "Callable[[Judged], None] | None":
        """Shows each mail of a dry run: with --json a line on standard output, with --verbose one on the terminal."""
        from backfill.cli.judged import line, machine_line  # start-up: brings the ports

        if self.quiet:
            return None
        if as_json:
            return lambda mail: print(machine_line(mail), flush=True)
        return (lambda mail: self.terminal.say(line(mail))) if self.verbose else None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Draw progress, and let signals set the stop request, while a command works."""
        from backfill.cli.terminal import stop_on_signals  # start-up: brings rich

        with stop_on_signals(self.stop), self.terminal.progress():
            yield

    @contextmanager
    def ledger(self) -> "Iterator[Ledger]":
        """The ledger, for reading."""
        from backfill.ledger import Ledger  # start-up: brings SQLAlchemy, but no adapter

        ledger = Ledger.open(self.settings.paths.ledger_url)
        try:
            yield ledger
        finally:
            ledger.close()

    def print_summary(self, summary: "Summary", *, as_json: bool) -> None:
        """The figures on standard output."""
        from backfill.report.text import render_text  # start-up: only where figures are shown

        print(summary.to_json() if as_json else render_text(summary), end="\n" if as_json else "")

    def show_plan(self, result: "Result", *, as_json: bool) -> None:
        """The figures of a plan, and the calls, the cost and the time that the rest of it will take."""
        forecast = result.forecast
        if as_json:
            figures = json.loads(result.summary.to_json())
            cost = None if forecast is None or forecast.cost_usd is None else float(forecast.cost_usd)
            figures["forecast"] = None if forecast is None else asdict(forecast) | {"cost_usd": cost}
            print(json.dumps(figures, indent=2))
            return
        self.print_summary(result.summary, as_json=False)
        if forecast is not None:
            print(forecast.sentence())

    def finish(self, result: "Result", given: GivenLimits, *, as_json: bool) -> int:
        """Show how a run ended, and return its exit code. `given`: repeated in the command that goes on.

        Nothing is logged here: the run has logged its own end.
        """
        summary, ended = result.summary, result.ended
        if summary.job.dry_run:
            self._finish_dry(result, as_json=as_json)
        else:
            self.print_summary(summary, as_json=as_json)
        if ended is not None and ended.outcome is RunOutcome.INTERRUPTED:
            if summary.job.state in GIVEN_UP:  # the operator wanted this end, so no command to go on is named
                named = f"backfill run --job {result.job.id}"
                self.terminal.say(f"Ended: {ended.reason}. What was achieved stays; only `{named}` takes it up again.")
                return ExitCode.OK
            go_on = given.going_on(result.job.id, is_paced=result.is_paced)
            safe = "Go" if ended.asked_again else "Nothing is lost; go"
            self.terminal.say(f"Stopped early ({ended.reason}). {safe} on with: {go_on}")
            return ExitCode.STOPPED_EARLY
        return ExitCode.SOME_FAILED if summary.failed else ExitCode.OK

    def _finish_dry(self, result: "Result", *, as_json: bool) -> None:
        """The figures, and what a real run would do. As JSON on one line, since a line for each mail may precede it."""
        from backfill.operations.foresight import sentence  # start-up: only here

        if not as_json:
            self.print_summary(result.summary, as_json=False)
            self.terminal.say(sentence(result.foreseen))
            return
        figures = json.loads(result.summary.to_json())
        figures["would"] = [
            {"output": each.output, "what": each.deed.what, "mails": each.mails} for each in result.foreseen
        ]
        print(json.dumps(figures))
