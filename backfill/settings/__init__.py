"""The settings facade: YAML, `.env` and environment in, typed frozen settings out, or one clear error.

The environment wins over `.env`, which wins over the YAML file, which wins over the defaults. Every error is one
line that names the key and the place where it was set. It never repeats a value, which may be a misplaced secret.
Secrets are not settings: a setting names the variable that holds one, and `Settings.secret` reads the variable when
the secret is needed.

`model` has every key with its default, `fields` the kinds of values, `questions` what is asked about a mail, `planned`
what a job was planned with. `as_written` reads YAML, `env_file` reads `.env`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from backfill.errors import ConfigError
from backfill.files import expanded
from backfill.ledger_url import with_file
from backfill.redaction import protect
from backfill.settings import as_written, env_file, questions
from backfill.settings.model import (
    KEYS,
    PREFIX,
    RETIRED,
    SECTIONS,
    Imap,
    Llm,
    Paths,
    Processing,
    Settings,
    project_dir,
)
from backfill.wording import printable

__all__ = [
    "KEYS",
    "Imap",
    "Llm",
    "Paths",
    "Processing",
    "Settings",
    "get",
    "initialize",
    "load",
]

RUBRIC: Final = "rubric"
THRESHOLD: Final = "should be a whole number from 0 to 10, the lowest score that gets the label"
#: pydantic's words for a value that has no keys where it should have some.
_NO_KEYS: Final = frozenset({"dict_type", "model_type", "model_attributes_type"})
_current: Settings | None = None


def initialize(config_path: str | Path, env_path: str | Path | None = ".env") -> Settings:
    """Load the settings that `get` returns from now on. Raises as `load` does; the old settings then stay."""
    global _current
    _current = load(config_path, env_path)
    return _current


def get() -> Settings:
    """The settings of this process. Raises `ConfigError` before `initialize`."""
    if _current is None:
        raise ConfigError("There are no settings yet; call settings.initialize('config/config.yaml') first.")
    return _current


def load(
    config_path: str | Path, env_path: str | Path | None = ".env", environment: Mapping[str, str] = os.environ
) -> Settings:
    """Read, check and return settings; what `get` returns is not changed.

    A relative `env_path` is relative to the project folder, so that a job from cron finds it; the file may be absent.
    Raises `ConfigError` for a missing configuration file, broken YAML, an unknown or missing key, or a bad value.
    """
    path = expanded(Path(config_path)).absolute()
    env_place = None if env_path is None else project_dir(path) / expanded(Path(env_path))
    values, dotenv = _read_yaml(path), {} if env_place is None else env_file.read(env_place)
    layers = (  # the first that has a key wins
        _Layer("the environment", _settings_in(environment)),
        _Layer(str(env_place), _settings_in(dotenv)),
        _Layer(str(path), {key: key for key in _dotted(values)}),
    )
    for layer in layers:
        layer.refuse_unknown()
    try:
        settings = Settings(**_merge(values, _nested({**dotenv, **environment})))
    except ValidationError as error:
        raise ConfigError(_explain(error, layers)) from error
    settings = _with_absolute_paths(settings, project_dir(path))
    settings._path, settings._env_path, settings._variables = path, env_place, (environment, dotenv)
    protect(*settings.known_secrets())
    return settings


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        values = as_written.read(text)
    except FileNotFoundError as error:
        raise ConfigError(f"There is no configuration file {path}; `backfill init` writes one.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration file {path} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable"
        raise ConfigError(f"{path}{line}: not valid YAML: {problem}.") from None  # the cause quotes the line
    if isinstance(values, dict) and values.get(RUBRIC) and (twice := as_written.doubled(text, RUBRIC)):
        number, name = twice
        raise ConfigError(f"{path}, line {number}: {name!r} stands there twice in rubric; rename or remove one.")
    if not isinstance(values, dict | None):
        raise ConfigError(f"{path}: should hold sections such as `imap:` with keys below them.")
    # YAML reads a section as None when all its keys are commented out: its keys have their defaults.
    return {str(key): {} if value is None and key in SECTIONS else value for key, value in (values or {}).items()}


def _dotted(values: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and key != RUBRIC:  # its keys are the user's own
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _settings_in(variables: Mapping[str, str]) -> dict[str, str]:
    """{"imap.server": "BACKFILL_IMAP__SERVER"}: the variables with our prefix, by the key that they set."""
    return {
        name[len(PREFIX) :].lower().replace("__", "."): name
        for name in variables
        if name.upper().startswith(PREFIX) and name != "BACKFILL_CONFIG" and not name.startswith("BACKFILL_TEST_")
    }


def _nested(variables: Mapping[str, str]) -> dict[str, Any]:
    """{"imap": {"server": …}} from BACKFILL_IMAP__SERVER; the word null is None."""
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): None if value == "null" else value for name, value in variables.items()}
    return source()


def _merge(values: dict[str, Any], winning: dict[str, Any]) -> dict[str, Any]:
    sections = {key: {**values.get(key, {}), **winning.get(key, {})} for key in SECTIONS.keys() & (values | winning)}
    kept = {
        section: {key: value for key, value in keys.items() if f"{section}.{key}" not in RETIRED}
        for section, keys in sections.items()
    }
    merged = values | winning | kept
    if isinstance(winning.get(RUBRIC), dict):  # another value wins whole, and is refused
        merged[RUBRIC] = questions.overridden(values.get(RUBRIC), winning[RUBRIC])
    return merged


def _with_absolute_paths(settings: Settings, root: Path) -> Settings:
    def absolute(value: Any) -> Any:
        return Path(os.path.normpath(root / expanded(value))) if isinstance(value, Path) else value

    paths = {name: absolute(value) for name, value in settings.paths}
    paths["ledger_url"] = with_file(settings.paths.ledger_url, lambda file: str(absolute(Path(file))))
    return settings.model_copy(
        update={
            "imap": settings.imap.model_copy(update={"ca_file": absolute(settings.imap.ca_file)}),
            "paths": Paths.model_construct(**paths),
        }
    )


@dataclass(frozen=True, slots=True)
class _Layer:
    """One place that settings come from. `names`: the keys that it sets, each with the name that it has there."""

    place: str
    names: Mapping[str, str]

    def refuse_unknown(self) -> None:
        for key, name in self.names.items():
            if key not in KEYS and key not in RETIRED and not key.startswith(f"{RUBRIC}."):
                known = get_close_matches(key, KEYS, n=1, cutoff=0)[0]
                nearest = known if name == key else PREFIX + known.upper().replace(".", "__")
                what = "a section, not a key" if key in SECTIONS else "not a known key"
                raise ConfigError(f"{name} in {self.place} is {what}; the nearest key is {nearest}.")


def _explain(error: ValidationError, layers: Sequence[_Layer]) -> str:
    """One line for everything that is wrong. pydantic's messages say what is allowed, not what was given."""
    problems = []
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        place = tuple(part for part in detail["loc"] if isinstance(part, str))  # an int is a list's index
        key = ".".join(place)
        problem = detail["msg"].removeprefix("Value error, ").replace("Input should", "should")
        if detail["type"].startswith("int_") and key.endswith("threshold"):
            problem = THRESHOLD
        elif key.startswith(f"{RUBRIC}."):
            problem = questions.KINDS.get(detail["type"], problem)
        origin = next((f"{layer.names[key]} in {layer.place}" for layer in layers if key in layer.names), None)
        if key.startswith(f"{RUBRIC}."):
            origin = origin or f"{key} in {layers[-1].place}"
        if detail["type"] == "missing":
            remedy = f"; it {THRESHOLD}" if key.endswith("threshold") else ""
            problems.append(f"{key} is missing in {layers[-1].place}{remedy}")
        elif detail["type"] == "extra_forbidden":
            problems.append(f"{origin} is not a known key; known here are {questions.known_keys(place[:-1])}")
        elif key.partition(".")[0] == RUBRIC and detail["type"] in _NO_KEYS:
            problems.append(f"{origin} {questions.should_hold(place)}")
        elif not key or problem.startswith(RUBRIC):
            problems.append(f"{problem} ({layers[-1].place})")
        else:
            problems.append(f"{origin or key} {problem}")
    return printable("; ".join(problems) + ".")
