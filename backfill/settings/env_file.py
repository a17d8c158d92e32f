"""The file `.env`: its variables, and the lines that may be read otherwise than they were meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from backfill.errors import ConfigError

_COMMENT: Final = re.compile(r"\s#")


def read(path: Path) -> dict[str, str]:
    """The variables of the file; none when there is no such file. Raises `ConfigError` when it cannot be read."""
    if not path.is_file():
        return {}
    try:
        pairs = dotenv_values(path, interpolate=False)  # a password may contain ${
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
    return {name: value for name, value in pairs.items() if value is not None}


def doubts(path: Path) -> tuple[str, ...]:
    """A sentence for each line that may be read otherwise than it was meant. No sentence holds a value."""
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8") as lines:
        return tuple(_doubts(parse_stream(lines)))


def _doubts(bindings: Iterator[object]) -> Iterator[str]:
    for binding in bindings:
        line, written = binding.original.line, binding.original.string.strip()  # type: ignore[attr-defined]
        name, error = binding.key, binding.error  # type: ignore[attr-defined]
        value = written.partition("=")[2].lstrip()
        if error:
            yield f"Line {line} cannot be read and is left out; is a closing quotation mark missing?"
        elif name and value[:1] not in ("'", '"') and _COMMENT.search(value):
            yield f"Line {line}: the value of {name} ends before ` #`; if ` #` belongs to it, put it in quotes."
