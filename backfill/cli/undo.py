"""`backfill undo`: what a job wrote is taken back, after a preview and a question."""

import json as json_module
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backfill.cli.cleanup import show
from backfill.cli.command import Command
from backfill.cli.options import EVERYWHERE, GeneralOptions, JobNumber, Json, Yes
from backfill.lifecycle import ExitCode

if TYPE_CHECKING:
    from backfill.operations.undo import TakenBack
    from backfill.operations.undo_preview import Trace

#: How many kept files are named on the terminal. With --json all are.
NAMED = 20


def undo(
    job: JobNumber = None,
    *,
    only: Annotated[
        list[str] | None, Parameter(help="Only this output, e.g. flags or notes; may be given several times.")
    ] = None,
    preview: Annotated[bool, Parameter(help="Say what would be taken back, and write nothing.")] = False,
    yes: Yes = False,
    general: GeneralOptions = EVERYWHERE,
    json: Json = False,
) -> int:
    """Take back what a job wrote: the keywords that it added, the notes that nobody has changed since.

    A keyword that a mail bore before stays, and so does an edited note. Where another job has judged the same mail,
    its verdict counts again. `backfill apply` brings it all about again, without a call.

    Examples: `backfill undo --preview` · `backfill undo 3` · `backfill undo 3 --only notes --yes`
    """
    command = Command.begin(general)
    processor = command.processor(assume_yes=yes)
    with command.listening():
        if job is not None and (cleaned := processor.put_back(job, preview=preview)) is not None:
            again = f"backfill undo {job}"
            return show(command, cleaned, as_json=json, verb="put back", is_preview=preview, again=again)
        result = processor.undo(job, tuple(only or ()), preview=preview)
    if json:
        print(json_module.dumps(_as_dict(result), indent=2, ensure_ascii=True))
    else:
        from backfill.wording import printable  # start-up: only where something is shown

        print("\n".join(printable(line) for line in _lines(result)))
    if result.stopped is not None:
        command.terminal.say(f"Stopped early ({result.stopped}). Go on with: {result.again}")
        return ExitCode.STOPPED_EARLY
    return ExitCode.SOME_FAILED if result.refused else ExitCode.OK


def _lines(result: "TakenBack") -> list[str]:
    if result.is_preview:
        return _preview(result)
    number = result.job.id
    lines = [f"Taken back: {_counted(result.taken)}."]
    if result.handed_over:
        lines.append(f"{_mails(result.handed_over, 'output')} got what the verdict of another job calls for.")
    if result.gone:
        lines.append(f"{_mails(result.gone, 'output')} of mails or folders that are gone: nothing was left to do.")
    if result.kept:
        lines.append(f"{_mails(len(result.kept), 'file')} kept:")
        lines += [f"  {sentence}" for sentence in result.kept[:NAMED]]
        if len(result.kept) > NAMED:
            lines.append(f"  and {len(result.kept) - NAMED:,} more; --json names all")
    for refused in result.refused:
        first = f"{refused.first.mailbox.folder}, UID {refused.first.uid}"
        lines.append(f"Not taken back on {_mails(refused.mails, 'mail')} (first {first}): {refused.reason}")
    if result.refused:
        lines.append(f"When it is put right, take back the rest with: {result.again}")
    elif result.stopped is None and not result.only:
        lines.append(
            f"Job {number} is undone. `backfill run` leaves it alone; bring it back with: backfill apply {number}"
        )
    elif result.stopped is None:
        lines.append(f"Job {number} stays {result.job.state}; it comes back with: backfill apply {number}")
    return lines


def _preview(result: "TakenBack") -> list[str]:
    expected = result.expected
    lines = [f"Job {result.job.id}: would take back {_counted(expected.traces)}. Nothing was written."]
    for other, outputs in expected.handed_over:
        lines.append(f"{_mails(outputs, 'output')} would get what job {other} called for.")
    if expected.left:
        lines.append(f"{_mails(expected.left, 'output')} would stay: another job's verdict calls for the same.")
    for each in expected.examples:
        about = ", ".join(part for part in (each.date, each.sender) if part)
        lines.append(
            f"  {each.ref.mailbox.folder}, UID {each.ref.uid}{f' ({about})' if about else ''}: {', '.join(each.traces)}"
        )
    return lines


def _counted(traces: "tuple[Trace, ...]") -> str:
    return ", ".join(f"{trace.what} of {_mails(trace.mails, 'mail')}" for trace in traces) or "nothing"


def _mails(count: int, word: str) -> str:
    from backfill.wording import counted  # start-up: only where something is shown

    return counted(count, word)


def _as_dict(result: "TakenBack") -> dict[str, Any]:
    expected = result.expected
    return {
        "job": {"id": result.job.id, "state": result.job.state},
        "only": list(result.only),
        "preview": result.is_preview,
        "expected": {
            "traces": [{"effect": t.effect, "what": t.what, "mails": t.mails} for t in expected.traces],
            "handed_over": [{"job": job, "outputs": outputs} for job, outputs in expected.handed_over],
            "left": expected.left,
            "examples": [
                {
                    "folder": each.ref.mailbox.folder,
                    "uid": each.ref.uid,
                    "date": each.date,
                    "sender": each.sender,
                    "traces": list(each.traces),
                }
                for each in expected.examples
            ],
        },
        "taken": [{"effect": t.effect, "what": t.what, "mails": t.mails} for t in result.taken],
        "handed_over": result.handed_over,
        "gone": result.gone,
        "kept": list(result.kept),
        "refused": [
            {
                "reason": each.reason,
                "mails": each.mails,
                "first": {"folder": each.first.mailbox.folder, "uid": each.first.uid},
            }
            for each in result.refused
        ],
        "stopped": result.stopped,
    }
