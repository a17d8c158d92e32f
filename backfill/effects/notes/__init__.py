"""One Markdown note per mail, never written over a file that backfill did not write.

A note appears whole or not at all. The same mail and verdict give the same bytes under the same name, so that
writing it again after a crash changes nothing. A file with other bytes is left alone. Everything in a mail is
hostile: it cannot end its quotes, nor leave the notes folder, nor be acted on by a program that opens the note
(`markdown`).

`facts` is what the template can name, `front_matter` the part of it that the verdict gives.
"""

from __future__ import annotations

import hashlib
import json
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from backfill import files
from backfill.effects.notes.facts import FILTERS, Body, facts_of, message_of
from backfill.effects.notes.front_matter import specimen
from backfill.errors import ConfigError, EffectRefused, EffectUnavailable
from backfill.lifecycle import ExitCode
from backfill.message import MailboxKey, Message, MessageRef, thread_key
from backfill.ports import Judged, Lost, Probe, Receipt, ReceiptState, State, Unapplied, Undone
from backfill.rubric import Rubric
from backfill.wording import Deed

NOTE_TEMPLATE = "note_template"  # the reason of an error that concerns it
IMPORTANCE_AND_SPAM = Rubric.default()
MAX_SLUG_BYTES = 100  # with date, suffix and extension 127: also below eCryptfs's limit of 143


