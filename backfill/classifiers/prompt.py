"""The question for a model: fixed text first, the mail last, inside a delimiter that the mail cannot forge.

Pure: the same template, mail and nonce give the same bytes, also after a restart. The question has no clock and no
transport data. `RENDERING` is the version of what this module does to the text.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from backfill.message import Content

#: Part of the fingerprint. Raise it whenever the same mail would be shown differently: by a change here, or in how
#: `mail/` reads it. A job of another version is then refused, also with --as-planned.
RENDERING: Final = 2

MAX_HEADER_CHARS: Final = 300  # people do not read longer subjects either
MAX_URL_CHARS: Final = 60  # of a link after its host
MAX_NAMES: Final = 8  # recipients, attachments, links: the first ones show the kind, more cost tokens

#: Text that a model could take for our delimiter or for control tokens of a chat template. Some local servers read such
#: tokens also in a user's text (ChatML, Llama, Gemma, Mistral, DeepSeek).
#: The pattern begins with plain characters: one that ignores case from its start takes three times as long.
_FORGERY: Final = re.compile(
    r"[<＜\[](?:(?<!\[)(?=(?i:[\s/]*mail\b|[|｜]|/?s>|<?/?SYS>|(?:start|end)_of_turn))|(?<=\[)(?=(?i:/?INST\])))"
)
#: The host and the beginning of the path tell where a link leads. The rest is mostly for counting clicks.
_LONG_URL: Final = re.compile(rf"(https?://[^\s/?#<>]{{1,253}}[/?#][^\s<>]{{{MAX_URL_CHARS}}})[^\s<>]+", re.IGNORECASE)
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a chat, as the API takes it."""

    role: str
    content: str


def fixed_text(template: str) -> str:
    """The part of the template that is sent: without comments and with \\n as line end."""
    return "\n".join(line.rstrip() for line in _COMMENT.sub("", template).splitlines()).strip()


def nonce(secret: bytes, message_key: str) -> str:
    """The delimiter's random part. The sender cannot know it; it is the same each time for the same mail."""
    return hmac.new(secret, message_key.encode(), "sha256").hexdigest()[:12]


def render(fixed: str, content: Content, nonce: str) -> list[ChatMessage]:
    """The chat for one mail: the fixed text as the system's message, and the mail as the user's."""
    body = _LONG_URL.sub(r"\1…", content.body) if "://" in content.body else content.body
    mail = "\n".join([*_headers(content), "", body + ("\n[…]" if content.truncated else "")])
    shown = f"<mail-{nonce}>\n{_harmless(mail, nonce)}\n</mail-{nonce}>"
    return [ChatMessage("system", fixed), ChatMessage("user", shown)]


def tokens_in(text: str) -> int:
    """About how many tokens a text has: a quarter of its UTF-8 bytes, rounded up.

    For English this is the usual rule of four characters a token. Other alphabets have two or three bytes a letter, and
    their words have more tokens.
    """
    return -(-len(text.encode("utf-8", "replace")) // 4)


def _headers(content: Content) -> Iterator[str]:
    """One line for each header that is not empty, at most `MAX_HEADER_CHARS` of its value."""
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
        if line or name == "Subject":  # an empty subject tells something, too
            yield f"{name}: {line if len(line) <= MAX_HEADER_CHARS else line[:MAX_HEADER_CHARS] + '…'}"


def _unseen_hosts(content: Content) -> Iterator[str]:
    """The links' hosts that neither the body nor the misleading links show. Plain text shows most of its links."""
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
    """The text without anything that could end the delimiter, and without lone surrogates, which have no UTF-8."""
    encodable = mail.encode("utf-8", "replace").decode("utf-8")
    if nonce in encodable.lower():  # only if the sender has seen an earlier request
        encodable = re.sub(re.escape(nonce), "…", encodable, flags=re.IGNORECASE)
    if not any(mark in encodable for mark in "<＜["):  # the pattern is slow, and most mails have none
        return encodable
    return _FORGERY.sub(lambda found: "(" if found[0] == "[" else "‹", encodable)
