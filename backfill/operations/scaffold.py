"""Writes a new project's files from the templates in the package; never over a file that exists."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from backfill import files, resources
from backfill.errors import ConfigError, EffectUnavailable

CONFIG: Final = "config/config.yaml"

#: Template → where it goes in a project, and its permissions. `.env` is for secrets.
FILES: Final = (
    (CONFIG, "config/config.yaml", 0o644),
    ("config/prompt.md", "config/prompt.md", 0o644),
    ("config/note.md.j2", "config/note.md.j2", 0o644),
    ("config/env.example", ".env", files.FILE_MODE),
)

#: Others may read the project's folders and its configuration; only the owner may write there.
PROJECT_FOLDER_MODE: Final = 0o755


#: Keys of the template that speak of importance and spam. A configuration with a rubric says it there.
_OF_THE_DEFAULT_RUBRIC: Final = re.compile(
    r"^ +(?:importance_threshold|spam_threshold|important_tag|spam_tag):.*\n", re.MULTILINE
)
_NO_RUBRIC: Final = re.compile(r"^rubric: null.*\n(?: +#.*\n)*", re.MULTILINE)


def scaffold(folder: Path, rubric: str | None = None) -> list[tuple[Path, bool]]:
    """Every file of a project with whether it is new. `rubric`: the name of an example in config/rubrics/.

    Raises `EffectUnavailable`, and `ConfigError` where a rubric is wanted for a configuration that exists.
    """
    made = []
    for template, name, mode in FILES:
        path = folder.absolute() / name
        try:
            files.make_folder(path.parent, PROJECT_FOLDER_MODE)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
                file.write(_content(template, rubric))
        except FileExistsError:
            if rubric is not None and template == CONFIG:
                example = resources.folder("config") / _example(rubric)
                raise ConfigError(
                    f"{path} exists and is left as it is; copy `rubric:` into it from {example}."
                ) from None
            made.append((path, False))
        except OSError as error:
            raise EffectUnavailable(f"{path} cannot be written: {error.strerror}.") from error
        else:
            made.append((path, True))
    return made


def _content(template: str, rubric: str | None) -> str:
    text = resources.text(template)
    if rubric is None or template != CONFIG:
        return text
    example = resources.text(f"config/{_example(rubric)}")
    return _NO_RUBRIC.sub(lambda _: example, _OF_THE_DEFAULT_RUBRIC.sub("", text), count=1)


def _example(rubric: str) -> str:
    return f"rubrics/{rubric}.yaml"
