"""A small disk that can be filled to the last byte and emptied again. Mounting it needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@dataclass(frozen=True)
class SmallDisk:
    """`folder`: where it is mounted."""

    folder: Path

    def fill(self) -> None:
        """Leave no byte free."""
        with (self.folder / "filler").open("ab", buffering=0) as filler:
            try:
                while True:
                    filler.write(b"\0" * 4096)
            except OSError:
                return

    def make_room(self) -> None:
        """Remove what `fill` wrote."""
        (self.folder / "filler").unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, size: str = "3m") -> Iterator[SmallDisk]:
    """Mounted on a new folder, for as long as the context lasts."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
