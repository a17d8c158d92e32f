"""The settings: who wins, what is refused, and that an error is one line which never repeats a secret."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from backfill import resources, settings
from backfill.errors import ConfigError

MINIMAL = """
imap: {server: mail.example.org, username: ada@example.org}
llm: {model: vendor/model}
"""
ROOT = Path(__file__).parents[2]
SECRET = "hunter2"  # given in wrong places below; no message may repeat it

Load = Callable[..., settings.Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Settings from a YAML text, the text of a `.env` and an environment; the project folder is `tmp_path`."""

    def load(text: str = MINIMAL, dotenv: str = "", **environment: str) -> settings.Settings:
        config = tmp_path / "config" / "config.yaml"
        config.parent.mkdir(exist_ok=True)
        config.write_text(text, encoding="utf-8")
        (tmp_path / ".env").write_text(dotenv, encoding="utf-8")
        return settings.load(config, environment=environment)

    return load


def refusal(load: Load, *args: str, **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(*args, **environment)
    message = str(caught.value)
    assert "\n" not in message
    assert SECRET not in message
    return message


# Who wins.


def test_the_environment_wins_over_dotenv_over_the_file_over_the_default(load: Load) -> None:
    file = MINIMAL.replace("server:", "port: 1, processed_tag: FromFile, spam_tag: FromFile2, server:")
    dotenv = "BACKFILL_IMAP__PORT=2\nBACKFILL_IMAP__PROCESSED_TAG=FromDotenv\n"

    loaded = load(file, dotenv, BACKFILL_IMAP__PORT="3")

    assert loaded.imap.port == 3
    assert loaded.imap.processed_tag == "FromDotenv"
    assert loaded.imap.spam_tag == "FromFile2"
    assert loaded.imap.important_tag == "Important"


def test_lists_and_null_can_be_said_in_a_variable(load: Load) -> None:
    loaded = load(
        BACKFILL_EFFECTS="notes, flags",
        BACKFILL_IMAP__PASSWORD_COMMAND="pass show 'my mail'",
        BACKFILL_LLM__API_KEY_ENV="null",
        BACKFILL_LLM__ZDR="false",
    )

    assert loaded.effects == ("notes", "flags")
    assert loaded.imap.password_command == ("pass", "show", "my mail")
    assert loaded.llm.api_key_env is None
    assert loaded.llm.zdr is False


def test_no_effects_at_all_is_a_choice(load: Load) -> None:
    assert load(MINIMAL + "effects: []").effects == ()


def test_a_section_whose_keys_are_all_commented_out_means_the_defaults(load: Load) -> None:
    assert load(MINIMAL + "processing:\n  # spam_threshold: 4\n").processing.spam_threshold == 5


def test_variables_of_other_programs_and_of_the_command_line_itself_are_left_alone(load: Load) -> None:
    load(PATH="/bin", BACKFILL_CONFIG="x.yaml", BACKFILL_TEST_POSTGRES_URL="postgresql://x")


def test_the_heuristic_classifier_needs_no_model(load: Load) -> None:
    text = "imap: {server: mail.example.org, username: ada}\nclassifier: heuristic"

    assert load(text).llm.model is None


# What is refused.


@pytest.mark.parametrize(
    ("extra", "named", "nearest"),
    [
        ("processing: {spam_treshold: 4}", "processing.spam_treshold", "processing.spam_threshold"),
        (f"llm: {{model: m, api_key: {SECRET}}}", "llm.api_key", "llm.api_key_env"),
        ("server: mail.example.org", "server", "imap.server"),
        ("classifer: heuristic", "classifer", "classifier"),
        ("paths: var", "paths", "paths."),
    ],
)
def test_an_unknown_key_is_named_with_its_file_and_the_nearest_known_key(
    load: Load, tmp_path: Path, extra: str, named: str, nearest: str
) -> None:
    message = refusal(load, MINIMAL + extra)

    assert message.startswith(f"{named} in {tmp_path / 'config' / 'config.yaml'} is ")
    assert f"the nearest key is {nearest}" in message


@pytest.mark.parametrize("value", ["var/reports", "null"])
def test_a_key_that_earlier_files_hold_is_passed_over(load: Load, value: str) -> None:
    written = load(f"{MINIMAL}paths: {{reports_dir: {value}, log_file: a.log}}")
    in_a_variable = load(BACKFILL_PATHS__REPORTS_DIR=value)
    in_dotenv = load(dotenv=f"BACKFILL_PATHS__REPORTS_DIR={value}")

    assert written.paths.log_file.name == "a.log"
    assert in_a_variable.paths == in_dotenv.paths == load().paths


def test_an_unknown_variable_is_named_as_it_is_spelt(load: Load, tmp_path: Path) -> None:
    in_environment = refusal(load, BACKFILL_IMAP__SERVR=SECRET)
    in_dotenv = refusal(load, MINIMAL, f"BACKFILL_LLM__MODLE={SECRET}")

    assert in_environment == (
        "BACKFILL_IMAP__SERVR in the environment is not a known key; the nearest key is BACKFILL_IMAP__SERVER."
    )
    assert in_dotenv.startswith(f"BACKFILL_LLM__MODLE in {tmp_path / '.env'} is not a known key")


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("IMAP__SERVER", f"imaps://ada:{SECRET}@mail.example.org", "a bare host name"),
        ("IMAP__USERNAME", " ", "not be empty"),
        ("IMAP__PORT", SECRET, "a valid integer"),
        ("IMAP__PORT", "0", "greater than or equal to 1"),
        ("IMAP__PORT", "65536", "less than or equal to 65535"),
        ("IMAP__SECURITY", SECRET, "'tls', 'starttls' or 'none'"),
        ("IMAP__SECURITY", "none", "loopback only"),
        ("IMAP__PASSWORD_ENV", f"{SECRET}!", "the name of an environment variable"),
        ("IMAP__QUERY", "SUBJECT Grüße", "in ASCII"),
        ("IMAP__PROCESSED_TAG", "AI Processed", "1 to 50 of the characters"),
        ("IMAP__PROCESSED_TAG", "\\Seen", "1 to 50 of the characters"),
        ("IMAP__SPAM_TAG", "x" * 51, "1 to 50 of the characters"),
        ("IMAP__SPAM_TAG", "important", "differ from the other tags"),
        ("IMAP__MAX_BYTES_PER_DAY", "0", "greater than or equal to 1"),
        ("CLASSIFIER", SECRET, "'chat', 'heuristic' or 'gated'"),
        ("LLM__API_URL", "http://api.example.com/v1", "begin with https"),
        ("LLM__API_URL", f"https://ada:{SECRET}@api.example.com/v1", "without user and password"),
        ("LLM__API_URL", "api.example.com", "a URL like https://HOST/v1"),
        ("LLM__API_URL", "https://[::1/v1", "a URL"),
        ("LLM__MODEL", "null", "llm.model is missing"),
        ("LLM__TEMPERATURE", "nan", "less than or equal to 2"),
        ("LLM__RETRY_ATTEMPTS", "0", "greater than or equal to 1"),
        ("LLM__TIMEOUT_SECONDS", "0", "greater than 0"),
        ("PROCESSING__IMPORTANCE_THRESHOLD", "11", "less than or equal to 10"),
        ("PROCESSING__SPAM_THRESHOLD", "-1", "greater than or equal to 0"),
        ("PROCESSING__CALLS_PER_MINUTE", "0", "greater than 0"),
        ("PROCESSING__CALLS_PER_MINUTE", "inf", "less than or equal to"),
        ("PROCESSING__CONCURRENCY", "1.5", "a valid integer"),
        ("PROCESSING__MAX_COST_USD", "-1", "greater than 0"),
        ("IMAP__GMAIL_LABELS", "perhaps", "a valid boolean"),
        ("EFFECTS", f"flags,{SECRET}", "'flags', 'notes' or 'webhook'"),
        ("EFFECTS", "flags flags", "each effect once"),
        ("WEBHOOK__URL", f"http://hooks.example.com/{SECRET}", "begin with https"),
        ("WEBHOOK__URL", f"https://ada:{SECRET}@hooks.example.com/", "without user and password"),
        ("WEBHOOK__URL", "hooks.example.com/x", "a URL like https://HOST/path"),
        ("WEBHOOK__SECRET_ENV", f"{SECRET}-value", "name of an environment variable"),
        ("WEBHOOK__SECRET_HEADER", "X-Secret: x", "name of a header"),
        ("WEBHOOK__SECRET_HEADER", "content-length", "name of a header"),
        ("WEBHOOK__TIMEOUT_SECONDS", "0", "greater than or equal to 0.1"),
        ("NOTES__BODY", "most", "'full', 'shown' or 'none'"),
        ("PATHS__LEDGER_URL", "sqlite://", "sqlite:///FILE"),
        ("PATHS__LEDGER_URL", "sqlite:///:memory:", "sqlite:///FILE"),
        ("PATHS__LEDGER_URL", f"mysql://ada:{SECRET}@db/x", "postgresql://USER@HOST/DATABASE"),
    ],
)
def test_a_bad_value_is_one_line_with_key_and_what_is_allowed(
    load: Load, variable: str, value: str, allowed: str
) -> None:
    message = refusal(load, **{f"BACKFILL_{variable}": value})

    assert variable in message or variable.lower().replace("__", ".") in message
    assert allowed in message


