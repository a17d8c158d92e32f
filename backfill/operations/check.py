"""Probes everything that a run depends on, one thing after the other, and says what to do about each fault.

Nothing is changed: folders are opened and closed, no keyword is stored, no note is left behind. One probe makes a
real call to the model, about an invented mail, and only after the user has agreed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Protocol

from backfill.errors import (
    BackfillError,
    BudgetReached,
    CallsUsedUp,
    ConfigError,
    Declined,
    EffectError,
    MailboxChanged,
    MailError,
    MailThrottled,
)
from backfill.lifecycle import ExitCode
from backfill.message import MailboxKey, Message
from backfill.metered import Blocked, Stopped
from backfill.operations.calls import CallParts, calls_for_no_run
from backfill.operations.parts import Api, Audience
from backfill.ports import Effect, MailSource, ModelInfo, Probe, Service, State
from backfill.rubric import Rubric

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
    "answer_unlisted": "Use a model that can answer in a given form, or set another llm.response_format.",
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


@dataclass(frozen=True, slots=True)
class Facts:
    """What the settings say, as far as the probes need it."""

    config_path: Path
    env_path: Path | None  # None: no .env is wanted
    doubts: tuple[str, ...]  # about lines of .env
    prompt_file: Path
    response_format: str
    has_api: bool


class CheckParts(CallParts, Protocol):
    """What is probed. A part that cannot be made raises a `BackfillError` when it is asked for."""

    @property
    def facts(self) -> Facts: ...
    @property
    def account(self) -> str: ...
    @property
    def rubric(self) -> Rubric: ...
    def prove_ledger(self) -> str:
        """Open the ledger and write to it; its name."""
        ...

    def probed_outputs(self, *, is_counted: bool) -> Iterator[tuple[str, Callable[[], Effect]]]:
        """The name of each output, and what makes it. `is_counted`: what it reads counts for the bytes of the day."""
        ...

    def probed_source(self, *, is_counted: bool) -> MailSource:
        """A source that does not wait. `is_counted`: what it reads counts for the bytes of the day."""
        ...

    def service(self) -> Service: ...
    def read_mail(self, raw: bytes, size: int, owner: str) -> Message: ...


def exit_code(probes: list[Probe]) -> ExitCode:
    """The exit code of the worst failure, by `WORST_FIRST`."""
    found = {probe.exit_code for probe in probes}
    return next((code for code in WORST_FIRST if code in found), ExitCode.OK)


def probe_all(parts: CheckParts, audience: Audience, may_call: Callable[[str], bool] | None) -> Iterator[Probe]:
    """Every probe, as it is done. `may_call` gets the question before the one call; None: no call is made."""
    facts = parts.facts
    yield Probe("configuration", State.OK, str(facts.config_path))
    yield Probe("rubric", State.OK, _asked(parts.rubric))
    room, needed = parts.api.max_answer_tokens, parts.rubric.answer_tokens
    if facts.has_api and room < needed:
        yield Probe(
            "room",
            State.WARN,
            f"llm.max_output_tokens allows {room} tokens; an answer to the rubric takes up to {needed}.",
            "An answer that is cut off is paid for and asked for again: set llm.max_output_tokens: null.",
        )
    for doubt in facts.doubts:
        yield Probe(".env", State.WARN, doubt, str(facts.env_path))
    has_ledger = False
    try:
        yield Probe("ledger", State.OK, parts.prove_ledger())
        has_ledger = True
    except BackfillError as error:
        yield _failed("ledger", error)
    inbox = yield from _mail(parts, is_counted=has_ledger)
    yield from _outputs(parts, inbox, is_counted=has_ledger)
    if facts.has_api:
        yield from _api(parts, audience, may_call, has_ledger=has_ledger)


def _asked(rubric: Rubric) -> str:
    """What the rubric asks, with its thresholds and keywords."""
    parts = [f"{each.name} from {each.threshold} on{_set(each.keyword)}" for each in rubric.scores]
    if rubric.categories:
        named = ", ".join(f"{each.name}{_set(each.keyword)}" for each in rubric.categories)
        parts.append(f"one of {len(rubric.categories)} categories: {named}")
    return "; ".join([*parts, *(["with a reason"] if rubric.reason else [])])


def _set(keyword: str | None) -> str:
    return f" ({keyword})" if keyword else ""


def _mail(parts: CheckParts, *, is_counted: bool) -> Generator[Probe, None, MailboxKey | None]:
    """Returns the inbox; None where it does not open."""
    source = parts.probed_source(is_counted=is_counted)
    try:
        folders = source.list_folders()
        yield Probe("mail login", State.OK, f"{parts.account}, {len(folders)} folders")
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
        return second.key
    except (MailError, ConfigError) as error:
        yield _failed("mail server", error)
        return None
    finally:
        source.close()


def _outputs(parts: CheckParts, inbox: MailboxKey | None, *, is_counted: bool) -> Iterator[Probe]:
    for name, make in parts.probed_outputs(is_counted=is_counted):
        try:
            with closing(make()) as effect:
                yield from effect.probe(inbox)
        except MailboxChanged:
            continue  # the server renumbers its mails at every connection, which was said already
        except (ConfigError, EffectError, MailError) as error:
            part = name if error.reason == ConfigError.reason else error.reason.replace("_", " ")
            yield _failed(part, error)


def _api(
    parts: CheckParts, audience: Audience, may_call: Callable[[str], bool] | None, *, has_ledger: bool
) -> Iterator[Probe]:
    try:
        service = parts.service()
    except ConfigError as error:
        yield _failed("API key", error)
        return
    try:
        key, model = _key(service), _model(service, parts)
    finally:
        service.close()
    yield key
    yield model
    if not has_ledger:
        return
    try:
        classifier = parts.classifier
    except ConfigError as error:
        yield _failed("prompt", error)
        return
    letter = parts.read_mail(_LETTER, len(_LETTER), "you@example.com")
    tokens = classifier.estimate_tokens(letter)
    yield Probe("prompt", State.OK, f"{parts.facts.prompt_file}, about {tokens} tokens with a mail of two lines")
    if State.FAIL in (key.state, model.state):
        yield Probe("answer", State.SKIPPED, "Not tried, for the reason above.")
    elif _is_agreed(parts.api, may_call):
        yield _answer(parts, audience, letter)
    else:
        yield Probe("answer", State.SKIPPED, "No call was made.", "Say --yes to make it.")


def _is_agreed(api: Api, may_call: Callable[[str], bool] | None) -> bool:
    question = f"One small request is to be sent to {api.model} at {api.url}; it costs less than a cent."
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


def _model(service: Service, parts: CheckParts) -> Probe:
    wanted = parts.api.model
    try:
        models = service.models()
    except BackfillError as error:
        return _failed("model", error)
    if models is None:
        return Probe("model", State.OK, f"{wanted}; the service has no list of models.")
    known = service.model(wanted)
    if known is None:
        near = ", ".join(get_close_matches(wanted, [model.name for model in models], n=3))
        return Probe(
            "model",
            State.WARN,
            f"{wanted} is not among the {len(models)} models that the service lists.",
            f"Correct llm.model{f'; similar names: {near}' if near else ''}.",
        )
    return _known_model(known, parts.facts.response_format)


def _known_model(model: ModelInfo, response_format: str) -> Probe:
    price = "price unknown"
    if model.price is not None:
        million = 1_000_000
        price = (
            f"${model.price.prompt * million:.2f} in, ${model.price.completion * million:.2f} out per million tokens"
        )
    needed = {"json_schema": "structured_outputs", "json_object": "response_format"}.get(response_format)
    if needed and model.parameters is not None and needed not in model.parameters:
        return Probe("model", State.WARN, f"{model.name} is not listed with {needed}.", REMEDIES["request_refused"])
    return Probe("model", State.OK, f"{model.name}, {price}")


def _answer(parts: CheckParts, audience: Audience, letter: Message) -> Probe:
    """One request like those of a run, that counts like them."""
    try:
        answer = calls_for_no_run(parts, audience, only_one=True).call_for_no_run(letter)
    except Stopped:
        return Probe("answer", State.SKIPPED, "Not tried, since it was stopped.")
    except Blocked as error:
        return Probe("answer", State.WARN, f"Calls are blocked: {error}.", "Try again after that.")
    except (CallsUsedUp, BudgetReached) as error:
        return Probe("answer", State.WARN, str(error), "Try again when the limit is renewed, or raise it.")
    except BackfillError as error:
        return _failed("answer", error)
    usage = answer.usage
    tokens = "unknown tokens" if usage.tokens_in is None else f"{usage.tokens_in} tokens in, {usage.tokens_out} out"
    cost = "cost unknown" if usage.cost_usd is None else f"${usage.cost_usd:.6f}"
    by = f" by {answer.model}" if answer.model else ""
    said = ", ".join(filter(None, (str(answer.scores), answer.category, answer.reason and f"“{answer.reason}”")))
    return Probe("answer", State.OK, f"{said}{by}; {tokens}, {cost}")


def _failed(name: str, error: BackfillError) -> Probe:
    code = ExitCode.REFUSED if error.exit_code in (ExitCode.BUG, ExitCode.STOPPED_EARLY) else error.exit_code
    if isinstance(error, MailThrottled):  # nothing is refused: it works later
        code = ExitCode.UNREACHABLE
    return Probe(name, State.FAIL, str(error), REMEDIES.get(error.reason, ""), code)
