"""Where an export goes: a file or standard output."""

from __future__ import annotations

from typing import Protocol


class Target(Protocol):
    """Takes bytes. Raises `OSError` where they cannot be written."""

    def write(self, data: bytes, /) -> object: ...
