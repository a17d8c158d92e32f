"""`backfill apply`: stored verdicts are brought about by today's settings, after a preview and a question."""

import json as json_module
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backfill.cli.command import Command
from backfill.cli.options import EVERYWHERE, GeneralOptions, JobNumber, Json, Yes
from backfill.lifecycle import ExitCode, RunOutcome

if TYPE_CHECKING:
    from backfill.operations.apply import Applied
    from backfill.operations.apply_preview import Expected


def apply(
    job: JobNumber = None,
    *,
    preview: Annotated[bool, Parameter(help="Say what would change, and write nothing.")] = False,
    yes: Yes = False,
    general: GeneralOptions = EVERYWHERE,
    json: Json = False,
) -> int:
    """Bring changed thresholds, keywords, note template or outputs about, from the stored verdicts: no call is made.

    Only what differs is written. Mails for which a newer job's verdict counts are left to that job. It also brings
    back what `backfill undo` took back. No API key is needed.

    Exit code 0: everything is as the settings say. 1: an output refused some mails. 75: stopped early, run it again.

    Examples: `backfill apply --preview` · `backfill apply 3` · `backfill apply 3 --yes`
    """
    command = Command.begin(general)
    with command.listening():
        result = command.processor(assume_yes=yes).apply(job, preview=preview)
    if json:
        print(json_module.dumps(_as_dict(result), indent=2, ensure_ascii=True))
    else:
        from backfill.wording import printable  # start-up: only where something is shown

        print("\n".join(printable(line) for line in _lines(result)))
    if result.ended is not None and _is_cut_short(result):
        command.terminal.say(f"Stopped early ({result.ended.reason}). Go on with: {result.again}")
        return ExitCode.STOPPED_EARLY
    return ExitCode.SOME_FAILED if result.failed else ExitCode.OK


def _is_cut_short(result: "Applied") -> bool:
    return result.ended is not None and result.ended.outcome is RunOutcome.INTERRUPTED


def _lines(result: "Applied") -> list[str]:
    from backfill.wording import counted  # start-up: only where something is shown

    expected, number = result.expected, result.job.id
    would = "would change" if result.is_preview else "changed"
    if not expected.mails and _is_cut_short(result):
        lines = [f"Job {number}: nothing was changed; not every mail was compared with today's settings."]
    elif not expected.mails:
        lines = [f"Job {number}: nothing differs from today's settings."]
    elif result.is_preview:
        lines = [f"Job {number}: {counted(expected.mails, 'mail')} {would}. Nothing was written."]
    else:
        lines = [f"Job {number}: {counted(result.done, 'mail')} {would}."]
    lines += _differences(expected)
    if result.failed:
        lines.append(f"{counted(result.failed, 'mail')} failed; retry with: backfill retry {number}")
    if result.vanished:
        lines.append(f"{counted(result.vanished, 'mail')} vanished from the server.")
    if result.summary.effects.foreign:
        lines.append(f"{counted(result.summary.effects.foreign, 'file')} left alone, since somebody else wrote in it.")
    return lines


def _differences(expected: "Expected") -> list[str]:
    from backfill.wording import counted  # start-up: only where something is shown

    lines = []
    for turn in expected.turns:
        kind = turn.output or "label"
        both = [f"{counted(turn.gain, 'mail')} gain it" if turn.gain else ""]
        both += [f"{counted(turn.lose, 'mail')} lose it" if turn.lose else ""]
        lines.append(f"  {kind} {turn.what}: {', '.join(filter(None, both))}")
    lines += [f"  {name}: {counted(mails, 'mail')} written anew" for name, mails in expected.outputs]
    for newer, mails in expected.superseded:
        lines.append(f"{counted(mails, 'mail')} superseded: left to job {newer}, whose newer verdicts count.")
    if expected.gone:
        lines.append(f"{counted(expected.gone, 'mail')} in folders that are gone or rebuilt: left alone.")
    for each in expected.examples:
        about = ", ".join(part for part in (each.date, each.sender) if part)
        turns = [*(f"+{what}" for what in each.gained), *(f"-{what}" for what in each.lost)]
        what = " ".join(turns) or ", ".join(each.outputs)
        lines.append(f"  {each.ref.mailbox.folder}, UID {each.ref.uid}{f' ({about})' if about else ''}: {what}")
    return lines


def _as_dict(result: "Applied") -> dict[str, Any]:
    expected = result.expected
    return {
        "job": {"id": result.job.id, "state": result.job.state},
        "preview": result.is_preview,
        "mails": expected.mails,
        "labels": {turn.what: {"gain": turn.gain, "lose": turn.lose} for turn in expected.turns if not turn.output},
        "keywords": {turn.what: {"gain": turn.gain, "lose": turn.lose} for turn in expected.turns if turn.output},
        "outputs": dict(expected.outputs),
        "superseded": expected.left,
        "superseded_by": [{"job": job, "mails": mails} for job, mails in expected.superseded],
        "gone": expected.gone,
        "examples": [
            {
                "folder": each.ref.mailbox.folder,
                "uid": each.ref.uid,
                "date": each.date,
                "sender": each.sender,
                "gained": list(each.gained),
                "lost": list(each.lost),
                "outputs": list(each.outputs),
            }
            for each in expected.examples
        ],
        "done": result.done,
        "failed": result.failed,
        "vanished": result.vanished,
        "counts": asdict(result.summary.counts),
        "stopped": None if result.ended is None else result.ended.reason or None,
    }
