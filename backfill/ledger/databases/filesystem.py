"""Where a SQLite ledger may lie: on a disk of this machine, in a file that only its owner can read.

SQLite's locks and shared memory do not work between machines (https://sqlite.org/wal.html). Two machines that write to
one ledger damage it, so a network file system is refused.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath

from backfill import files
from backfill.errors import ConfigError, LedgerUnusable

MOUNTS = Path("/proc/self/mountinfo")  # Linux only; other systems do not have it, so nothing is refused there
NETWORK = frozenset(
    {"9p", "afs", "ceph", "cifs", "coda", "davfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}
)
#: The names of FUSE programs. mountinfo shows such a type as `fuse.` and the name.
NETWORK_FUSE = frozenset({"ceph", "curlftpfs", "davfs2", "gcsfuse", "glusterfs", "goofys", "rclone", "s3fs", "sshfs"})


def prepare_file(path: Path) -> None:
    """Make an empty 0600 file in a 0700 folder. SQLite itself would create it with the umask's permissions.

    Raises `ConfigError` if the ledger may not lie there, `LedgerUnusable` if the file cannot be created.
    """
    if MOUNTS.exists():
        refuse_network(path, MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"))
    if path.exists():
        return
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise LedgerUnusable(
            f"The ledger {path} is missing, but {log.name} exists and holds its latest records: put the ledger back "
            "under its name, or restore a backup and move that file away."
        )
    try:
        files.make_empty(path)
    except PermissionError as error:
        raise LedgerUnusable(f"The ledger {path} cannot be created: no permission for its folder.") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"The ledger {path} cannot be created: its folder is a file.") from error
    except OSError as error:
        raise LedgerUnusable(f"The ledger {path} cannot be created: {error.strerror}.") from error


def refuse_network(path: Path, mountinfo: str) -> None:
    """Raises `ConfigError` if `path` lies on a network file system. `mountinfo`: the text of /proc/self/mountinfo.

    Raises `LedgerUnusable` for symbolic links that lead in a circle.
    """
    try:
        place = path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: Python's name for a loop, before 3.13
        raise LedgerUnusable(f"The ledger {path} cannot be used: its symbolic links lead in a circle.") from error
    kind = network_kind(place, mountinfo)
    if kind is not None:
        raise ConfigError(
            f"The ledger {path} lies on a network file system ({kind}), where SQLite's locks cannot be trusted. Set "
            "paths.ledger_url to a file on a disk of this machine, or to a PostgreSQL database."
        )


def network_kind(path: PurePath, mountinfo: str) -> str | None:
    """The type of the network file system that `path` lies on. None: the file system is local, or not known.

    proc_pid_mountinfo(5): the mount point is the fifth field, the type is the first field after the hyphen.
    """
    kind, depth = "", -1
    for line in mountinfo.splitlines():
        place, _, source = line.partition(" - ")
        fields = place.split(" ")
        if len(fields) < 5 or not source:
            continue
        point = PurePath(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        if path.is_relative_to(point) and len(point.parts) >= depth:  # a later mount hides an earlier one
            kind, depth = source.split(" ")[0], len(point.parts)
    if kind in NETWORK or (kind.startswith("fuse.") and kind.removeprefix("fuse.") in NETWORK_FUSE):
        return kind
    return None