def test_everything_that_is_wrong_is_said_at_once(load: Load, tmp_path: Path) -> None:
    message = refusal(load, "imap: {port: 0}\nllm: {model: m}")

    assert message == (
        f"imap.server is missing in {tmp_path}/config/config.yaml; "
        f"imap.port in {tmp_path}/config/config.yaml should be greater than or equal to 1; "
        f"imap.username is missing in {tmp_path}/config/config.yaml."
    )


def test_a_missing_file_is_named_with_the_command_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{tmp_path}/none\.yaml; `backfill init` writes one"):
        settings.load(tmp_path / "none.yaml")


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        settings.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"imap:\n  server: a\n password: '{SECRET}\n", "line 3"),
        ("imap: [unclosed\n", "line 2"),
        (f"- {SECRET}\n", "should hold sections"),
        ("imap: \x00", "not valid YAML"),
    ],
)
def test_broken_yaml_is_named_by_file_and_line(load: Load, tmp_path: Path, text: str, place: str) -> None:
    message = refusal(load, text)

    assert message.startswith(str(tmp_path / "config" / "config.yaml"))
    assert place in message


# What never leaves the machine in clear.


@pytest.mark.parametrize("server", ["localhost", "127.0.0.1", "127.3.2.1", "::1"])
def test_a_server_on_this_machine_may_do_without_tls(load: Load, server: str) -> None:
    loaded = load(BACKFILL_IMAP__SERVER=server, BACKFILL_IMAP__SECURITY="none")

    assert loaded.imap.security == "none"