class NotesEffect:
    """Writes notes below `notes_dir`, by year and month. Raises `ConfigError` for a template that does not work.

    The template sees the names of `facts_of` and `FILTERS`, which are explained in `config/note.md.j2`. It runs in a
    sandbox. `body`: how much of the mail's text is among the names.
    """

    name = "notes"
    needs_message = True

    def __init__(
        self, notes_dir: Path, template_text: str, rubric: Rubric = IMPORTANCE_AND_SPAM, *, body: Body = "shown"
    ) -> None:
        # HTML escaping is off: notes are Markdown, and the filters below escape for Markdown and YAML.
        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined, keep_trailing_newline=True, finalize=_finalize
        )
        environment.filters.update(FILTERS)
        self._notes_dir = notes_dir
        kind = template_text if body == "shown" else f"{template_text}\0{body}"
        self._template_digest = hashlib.sha256(kind.encode()).hexdigest()[:12]
        self._presumed: dict[MessageRef, tuple[Judged, bytes]] = {}  # so that `apply` need not render it again
        self._body: Body = body
        try:
            self._template = environment.from_string(template_text)
        except TemplateError as error:
            raise _template_error(error) from error
        self._render(specimen(rubric), {})  # a template that does not work is found before the first mail is paid for

    def holds(self, detail: Mapping[str, Any], labels: Sequence[str]) -> bool:
        """Were labels and template the same, and the text kept or left out as today?

        A note of version 0.1 tells of none of them, and counts as made with today's.
        """
        same_template = detail.get("template", self._template_digest) == self._template_digest
        return same_template and list(detail.get("labels", labels)) == list(labels)

    def apply(self, mails: Sequence[Judged]) -> Iterator[Receipt | Unapplied]:
        """Write each mail's note. APPLIED: the file has our bytes. FOREIGN: it has others, and is left alone.

        All notes are synced to the disk before the first receipt is given. A mail for which the template raises an
        error is refused.
        """
        rendered: list[tuple[Judged, bytes]] = []
        siblings = _by_thread_key(mails)
        for mail in mails:
            try:
                rendered.append((mail, self._rendered(mail, siblings)))
            except ConfigError as error:
                yield Unapplied(mail.ref, self.name, EffectRefused(str(error)))
        mails, notes = [mail for mail, _ in rendered], [note for _, note in rendered]
        paths = [note_path(message_of(mail)) for mail in mails]
        targets = [self._notes_dir / path for path in paths]
        try:
            before = [_digests(mail.previous) for mail in mails]
            # One after the other: four threads take twice as long, since they wait for each other at the folder.
            are_ours = list(map(files.write_once, targets, notes, before))
            for folder in {target.parent for target in targets}:
                files.sync_folder(folder)
        except OSError as error:
            raise EffectUnavailable(
                f"Notes cannot be written below {self._notes_dir}: {error.strerror or error}. "
                "Verdicts are safe; make room or give permission, and run again."
            ) from error
        for mail, path, note, is_ours in zip(mails, paths, notes, are_ours, strict=True):
            state = ReceiptState.APPLIED if is_ours else ReceiptState.FOREIGN
            detail = self._detail(mail, path, note)
            if not is_ours:  # so that `undo` can tell an edited note from a file that was never ours
                written = _written(mail.previous)
                detail |= {"written": bool(written), "earlier": sorted(written)}
            yield Receipt(mail.ref, self.name, state, detail, message_of(mail).message_id)
        self._presumed.clear()

    def lost(self, receipts: Sequence[Receipt]) -> Iterator[Lost]:
        """A note that is gone or empty; or one with other bytes than ours, or that cannot be read: its owner's work."""
        for receipt in receipts:
            path = self._notes_dir / str(receipt.detail.get("path", ""))
            try:
                is_there = path.is_file() and path.stat().st_size > 0
                is_ours = is_there and files.has_digest(path, _digests(receipt.detail))
            except FileNotFoundError:  # deleted at this moment
                is_there = is_ours = False
            except OSError:
                is_there, is_ours = True, False
            if not is_ours:
                yield Lost(receipt.ref, f"the note {path}", is_edited=is_there)

    def presumed(self, mails: Sequence[Judged]) -> Iterator[Receipt]:
        """The note that `apply` would write. Its `earlier` are the hashes of our notes that it would replace."""
        siblings = _by_thread_key(mails)
        for mail in mails:
            try:
                path, note = note_path(message_of(mail)), self._render(mail, siblings)
            except ConfigError:  # `apply` writes nothing
                continue
            self._presumed[mail.ref] = mail, note
            detail = self._detail(mail, path, note)
            detail["earlier"] = sorted(_digests(mail.previous) - {detail["sha256"]})
            yield Receipt(mail.ref, self.name, ReceiptState.APPLIED, detail, message_of(mail).message_id)

    def undo(self, receipts: Sequence[Receipt]) -> Iterator[Undone | Unapplied]:
        """Delete the notes that we wrote and nobody has changed, and then folders of months and years that are empty.

        An edited note, and a file that is not ours, are kept and named. The names are durable before the first answer.
        """
        kept: list[str] = []
        refused: dict[int, EffectRefused] = {}
        for number, receipt in enumerate(receipts):
            try:
                kept.append(self._delete(receipt))
            except OSError as error:
                kept.append("")
                refused[number] = self._undeletable(receipt, error)
        try:
            done = [receipt for number, receipt in enumerate(receipts) if number not in refused]
            self._tidy(self._notes_dir / str(receipt.detail.get("path", "")) for receipt in done)
        except OSError as error:
            raise EffectUnavailable(
                f"Notes below {self._notes_dir} cannot be deleted for good: {error.strerror or error}. "
                "Put it right, then undo again."
            ) from error
        for number, (receipt, sentence) in enumerate(zip(receipts, kept, strict=True)):
            if number in refused:
                yield Unapplied(receipt.ref, self.name, refused[number])
            else:
                yield Undone(receipt.ref, self.name, sentence)

    def traces(self, receipt: Receipt) -> tuple[str, ...]:
        return ("note",) if receipt.state is ReceiptState.APPLIED else ()

    def foreseen(self, labels: Sequence[str]) -> tuple[Deed, ...]:
        return (Deed("write", "note", "note"),)

    def probe(self, inbox: MailboxKey | None) -> Iterator[Probe]:
        """Can a note be written? The template works: it was tried when this was made."""
        yield Probe("note template", State.OK, "It works.")
        if (refusal := files.why_not_writable(self._notes_dir)) is None:
            yield Probe("notes folder", State.OK, str(self._notes_dir))
        else:
            remedy = "Give permission, make room, or set paths.notes_dir."
            yield Probe("notes folder", State.FAIL, refusal, remedy, ExitCode.UNUSABLE_DISK)

    def close(self) -> None:
        """Nothing is held open."""

    def _delete(self, receipt: Receipt) -> str:
        """Delete the note; why it is kept instead, or "". Raises OSError."""
        named = PurePosixPath(str(receipt.detail.get("path", "")))
        path = self._notes_dir / named
        if named.is_absolute() or ".." in named.parts or not named.name:
            return f"{named}: not below the notes folder"
        try:
            found = path.lstat()  # not `lexists`, for which a file in an unreadable folder does not exist
        except FileNotFoundError:
            files.before_named(path).unlink(missing_ok=True)  # a crash may have come before the note had its name
            return ""
        except NotADirectoryError:
            return ""
        if receipt.state is not ReceiptState.APPLIED and not receipt.detail.get("written"):
            return f"{path}: not written by backfill"
        if not stat.S_ISREG(found.st_mode):
            return f"{path}: no longer a file that backfill wrote"
        # An empty file is what a crash leaves before the note takes its place, see `files.write_once`.
        if found.st_size and not files.has_digest(path, _digests(receipt.detail)):
            return f"{path}: edited since it was written"
        files.before_named(path).unlink(missing_ok=True)
        path.unlink()
        return ""

    def _undeletable(self, receipt: Receipt, error: OSError) -> EffectRefused:
        where = (self._notes_dir / str(receipt.detail.get("path"))).parent
        return EffectRefused(f"A note in {where} cannot be deleted: {error.strerror or error}.")

    def _tidy(self, notes: Iterable[Path]) -> None:
        """Sync the notes' folders, and remove those that are empty: the month's, then the year's. Raises OSError."""
        months = {note.parent for note in notes if note.parent.is_relative_to(self._notes_dir)}
        for folder in sorted({*months, *(month.parent for month in months)}, key=lambda path: -len(path.parts)):
            if folder == self._notes_dir or self._notes_dir not in folder.parents or not folder.is_dir():
                continue
            try:
                folder.rmdir()
            except OSError:  # it holds other files, or may not be removed
                files.sync_folder(folder)
            else:
                files.sync_folder(folder.parent)

    def _detail(self, mail: Judged, path: PurePosixPath, note: bytes) -> dict[str, Any]:
        labels, template = [str(label) for label in mail.labels], self._template_digest
        return {
            "path": str(path),
            "sha256": hashlib.sha256(note).hexdigest(),
            "labels": labels,
            "template": template,
        }

    def _rendered(self, mail: Judged, siblings: Mapping[int, PurePosixPath]) -> bytes:
        same, note = self._presumed.get(mail.ref, (None, b""))
        return note if same is mail else self._render(mail, siblings)

    def _render(self, mail: Judged, siblings: Mapping[int, PurePosixPath]) -> bytes:
        path = note_path(message_of(mail))
        answered = _answered(mail, siblings, path)
        try:
            return self._template.render(facts_of(mail, path, answered, body=self._body)).encode()
        except TemplateError as error:
            raise _template_error(error) from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # of its expressions
            raise ConfigError(
                f"The note template does not work: {type(error).__name__}; see paths.note_template.",
                reason=NOTE_TEMPLATE,
            ) from error


