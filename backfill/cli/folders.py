"""`backfill folders`: what folders the account has, with their message counts and special uses."""

from json import dumps
from typing import TYPE_CHECKING

from backfill.cli.command import Command
from backfill.cli.options import EVERYWHERE, GeneralOptions, Json
from backfill.errors import FolderUnknown
from backfill.lifecycle import ExitCode

if TYPE_CHECKING:
    from backfill.ports import Folder, MailSource


def folders(*, general: GeneralOptions = EVERYWHERE, json: Json = False) -> int:
    """The folders of the account, with their message counts and special uses."""
    from backfill import wiring  # start-up: brings imapclient

    command = Command.begin(general)
    source = wiring.mail_source(command.settings)
    try:
        found = [(folder, _count(source, folder)) for folder in source.list_folders()]
    finally:
        source.close()
    if json:
        rows = [{"name": f.name, "messages": n, "special_use": sorted(f.special_use)} for f, n in found]
        print(dumps(rows, indent=2, ensure_ascii=False))
        return ExitCode.OK
    from backfill.wording import printable  # start-up: only here

    for folder, count in found:
        print(f"{'-' if count is None else count:>9}  {printable(folder.name)}  {' '.join(sorted(folder.special_use))}")
    return ExitCode.OK


def _count(source: "MailSource", folder: "Folder") -> int | None:
    """The mails in a folder; None for one that holds none or does not open, which is no reason to hide the others."""
    try:
        return source.examine(folder.name).exists if folder.is_selectable else None
    except FolderUnknown:
        return None
