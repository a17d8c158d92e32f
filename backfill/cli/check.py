"""`backfill check`: a table of what works and what does not, each with its remedy."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from backfill.cli.command import Command
from backfill.cli.options import GENERAL, LIMITS, GeneralOptions
from backfill.lifecycle import ExitCode

if TYPE_CHECKING:
    from backfill.ports import Probe


def check(
    *,
    call: Annotated[
        bool, Parameter(name="--call", negative="--no-call", help="Make one small request to the model, too.")
    ] = True,
    yes: Annotated[bool, Parameter(help="Make that request without asking.", group=LIMITS)] = False,
    general: GeneralOptions = GeneralOptions(),  # noqa: B008 - frozen
    as_json: Annotated[bool, Parameter(name="--json", help="For machines: JSON, on one line.", group=GENERAL)] = False,
) -> int:
    """Probe configuration, disk, mail server and API, and name a remedy for each thing that does not work.

    No mail and no keyword is touched. `check` asks before it makes one tiny request to the model: that request may
    cost a fraction of a cent.
    """
    from backfill.check_parts import CheckParts  # start-up: brings the adapters
    from backfill.clock import SystemClock  # start-up: only here
    from backfill.operations.check import exit_code, probe_all  # start-up: brings the ledger
    from backfill.operations.parts import Audience  # start-up: as above

    command = Command.begin(general)
    may_call = None if not call else (lambda _: True) if yes else command.terminal.confirm
    audience = Audience(SystemClock(), command.stop, command.terminal, None, command.terminal.say)
    parts = CheckParts(command.settings, audience)
    probes: list[Probe] = []
    with command.listening():
        try:
            for probe in probe_all(parts, audience, may_call):
                probes.append(probe)
                if not as_json:
                    print(_line(probe), flush=True)
                if command.stop.is_set():
                    break
        finally:
            parts.close()
    if as_json:
        print(json.dumps([asdict(probe) | {"exit_code": int(probe.exit_code)} for probe in probes]))
    return ExitCode.STOPPED_EARLY if command.stop.is_set() else exit_code(probes)


def _line(probe: "Probe") -> str:
    from backfill.wording import printable  # start-up: only here

    remedy = f"\n{'':<24}→ {printable(probe.remedy)}" if probe.remedy else ""
    return f"{probe.state:<8}{probe.name:<16}{printable(probe.detail)}{remedy}"
