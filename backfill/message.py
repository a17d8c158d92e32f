"""A mail: its address, what a classifier is shown of it, and the key of that content.

`message_key` is a hash of what is shown, not of the address. So the same mail under another label, in another folder
or after a change of UIDVALIDITY is the same question to the classifier, and a mail with a forged Message-ID does not
get another mail's verdict.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

#: UIDs and UIDVALIDITY lie between 1 and this (RFC 9051 §9: nz-number).
HIGHEST_UID: Final = 2**32 - 1


_MESSAGE_ID: Final = re.compile(r"<[^<>\s]+>")


@dataclass(frozen=True, slots=True, order=True)
class MailboxKey:
    """One epoch of a folder: the only scope in which a UID names a mail (RFC 9051 §2.3.1.1)."""

    account: str
    folder: str
    uidvalidity: int


@dataclass(frozen=True, slots=True, order=True)
class MessageRef:
    """A mail's address."""

    mailbox: MailboxKey
    uid: int


@dataclass(frozen=True, slots=True)
class Attachment:
    """An attachment, by the structure of the mail; its content is not fetched."""

    name: str
    content_type: str


@dataclass(frozen=True, slots=True)
class MisleadingLink:
    """A link whose text names one host while it leads to another."""

    shown_host: str
    real_host: str


@dataclass(frozen=True, slots=True)
class Content:
    """What a classifier is shown of a mail. All of it is hostile input: decoded and bounded, but not trusted.

    All strings are decoded, and control and invisible characters are removed. Each is one line, except `body`, which
    keeps its line breaks and is cut to `max_body_chars` characters.
    """

    subject: str = ""
    sender: str = ""  # "Display Name <address>": the last address in From; all text before it is the name
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    reply_to: str = ""
    date: str = ""  # the Date header's calendar time, ISO 8601 with its own offset; "" when absent or broken
    addressed_to_owner: bool | None = None  # is the account's address in To or Cc? None: not known
    is_reply: bool = False  # In-Reply-To or References present
    list_id: str = ""
    has_unsubscribe: bool = False  # List-Unsubscribe present
    precedence: str = ""  # bulk, list, junk, … in lower case
    auto_submitted: str = ""  # RFC 3834; "" and "no" mean a person wrote it
    authentication: tuple[tuple[str, str], ...] = ()  # (("dkim", "pass"), ("spf", "fail"), …), sorted
    marked_spam: bool | None = None  # what the receiving server said (`mail.spam_marks`); None: nothing
    attachments: tuple[Attachment, ...] = ()
    link_hosts: tuple[str, ...] = ()  # distinct, in order of appearance, bounded
    misleading_links: tuple[MisleadingLink, ...] = ()
    body: str = ""  # the text that a mail program shows; hidden text, marked as such, only where there is no other
    truncated: bool = False  # the body was longer than what is shown


@dataclass(frozen=True, slots=True)
class WholeText:
    """All that a person wrote in a mail, with what is quoted there; decoded and bounded, but not trusted."""

    text: str
    truncated: bool = False  # it was longer


@dataclass(frozen=True, slots=True)
class Message:
    """One fetched mail."""

    ref: MessageRef
    content: Content
    flags: frozenset[str]  # as the server listed them when it was fetched
    received_at: datetime | None  # INTERNALDATE, UTC
    sent_at: datetime | None  # Date header, UTC; None when absent or broken
    size: int  # RFC822.SIZE in bytes
    message_id: str = ""  # for people and notes; never used to identify a mail
    ancestors: tuple[str, ...] = ()  # the Message-IDs of the mails before it in its thread, the nearest first; bounded
    all_text: WholeText | None = None  # None: it was not asked for; no classifier is shown it
    attachment_sizes: tuple[int, ...] = ()  # bytes of each of the content's attachments, about; (): not known
    key: str = field(init=False, compare=False)  # the content's `message_key`

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", message_key(self.content))  # computed once, since it is used often


def thread_key(message_id: str) -> int | None:
    """A number of 63 bits for a Message-ID, by which the ledger knows it; None for a text that is none."""
    found = _MESSAGE_ID.search(message_id)
    return None if found is None else int.from_bytes(hashlib.sha256(found[0].encode()).digest()[:8]) >> 1


def message_key(content: Content) -> str:
    """SHA-256 (hex) over the canonical JSON of everything that a classifier is shown."""
    shown = {name: getattr(content, name) for name in Content.__slots__}
    return hashlib.sha256(_CANONICAL.encode(shown).encode("ascii")).hexdigest()


def _values(value: Any) -> list[Any]:
    return [getattr(value, name) for name in type(value).__slots__]


_CANONICAL = json.JSONEncoder(
    default=_values,
    sort_keys=True,
    separators=(",", ":"),
    ensure_ascii=True,  # also keeps lone surrogates encodable
)
