"""Probes everything that a run depends on, one thing after the other, and says what to do about each fault.

Nothing is changed: folders are opened and closed, no keyword is stored, no note is left behind. One probe makes a
real call to the model, about an invented mail, and only after the user has agreed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Final

from backfill import wiring
from backfill.clock import Clock, StopRequest
from backfill.errors import BackfillError, ClassifierError, Concession, ConfigError, Declined, MailError
from backfill.ledger import Ledger
from backfill.lifecycle import ExitCode
from backfill.message import Message
from backfill.ports import Classifier, ModelInfo, Service
from backfill.settings import Settings, env_file
from backfill.throttle.calls import Throttler
from backfill.throttle.mail import MailAllowance
from backfill.verdict import Answer

# The longest wait for a slot before the one call.
PATIENCE_S: Final = 60.0


class State(StrEnum):
    """How a probe went."""

    OK = "ok"
    WARN = "warn"  # a run would work, but something of it would not
    FAIL = "fail"  # a run would stop
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found. `remedy` is "" where there is nothing to do; `exit_code` is OK unless it failed."""

    name: str
    state: State
    detail: str
    remedy: str = ""
    exit_code: ExitCode = ExitCode.OK


#: Of several failures, the first one in this order gives the exit code.
WORST_FIRST: Final = (ExitCode.USAGE, ExitCode.UNUSABLE_DISK, ExitCode.REFUSED, ExitCode.UNREACHABLE)

#: What to do, by an error's reason, where the error's message does not say it.
REMEDIES: Final = {
    "key_refused": "Make a new key and put it into .env under the name that llm.api_key_env says.",
    "no_credit": "Add credit to the account, or raise the key's limit.",
    "model_unknown": "Set llm.model to one that the service lists, or allow more with llm.zdr, llm.data_collection.",
    "request_refused": "Set llm.response_format to json_object or none, or llm.temperature to null.",
    "answer_cut": "Raise llm.max_output_tokens: reasoning models think before they answer. Or use one that does not.",
    "answer_empty": "Raise llm.max_output_tokens: reasoning models think before they answer. Or use one that does not.",
    "answer_invalid": "Use a model that can answer in a given form, or set another llm.response_format.",
    "address_wrong": "Set llm.api_url to the base URL of an OpenAI-compatible API.",
    "proxy": "Correct or unset that variable; what stays on this machine goes through no proxy.",
    "ca_bundle": "Name a PEM file with the certificates that you trust, or unset the variable.",
    "rate_limited": "Wait, or lower processing.calls_per_minute.",
    "service_unavailable": "Look at llm.api_url and the service's status page; a local server has to be started.",
    "server_unavailable": "Look at imap.server, imap.port, imap.security and your network.",
}

_LETTER: Final = b"\r\n".join(
    (
        b"From: Jo <jo@example.com>",
        b"To: you@example.com",
        b"Subject: Lunch on Friday?",
        b"Date: Mon, 03 Jun 2024 10:00:00 +0000",
        b"",
        b"Shall we have lunch on Friday? I will book a table.",
    )
)


def exit_code(probes: list[Probe]) -> ExitCode:
    """The exit code of the worst failure, by `WORST_FIRST`."""
    found = {probe.exit_code for probe in probes}
    return next((code for code in WORST_FIRST if code in found), ExitCode.OK)


def probe_all(
    settings: Settings, clock: Clock, may_call: Callable[[str], bool] | None, stop: StopRequest
) -> Iterator[Probe]:
    """Every probe, as it is done. `may_call` gets the question before the one call; None: no call is made."""
    yield Probe("configuration", State.OK, str(settings.config_path))
    if settings.env_path is not None:
        for doubt in env_file.doubts(settings.env_path):
            yield Probe(".env", State.WARN, doubt, str(settings.env_path))
    yield from _disk(settings)
    ledger: Ledger | None = None
    try:
        ledger = wiring.open_ledger(settings, clock, stop)
        ledger.secrets.get(wiring.PROMPT_SECRET)  # writes on first use
    except BackfillError as error:
        yield _failed("ledger", error)
    else:
        yield Probe("ledger", State.OK, str(ledger.database))
    allowance = None if ledger is None else wiring.mail_allowance(settings, ledger, clock)  # these bytes count, too
    try:
        yield from _mail(settings, allowance)
        if settings.classifier != "heuristic":
            yield from _api(settings, clock, ledger, may_call, stop)
    finally:
        if allowance is not None:
            allowance.close()
        if ledger is not None:
            ledger.close()


