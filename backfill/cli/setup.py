"""`backfill demo` and `backfill init`: the commands for people who have no project folder yet."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from backfill.cli.options import path_as_typed
from backfill.errors import ConfigError
from backfill.lifecycle import ExitCode


def demo(
    folder: Annotated[Path, Parameter(converter=path_as_typed, help="Where the demo's files go.")] = Path("var/demo"),
) -> int:
    """Show everything on an embedded mailbox: no account, no key, half a minute."""
    try:
        from backfill.demo.story import tell  # start-up: brings Twisted, an extra
    except ImportError as error:
        raise ConfigError("The demo needs Twisted; install it with: pip install 'backfill[demo]'") from error
    return tell(folder, write=print)


#: The examples in config/rubrics/; they are written out here because `--help` lists them, and a test compares both.
RubricName = Literal["inbox-triage", "receipts-and-tax", "family-archive"]


def init(
    folder: Annotated[Path, Parameter(converter=path_as_typed, help="The project folder.")] = Path(),
    *,
    rubric: Annotated[
        RubricName | None,
        Parameter(help="Ask for the scores and categories of this example. [default: importance and spam]"),
    ] = None,
) -> int:
    """Write config/ and .env from templates; a file that exists is left alone."""
    from backfill.operations.scaffold import scaffold  # start-up: rarely used

    for path, is_new in scaffold(folder, rubric):
        print(f"{'written' if is_new else 'left as it is'}: {path}")
    print("Now put your account into config/config.yaml and the secrets into .env, then: backfill check")
    return ExitCode.OK
