"""Writes a new project's files from the templates in the package; never over a file that exists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from backfill import files, resources
from backfill.errors import EffectUnavailable

#: Template → where it goes in a project, and its permissions. `.env` is for secrets.
FILES: Final = (
    ("config/config.yaml", "config/config.yaml", 0o644),
    ("config/prompt.md", "config/prompt.md", 0o644),
    ("config/note.md.j2", "config/note.md.j2", 0o644),
    ("config/env.example", ".env", files.FILE_MODE),
)

#: Others may read the project's folders and its configuration; only the owner may write there.
PROJECT_FOLDER_MODE: Final = 0o755


def scaffold(folder: Path) -> list[tuple[Path, bool]]:
    """Every file of a project with whether it is new. Raises `EffectUnavailable`."""
    made = []
    for template, name, mode in FILES:
        path = folder.absolute() / name
        try:
            files.make_folder(path.parent, PROJECT_FOLDER_MODE)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
                file.write(resources.text(template))
        except FileExistsError:
            made.append((path, False))
        except OSError as error:
            raise EffectUnavailable(f"{path} cannot be written: {error.strerror}.") from error
        else:
            made.append((path, True))
    return made
