"""What stands in config.yaml is what is meant, whatever YAML makes of it, and .env says what it leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from backfill.errors import ConfigError
from backfill.settings import env_file, load

WORDS = [
    "0171234567",
    "1_000",
    "0x1F",
    "0b11",
    "on",
    "off",
    "yes",
    "No",
    "true",
    "12:30:45",
    "2024-01-01",
    "1e3",
    ".inf",
]
WORDS += ["2024-01-01T10:00:00Z", "0o17", "1.0", "+49171", "-1", "=", "nan", "007"]


def config(tmp_path: Path, **lines: str) -> Path:
    values = {"server": "imap.example.com", "username": "jo", **lines}
    text = "imap:\n" + "".join(f"  {key}: {value}\n" for key, value in values.items()) + "classifier: heuristic\n"
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("word", WORDS)
def test_a_user_name_is_read_as_it_is_written(tmp_path, word):
    settings = load(config(tmp_path, username=word), None, {})

    assert settings.imap.username == word


@pytest.mark.parametrize("word", ["on", "1_000", "0x1F", "2024-01-01", "0171"])
def test_every_key_that_is_text_is_read_as_it_is_written(tmp_path, word):
    path = config(tmp_path, processed_tag=word, password_command=f"[pass, {word}]", query=word)
    path.write_text(path.read_text() + f"llm:\n  model: {word}\npaths:\n  notes_dir: {word}\n")

    settings = load(path, None, {})

    read = settings.imap.processed_tag, settings.imap.password_command, settings.imap.query, settings.llm.model
    assert read == (word, ("pass", word), word, word)
    assert settings.paths.notes_dir.name == word


def test_numbers_and_switches_are_read_by_the_type_of_their_key(tmp_path):
    path = config(tmp_path, port="0143", gmail_labels="on", max_bytes_per_day="2_500_000")
    path.write_text(path.read_text() + "processing: {max_cost_usd: 0.10, calls_per_minute: 1e3, concurrency: auto}\n")

    settings = load(path, None, {})

    assert (settings.imap.port, settings.imap.gmail_labels, settings.imap.max_bytes_per_day) == (143, True, 2_500_000)
    assert str(settings.processing.max_cost_usd) == "0.10"
    assert (settings.processing.calls_per_minute, settings.processing.concurrency) == (1000.0, "auto")


@pytest.mark.parametrize("empty", ["null", "~", ""])
def test_null_still_means_nothing(tmp_path, empty):
    assert load(config(tmp_path, query=empty), None, {}).imap.query is None


@pytest.mark.parametrize(("key", "word"), [("port", "12:30:45"), ("port", "0x1F"), ("gmail_labels", "maybe")])
def test_what_a_number_cannot_be_is_refused_with_its_key(tmp_path, key, word):
    with pytest.raises(ConfigError, match=rf"imap\.{key}"):
        load(config(tmp_path, **{key: word}), None, {})


@pytest.mark.parametrize("number", [str(2**63), str(10**30), "9" * 5000])
def test_a_number_beyond_all_reckoning_is_refused(tmp_path, number):
    with pytest.raises(ConfigError, match="max_bytes_per_day"):
        load(config(tmp_path, max_bytes_per_day=number), None, {})


@pytest.mark.parametrize("word", ["!!int x", "!!timestamp x", "!!python/object:os.system x", "!!binary x"])
def test_a_tag_that_does_not_fit_is_a_mistake_of_the_file(tmp_path, word):
    with pytest.raises(ConfigError):
        load(config(tmp_path, username=word), None, {})


@pytest.mark.parametrize("where", ["config", "env", "path"])
def test_a_home_folder_that_nobody_has_is_refused(tmp_path, where):
    path = config(tmp_path)
    if where == "path":
        path.write_text(path.read_text() + "paths: {notes_dir: ~nosuchuser/notes}\n")

    with pytest.raises(ConfigError, match="~nosuchuser"):
        load("~nosuchuser/c.yaml" if where == "config" else path, "~nosuchuser/.env" if where == "env" else None, {})


def test_a_value_that_ends_before_a_number_sign_is_named_and_never_shown(tmp_path):
    env = tmp_path / ".env"
    env.write_text("A=plain\nB=secret #other\nC='whole #one'\nexport D=x\t#y\nE=a#b\n# F=1 #2\nG=\nH=\"open\n")

    told = env_file.doubts(env)

    assert [sentence.partition(";")[0] for sentence in told] == [
        "Line 2: the value of B ends before ` #`",
        "Line 4: the value of D ends before ` #`",
        "Line 8 cannot be read and is left out",
    ]
    assert "secret" not in "".join(told)


def test_no_file_leaves_no_doubts(tmp_path):
    assert env_file.doubts(tmp_path / ".env") == ()
