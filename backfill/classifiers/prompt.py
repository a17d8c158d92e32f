"""The question that is put to a model: fixed text first, the mail last, inside a delimiter that it cannot forge.

Pure: the same template, mail and nonce give the same bytes, today and after a restart. Only what decides is
shown; there is no clock and no transport data in it. What is done to the text here is named by `RENDERING`.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from backfill.message import Content

#: Part of the fingerprint: raise it whenever the same mail would be shown differently, be it by what is done to the
#: text here or by how the mail is read (`mail/`). A job of another version is refused then, by --as-planned as well.
RENDERING: Final = 2

MAX_HEADER_CHARS: Final = 300  # a subject that needs more is not read by people either
MAX_URL_CHARS: Final = 60  # of a link behind its host
MAX_NAMES: Final = 8  # recipients, attachments, links: the first tell the kind, the rest cost tokens

#: What could be taken for our delimiter, or for the control tokens of a chat template: some local servers read
#: those in user text as well (ChatML, Llama, Gemma, Mistral, DeepSeek).
#: Begins with plain characters, since a pattern that ignores the case of all it contains takes three times as long.
_FORGERY: Final = re.compile(
    r"[<＜\[](?:(?<!\[)(?=(?i:[\s/]*mail\b|[|｜]|/?s>|<?/?SYS>|(?:start|end)_of_turn))|(?<=\[)(?=(?i:/?INST\])))"
)
#: Where a link leads is told by its host and how its path begins; the rest is for counting who clicked.
_LONG_URL: Final = re.compile(rf"(https?://[^\s/?#<>]{{1,253}}[/?#][^\s<>]{{{MAX_URL_CHARS}}})[^\s<>]+", re.IGNORECASE)
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a chat, as the API takes it."""

    role: str
    content: str


@lru_cache(maxsize=8)  # of one prompt, over and over
def fixed_text(template: str) -> str:
    """The part of the template that is sent: without comments, and the same for any kind of line ending."""
    return "\n".join(line.rstrip() for line in _COMMENT.sub("", template).splitlines()).strip()


def nonce(secret: bytes, message_key: str) -> str:
    """The delimiter's random part: unknown to the sender, yet the same whenever the same mail is asked about."""
    return hmac.new(secret, message_key.encode(), "sha256").hexdigest()[:12]


def render(template: str, content: Content, nonce: str) -> list[ChatMessage]:
    """The chat for one mail: the fixed text as the system's message, the mail as the user's, and nothing else."""
    body = _LONG_URL.sub(r"\1…", content.body) if "://" in content.body else content.body
    mail = "\n".join([*_headers(content), "", body + ("\n[…]" if content.truncated else "")])
    shown = f"<mail-{nonce}>\n{_harmless(mail, nonce)}\n</mail-{nonce}>"
    return [ChatMessage("system", fixed_text(template)), ChatMessage("user", shown)]


def tokens_in(text: str) -> int:
    """About how many tokens a text is: a fourth of its UTF-8 bytes, rounded up.

    For English that is the usual characters by four. Other alphabets take two or three bytes a letter, and their
    words more tokens.
    """
    return -(-len(text.encode("utf-8", "replace")) // 4)


def _headers(content: Content) -> Iterator[str]:
    """One bounded line for each header that is there; absent ones cost nothing."""
    for name, value in (
        ("Subject", content.subject),
        ("From", content.sender),
        ("Reply-To", content.reply_to),
        ("To", _list(content.to)),
        ("Cc", _list(content.cc)),
        ("Date", content.date),
        ("Addressed to the owner", _yes_or_no(content.addressed_to_owner)),
        ("In reply to another mail", "yes" if content.is_reply else ""),
        ("List-Id", content.list_id),
        ("Unsubscribe link", "yes" if content.has_unsubscribe else ""),
        ("Precedence", content.precedence),
        ("Auto-Submitted", content.auto_submitted),
        ("Authentication", _list(f"{method}={result}" for method, result in content.authentication)),
        ("Server says spam", _yes_or_no(content.marked_spam)),
        ("Attachments", _list(attachment.name or attachment.content_type for attachment in content.attachments)),
        ("Links", _list(_unseen_hosts(content))),
        ("Misleading links", _list(f"{x.shown_host} leads to {x.real_host}" for x in content.misleading_links)),
    ):
        line = " ".join(value.split())
        if line or name == "Subject":  # an empty subject is a sign in itself
            yield f"{name}: {line if len(line) <= MAX_HEADER_CHARS else line[:MAX_HEADER_CHARS] + '…'}"


def _unseen_hosts(content: Content) -> Iterator[str]:
    """Where links lead, as far as it is said nowhere else: most plain text shows its links itself."""
    said = content.body.lower()
    misleading = {link.real_host for link in content.misleading_links[:MAX_NAMES]}
    for host in content.link_hosts:
        if host not in misleading and not re.search(rf"(?<![\w.-]){re.escape(host)}(?![\w-]|\.\w)", said):
            yield host


def _list(names: Iterable[str]) -> str:
    every = list(names)
    rest = len(every) - MAX_NAMES
    return ", ".join([*every[:MAX_NAMES], *([f"and {rest} more"] if rest > 0 else [])])


def _yes_or_no(fact: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[fact]


def _harmless(mail: str, nonce: str) -> str:
    """The text with nothing left in it that could end the delimiter, or be sent as no character at all."""
    encodable = mail.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate is half a character
    if nonce in encodable.lower():  # never, but for a sender who saw an earlier request
        encodable = re.sub(re.escape(nonce), "…", encodable, flags=re.IGNORECASE)
    if not any(mark in encodable for mark in "<＜["):  # the pattern is slow, and most mails have none
        return encodable
    return _FORGERY.sub(lambda found: "(" if found[0] == "[" else "‹", encodable)