@pytest.mark.parametrize("server", ["localhost.example.org", "10.0.0.1", "0.0.0.0", "127.0.0.1.example.org"])
def test_a_server_elsewhere_may_not(load: Load, server: str) -> None:
    assert "loopback only" in refusal(load, BACKFILL_IMAP__SERVER=server, BACKFILL_IMAP__SECURITY="none")


@pytest.mark.parametrize("host", ["localhost:11434", "127.0.0.1", "[::1]:8080"])
def test_a_model_on_this_machine_may_be_asked_over_http(load: Load, host: str) -> None:
    assert load(BACKFILL_LLM__API_URL=f"http://{host}/v1").llm.api_url == f"http://{host}/v1"


# Secrets.


def test_a_secret_comes_from_the_environment_or_else_from_dotenv(load: Load) -> None:
    dotenv = "IMAP_PASSWORD='from ${HOME} # dotenv'\nOPENROUTER_API_KEY=from-dotenv\n"

    loaded = load(MINIMAL, dotenv, OPENROUTER_API_KEY="from-environment")

    assert loaded.secret("IMAP_PASSWORD") == "from ${HOME} # dotenv"
    assert loaded.secret("OPENROUTER_API_KEY") == "from-environment"


def test_a_missing_secret_is_named_with_the_place_to_put_it(load: Load, tmp_path: Path) -> None:
    loaded = load(MINIMAL, "IMAP_PASSWORD=\n")

    with pytest.raises(ConfigError, match=rf"IMAP_PASSWORD is not set.*{tmp_path}/\.env or the environment"):
        loaded.secret("IMAP_PASSWORD")


