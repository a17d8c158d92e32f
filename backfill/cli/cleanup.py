"""`backfill cleanup-flags`: keywords of older systems are removed, after a preview and a question."""

import json as json_module
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backfill.cli.command import Command
from backfill.cli.options import EVERYWHERE, GeneralOptions, Json, SelectionOptions, Yes
from backfill.lifecycle import ExitCode
from backfill.selection import Selection

if TYPE_CHECKING:
    from backfill.operations.cleanup import Cleaned


def cleanup_flags(
    *keywords: Annotated[str, Parameter(help="A keyword to be removed, e.g. OldTag. Case does not matter.")],
    selection: SelectionOptions | None = None,
    preview: Annotated[bool, Parameter(help="Count the mails that bear the keywords, and write nothing.")] = False,
    yes: Yes = False,
    general: GeneralOptions = EVERYWHERE,
    json: Json = False,
) -> int:
    """Remove keywords of older systems from the mails of the selection's folders; by default from the INBOX.

    What this ledger has set is left alone: `backfill undo` takes that back. A cleanup is a job of its own, which
    `backfill jobs` lists, and `backfill undo N` puts the keywords back.

    Examples: `backfill cleanup-flags OldTag --preview` · `backfill cleanup-flags OldTag Junk2 --all-folders`
    """
    command = Command.begin(general)
    options = selection or SelectionOptions()
    chosen = options.selection(None) or Selection()
    with command.listening():
        result = command.processor(assume_yes=yes).cleanup(keywords, chosen, options.patterns, preview=preview)
    return show(command, result, as_json=json, verb="removed", is_preview=preview, again="the same command")


def show(command: Command, result: "Cleaned", *, as_json: bool, verb: str, is_preview: bool, again: str) -> int:
    """Show what a cleanup or its undo did, and return the exit code. `again`: the command that goes on."""
    if as_json:
        print(json_module.dumps(_as_dict(result, is_preview=is_preview), indent=2, ensure_ascii=True))
    else:
        from backfill.wording import printable  # start-up: only where something is shown

        print("\n".join(printable(line) for line in _lines(result, verb, is_preview=is_preview)))
    if result.stopped is not None:
        command.terminal.say(f"Stopped early ({result.stopped}). Go on with: {again}")
        return ExitCode.STOPPED_EARLY
    return ExitCode.SOME_FAILED if result.troubles else ExitCode.OK


def _lines(result: "Cleaned", verb: str, *, is_preview: bool) -> list[str]:
    from backfill.wording import counted  # start-up: only where something is shown

    lines = []
    for each in result.found:
        left = f"; {counted(each.ours, 'mail')} more by a receipt of this ledger: left alone" if each.ours else ""
        if each.uids or each.ours:
            lines.append(f"{each.mailbox.folder}: {each.keyword} of {counted(len(each.uids), 'mail')}{left}")
    if not lines:
        lines.append("No mail bears these keywords." if result.job is None else "Nothing is left to be put back.")
    elif is_preview:
        lines.append("Nothing was written.")
    elif result.job is not None:
        lines.append(f"{verb.capitalize()}: {counted(result.changed, 'keyword')}.")
        if result.gone:
            lines.append(f"{counted(result.gone, 'mail')} gone meanwhile.")
        if verb == "removed":
            lines.append(f"Put them back with: backfill undo {result.job.id}")
    for trouble in result.troubles:
        mails = f" ({counted(trouble.mails, 'mail')} left as they are)" if trouble.mails else ""
        lines.append(f"Not all done in {trouble.folder}: {trouble.reason}{mails}")
    return lines


def _as_dict(result: "Cleaned", *, is_preview: bool) -> dict[str, Any]:
    return {
        "job": None if result.job is None else {"id": result.job.id, "state": result.job.state},
        "preview": is_preview,
        "found": [
            {"folder": each.mailbox.folder, "keyword": each.keyword, "mails": len(each.uids), "left": each.ours}
            for each in result.found
        ],
        "changed": result.changed,
        "gone": result.gone,
        "troubles": [{"folder": each.folder, "reason": each.reason, "mails": each.mails} for each in result.troubles],
        "stopped": result.stopped,
    }
