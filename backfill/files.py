"""Private folders and files: readable by their owner only, whatever the umask, and durable where that is promised.

Everything that backfill writes may reveal something of somebody's mail, so every file and folder of its own is made
here. Functions raise `OSError`, which the caller translates.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from backfill.errors import ConfigError

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600


def make_folder(folder: Path, mode: int = FOLDER_MODE) -> None:
    """Make a folder and its missing parents, each with `mode`; existing folders are not changed.

    `mkdir(parents=True)` would give the folders above the umask's permissions.
    """
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent, mode)
    folder.mkdir(mode=mode, exist_ok=True)
    sync_folder(folder.parent)


def private(path: str | os.PathLike[str], flags: int) -> int:
    """An `opener` for `open`: only the owner may read and write a file that it makes."""
    return os.open(path, flags, FILE_MODE)


def make_empty(path: Path) -> None:
    """Make an empty file; an existing one is left alone."""
    make_folder(path.parent)
    os.close(private(path, os.O_CREAT | os.O_RDWR))


def create(path: Path, content: bytes) -> None:
    """Write and sync a new file. Raises `FileExistsError`. The caller syncs the folder."""
    with open(path, "xb", opener=private) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, content: bytes) -> None:
    """Write or replace a file: after a crash it holds the old content or the new one, never a part."""
    make_folder(path.parent)
    with unfinished(path) as new:
        new.file.write(content)
        new.finish(replace=True)


class Unfinished:
    """A file that does not have its name yet."""

    def __init__(self, path: Path, temporary: Path, file: BinaryIO) -> None:
        self._path, self._temporary, self.file = path, temporary, file

    def finish(self, *, replace: bool) -> None:
        """Sync the file and give it its name. Without `replace`, raises `FileExistsError` if the name is taken."""
        self.file.flush()
        os.fsync(self.file.fileno())
        if replace or not self._is_linked():
            os.replace(self._temporary, self._path)
        sync_folder(self._path.parent)

    def _is_linked(self) -> bool:
        """Give the file its name beside the temporary one. Unlike a rename, this fails if the name is taken.

        False where the file system has no links; then too, a name that is taken raises `FileExistsError`.
        """
        try:
            os.link(self._temporary, self._path)
        except FileExistsError:
            raise
        except OSError:
            if os.path.lexists(self._path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self._path)) from None
            return False
        return True


@contextmanager
def unfinished(path: Path) -> Iterator[Unfinished]:
    """A new file for the name `path`, in the same folder; without `finish` nothing of it is left behind."""
    number, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".unfinished")  # 0600
    try:
        with open(number, "wb") as file:
            yield Unfinished(path, Path(temporary), file)
    finally:
        with suppress(FileNotFoundError):  # it was renamed
            os.unlink(temporary)


def write_once(path: Path, content: bytes, before: Collection[str] = ()) -> bool:
    """Create `path` with `content`, whole, or find it there; False when it holds something else.

    `before`: the SHA-256 of notes that we wrote there earlier; a file with such a hash is ours and unchanged, and is
    replaced. No other file is replaced: an empty file takes the name exclusively, then the finished file moves there.
    A crash in between leaves the empty file; it is filled when the same mail comes again. The content is durable when
    this returns, the name once its folder is synced. Raises OSError.
    """
    make_folder(path.parent)
    is_taken = os.path.lexists(path)
    if is_taken:
        if _holds(path, content):
            return True  # written before a crash, and not to be touched again
        if not (path.is_file() and (path.stat().st_size == 0 or has_digest(path, before))):
            return False
    temporary = before_named(path)
    temporary.unlink(missing_ok=True)
    try:
        create(temporary, content)
        if not is_taken:
            path.touch(mode=FILE_MODE, exist_ok=False)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            return _holds(path, content)
        raise
    return True


def before_named(path: Path) -> Path:
    """Where a note is written first: one name per mail, so that a crash's leftover is found and removed."""
    return path.with_name(f".{path.stem[-12:]}.tmp")


def has_digest(path: Path, digests: Collection[str]) -> bool:
    return bool(digests) and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() in digests


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def why_not_writable(folder: Path) -> str | None:
    """Why no file can be written in `folder`, or where it would be made, in a sentence; None: one can be."""
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            return None
    except OSError as error:
        return f"Nothing can be written in {place}: {error.strerror or error}."


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. On Windows nothing is done: it cannot open folders."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def expanded(path: Path) -> Path:
    """`path` with a leading `~` or `~user` replaced. Raises `ConfigError` for a user without a home, or a NUL."""
    if "\0" in str(path):
        raise ConfigError("A path with a NUL character in it names no file.")
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path.parts[0]} in {path} names no home folder; write the path out.") from error
