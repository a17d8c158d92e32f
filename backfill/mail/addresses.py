"""The mailboxes in From, To and similar fields, also with bare commas, two addresses or none. Pure.

Names keep their encoded words; the caller decodes them. As in mail programs, the sender is the last address in angle
brackets. An address before it is only part of the name: forgers write a brand's address there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_CHARS = 2000  # read of a field with one mailbox, counted from its end: the address stands there

Mailbox = tuple[str, str]  # display name and address; either may be ""

_ATOMS = r'[^\s()<>@,:;"\[\]\\]+'
_MAILBOX = rf'(?:(?:({_ATOMS}(?: {_ATOMS})*)|"([^"\\\r]*)") )?<({_ATOMS}@{_ATOMS})>|({_ATOMS}@{_ATOMS})'
#: The usual form: `Ann Example <ann@example.org>, "Doe, Bob" <bob@example.org>, eve@example.org`.
_MAILBOXES, _PLAIN = re.compile(_MAILBOX), re.compile(rf"(?:{_MAILBOX})(?:, (?:{_MAILBOX}))*")

#: The repeats are bounded: without bounds a flood of opening marks takes quadratic time.
_TOKEN = re.compile(
    r"(?P<word>=\?[^?\s]{1,80}\?[bBqQ]\?[^?]{0,900}\?=)"  # may hold blanks and commas
    r'|"(?P<quoted>[^"\\]{0,250}(?:\\.[^"\\]{0,250}){0,9})"'
    r"|\((?P<comment>[^()\\]{0,250}(?:\\.[^()\\]{0,250}){0,9})\)"
    r"|<(?P<angled>[^<>]{0,900})(?:>|$)"
    r"|(?P<mark>[,;])"
    r'|(?P<text>[^"<,;=(]+|.)',
    re.DOTALL,
)
_BARE = re.compile(r"[^\s<>()\[\],:;\"'@]{1,200}@[^\s<>()\[\],:;\"'@]{1,255}")
_GROUP = re.compile(r"^[^:@]{0,200}:")
_OPENED = re.compile(r"[\s\[({]{0,9}(?:mailto:)?$", re.IGNORECASE)  # an opening bracket before a bare address
_ROUTE = re.compile(r"^(?:mailto:|@[^:]*:)", re.IGNORECASE)  # RFC 5322 §4.4


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str  # without quotes or brackets

    @property
    def shown(self) -> str:
        match self.kind:
            case "comment":
                return f"({self.text})"
            case "angled":
                return f"<{self.text}>" if self.text.strip() else ""
            case _:
                return self.text

    @property
    def address(self) -> str:
        """The address between angle brackets; "" where there is none."""
        address = _ROUTE.sub("", self.text.strip()) if self.kind == "angled" else ""
        return "".join(address.split()) if "@" in address else ""


def sender(value: str) -> Mailbox:
    """The mailbox of From or Reply-To: the last address, with all text before it as its name."""
    if plain := _MAILBOXES.fullmatch(value):
        name, quoted, angled, bare = plain.groups(default="")
        return name or quoted, angled or bare
    return _mailbox(list(_tokens(value[-MAX_CHARS:])))


def mailboxes(values: Iterable[str]) -> list[Mailbox]:
    """The mailboxes of To or Cc. A piece without address belongs to the next one: `Doe, Bob <bob@example.org>`."""
    together = ", ".join(values)
    if _PLAIN.fullmatch(together):
        return [(name or quoted, angled or bare) for name, quoted, angled, bare in _MAILBOXES.findall(together)]
    found: list[Mailbox] = []
    waiting: list[_Token] = []
    for item in _items(_tokens(together)):
        if any(token.address for token in item):
            found.append(_mailbox([*waiting, *item]))
            waiting = []
        elif _BARE.search("".join(token.shown for token in item)):
            found += [_mailbox(each) for each in (waiting, item)]
            waiting = []
        else:
            waiting += [*item, _Token("mark", ",")]
    return [pair for pair in [*found, _mailbox(waiting)] if any(pair)]


def _tokens(value: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(value):
        kind = found.lastgroup or "text"
        text = found[kind]
        yield _Token(kind, re.sub(r"\\(.)", r"\1", text) if kind in ("quoted", "comment") else text)


def _items(tokens: Iterable[_Token]) -> Iterator[list[_Token]]:
    item: list[_Token] = []
    for token in tokens:
        if token.kind == "mark":
            yield item
            item = []
        else:
            if not item:  # RFC 5322 §3.4: the name of a group stands before its first member
                token = _Token(token.kind, _GROUP.sub("", token.text)) if token.kind == "text" else token
            item.append(token)
    yield item


def _mailbox(tokens: list[_Token]) -> Mailbox:
    last = max((place for place, token in enumerate(tokens) if token.address), default=None)
    if last is not None:
        address = tokens[last].address
        before, after = tokens[:last], tokens[last + 1 :]
        return _name(before, address) or _name(after, address), address
    for is_comment in (False, True):  # `ann@example.org (Ann)`, but also `Ann (ann@example.org)`
        place = max((n for n, token in enumerate(tokens) if _is_bare(token, is_comment=is_comment)), default=None)
        if place is not None:
            address = _BARE.findall(tokens[place].text)[-1]
            name, _, rest = "".join(token.shown for token in tokens[: place + 1]).rpartition(address)
            rest += "".join(token.shown for token in tokens[place + 1 :])
            return _tidy(name, address) or _tidy(rest, address), address
    return _tidy("".join(token.shown for token in tokens)), ""


def _is_bare(token: _Token, *, is_comment: bool) -> bool:
    return (token.kind == "comment") is is_comment and bool(_BARE.search(token.text))


def _name(tokens: list[_Token], address: str) -> str:
    return _tidy("".join(token.shown for token in tokens), address)


def _tidy(text: str, address: str = "") -> str:
    """The name without separators and unpaired brackets; "" when it only repeats the address."""
    text = _OPENED.sub("", text.strip(" \t,;"))
    if text.count("<") != text.count(">"):
        text = text.strip(" <>")
    if text.startswith("(") and text.endswith(")") and text.count("(") == 1:
        text = text[1:-1].strip()
    return "" if text.strip("'\" ").lower() == address.lower() else text
