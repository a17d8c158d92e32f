"""`backfill evaluate`: how well a classifier agrees with labelled mails. Needs no mail server."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from backfill.cli.command import Command
from backfill.cli.options import GENERAL, LIMITS, GeneralOptions, path_as_typed
from backfill.errors import ConfigError
from backfill.lifecycle import ExitCode

if TYPE_CHECKING:
    from backfill.evaluation.labels import Labelled
    from backfill.rubric import Rubric

#: The sets of mails that come with backfill, each with what a reader of its figures must know.
SHIPPED = {
    "sample": "the demo's mailbox; the rules were written with it in view, so they do better on it than on other mail",
    "unseen": "invented mails, many of them hard; no rule was written with them in view",
}


def evaluate(
    place: Annotated[
        Path | None,
        Parameter(
            converter=path_as_typed,
            help="A folder of .eml files or Maildirs, or one file; labels are its folders' names: spam, ham, "
            "important, plain, or a score or category of the rubric. [default: the mails that come with backfill]",
        ),
    ] = None,
    *,
    labels: Annotated[
        Path | None,
        Parameter(
            converter=path_as_typed,
            help="A CSV file instead, with the column file and at least one of label, category and the scores' names "
            "(yes, no or empty).",
        ),
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
    from backfill.evaluation.tables import as_dict, text  # start-up: as above
    from backfill.operations.evaluate import evaluate as operation  # start-up: brings the ledger
    from backfill.operations.parts import Audience  # start-up: as above

    command = Command.begin(general)
    if place is not None and sample:
        raise ConfigError("--sample uses the mails that come along; leave out the folder.")
    settings, terminal = command.settings, command.terminal
    if classifier is not None:
        settings = settings.judged_by(classifier)
    if owner is None:
        owner = OWNER.address if place is None else settings.imap.username
    sets, unlabelled = _sets(place, labels, settings.asked)
    audience = Audience(SystemClock(), command.stop, terminal, None if yes else terminal.confirm, terminal.say)
    parts = wiring.Parts(settings, audience)
    try:
        with command.listening():
            results = operation(parts, audience, sets, owner)
    finally:
        parts.close()
    if as_json:
        document = {name: as_dict(result) for name, result in results.items()}
        print(json.dumps({"classifier": settings.classifier, "unlabelled": unlabelled, "sets": document}))
    else:
        shown = [text(name, settings.classifier, result, SHIPPED.get(name, "")) for name, result in results.items()]
        shown += [f"{unlabelled} files have no label and were left out."] if unlabelled else []
        print("\n\n".join(shown))
    return ExitCode.STOPPED_EARLY if command.stop.is_set() else ExitCode.OK


def _sets(place: Path | None, labels: Path | None, rubric: "Rubric") -> "tuple[dict[str, Iterable[Labelled]], int]":
    """The mails by the name of their set, and how many have no label."""
    from backfill.demo.mailbox import sample_mailbox  # start-up: generates mails
    from backfill.demo.unseen import unseen_mails  # start-up: as above
    from backfill.evaluation.labels import Labelled, Truth, find_mails  # start-up: only here

    if place is not None:
        found = find_mails(place, rubric, labels)
        return {str(place): found}, found.unlabelled
    if rubric.score("spam") is None and rubric.score("importance") is None:
        raise ConfigError(
            "The mails that come with backfill have labels for spam and importance only, and your rubric asks for "
            "neither; name a folder of labelled mails."
        )
    shipped = {
        "sample": [mail for folder in sample_mailbox().values() for mail in folder],
        "unseen": unseen_mails(),
    }
    return {
        name: [
            Labelled(mail.raw, len(mail.raw), Truth.of(spam=mail.is_spam, importance=mail.is_important))
            for mail in mails
        ]
        for name, mails in shipped.items()
    }, 0
