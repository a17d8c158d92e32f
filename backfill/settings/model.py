"""Every key of `config.yaml`, with its type, its default and what it may be.

Everything is frozen. A value that would send a password or mail unencrypted to another machine is refused here, so
that no adapter has to check. Messages say what is allowed and never repeat what was given.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from backfill.errors import ConfigError
from backfill.hosts import LOOPBACK_FORMS, is_loopback
from backfill.ledger_url import secrets_of
from backfill.limits import RunLimits
from backfill.redaction import protect
from backfill.rubric import Rubric
from backfill.settings.fields import (
    Argv,
    Bytes,
    Concurrency,
    Count,
    Criteria,
    DailyHours,
    EffectNames,
    HeaderName,
    HostName,
    Keyword,
    LedgerUrl,
    Money,
    Score,
    Section,
    Text,
    VariableName,
    is_enough,
    safe_url,
    within,
)
from backfill.settings.questions import RubricKeys

PREFIX: Final = "BACKFILL_"
LONG_PART: Final = 20  # characters of a URL between two separators


class Imap(Section):
    """The account, and the keywords for its mail. `password_command` wins over `password_env`."""

    server: HostName
    port: Annotated[int, Field(ge=1, le=65535)] = 993
    security: Literal["tls", "starttls", "none"] = "tls"
    ca_file: Path | None = None
    username: Text
    auth: Literal["password", "xoauth2", "oauthbearer"] = "password"
    password_env: VariableName = "IMAP_PASSWORD"  # noqa: S105 - a name, not a password
    password_command: Argv | None = None
    query: Criteria | None = None
    processed_tag: Keyword = "AIProcessed"
    important_tag: Keyword = "Important"
    spam_tag: Annotated[Keyword, Field(validate_default=True)] = "Spam"
    gmail_labels: bool = False
    max_bytes_per_day: Bytes | None = None
    folder_timeout_seconds: Annotated[float, Field(ge=1, le=3600)] = 300.0  # of opening and searching a folder

    @field_validator("security")
    @classmethod
    def _plain_stays_here(cls, value: str, info: ValidationInfo) -> str:
        if value == "none" and not is_loopback(info.data.get("server", "localhost")):
            raise ValueError(
                "should be tls or starttls: none sends the password in clear, so it is for loopback only "
                f"({LOOPBACK_FORMS})"
            )
        return value

    @field_validator("spam_tag")
    @classmethod
    def _tags_differ(cls, value: str, info: ValidationInfo) -> str:
        tags = [str(info.data.get(name)).lower() for name in ("processed_tag", "important_tag")] + [value.lower()]
        if len(set(tags)) < len(tags):
            raise ValueError("should differ from the other tags, and they from each other, in more than case")
        return value


class Llm(Section):
    """The OpenAI-compatible service that `chat` asks. `api_key_env` None: it wants no key."""

    api_url: Text = "https://openrouter.ai/api/v1"
    api_key_env: VariableName | None = "OPENROUTER_API_KEY"
    model: Text | None = None  # no default: which model reads the mail is the operator's choice
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.2  # None: not sent
    response_format: Literal["json_schema", "json_object", "none"] = "json_schema"
    max_output_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = None  # None: 200, or what the rubric takes
    retry_attempts: Annotated[int, within("retry_attempts")] = 3
    retry_delay_seconds: Annotated[float, within("retry_delay_s")] = 5.0
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    data_collection: Literal["deny", "allow"] = "deny"
    zdr: bool = True

    @field_validator("api_url")
    @classmethod
    def _is_safe(cls, value: str) -> str:
        return safe_url(value, "https://HOST/v1", "mail and key")


class Processing(Section):
    """Thresholds, and the limits of a run."""

    importance_threshold: Score = 8
    spam_threshold: Score = 5
    max_body_chars: Annotated[int, Field(ge=1, le=1_000_000)] = 4000
    max_emails_per_run: Count | None = None
    calls_per_minute: Annotated[float, within("calls_per_minute"), is_enough("calls_per_minute")] = 60.0
    tokens_per_minute: Annotated[float, within("tokens_per_minute")] | None = None
    concurrency: Concurrency = 8
    max_cost_usd: Money | None = None
    max_cost_usd_per_day: Money | None = None
    max_per_day: Count | None = None
    between: DailyHours | None = None


class Webhook(Section):
    """Where the output `webhook` posts verdicts. The path of `url` may be a secret, so `repr` leaves it out."""

    url: Annotated[Text | None, Field(repr=False)] = None
    secret_env: VariableName | None = None
    secret_header: HeaderName = "Authorization"  # noqa: S105 - the name of the header
    include_body: bool = False
    timeout_seconds: Annotated[float, Field(ge=0.1, le=300)] = 10.0

    @field_validator("url")
    @classmethod
    def _is_safe(cls, value: str | None) -> str | None:
        return None if value is None else safe_url(value, "https://HOST/path", "verdicts and the secret")


class Notes(Section):
    """How much of its mail's text a note holds: all, what the classifier was shown, or nothing."""

    body: Literal["full", "shown", "none"] = "shown"


