"""The files that are installed with the code: `migrations/` and the templates of `config/`.

A wheel has them inside the package, a checkout beside it; only this module knows the difference. They belong to the
installation and are only read. The operator's own copies are found through the settings.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_IN_WHEEL = _PACKAGE / "_resources"  # where pyproject's force-include puts them


def folder(name: str) -> Path:
    """The folder `migrations` or `config`, as an absolute path."""
    root = _IN_WHEEL if _IN_WHEEL.is_dir() else _PACKAGE.parent
    return root / name


def text(path: str) -> str:
    """The content of one file, e.g. `config/prompt.md`. A missing file is a broken installation."""
    name, _, rest = path.partition("/")
    return (folder(name) / rest).read_text(encoding="utf-8")