def _finalize(value: object) -> object:
    """None as YAML writes it."""
    return "null" if value is None else value


def note_path(message: Message) -> PurePosixPath:
    """The path of a mail's note below the notes folder: `2024/05/2024-05-03-Your-invoice-0123456789ab.md`.

    The suffix is a hash of the mail's address, so that mails with the same day and subject get different names. The
    name is legal on Windows, where it is never a device such as CON since it begins with the date, and Obsidian can
    link to it.
    """
    moment = message.sent_at or message.received_at
    day = moment.date().isoformat() if moment else "undated"
    mailbox = message.ref.mailbox
    address = json.dumps([mailbox.account, mailbox.folder, mailbox.uidvalidity, message.ref.uid])
    # 12 digits are 48 bits: of a million mails with the same day and subject, two share a suffix in 1 of 500 mailboxes.
    suffix = hashlib.sha256(address.encode()).hexdigest()[:12]
    name = "-".join(part for part in (day, _slug(message.content.subject), suffix) if part)
    return PurePosixPath(*day.split("-")[:2], f"{name}.md")


def _by_thread_key(mails: Sequence[Judged]) -> dict[int, PurePosixPath]:
    """The notes of these mails by Message-ID: a mail and its answer are often written at the same time."""
    found: dict[int, PurePosixPath] = {}
    for mail in mails:
        if (key := thread_key(message_of(mail).message_id)) is not None:
            found.setdefault(key, note_path(message_of(mail)))
    return found


def _answered(mail: Judged, siblings: Mapping[int, PurePosixPath], own: PurePosixPath) -> PurePosixPath | None:
    """The note of the nearest mail before this one in its thread; None: there is none of ours."""
    for message_id in message_of(mail).ancestors:
        written = mail.thread.get(message_id)
        path = PurePosixPath(str(written["path"])) if written else siblings.get(thread_key(message_id) or 0)
        if path is not None and path != own:
            return path
    return None


def _digests(detail: Mapping[str, Any] | None) -> frozenset[str]:
    """The hashes of the notes of ours that a mail's file may hold, by the detail of its receipt."""
    detail = detail or {}
    return frozenset({detail["sha256"], *detail.get("earlier", ())} if "sha256" in detail else ())


def _written(previous: Mapping[str, Any] | None) -> frozenset[str]:
    """The hashes of the notes that we wrote for a mail; none where a file of its owner's stood there all the time."""
    return _digests(previous) if previous and previous.get("written", True) else frozenset()


def _slug(subject: str) -> str:
    """The subject's words as part of a file name: "-" between them, at most `MAX_SLUG_BYTES` of UTF-8.

    Only letters, marks and digits of any script, "_" and "." are kept. Windows forbids some of the other characters,
    and Obsidian cannot link to some.
    """
    composed = unicodedata.normalize("NFC", subject)
    words = "".join(
        char if unicodedata.category(char)[0] in "LMN" or char in "_." else " " for char in composed
    ).split()
    return "-".join(words).strip("-.").encode()[:MAX_SLUG_BYTES].decode(errors="ignore").rstrip("-.")


def _template_error(error: TemplateError) -> ConfigError:
    where = f" (line {error.lineno})" if isinstance(error, TemplateSyntaxError) else ""
    sentence = f"The note template does not work: {error.message}{where}; see paths.note_template."
    return ConfigError(sentence, reason=NOTE_TEMPLATE)