class Paths(Section):
    """Files and folders; absolute in what `load` returns. `ledger_url` may hold a password, so `repr` leaves it out."""

    ledger_url: LedgerUrl = Field(default="sqlite:///var/ledger.db", repr=False)
    log_file: Path = Path("var/agent.log")
    analytics_file: Path | None = Path("var/analytics.jsonl")
    notes_dir: Path = Path("var/notes")
    prompt_file: Path = Path("config/prompt.md")
    note_template: Path = Path("config/note.md.j2")


class Settings(BaseSettings):
    """All settings. Made only of the arguments; `load` reads the files and the environment."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,  # a list in a variable is words, not JSON
    )

    imap: Imap
    classifier: Literal["chat", "heuristic", "gated"] = "chat"
    llm: Llm = Llm()
    processing: Processing = Processing()
    rubric: RubricKeys | None = None  # None: importance and spam
    effects: EffectNames = ("flags", "notes")
    notes: Notes = Notes()
    webhook: Webhook = Webhook()
    paths: Paths = Paths()

    _path: Path = PrivateAttr(default=Path())
    _env_path: Path | None = PrivateAttr(default=None)
    _variables: tuple[Mapping[str, str], ...] = PrivateAttr(default_factory=lambda: (os.environ,))

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @field_validator("effects")
    @classmethod
    def _each_effect_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("should name each effect once")
        return value

    @model_validator(mode="after")
    def _chat_has_a_model(self) -> Settings:
        if self.classifier != "heuristic" and self.llm.model is None:
            raise ValueError(f"llm.model is missing: the classifier {self.classifier} asks a model")
        return self

    @model_validator(mode="after")
    def _rubric_is_said_once(self) -> Settings:
        if self.rubric is None:
            return self
        twice = [each for each in _DEFAULT_RUBRIC if each[1] in getattr(self, each[0]).model_fields_set]
        if twice:
            keys = ", ".join(f"{section}.{key}" for section, key, _ in twice)
            places = ", ".join(f"rubric.{place}" for *_, place in twice)
            raise ValueError(f"{keys} and rubric are both set; remove {keys}, and say it in {places}")
        processed = self.imap.processed_tag.casefold()
        for label, keyword in self.asked.keywords.items():
            if keyword.casefold() == processed:
                raise ValueError(
                    f"rubric: the keyword of {label} is also imap.processed_tag; servers ignore case, so change one"
                )
        if self.classifier == "heuristic" and not self.asked.is_default:
            raise ValueError(
                "rubric and classifier: heuristic do not fit: its rules know importance and spam with their usual "
                "meanings only; set classifier: chat, or leave out the rubric"
            )
        if self.classifier == "gated" and (beyond := self.asked.beyond_the_rules):
            raise ValueError(
                f"rubric and classifier: gated do not fit: its rules cannot answer {beyond}; set classifier: chat"
            )
        return self

    def judged_by(self, classifier: str) -> Settings:
        """These settings with another classifier. Raises `ConfigError` where it does not fit them."""
        try:
            fitting = Settings.model_validate(self.model_dump(exclude_unset=True) | {"classifier": classifier})
        except ValidationError as error:
            raise ConfigError(
                "; ".join(detail["msg"].removeprefix("Value error, ") for detail in error.errors())
            ) from None
        return self.model_copy(update={"classifier": fitting.classifier})

    @property
    def asked(self) -> Rubric:
        """What is asked about each mail, and the labels that follow."""
        if self.rubric is not None:
            return self.rubric.whole()
        processing, imap = self.processing, self.imap
        thresholds = processing.importance_threshold, processing.spam_threshold
        return Rubric.default(*thresholds, imap.important_tag, imap.spam_tag)

    @property
    def max_answer_tokens(self) -> int:
        """The most tokens of an answer, by the settings or by what the rubric asks."""
        return self.llm.max_output_tokens or self.asked.answer_tokens

    @property
    def config_path(self) -> Path:
        """The file that was loaded, absolute."""
        return self._path

    @property
    def project_dir(self) -> Path:
        """The folder that relative paths are relative to."""
        return project_dir(self._path)

    @property
    def run_limits(self) -> RunLimits:
        """What a run may do by the settings alone."""
        allowed, llm = self.processing, self.llm
        return RunLimits(
            calls_per_minute=allowed.calls_per_minute,
            tokens_per_minute=allowed.tokens_per_minute,
            concurrency=allowed.concurrency,
            max_emails=allowed.max_emails_per_run,
            max_cost_usd=allowed.max_cost_usd,
            max_cost_usd_per_day=allowed.max_cost_usd_per_day,
            max_per_day=allowed.max_per_day,
            between=allowed.between,
            retry_attempts=llm.retry_attempts,
            retry_delay_s=llm.retry_delay_seconds,
        )

    @property
    def env_path(self) -> Path | None:
        """The `.env` that was looked for, absolute; None when none was wanted."""
        return self._env_path

    def secret(self, name: str) -> str:
        """The value of the variable `name`, from the environment or else from `.env`.

        Raises `ConfigError` when both lack it or have it empty.
        """
        for variables in self._variables:
            if value := variables.get(name):
                protect(value)
                return value
        place = f"{self._env_path} or the environment" if self._env_path else "the environment"
        raise ConfigError(f"The secret {name} is not set; put {name}=… into {place}.")

    def other_secrets(self) -> tuple[str, ...]:
        """The names of variables whose secrets the mail account does not need; `password_command` gets none of them."""
        urls = (f"{PREFIX}PATHS__LEDGER_URL", f"{PREFIX}WEBHOOK__URL")
        return (*self._secret_names(but="imap"), *urls, *(url.lower() for url in urls))

    def known_secrets(self) -> tuple[str, ...]:
        """The secrets that are set, for redaction: password, key, and the passwords within the ledger's URL."""
        found = (variables.get(name) for name in self._secret_names() for variables in self._variables)
        # Who knows the webhook's URL can post there: its long parts may be tokens, and short ones are words.
        hook = [part for part in re.split(r"[/?&=]", self.webhook.url or "") if len(part) >= LONG_PART]
        return tuple(value for value in (*found, *hook, *secrets_of(self.paths.ledger_url)) if value)

    def _secret_names(self, *, but: str = "") -> tuple[str, ...]:
        """The names of the variables with secrets: the keys that end with _env, without those of the section `but`."""
        keys = ((section, key) for section, kind in SECTIONS.items() for key in kind.model_fields if section != but)
        named = (getattr(getattr(self, section), key) for section, key in keys if key.endswith("_env"))
        return tuple(name for name in named if name)


SECTIONS: Final[dict[str, type[Section]]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}


#: The keys of the default rubric, and where another rubric says the same.
_DEFAULT_RUBRIC: Final = (
    ("processing", "importance_threshold", "scores.importance.threshold"),
    ("processing", "spam_threshold", "scores.spam.threshold"),
    ("imap", "important_tag", "scores.importance.keyword"),
    ("imap", "spam_tag", "scores.spam.keyword"),
)


def project_dir(config_path: Path) -> Path:
    """The parent of `config/` when the file lies in a folder of that name, else the file's own folder."""
    folder = config_path.parent
    return folder.parent if folder.name == "config" else folder


#: Every key that may be set, dotted: "imap.server", …, "effects".
KEYS: Final = tuple(
    f"{name}.{key}" if key else name
    for name in Settings.model_fields
    for key in (SECTIONS[name].model_fields if name in SECTIONS else [""])
)
#: Keys of earlier configuration files. They had no effect, and are passed over.
RETIRED: Final = frozenset({"paths.reports_dir"})
