"""The command line, one file a command group: options in, one call of an operation, words and an exit code out.

Commands: `run` (plan, run, retry) · `status` (status, jobs) · `watch` · `steer` (pause, resume, cancel, pace) ·
`report` · `export` · `apply` · `undo` · `cleanup` (cleanup-flags) · `ledger` (verify, path, upgrade, backup) · `check`
· `folders` · `evaluate` · `setup` (demo, init). What they share: `command` · `options` · `terminal` (questions,
signals) · `progress` (bar or lines) · `judged` (a dry run's mails) · `output` (standard streams).

A module that is slow to import, such as rich or SQLAlchemy, is imported inside the command that needs it, so that
`backfill --help` is quick.
"""

import sys
from difflib import get_close_matches

from cyclopts import App, CycloptsError, Parameter

from backfill import __version__
from backfill.cli.apply import apply
from backfill.cli.check import check
from backfill.cli.cleanup import cleanup_flags
from backfill.cli.evaluate import evaluate
from backfill.cli.export import export
from backfill.cli.folders import folders
from backfill.cli.ledger import ledger, verify
from backfill.cli.output import standard_streams
from backfill.cli.report import report
from backfill.cli.run import plan, retry, run
from backfill.cli.setup import demo, init
from backfill.cli.status import jobs, status
from backfill.cli.steer import cancel, pace, pause, resume
from backfill.cli.undo import undo
from backfill.errors import BackfillError, ConfigError, MachineExhausted
from backfill.lifecycle import ExitCode

app = App(
    name="backfill",
    help="Classify every historical mail of an IMAP mailbox with an LLM: once each, throttled, through any "
    "interruption.\n\nOptions without a command mean `run`. `backfill COMMAND --help` explains a command.",
    version=__version__,
    version_format="plaintext",  # start-up: anything else brings rich's Markdown
    default_parameter=Parameter(negative=(), show_default=False),
    result_action="return_value",
)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code. Every error becomes one line on standard error."""
    with standard_streams() as out:
        code = _run(sys.argv[1:] if arguments is None else arguments)
        out.flush()
        if out.trouble is not None and not out.is_reader_gone and code == ExitCode.OK:
            cause = out.trouble.strerror
            lost = f"Standard output cannot be written ({cause}), so the result is not shown."
            return _complain(
                f"{lost} What was recorded is kept; `backfill report` has the figures.", ExitCode.UNUSABLE_DISK
            )
        return code


def _run(tokens: list[str]) -> int:
    try:
        if not tokens:
            app.help_print([])
            return ExitCode.OK
        _refuse_unknown_command(tokens)
        return int(app(tokens, exit_on_error=False, print_error=False) or ExitCode.OK)
    except CycloptsError as error:
        command = " ".join(["backfill", *(error.command_chain or ())])
        return _complain(f"{' '.join(str(error).split())} See `{command} --help`.", ExitCode.USAGE)
    except BackfillError as error:
        return _complain(str(error), error.exit_code)
    except Exception as error:  # noqa: BLE001 - the outermost frame: whatever it is, the log gets it
        return _told_apart(error)


def _told_apart(error: Exception) -> int:
    """Name the limit of the machine that was reached. Any other error is a bug: its trace goes to the log."""
    from backfill import logs  # start-up: only when something went wrong
    from backfill.shortages import shortage  # start-up: as above

    if (scarce := shortage(error)) is not None:
        exhausted = MachineExhausted.of(scarce)
        return _complain(str(exhausted), exhausted.exit_code)
    if logs.record_bug(error):
        where = "Nothing committed is lost; the log has the details. Please report it."
    else:
        where = "It happened before the log was opened; please report it with the lines above."
    return _complain(f"A bug: {type(error).__name__}. {where}", ExitCode.BUG)


app.default(run)
for command in (
    demo,
    init,
    plan,
    run,
    retry,
    report,
    export,
    folders,
    status,
    jobs,
    pause,
    resume,
    cancel,
    pace,
    check,
    evaluate,
    apply,
    undo,
    cleanup_flags,
):
    app.command(command)
app.command(verify)
app.command(ledger)


def _refuse_unknown_command(tokens: list[str]) -> None:
    names = [name for name in app if not name.startswith("-")]
    if not tokens[0].startswith("-") and tokens[0] not in names:
        near = get_close_matches(tokens[0], names, n=1)
        hint = f"did you mean `backfill {near[0]}`?" if near else f"there are {', '.join(sorted(names))}."
        raise ConfigError(f"There is no command {tokens[0]!r:.40}; {hint}")


def _complain(message: str, code: int) -> int:
    from backfill.wording import printable  # start-up: only when something went wrong

    print(f"backfill: {printable(' '.join(message.split()))}", file=sys.stderr)
    return code
