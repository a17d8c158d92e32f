"""`backfill folders`: what folders the account has, with their message counts and special uses."""

from collections.abc import Iterator
from contextlib import contextmanager
from json import dumps
from typing import TYPE_CHECKING

from backfill.cli.command import Command
from backfill.cli.options import EVERYWHERE, GeneralOptions, Json
from backfill.errors import FolderUnusable, MailThrottled, ServerUnavailable
from backfill.lifecycle import ExitCode

if TYPE_CHECKING:
    from backfill.ports import Folder, MailSource
    from backfill.throttle.mail import MailAllowance


def folders(*, general: GeneralOptions = EVERYWHERE, json: Json = False) -> int:
    """The folders of the account, with their message counts and special uses."""
    from backfill import wiring  # start-up: brings imapclient

    command = Command.begin(general)
    with _allowance(command) as allowance:
        source = wiring.mail_source(command.settings, allowance)
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


@contextmanager
def _allowance(command: Command) -> "Iterator[MailAllowance | None]":
    """Counts the bytes that this command reads towards imap.max_bytes_per_day.

    None where there is no such limit: then no ledger is opened.
    """
    if command.settings.imap.max_bytes_per_day is None:
        yield None
        return
    from backfill import wiring  # start-up: as above
    from backfill.clock import SystemClock  # start-up: as above

    with command.ledger() as ledger:
        allowance = wiring.mail_allowance(command.settings, ledger, SystemClock())
        try:
            yield allowance
        finally:
            allowance.close()


def _count(source: "MailSource", folder: "Folder") -> int | None:
    """How many mails a folder holds; None where it cannot hold mail or does not open: the others are listed anyway."""
    try:
        return source.examine(folder.name).exists if folder.is_selectable else None
    except FolderUnusable:
        return None
    except MailThrottled:
        raise
    except ServerUnavailable:
        source.list_folders()  # raises in an outage, which is not this folder's trouble
        return None
