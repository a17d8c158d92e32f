"""What a note's template can name, and what it can pass a text through. Pure."""

from __future__ import annotations

import posixpath
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from backfill import markdown
from backfill.effects.notes import front_matter
from backfill.message import Message
from backfill.ports import Judged

MAX_TITLE_CHARS: Final = 80
#: How much of a mail's text a note holds: all of it, what a classifier was shown, or nothing.
Body = Literal["full", "shown", "none"]


def facts_of(mail: Judged, path: PurePosixPath, answered: PurePosixPath | None, *, body: Body) -> dict[str, Any]:
    """Everything that a template can name. Without the time, so that the same mail and verdict give the same bytes.

    `path`: the note's own; `answered`: that of the note about the mail that this one answers.
    """
    message, content, verdict = message_of(mail), message_of(mail).content, mail.verdict
    text, is_cut = _text(message, body)
    named: dict[str, Any] = {
        "subject": content.subject,
        "title": markdown.shortened(content.subject, MAX_TITLE_CHARS),
        "sender": content.sender,
        "to": list(content.to),
        "cc": list(content.cc),
        "date": content.date,
        "sent_at": _iso(message.sent_at),
        "received_at": _iso(message.received_at),
        "account": mail.ref.mailbox.account,
        "folder": mail.ref.mailbox.folder,
        "uidvalidity": mail.ref.mailbox.uidvalidity,
        "uid": mail.ref.uid,
        "message_id": message.message_id,
        "in_reply_to": message.ancestors[0] if message.ancestors else "",
        "answered": None if answered is None else {"name": answered.stem, "path": _from(path, answered)},
        "list_id": content.list_id,
        "attachments": [attachment.name or attachment.content_type for attachment in content.attachments],
        "attached": _attached(message),
        "size": message.size,
        **front_matter.facts_of(verdict, mail.labels),
        "body": text,
        "truncated": is_cut,
    }
    return {name: _encodable(value) for name, value in named.items()}


def message_of(mail: Judged) -> Message:
    assert mail.message is not None, "the notes effect needs the message"
    return mail.message


def _iso(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""


def _encodable(value: Any) -> Any:
    """Lone surrogates have no bytes in UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_encodable(name): _encodable(part) for name, part in value.items()}
    return [_encodable(part) for part in value] if isinstance(value, list) else value


def _text(message: Message, body: Body) -> tuple[str, bool]:
    """The text that a note holds, and whether the mail has more of it."""
    whole = message.all_text
    if body == "none":
        return "", False
    if body == "full" and whole is not None:
        return whole.text, whole.truncated
    return message.content.body, message.content.truncated


def _from(note: PurePosixPath, other: PurePosixPath) -> str:
    """The relative path from one note to another, as a link in Markdown has it."""
    return posixpath.relpath(other, note.parent)


def _attached(message: Message) -> list[dict[str, str]]:
    """What is attached: `name`, `type` and `size`, in words. A name or a size that is not known is ""."""
    attachments = message.content.attachments
    sizes = [_size(size) for size in message.attachment_sizes] or [""] * len(attachments)
    return [
        {"name": each.name, "type": each.content_type, "size": size}
        for each, size in zip(attachments, sizes, strict=False)
    ]


def _size(size: int) -> str:
    return f"{size} bytes" if size < 1000 else f"{size / 1000:.0f} kB" if size < 10**6 else f"{size / 10**6:.1f} MB"


def _dated(moment: str) -> str:
    """A time as Obsidian and Dataview read one in front matter: unquoted, and as the clock stood there.

    Obsidian knows no offset from UTC: with one, it takes the whole for a text. null: there is none.
    """
    try:
        return datetime.fromisoformat(moment).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    except ValueError:
        return "null"


#: What a template can pass a text through.
FILTERS: Final = {
    "quoted": markdown.quoted,
    "escaped": markdown.escaped,
    "fenced": markdown.fenced,
    "prose": markdown.prose,
    "dated": _dated,
}
