"""`backfill cleanup-flags`: remove keywords of older systems from the mails of a selection, so that it can be undone.

What a mail bears is recorded before it is removed. Keywords that a receipt of ours names are left alone: `undo` of
their job takes those back. A folder that cannot be worked on is named, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final, Protocol

from backfill.errors import (
    ConfigError,
    Declined,
    FolderUnusable,
    KeywordRefused,
    MailboxChanged,
    MailThrottled,
    ServerTroubled,
    ServerUnavailable,
)
from backfill.folders import FolderPatterns, resolve
from backfill.keywords import RULE, is_keyword
from backfill.ledger.rows import Job
from backfill.lifecycle import JobState
from backfill.message import MailboxKey
from backfill.operations.parts import Audience, Parts, locked
from backfill.operations.request import insist_on_account
from backfill.ports import MailMarker
from backfill.selection import Selection
from backfill.wording import counted

BATCH: Final = 500


class CleanupParts(Parts, Protocol):
    """What a cleanup needs beside the parts of other commands."""

    def marker(self) -> MailMarker:
        """A connection for keywords; the caller closes it."""
        ...

    def bearing_key(self, keyword: str) -> str:
        """The IMAP criterion for mail that bears the keyword. Raises `ConfigError` for a word that cannot be one."""
        ...

    @property
    def own_keywords(self) -> frozenset[str]:
        """The keywords that this configuration sets."""
        ...


@dataclass(frozen=True, slots=True)
class Bearers:
    """The mails of one mailbox that bear a keyword. `ours`: how many more bear it by a receipt, and are left alone."""

    mailbox: MailboxKey
    keyword: str
    uids: tuple[int, ...]
    ours: int = 0
    mailbox_id: int = 0  # 0: not in the ledger yet


@dataclass(frozen=True, slots=True)
class Trouble:
    """A folder of which something could not be done, and why."""

    folder: str
    reason: str
    mails: int = 0


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What a cleanup found and did, or what its undo put back. `job` None: nothing was to be written."""

    job: Job | None
    found: tuple[Bearers, ...]
    changed: int = 0  # keywords on mails
    gone: int = 0  # mails that are no longer on the server
    troubles: tuple[Trouble, ...] = ()
    stopped: str | None = None  # why it ended before its end


def cleanup(
    parts: CleanupParts,
    audience: Audience,
    keywords: Sequence[str],
    selection: Selection,
    patterns: FolderPatterns,
    *,
    preview: bool = False,
) -> Cleaned:
    """Remove these keywords from the mails of the selection. Asks before it writes.

    Raises `ConfigError` for a word that is no keyword, `Declined`, and what the mail server's absence raises; then the
    same command goes on.
    """
    wanted = _checked(keywords)
    for word in wanted:
        if word.casefold() in {own.casefold() for own in parts.own_keywords}:
            audience.tell(
                f"{word} is a keyword that this configuration sets. What this ledger has set is left alone here; "
                "`backfill undo` takes it back."
            )
    if not patterns.is_literal:
        selection = replace(selection, folders=resolve(patterns, parts.source.list_folders()))
    selection = replace(selection, force_reprocess=True)
    selection.check()
    if preview:
        found, troubles = _look(parts, audience, wanted, selection)
        return Cleaned(None, found, troubles=troubles)
    with locked(parts.ledger):
        found, troubles = _look(parts, audience, wanted, selection)
        stopped = audience.stop.reason if audience.stop.is_set() else None
        if stopped is not None or not any(each.uids for each in found):
            return Cleaned(None, found, troubles=troubles, stopped=stopped)
        if audience.confirm is not None and not audience.confirm(question(found)):
            raise Declined("Nothing was removed.")
        job = parts.ledger.removals.open(parts.account, selection, wanted)
        with closing(parts.marker()) as marker:
            done = _Cleanup(parts, audience, marker, job).remove(found)
        if done.stopped is None:
            parts.ledger.removals.settle(job.id)
        return replace(done, troubles=(*troubles, *done.troubles))


def put_back(parts: CleanupParts, audience: Audience, job: Job, *, preview: bool = False) -> Cleaned:
    """Undo a cleanup: put the keywords back that it removed. Asks before it writes."""
    insist_on_account(parts.account, job)
    removed = parts.ledger.removals.standing(job.id)
    found = tuple(Bearers(each.mailbox, each.keyword, each.uids, mailbox_id=each.mailbox_id) for each in removed)
    if preview or (not found and job.state is JobState.UNDONE):
        return Cleaned(job, found)
    with locked(parts.ledger):
        if found and audience.confirm is not None and not audience.confirm(question(found, job)):
            raise Declined("Nothing was put back.")
        parts.ledger.removals.begin_undo(job.id)
        with closing(parts.marker()) as marker:
            return _Cleanup(parts, audience, marker, job).restore(found)


def question(found: Sequence[Bearers], undone: Job | None = None) -> str:
    """What the operator is asked."""
    mails: dict[str, int] = {}
    for each in found:
        mails[each.keyword] = mails.get(each.keyword, 0) + len(each.uids)
    what = ", ".join(f"{keyword} of {counted(count, 'mail')}" for keyword, count in mails.items() if count)
    folders = counted(len({each.mailbox.folder for each in found if each.uids}), "folder")
    if undone is not None:
        return f"Undo job {undone.id}: {what} will be put back, in {folders}."
    return f"Remove {what}, in {folders}. `backfill undo` can put it back."


