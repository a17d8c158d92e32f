"""The composition root: settings in, working objects out. The only module that knows every adapter.

To add a classifier or an output, add a line to `CLASSIFIERS` or `EFFECTS`, whose keys are the configured names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from backfill.analytics import AnalyticsFile
from backfill.classifiers.chat import ChatClassifier, ChatSettings
from backfill.classifiers.gated import GatedClassifier
from backfill.classifiers.heuristic import HeuristicClassifier
from backfill.classifiers.questions import check_template
from backfill.classifiers.service import ApiService
from backfill.clock import Clock, StopRequest
from backfill.effects.flags import FlagsEffect
from backfill.effects.notes import NOTE_TEMPLATE, NotesEffect
from backfill.effects.webhook import WebhookEffect, WebhookSettings
from backfill.errors import ConfigError
from backfill.executor.reader import LONGEST_WAIT_S
from backfill.ledger import Ledger
from backfill.ledger.rows import Job
from backfill.limits import RunLimits
from backfill.mail.login import ImapAccount
from backfill.mail.marker import ImapMarker
from backfill.mail.mime import Reading, whole
from backfill.mail.source import ImapSource
from backfill.message import MailboxKey, Message, MessageRef
from backfill.operations.parts import Api, Audience
from backfill.ports import Classifier, Effect, MailMarker, MailSource, Price, Service
from backfill.rubric import Rubric
from backfill.selection import Selection
from backfill.settings import Settings
from backfill.settings.planned import asking, planned_with
from backfill.throttle.mail import MailAllowance
from backfill.throttle.patience import PatientSource

#: Opens the ledger when it is first needed: the rules need none.
OpenLedger = Callable[[], Ledger]
PROMPT_SECRET: Final = "prompt"  # noqa: S105 - the name under which the ledger keeps it


def open_ledger(settings: Settings, clock: Clock, stop: StopRequest | None = None) -> Ledger:
    """The ledger of these settings, created or upgraded where needed."""
    return Ledger.open(settings.paths.ledger_url, clock, stop)


class Parts:
    """One command's ledger and adapters. An adapter is made when it is first needed; `close` closes them all."""

    def __init__(self, settings: Settings, audience: Audience) -> None:
        self.account = account(settings).name
        self.default = Selection(search=settings.imap.query)
        self._settings = settings
        self._ledger: Ledger | None = None
        self._allowance: MailAllowance | None = None
        self._audience = audience
        self._source: MailSource | None = None
        self._classifier: Classifier | None = None
        self._may_write = False

    def close(self) -> None:
        self.hang_up()
        for adapter in (self._classifier, self._allowance, self._ledger):
            if adapter is not None:
                adapter.close()

    @property
    def ledger(self) -> Ledger:
        if self._ledger is None:
            self._ledger = open_ledger(self._settings, self._audience.clock, self._audience.stop)
        return self._ledger

    @property
    def allowance(self) -> MailAllowance:
        if self._allowance is None:
            tell = self._audience.tell
            self._allowance = mail_allowance(self._settings, self.ledger, self._audience.clock)
            self._allowance.tell = lambda sentence: tell(sentence) if sentence else None
        return self._allowance

    @property
    def limits(self) -> RunLimits:
        return self._settings.run_limits

    @property
    def rubric(self) -> Rubric:
        return self._settings.asked

    @property
    def effect_names(self) -> tuple[str, ...]:
        return self._settings.effects

    @property
    def api(self) -> Api:
        llm, is_gated = self._settings.llm, self._settings.classifier == "gated"
        return Api(api(self._settings), llm.model or "", llm.api_url, self._settings.max_answer_tokens, not is_gated)

    @property
    def source(self) -> MailSource:
        """Waits until the account may be read. Raises `MailThrottled` where that takes too long."""
        if self._source is None:
            self.allowance.wait(self._audience.stop, LONGEST_WAIT_S, self._audience.tell)
            source = mail_source(self._settings, self.allowance, lambda: self._may_write)
            clock, stop, tell = self._audience.clock, self._audience.stop, self._audience.tell
            self._source = PatientSource(source, clock, stop, LONGEST_WAIT_S, tell)
        return self._source

    def hang_up(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    @property
    def classifier(self) -> Classifier:
        if self._classifier is None:
            self._classifier = classifier(self._settings, lambda: self.ledger, self._audience.clock)
        return self._classifier

    def as_planned(self, job: Job) -> None:
        if self._classifier is not None:
            self._classifier.close()
            self._classifier = None
        self.hang_up()  # its source reads mail by today's settings
        self._settings, self._classifier = as_planned(self._settings, job, lambda: self.ledger, self._audience.clock)

    def go_by(self, job: Job) -> None:
        self._settings = asking(self._settings, job.rubric)

    def allow_writing(self) -> None:
        self._may_write = True

    def effects(self) -> tuple[Effect, ...]:
        return tuple(make() for _, make in outputs(self._settings, self.allowance, self._audience.clock))

    def rubric_of(self, job: Job) -> Rubric:
        return asking(self._settings, job.rubric).asked

    def output(self, name: str, job: Job | None = None) -> Effect | None:
        build = EFFECTS.get(name)
        settings = self._settings if job is None else asking(self._settings, job.rubric)
        return None if build is None else build(settings, self.allowance, self._audience.clock)

    def analytics(self) -> AnalyticsFile | None:
        return analytics(self._settings, self.ledger)

    def read_mail(self, raw: bytes, size: int, owner: str) -> Message:
        return read_mail(self._settings, raw, size, owner=owner)

    def price(self) -> Price | None:
        return price(self._settings, self._audience.clock)


def account(settings: Settings) -> ImapAccount:
    """The configured account. Its secret is looked up at every connect, in the environment and `.env`."""
    imap = settings.imap
    return ImapAccount(
        server=imap.server,
        port=imap.port,
        security=imap.security,
        ca_file=None if imap.ca_file is None else str(imap.ca_file),
        username=imap.username,
        auth=imap.auth,
        password_env=imap.password_env,
        password_command=imap.password_command,
        withheld=settings.other_secrets(),
        secret=settings.secret,
        folder_timeout_s=imap.folder_timeout_seconds,
    )


def mail_allowance(settings: Settings, ledger: Ledger, clock: Clock) -> MailAllowance:
    """What may be read of the configured account, in all processes that read it through this ledger."""
    return MailAllowance(ledger, clock, account(settings).name, settings.imap.max_bytes_per_day)


def mail_source(
    settings: Settings, allowance: MailAllowance | None = None, may_write: Callable[[], bool] = lambda: False
) -> MailSource:
    """A connection for reading, opened at its first use.

    `may_write` is called before a \\Seen is removed that the server set in spite of PEEK; it is False in a dry run.
    """
    return ImapSource(
        account(settings),
        processed_keyword=settings.imap.processed_tag,
        max_body_chars=settings.processing.max_body_chars,
        gmail_labels=settings.imap.gmail_labels,
        keeps_all_text="notes" in settings.effects and settings.notes.body == "full",
        may_write=may_write,
        watch=allowance,
    )


def marker(settings: Settings, allowance: MailAllowance | None = None) -> MailMarker:
    """A connection for keywords, opened at its first use."""
    return ImapMarker(account(settings), gmail_labels=settings.imap.gmail_labels, watch=allowance)


def read_mail(settings: Settings, raw: bytes, size: int, *, owner: str) -> Message:
    """A mail outside any mailbox, as a classifier is shown it. `raw`: its first bytes; `size`: how many it has in all.

    `owner`: the address that it was sent to; "" when that is not known.
    """
    reading = Reading(owner, settings.processing.max_body_chars)
    ref = MessageRef(MailboxKey("", "", 1), 1)
    return Message(ref, whole(raw, size, reading), frozenset(), received_at=None, sent_at=None, size=size)


def api(settings: Settings) -> str:
    """The name under which the ledger keeps the pace of the configured API, and the number of a day's calls to it."""
    return f"calls:{settings.llm.api_url}"


def analytics(settings: Settings, ledger: Ledger) -> AnalyticsFile | None:
    """The analytics file, or None when none is wanted."""
    path = settings.paths.analytics_file
    return None if path is None else AnalyticsFile(ledger, path)


def classifier(settings: Settings, ledger: OpenLedger, clock: Clock) -> Classifier:
    """The configured classifier. Raises `ConfigError` for what cannot work, such as a missing key or prompt."""
    return CLASSIFIERS[settings.classifier](settings, ledger, clock, None)


def _chat(settings: Settings, ledger: OpenLedger, clock: Clock, prompt: str | None = None) -> Classifier:
    llm = settings.llm
    if prompt is None:
        prompt = _template(settings.paths.prompt_file, "paths.prompt_file")
        check_template(prompt, settings.asked)
    secret = ledger().secrets.get(PROMPT_SECRET)
    return ChatClassifier(
        ChatSettings(
            api_url=llm.api_url,
            model=llm.model or "",
            prompt=prompt,
            api_key=None if llm.api_key_env is None else settings.secret(llm.api_key_env),
            temperature=llm.temperature,
            response_format=llm.response_format,
            max_output_tokens=settings.max_answer_tokens,
            rubric=settings.asked,
            timeout_s=llm.timeout_seconds,
            max_body_chars=settings.processing.max_body_chars,
            data_collection=llm.data_collection,
            zdr=llm.zdr,
            session_id=secret.hex()[:32],
        ),
        secret=secret,
        clock=clock,
    )


def _heuristic(settings: Settings, ledger: OpenLedger, clock: Clock, prompt: str | None = None) -> HeuristicClassifier:
    return HeuristicClassifier(max_body_chars=settings.processing.max_body_chars)


def _gated(settings: Settings, ledger: OpenLedger, clock: Clock, prompt: str | None = None) -> Classifier:
    return GatedClassifier(_heuristic(settings, ledger, clock), _chat(settings, ledger, clock, prompt), settings.asked)


CLASSIFIERS: Final[dict[str, Callable[[Settings, OpenLedger, Clock, str | None], Classifier]]] = {
    "chat": _chat,
    "heuristic": _heuristic,
    "gated": _gated,
}


def service(settings: Settings, clock: Clock) -> Service:
    """The configured API's own figures: models, prices, credit."""
    llm = settings.llm
    key = None if llm.api_key_env is None else settings.secret(llm.api_key_env)
    return ApiService(llm.api_url, key, timeout_s=llm.timeout_seconds, clock=clock)


def price(settings: Settings, clock: Clock) -> Price | None:
    """The list price of the configured model; None when it is not known."""
    asked = service(settings, clock)
    try:
        return asked.price_of(settings.llm.model or "")
    finally:
        asked.close()


def as_planned(settings: Settings, job: Job, ledger: OpenLedger, clock: Clock) -> tuple[Settings, Classifier]:
    """The settings and the classifier that a job was planned with; URL, key and pace are today's.

    Raises `ConfigError` when this version of backfill cannot ask as the job was planned.
    """
    planned = planned_with(settings, job.planned_with.settings, job.rubric)
    build = CLASSIFIERS.get(planned.classifier)
    stored = None if build is None else build(planned, ledger, clock, job.planned_with.prompt)
    if stored is None or stored.fingerprint.digest() != job.fingerprint:
        raise ConfigError(
            f"Job {job.id} was planned by a version of backfill that asked the model in another way; "
            "classify its mail anew with --new-job."
        )
    return planned, stored


def outputs(
    settings: Settings, allowance: MailAllowance | None, clock: Clock
) -> Iterator[tuple[str, Callable[[], Effect]]]:
    """The name of each configured output, and what makes it, in the order in which they are applied."""
    for name, build in EFFECTS.items():
        if name in settings.effects:
            yield name, partial(build, settings, allowance, clock)


def _notes(settings: Settings, allowance: MailAllowance | None, clock: Clock) -> Effect:
    template = _template(settings.paths.note_template, "paths.note_template", NOTE_TEMPLATE)
    return NotesEffect(settings.paths.notes_dir, template, settings.asked, body=settings.notes.body)


def _flags(settings: Settings, allowance: MailAllowance | None, clock: Clock) -> Effect:
    keywords = settings.asked.keywords
    return FlagsEffect(marker(settings, allowance), processed_tag=settings.imap.processed_tag, keywords=keywords)


def _webhook(settings: Settings, allowance: MailAllowance | None, clock: Clock) -> Effect:
    at, secret_env = settings.webhook, settings.webhook.secret_env
    secret = None if secret_env is None else settings.secret(secret_env)
    options = WebhookSettings(at.url, secret, at.secret_header, at.include_body, at.timeout_seconds)
    return WebhookEffect(options, clock)


#: In the order in which they are applied: the processed keyword comes last, as it says that all else is done.
EFFECTS: Final = {"notes": _notes, "webhook": _webhook, "flags": _flags}


def _template(path: Path, key: str, reason: str | None = None) -> str:
    unreadable = f"{path} cannot be read; `backfill init` writes one, or set {key}."
    if path.exists() and not path.is_file():  # a pipe or a device may be read without end
        raise ConfigError(unreadable, reason=reason)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(unreadable, reason=reason) from error