def test_settings_can_be_printed_without_giving_a_secret_away(load: Load) -> None:
    loaded = load(
        MINIMAL,
        f"IMAP_PASSWORD={SECRET}\n",
        OPENROUTER_API_KEY=SECRET,
        BACKFILL_PATHS__LEDGER_URL=f"postgresql://ada:{SECRET}@db/mail",
    )

    assert SECRET not in f"{loaded} {loaded!r} {loaded.paths!r}"


# Paths.


def test_relative_paths_start_at_the_folder_that_holds_config_wherever_the_program_is_started(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")

    loaded = load(MINIMAL.replace("server:", "ca_file: ca.pem, server:"))

    assert loaded.project_dir == tmp_path
    assert loaded.imap.ca_file == tmp_path / "ca.pem"
    assert loaded.paths.ledger_url == f"sqlite:///{tmp_path}/var/ledger.db"
    assert loaded.paths.log_file == tmp_path / "var/agent.log"
    assert loaded.paths.note_template == tmp_path / "config/note.md.j2"


def test_a_file_that_lies_in_no_config_folder_is_its_own_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text(MINIMAL)
    (tmp_path / ".env").write_text("IMAP_PASSWORD=x")
    monkeypatch.chdir(tmp_path)

    loaded = settings.load("mine.yaml")

    assert loaded.project_dir == tmp_path
    assert loaded.secret("IMAP_PASSWORD") == "x"


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ("sqlite:////srv/l.db", "sqlite:////srv/l.db"),
        ("sqlite:///l.db?timeout=5", "sqlite:///{root}/l.db?timeout=5"),
        ("sqlite:///../l.db", "sqlite:///{parent}/l.db"),
        ("sqlite:///~/l.db", "sqlite:///{home}/l.db"),
        ("postgresql://ada@db/mail", "postgresql://ada@db/mail"),
    ],
)
def test_a_sqlite_ledger_is_made_absolute_and_any_other_url_is_left_alone(
    load: Load, tmp_path: Path, given: str, resolved: str
) -> None:
    expected = resolved.format(root=tmp_path, parent=tmp_path.parent, home=os.path.expanduser("~"))

    assert load(BACKFILL_PATHS__LEDGER_URL=given).paths.ledger_url == expected


def test_no_analytics_file_is_a_choice(load: Load) -> None:
    assert load(BACKFILL_PATHS__ANALYTICS_FILE="null").paths.analytics_file is None


# The facade.


def test_settings_that_were_not_initialized_say_how_to() -> None:
    script = "from backfill import settings; settings.get()"  # a fresh process: the state is the module's

    asked = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)

    assert "ConfigError: There are no settings yet; call settings.initialize(" in asked.stderr


def test_initialized_settings_stay_until_others_are_initialized(load: Load, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(MINIMAL)

    initialized = settings.initialize(config)
    load()
    with pytest.raises(ConfigError):
        settings.initialize(tmp_path / "none.yaml")

    assert settings.get() is initialized


def test_settings_cannot_be_changed_afterwards(load: Load) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().imap.port = 1  # type: ignore[misc]


# The template.

PLACEHOLDERS = {"imap.server", "imap.username", "llm.model"}


def _leaves(values: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def test_the_template_names_every_key_and_no_other_with_its_default() -> None:
    template = dict(_leaves(yaml.safe_load(resources.text("config/config.yaml"))))
    defaults = settings.Settings.model_validate(yaml.safe_load(MINIMAL)).model_dump(mode="json")

    assert set(template) == set(settings.KEYS)
    assert {key: value for key, value in template.items() if key not in PLACEHOLDERS} == {
        key: value for key, value in _leaves(defaults) if key not in PLACEHOLDERS
    }


def test_every_placeholder_of_the_template_is_marked() -> None:
    marked = [
        line.split(":")[0].strip() for line in resources.text("config/config.yaml").splitlines() if "# CHANGE" in line
    ]

    assert marked == [key.partition(".")[2] for key in ("imap.server", "imap.username", "llm.model")]


def test_the_templates_can_be_loaded_as_they_are(load: Load) -> None:
    loaded = load(resources.text("config/config.yaml"), resources.text("config/env.example"))

    assert loaded.classifier == "chat"