def _checked(keywords: Sequence[str]) -> tuple[str, ...]:
    """Each keyword once. Raises `ConfigError` for a system flag, and for a word that cannot be a keyword."""
    for word in keywords:
        if word.startswith("\\"):
            raise ConfigError(f"{word!r:.40} is a flag of the mail system itself, and stays. Name keywords.")
        if not is_keyword(word):
            raise ConfigError(f"{word!r:.80} cannot be a keyword; use {RULE}")
    if not keywords:
        raise ConfigError("Name the keywords to be removed, e.g. `backfill cleanup-flags OldTag`.")
    return tuple({word.casefold(): word for word in keywords}.values())


def _look(
    parts: CleanupParts, audience: Audience, keywords: Sequence[str], selection: Selection
) -> tuple[tuple[Bearers, ...], tuple[Trouble, ...]]:
    """The mails that bear the keywords, folder by folder; and the folders that cannot be searched."""
    found: list[Bearers] = []
    troubles: list[Trouble] = []
    for folder in selection.folders:
        if audience.stop.is_set():
            break
        try:
            found += _in_folder(parts, audience, folder, keywords, selection)
        except MailThrottled:
            raise
        except (FolderUnusable, MailboxChanged, ServerUnavailable) as error:
            listed = {each.name for each in parts.source.list_folders()}  # raises in an outage
            if folder not in listed and len(selection.folders) == 1:
                raise
            troubles.append(Trouble(folder, str(error)))
    return tuple(found), tuple(troubles)


def _in_folder(
    parts: CleanupParts, audience: Audience, folder: str, keywords: Sequence[str], selection: Selection
) -> list[Bearers]:
    source = parts.source
    found: list[Bearers] = []
    state = source.examine(folder)
    windows = source.windows(state.key, 1, state.uid_next - 1)
    for keyword in keywords:
        criteria = " ".join(filter(None, (selection.search, parts.bearing_key(keyword))))
        asked = replace(selection, folders=(folder,), search=criteria)
        uids: set[int] = set()
        for window in windows:
            if audience.stop.is_set():
                return found
            uids.update(mail.uid for mail in source.survey(state.key, window, asked))
        ours = parts.ledger.removals.ours(state.key, keyword) & uids if uids else frozenset()
        found.append(Bearers(state.key, keyword, tuple(sorted(uids - ours)), len(ours)))
    return found


@dataclass(slots=True)
class _Cleanup:
    """A cleanup, or its undo, at work."""

    parts: CleanupParts
    audience: Audience
    marker: MailMarker
    job: Job
    changed: int = 0
    gone: int = 0

    def remove(self, found: Sequence[Bearers]) -> Cleaned:
        return self._work(found, self._remove)

    def restore(self, found: Sequence[Bearers]) -> Cleaned:
        return self._work(found, self._restore)

    def _work(self, found: Sequence[Bearers], change: Callable[[Bearers], Trouble | None]) -> Cleaned:
        troubles: list[Trouble] = []
        stopped: str | None = None
        self.audience.observer.begins(sum(len(each.uids) for each in found))
        for each in found:
            for start in range(0, len(each.uids), BATCH):
                if self.audience.stop.is_set():
                    stopped = self.audience.stop.reason
                    break
                batch = replace(each, uids=each.uids[start : start + BATCH])
                trouble = change(batch)
                self.audience.observer.record(processed=len(batch.uids))
                if trouble is not None:
                    troubles.append(trouble)
                    break  # the rest of the folder would have the same trouble
        job = self.parts.ledger.jobs.get(self.job.id) or self.job
        return Cleaned(job, tuple(found), self.changed, self.gone, tuple(troubles), stopped)

    def _remove(self, batch: Bearers) -> Trouble | None:
        """Record what the mails bear, then remove it."""
        removals, mailbox_id = self.parts.ledger.removals, self.parts.ledger.plans.open_mailbox(batch.mailbox)
        removals.note(self.job.id, mailbox_id, batch.keyword, batch.uids)
        proved, left, trouble = self._changed(self.marker.remove, batch)
        removals.forget(self.job.id, mailbox_id, batch.keyword, left)
        self.changed += len(proved)
        return trouble

    def _restore(self, batch: Bearers) -> Trouble | None:
        """Put back what the mails bore."""
        proved, left, trouble = self._changed(self.marker.add, batch)
        put_back = set(batch.uids) - left
        self.parts.ledger.removals.close(self.job.id, batch.mailbox_id, batch.keyword, put_back)
        self.changed += len(proved)
        return trouble

    def _changed(
        self, change: Callable[[MailboxKey, str, Sequence[int]], frozenset[int]], batch: Bearers
    ) -> tuple[frozenset[int], set[int], Trouble | None]:
        """The UIDs with the change, those that are there without it, and why. The others are gone."""
        folder = batch.mailbox.folder
        try:
            proved = change(batch.mailbox, batch.keyword, batch.uids)
            reason = f"the server does not change {batch.keyword}; the folder may be read-only"
        except KeywordRefused as refusal:
            proved, reason = refusal.proved, str(refusal)
        except MailboxChanged:
            self.gone += len(batch.uids)
            return frozenset(), set(), None
        except MailThrottled:
            raise
        except ServerTroubled as error:
            self.parts.source.list_folders()  # raises in an outage, which is not this folder's trouble
            return frozenset(), set(batch.uids), Trouble(folder, str(error), len(batch.uids))
        except FolderUnusable as error:
            if folder not in {each.name for each in self.parts.source.list_folders()}:
                self.gone += len(batch.uids)
                return frozenset(), set(), None
            return frozenset(), set(batch.uids), Trouble(folder, str(error), len(batch.uids))
        rest = set(batch.uids) - proved
        left = set(self.marker.present(batch.mailbox, rest)) if rest else set()
        self.gone += len(rest - left)
        return proved, left, Trouble(folder, reason, len(left)) if left else None
