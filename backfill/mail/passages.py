"""Which parts of a mail are read: passages in order, each in plain text, in HTML, or in both.

A mail program shows the HTML; plain text is shorter and costs less. Only the bytes tell whether both say the same, so
both are fetched, with fewer bytes of the HTML. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from backfill.mail.structure import HTML, Part

MAX_TEXTS = 6  # text parts read in one mail
READABLE = HTML | {"text/plain"}
CALENDAR = "text/calendar"

#: The kinds that MIME knows. A part of an unknown kind, such as plain/text, is taken for text.
_KINDS = frozenset(
    {"application", "audio", "example", "font", "image", "message", "model", "multipart", "text", "video"}
)

#: Bytes. Passages that are smaller all together hold no text, only blanks and line ends.
_NOTHING = 5
#: Bytes. If the first part of multipart/related or multipart/signed is smaller, the other parts are read too.
_STUB = 16


@dataclass(frozen=True, slots=True)
class Passage:
    """Parts that follow each other. `rich` is the HTML; `plain` should say the same in plain text."""

    plain: tuple[Part, ...] = ()
    rich: tuple[Part, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.plain + self.rich

    @property
    def best(self) -> tuple[Part, ...]:
        return self.rich or self.plain

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)


def passages(root: Part) -> tuple[Passage, ...]:
    """What to read, in order: the mail's own text, then forwarded mails. If they are empty, any other text.

    At most `MAX_TEXTS` parts, each part once.
    """
    chosen = [passage for passage in [*_readable(root), *_forwarded(root)] if passage.size]
    if sum(passage.size for passage in chosen) < _NOTHING:
        chosen += [Passage((part,)) for part in _leaves(root) if _is_text(part) and part.size]
    kept: list[Passage] = []
    seen: set[str] = set()
    for passage in chosen:
        sections = {part.section for part in passage.parts}
        if not sections & seen and len(seen) + len(sections) <= MAX_TEXTS:
            seen |= sections
            kept.append(passage)
    return tuple(kept)


def charset(chosen: Iterable[Passage]) -> str:
    """The charset that the first of the chosen parts declares; "" when none does."""
    return next((part.charset for passage in chosen for part in passage.parts if part.charset), "")


def _readable(part: Part) -> list[Passage]:
    if part.is_attachment:
        return []
    if part.content_type in READABLE:
        return [Passage((part,))]
    match part.content_type:
        case "multipart/alternative":
            return _faces([_readable(child) for child in part.parts])
        case "multipart/related" | "multipart/signed":  # the others are its pictures or its signature
            filled = [choice for choice in map(_readable, part.parts) if _size(choice)]
            first = filled[0] if filled else []
            return first if _size(first) >= _STUB else [passage for choice in filled for passage in choice]
        case _ if part.is_multipart:
            return [passage for child in part.parts for passage in _readable(child)]
        case _:
            return []


def _faces(alternatives: list[list[Passage]]) -> list[Passage]:
    """One passage with the first plain alternative and the largest in HTML.

    RFC 2046 §5.1.4 puts the best alternative last; some programs do not.
    """
    filled = [choice for choice in alternatives if _size(choice)]
    plain = next((choice for choice in filled if not _has_html(choice)), [])
    rich = max((choice for choice in filled if _has_html(choice)), key=_size, default=[])
    if not plain or not rich:
        return plain or rich
    return [Passage(*(tuple(part for each in face for part in each.best) for face in (plain, rich)))]


def _size(choice: list[Passage]) -> int:
    return sum(passage.size for passage in choice)


def _has_html(choice: list[Passage]) -> bool:
    return any(part.content_type in HTML for passage in choice for part in passage.parts)


def _forwarded(part: Part, *, is_report: bool = False) -> Iterator[Passage]:
    """The texts of mails within the mail, but not of a mail that a delivery report returns."""
    if part.content_type == "message/rfc822" and part.parts and not is_report:
        yield from _readable(part.parts[0])
    for child in part.parts:
        yield from _forwarded(child, is_report=is_report or part.content_type == "multipart/report")


def _leaves(part: Part) -> Iterator[Part]:
    """All parts without parts of their own, also those of attached mails."""
    for child in part.parts:
        yield from _leaves(child)
    if not part.parts:
        yield part


def _is_text(part: Part) -> bool:
    kind = part.content_type.partition("/")[0]
    return kind == "text" or kind not in _KINDS or part.content_type in HTML | {"message/delivery-status"}
