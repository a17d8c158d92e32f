"""`backfill evaluate`: how well a classifier agrees with labelled mails. Needs no mail server."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from backfill.cli.command import Command
from backfill.cli.options import GENERAL, LIMITS, GeneralOptions
from backfill.errors import ConfigError
from backfill.lifecycle import ExitCode

if TYPE_CHECKING:
    from backfill.evaluation.agreement import Agreement, Evaluation
    from backfill.evaluation.labels import Labelled

#: The sets of mails that come with backfill, each with what a reader of its figures must know.
SHIPPED = {
    "sample": "the demo's mailbox; the rules were written with it in view, so they do better on it than on other mail",
    "unseen": "invented mails, many of them hard; no rule was written with them in view",
}


def evaluate(
    place: Annotated[
        Path | None,
        Parameter(
            help="A folder of .eml files or Maildirs, or one file; labels are its folders' names: spam, ham, "
            "important, plain. [default: the mails that come with backfill]"
        ),
    ] = None,
    *,
    labels: Annotated[
        Path | None, Parameter(help="A CSV file with the columns file,label or file,spam,important instead.")
    ] = None,
    sample: Annotated[bool, Parameter(help="Use the labelled mails that come with backfill.")] = False,
    classifier: Annotated[
        Literal["chat", "heuristic", "gated"] | None, Parameter(help="[default: the configured one]")
    ] = None,
    owner: Annotated[
        str | None, Parameter(help="The address that the mails were sent to; '' when unknown. [default: imap.username]")
    ] = None,
    yes: Annotated[bool, Parameter(help="Go ahead without asking.", group=LIMITS)] = False,
    general: GeneralOptions = GeneralOptions(),  # noqa: B008 - frozen
    as_json: Annotated[bool, Parameter(name="--json", help="For machines: JSON, on one line.", group=GENERAL)] = False,
) -> int:
    """Score labelled mails with a classifier: ROC AUC, precision, recall and a confusion table at the thresholds.

    Calls keep to the pace of all calls to the API, and count among the day's calls and the day's cost.
    """
    from backfill import wiring  # start-up: brings the adapters
    from backfill.clock import SystemClock  # start-up: only here
    from backfill.demo.mailbox import OWNER  # start-up: only here
    from backfill.operations.evaluate import evaluate as operation  # start-up: brings the ledger
    from backfill.operations.parts import Audience  # start-up: as above

    command = Command.begin(general)
    if place is not None and sample:
        raise ConfigError("--sample uses the mails that come along; leave out the folder.")
    settings, terminal = command.settings, command.terminal
    if classifier is not None:
        settings = settings.model_copy(update={"classifier": classifier})
    if owner is None:
        owner = OWNER.address if place is None else settings.imap.username
    sets, unlabelled = _sets(place, labels)
    audience = Audience(SystemClock(), command.stop, terminal, None if yes else terminal.confirm, terminal.say)
    parts = wiring.Parts(settings, audience)
    try:
        with command.listening():
            results = operation(parts, audience, sets, owner)
    finally:
        parts.close()
    if as_json:
        document = {name: _as_dict(result) for name, result in results.items()}
        print(json.dumps({"classifier": settings.classifier, "unlabelled": unlabelled, "sets": document}))
    else:
        print(_text(settings.classifier, results, unlabelled))
    return ExitCode.STOPPED_EARLY if command.stop.is_set() else ExitCode.OK


def _sets(place: Path | None, labels: Path | None) -> "tuple[dict[str, Iterable[Labelled]], int]":
    """The mails by the name of their set, and how many have no label."""
    from backfill.demo.mailbox import sample_mailbox  # start-up: generates mails
    from backfill.demo.unseen import unseen_mails  # start-up: as above
    from backfill.evaluation.labels import Labelled, Truth, find_mails  # start-up: only here

    if place is not None:
        found = find_mails(place, labels)
        return {str(place): found}, found.unlabelled
    shipped = {
        "sample": [mail for folder in sample_mailbox().values() for mail in folder],
        "unseen": unseen_mails(),
    }
    return {
        name: [Labelled(mail.raw, len(mail.raw), Truth(mail.is_spam, mail.is_important)) for mail in mails]
        for name, mails in shipped.items()
    }, 0


def _as_dict(result: "Evaluation") -> dict[str, Any]:
    document = asdict(result) | {"cost_usd": None if result.cost_usd is None else float(result.cost_usd)}
    for name in ("spam", "importance"):
        measured: Agreement = getattr(result, name)
        document[name] |= {"mails": measured.mails, "precision": measured.precision, "recall": measured.recall}
    return document


def _text(classifier: str, results: "dict[str, Evaluation]", unlabelled: int) -> str:
    from backfill.wording import dollars, printable  # start-up: only here

    lines: list[str] = []
    for name, result in results.items():
        note = f" ({SHIPPED[name]})" if name in SHIPPED else ""
        lines += [f"{printable(name)}: {result.mails} mails, classifier {classifier}{note}"]
        if result.unanswered:
            lines += [f"  without an answer: {result.unanswered}"]
        if result.gated:
            lines += [f"  decided by the gate, without a call: {result.gated}, {result.gated_wrong} of them wrongly"]
        if result.calls:
            cost = "unknown" if result.cost_usd is None else dollars(result.cost_usd)
            lines += [f"  calls: {result.calls}, cost: {cost}"]
        lines += ["", *_table("spam", result.spam), "", *_table("important", result.importance), ""]
    if unlabelled:
        lines += [f"{unlabelled} files have no label and were left out."]
    return "\n".join(lines).rstrip()


def _table(word: str, measured: "Agreement") -> list[str]:
    head = (
        f"  {word}, threshold {measured.threshold}: AUC {_figure(measured.auc)}, "
        f"precision {_figure(measured.precision)}, recall {_figure(measured.recall)}"
    )
    columns = (f"said {word}", "said not")
    rows = (
        (f"labelled {word}", measured.true_positives, measured.false_negatives),
        ("labelled not", measured.false_positives, measured.true_negatives),
    )
    return [
        head,
        f"    {'':<20}{columns[0]:>16}{columns[1]:>12}",
        *(f"    {name:<20}{first:>16,}{second:>12,}" for name, first, second in rows),
    ]


def _figure(share: float | None) -> str:
    return "n/a" if share is None else f"{share:.3f}"