def _disk(settings: Settings) -> Iterator[Probe]:
    try:
        for effect in wiring.effects(settings):
            effect.close()
    except ConfigError as error:
        yield _failed("note template", error)
    else:
        yield Probe("note template", State.OK, str(settings.paths.note_template))
    if "notes" in settings.effects:
        yield _writable("notes folder", settings.paths.notes_dir)


def _writable(name: str, folder: Path) -> Probe:
    """Can a file be written in `folder`, or where it would be made?"""
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            return Probe(name, State.OK, str(folder))
    except OSError as error:
        return Probe(
            name,
            State.FAIL,
            f"Nothing can be written in {place}: {error.strerror or error}.",
            f"Give permission, make room, or set another path for the {name}.",
            ExitCode.UNUSABLE_DISK,
        )


def _mail(settings: Settings, allowance: MailAllowance | None) -> Iterator[Probe]:
    source = wiring.mail_source(settings, allowance)
    try:
        folders = source.list_folders()
        yield Probe("mail login", State.OK, f"{wiring.account(settings).name}, {len(folders)} folders")
        first = source.examine("INBOX")
        yield Probe("INBOX", State.OK, f"{first.exists} mails")
        source.close()
        second = source.examine("INBOX")
        if first.key == second.key:
            yield Probe("UIDVALIDITY", State.OK, f"{first.key.uidvalidity}, the same in two sessions")
        else:
            yield Probe(
                "UIDVALIDITY",
                State.WARN,
                f"{first.key.uidvalidity}, then {second.key.uidvalidity}: the server renumbers its mails.",
                "Mail is planned anew each time; verdicts are kept and not paid for again. Ask the server's operator.",
            )
        if "flags" in settings.effects:
            marker = wiring.marker(settings, allowance)
            try:
                tags = {settings.imap.processed_tag, settings.imap.important_tag, settings.imap.spam_tag}
                yield _keywords(tags, marker.permitted(second.key, tags))
            finally:
                marker.close()
    except (MailError, ConfigError) as error:
        yield _failed("mail server", error)
    finally:
        source.close()


def _keywords(wanted: set[str], kept: frozenset[str]) -> Probe:
    if missing := sorted(wanted - kept):
        return Probe(
            "keywords",
            State.WARN,
            f"INBOX does not keep {', '.join(missing)} (PERMANENTFLAGS).",
            "Such mail gets no keyword and is reported as not applicable; verdicts and notes are not affected. "
            "Set effects: [notes] to leave keywords out, or imap.gmail_labels on Gmail.",
        )
    return Probe("keywords", State.OK, f"INBOX keeps {', '.join(sorted(wanted))}")


def _api(
    settings: Settings,
    clock: Clock,
    ledger: Ledger | None,
    may_call: Callable[[str], bool] | None,
    stop: StopRequest,
) -> Iterator[Probe]:
    try:
        service = wiring.service(settings, clock)
    except ConfigError as error:
        yield _failed("API key", error)
        return
    try:
        key, model = _key(service), _model(service, settings)
    finally:
        service.close()
    yield key
    yield model
    if ledger is None:
        return
    try:
        classifier = wiring.classifier(settings, lambda: ledger, clock)
    except ConfigError as error:
        yield _failed("prompt", error)
        return
    try:
        letter = wiring.read_mail(settings, _LETTER, len(_LETTER), owner="you@example.com")
        tokens = classifier.estimate_tokens(letter)
        yield Probe("prompt", State.OK, f"{settings.paths.prompt_file}, about {tokens} tokens with a mail of two lines")
        if State.FAIL in (key.state, model.state):
            yield Probe("answer", State.SKIPPED, "Not tried, for the reason above.")
        elif _is_agreed(settings, may_call):
            limits = settings.run_limits
            rates = limits.calls_per_minute, limits.tokens_per_minute, settings.llm.max_output_tokens
            throttler = Throttler(ledger, clock, wiring.api(settings), *rates, keeps_pace=True)
            if throttler.wait(stop, PATIENCE_S, tokens=tokens + throttler.answer_tokens) is not None:
                yield _answer(classifier, letter)
            elif stop.is_set():
                yield Probe("answer", State.SKIPPED, "Not tried, since it was stopped.")
            else:
                yield Probe("answer", State.WARN, f"Calls are blocked: {throttler.reason()}.", "Try again after that.")
        else:
            yield Probe("answer", State.SKIPPED, "No call was made.", "Say --yes to make it.")
    finally:
        classifier.close()


