"""The command line. Each command is a few lines: options in, one call, a result and an exit code out.

What is slow to import is imported by the command that needs it, so that `backfill --help` is quick.
"""

import json
import os
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from backfill import __version__
from backfill.cli.check import check
from backfill.cli.command import Command, pace_of, summary_of
from backfill.cli.evaluate import evaluate
from backfill.cli.keeping import ledger, verify
from backfill.cli.looking import jobs, status
from backfill.cli.options import GENERAL, LIMITS, GeneralOptions, JobOptions, LimitOptions, SelectionOptions
from backfill.cli.steering import cancel, pace, pause, resume
from backfill.errors import BackfillError, ConfigError, FolderUnknown
from backfill.lifecycle import ExitCode

if TYPE_CHECKING:
    from backfill.ports import Folder, MailSource

app = App(
    name="backfill",
    help="Classify every historical mail of an IMAP mailbox with an LLM: once each, throttled, through any "
    "interruption.\n\nOptions without a command mean `run`. `backfill COMMAND --help` explains a command.",
    version=__version__,
    default_parameter=Parameter(negative=(), show_default=False),
    result_action="return_value",
)

Json = Annotated[bool, Parameter(name="--json", help="For machines: JSON on standard output.", group=GENERAL)]
Yes = Annotated[bool, Parameter(help="Go ahead without asking.", group=LIMITS)]
JobNumber = Annotated[int | None, Parameter(help="The job's number. [default: the job of the latest run]")]
EVERYWHERE = GeneralOptions()


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code. Every error becomes one line on standard error."""
    tokens = sys.argv[1:] if arguments is None else arguments
    code = int(ExitCode.OK)
    try:
        if not tokens:
            app.help_print([])
        else:
            _refuse_unknown_command(tokens)
            code = int(app(tokens, exit_on_error=False, print_error=False) or ExitCode.OK)
        sys.stdout.flush()  # here, and not in the interpreter's last breath, a broken pipe can still be caught
        return code
    except CycloptsError as error:
        command = " ".join(["backfill", *(error.command_chain or ())])
        return _complain(f"{' '.join(str(error).split())} See `{command} --help`.", ExitCode.USAGE)
    except BackfillError as error:
        return _complain(str(error), error.exit_code)
    except BrokenPipeError:  # the reader of our output has gone, e.g. `backfill report | head`
        _write_to_nobody()
        return code
    except SystemExit as left:  # this is how rich, which draws the help, takes a broken pipe
        if not isinstance(left.__context__, BrokenPipeError):
            raise
        _write_to_nobody()
        return code
    except Exception as error:  # noqa: BLE001 - the outermost frame: whatever it is, the log gets it
        from loguru import logger  # start-up: only a bug needs it

        logger.opt(exception=error).critical("a bug in backfill")
        where = "Nothing committed is lost; the log has the details. Please report it."
        return _complain(f"A bug: {type(error).__name__}. {where}", ExitCode.BUG)


# ── doing ────────────────────────────────────────────────────────────────────────────────────────────────


@app.command
def demo(folder: Annotated[Path, Parameter(help="Where the demo's files go.")] = Path("var/demo")) -> int:
    """Show everything on a mailbox that comes along: no account, no key, half a minute."""
    try:
        from backfill.demo.story import tell  # start-up: brings Twisted, an extra
    except ImportError as error:
        raise ConfigError("The demo needs Twisted; install it with: pip install 'backfill[demo]'") from error
    return tell(folder, write=print)


@app.command
def init(folder: Annotated[Path, Parameter(help="The project folder.")] = Path()) -> int:
    """Write config/ and .env from the templates that come along; what is there already is left alone."""
    from backfill.scaffold import scaffold  # start-up: rarely used

    for path, is_new in scaffold(folder):
        print(f"{'written' if is_new else 'left as it is'}: {path}")
    print("Now put your account into config/config.yaml and the secrets into .env, then: backfill check")
    return ExitCode.OK


@app.command
def plan(
    *,
    selection: SelectionOptions | None = None,
    job: JobOptions | None = None,
    limits: LimitOptions | None = None,
    yes: Yes = False,
    general: GeneralOptions = EVERYWHERE,
    json: Json = False,
) -> int:
    """Find out what is to be done: fill the ledger, count, and reckon calls, tokens, cost and hours from a sample.

    The classifier is not called.
    """
    command = Command.begin(general)
    with command.listening():
        result = command.processor().plan(command.request(selection, job), pace_of(limits))
    command.show_plan(result, as_json=json)
    is_complete = result.planned is not None and result.planned.is_complete
    return ExitCode.OK if is_complete else ExitCode.STOPPED_EARLY


@app.command
def run(
    *,
    selection: SelectionOptions | None = None,
    job: JobOptions | None = None,
    limits: LimitOptions | None = None,
    yes: Yes = False,
    general: GeneralOptions = EVERYWHERE,
    json: Json = False,
) -> int:
    """Plan where needed, then work; run it again to go on where it ended, whyever it ended.

    Mail is read without marking it as read. A verdict is in the ledger before anything is done about it, so
    nothing is lost, repeated or paid for twice.
    """
    command = Command.begin(general)
    request = command.request(selection, job)
    pace = pace_of(limits)
    with command.listening():
        result = command.processor(assume_yes=yes).run(request, pace)
    return command.finish(result, pace, as_json=json)


app.default(run)


@app.command
def retry(
    job: JobNumber = None,
    *,
    reason: Annotated[
        list[str] | None, Parameter(help="Only what failed for this reason; may be given several times.")
    ] = None,
    limits: LimitOptions | None = None,
    yes: Yes = False,
    general: GeneralOptions = EVERYWHERE,
    json: Json = False,
) -> int:
    """Take up failed mails again, and only those. A verdict that is known is not paid for again."""
    command = Command.begin(general)
    pace = pace_of(limits)
    with command.listening():
        result = command.processor(assume_yes=yes).retry(job, tuple(reason or ()), pace)
    if result.ended is None:
        pending = result.summary.counts.pending
        rest = f" {pending:,} mails are pending; `backfill run` works on those." if pending else ""
        command.terminal.say(f"Nothing has failed so; there is nothing to take up again.{rest}")
    return command.finish(result, pace, as_json=json)


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────


@app.command
def report(
    job: JobNumber = None,
    *,
    format: Annotated[Literal["text", "json", "markdown", "html"], Parameter(help="[default: text]")] = "text",
    output: Annotated[Path | None, Parameter(help="Write to this file instead of standard output.")] = None,
    general: GeneralOptions = EVERYWHERE,
) -> int:
    """The figures of a job, over all its runs."""
    from backfill.report.render import render, write_report  # start-up: brings jinja2

    command = Command.begin(general)
    with command.ledger() as ledger:
        text = render(summary_of(ledger, job), format)
    if output is None:
        print(text)
    else:
        write_report(output, text)
        command.terminal.say(f"Written: {output.absolute()}")
    return ExitCode.OK


@app.command
def folders(*, general: GeneralOptions = EVERYWHERE, json: Json = False) -> int:
    """The folders of the account, with their message counts and special uses."""
    from backfill import wiring  # start-up: brings imapclient

    command = Command.begin(general)
    source = wiring.mail_source(command.settings)
    try:
        found = [(folder, _count(source, folder)) for folder in source.list_folders()]
    finally:
        source.close()
    if json:
        rows = [{"name": f.name, "messages": n, "special_use": sorted(f.special_use)} for f, n in found]
        print(_json(rows))
        return ExitCode.OK
    from backfill.report.wording import printable  # start-up: only here

    for folder, count in found:
        print(f"{'-' if count is None else count:>9}  {printable(folder.name)}  {' '.join(sorted(folder.special_use))}")
    return ExitCode.OK


app.command(status)
app.command(jobs)
app.command(pause)
app.command(resume)
app.command(cancel)
app.command(pace)
app.command(check)
app.command(evaluate)
app.command(verify)
app.command(ledger)


# ── the frame ────────────────────────────────────────────────────────────────────────────────────────────


def _count(source: "MailSource", folder: "Folder") -> int | None:
    """The mails in a folder; None for one that holds none or does not open, which is no reason to hide the others."""
    try:
        return source.examine(folder.name).exists if folder.is_selectable else None
    except FolderUnknown:
        return None


def _refuse_unknown_command(tokens: list[str]) -> None:
    names = [name for name in app if not name.startswith("-")]
    if not tokens[0].startswith("-") and tokens[0] not in names:
        near = get_close_matches(tokens[0], names, n=1)
        hint = f"did you mean `backfill {near[0]}`?" if near else f"there are {', '.join(sorted(names))}."
        raise ConfigError(f"There is no command {tokens[0]!r:.40}; {hint}")


def _write_to_nobody() -> None:
    """The interpreter flushes at its exit; https://docs.python.org/3/library/signal.html#note-on-sigpipe"""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _complain(message: str, code: int) -> int:
    from backfill.report.wording import printable  # start-up: only when something went wrong

    print(f"backfill: {printable(' '.join(message.split()))}", file=sys.stderr)
    return code
