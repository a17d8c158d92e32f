"""The README keeps its word: every command, option, target, key and exit code in it exists.

Its Python snippet is run elsewhere, against a real mailbox.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from backfill import resources, settings
from backfill.lifecycle import ExitCode

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAPERS = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def fenced(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shell_commands(text: str = README) -> list[list[str]]:
    """Every command in the shell blocks, as words; `a && b` is two."""
    commands: list[list[str]] = []
    for line in "".join(fenced("sh", text)).splitlines():
        words = shlex.split(line, comments=True)
        while "&&" in words:
            at = words.index("&&")
            commands.append(words[:at])
            words = words[at + 1 :]
        commands.append(words)
    return [words for words in commands if words]


def subcommand(words: list[str]) -> str:
    """Options without a command mean `run`."""
    return words[1] if len(words) > 1 and not words[1].startswith("-") else "run"


BACKFILL = [words for words in shell_commands() if words[0] == "backfill"]
OPTIONS_OF_RUN = re.findall(r"`(--[a-z-]+)", README[README.index("| option |") : README.index("```sh\nbackfill plan")])
SUBCOMMANDS = sorted({subcommand(words) for words in BACKFILL} | set(re.findall(r"`backfill ([a-z-]+)", PAPERS)))


@functools.cache
def help_of(command: str) -> str:
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    argv = [sys.executable, "-m", "backfill", command, "--help"]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def has_option(help_text: str, option: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", help_text) is not None


@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_every_command_in_the_readme_exists_and_has_help(command: str) -> None:
    usage, *description = help_of(command).strip().splitlines()

    assert re.search(rf"\b{command}\b", usage)
    assert any(line.strip() for line in description)


@pytest.mark.parametrize("words", BACKFILL, ids=" ".join)
def test_every_command_line_in_the_readme_uses_options_that_exist(words: list[str]) -> None:
    options = [word.partition("=")[0] for word in words if word.startswith("--")]

    assert [option for option in options if not has_option(help_of(subcommand(words)), option)] == []


@pytest.mark.parametrize("command", ["plan", "run"])
def test_plan_and_run_take_every_option_in_the_table(command: str) -> None:
    assert "--max-emails" in OPTIONS_OF_RUN
    asks = {"--yes"} if command == "plan" else set()  # `plan` makes no call that costs, so it never asks
    missing = [option for option in OPTIONS_OF_RUN if not has_option(help_of(command), option)]
    assert set(missing) == asks


def test_every_make_target_in_the_papers_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    named = {words[1] for words in shell_commands(PAPERS) if words[0] == "make"}
    named |= set(re.findall(r"`make ([a-z]+)", PAPERS))

    assert {"demo", "test", "lint"} <= named <= targets


@pytest.mark.parametrize("block", fenced("yaml"))
def test_every_yaml_block_works_as_a_change_of_the_template(block: str, tmp_path: Path) -> None:
    values = yaml.safe_load(resources.text("config/config.yaml"))
    for section, keys in yaml.safe_load(block).items():
        values[section] = {**(values.get(section) or {}), **keys} if isinstance(keys, dict) else keys
    if values.get("rubric"):  # it says what these keys say
        for key in ("importance_threshold", "spam_threshold"):
            del values["processing"][key]
        for key in ("important_tag", "spam_tag"):
            del values["imap"][key]
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(values))

    settings.load(config, environment={})


def test_every_key_in_the_papers_is_a_setting() -> None:
    named = set(re.findall(r"`((?:imap|llm|processing|paths)\.[a-z_]+)", PAPERS))

    assert "imap.password_env" in named
    assert named <= set(settings.KEYS)


def test_every_file_in_the_papers_exists() -> None:
    named = set(re.findall(r"`((?:backfill|tests)/[\w/.]+)`|\]\((\w+\.md)\)", PAPERS))

    assert [path for pair in named for path in pair if path and not (ROOT / path).exists()] == []


def test_every_exit_code_in_the_readme_is_one() -> None:
    def codes() -> Iterator[int]:
        for cell in re.findall(r"^\| ([\d, ]+) \|", README, re.MULTILINE):
            yield from map(int, cell.split(","))

    assert set(codes()) <= {code.value for code in ExitCode}
    assert {ExitCode.OK, ExitCode.SOME_FAILED, ExitCode.USAGE, ExitCode.STOPPED_EARLY} <= set(codes())


def test_the_snippet_for_programs_is_there_to_be_run() -> None:
    (snippet,) = re.findall(r"<!-- snippet: api -->\n```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

    compile(snippet, "README.md", "exec")