def _is_agreed(settings: Settings, may_call: Callable[[str], bool] | None) -> bool:
    llm = settings.llm
    question = f"One small request is to be sent to {llm.model} at {llm.api_url}; it costs less than a cent."
    try:
        return may_call is not None and may_call(question)
    except Declined:  # standard input is not a terminal
        return False


def _key(service: Service) -> Probe:
    try:
        credit = service.credit()
    except BackfillError as error:
        return _failed("API key", error)
    if credit is None:
        return Probe("API key", State.OK, "The service does not say how much credit is left.")
    if credit.remaining_usd is None:
        return Probe("API key", State.OK, "It works, and has no spending limit of its own.")
    if not credit.remaining_usd:
        return Probe("API key", State.FAIL, "Its limit is used up.", REMEDIES["no_credit"], ExitCode.REFUSED)
    return Probe("API key", State.OK, f"It works; ${credit.remaining_usd:.2f} of its limit are left.")


def _model(service: Service, settings: Settings) -> Probe:
    wanted = settings.llm.model or ""
    try:
        models = service.models()
    except BackfillError as error:
        return _failed("model", error)
    if models is None:
        return Probe("model", State.OK, f"{wanted}; the service has no list of models.")
    known = next((model for model in models if model.name == wanted), None)
    if known is None:
        near = ", ".join(get_close_matches(wanted, [model.name for model in models], n=3))
        return Probe(
            "model",
            State.WARN,
            f"{wanted} is not among the {len(models)} models that the service lists.",
            f"Correct llm.model{f'; similar names: {near}' if near else ''}.",
        )
    return _known_model(known, settings)


def _known_model(model: ModelInfo, settings: Settings) -> Probe:
    price = "price unknown"
    if model.price is not None:
        million = 1_000_000
        price = (
            f"${model.price.prompt * million:.2f} in, ${model.price.completion * million:.2f} out per million tokens"
        )
    needed = {"json_schema": "structured_outputs", "json_object": "response_format"}.get(settings.llm.response_format)
    if needed and model.parameters is not None and needed not in model.parameters:
        return Probe("model", State.WARN, f"{model.name} is not listed with {needed}.", REMEDIES["request_refused"])
    return Probe("model", State.OK, f"{model.name}, {price}")


def _answer(classifier: Classifier, letter: Message) -> Probe:
    """Make one request as a run makes it."""
    try:
        answer = _answer_of(classifier, letter)
    except BackfillError as error:
        return _failed("answer", error)
    usage, scores = answer.usage, answer.scores
    tokens = "unknown tokens" if usage.tokens_in is None else f"{usage.tokens_in} tokens in, {usage.tokens_out} out"
    cost = "cost unknown" if usage.cost_usd is None else f"${usage.cost_usd:.6f}"
    by = f" by {answer.model}" if answer.model else ""
    return Probe("answer", State.OK, f"importance {scores.importance}, spam {scores.spam}{by}; {tokens}, {cost}")


def _answer_of(classifier: Classifier, letter: Message) -> Answer:
    """The answer of one call, or of a second one where the first has shown what the service calls its parameters.

    A run does the same.
    """
    try:
        return classifier.classify(letter)
    except ClassifierError as error:
        if error.concession is not Concession.RENAMED:
            raise
        return classifier.classify(letter, error.concession)


def _failed(name: str, error: BackfillError) -> Probe:
    code = ExitCode.REFUSED if error.exit_code in (ExitCode.BUG, ExitCode.STOPPED_EARLY) else error.exit_code
    return Probe(name, State.FAIL, str(error), REMEDIES.get(error.reason, ""), code)
