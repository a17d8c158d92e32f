"""Text that a person does not see in HTML: found by style, size, place and colour, and taken out. Pure.

Hidden text is filler, or instructions to a machine. In doubt the text stays: text on a picture, text of unknown size,
a closed box that padding or a minimum height opens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from resiliparse.parse.html import NodeType

from backfill.mail.colours import BLACK, BLUE, WHITE, Colour, are_alike, colour, colour_in
from backfill.mail.styles import Element, Sheet, Style

#: Mail programs do not show the text in these elements.
_NEVER_SEEN: Final = frozenset({"title", "xml", "dialog", "datalist", "script", "style", "template", "noframes"})
_COLOURED: Final = frozenset({"a", "font", "body", "table", "tbody", "thead", "tr", "td", "th", "div"})  # by attributes
MAX_ELEMENTS: Final = 15_000  # looked at in one mail
_SMALLEST_PX: Final = 4.0  # a smaller font is not readable
_OFF_PX: Final = -300.0  # a place further left or up is outside the window

_NUMBER = re.compile(r"(-?\d{0,9}\.?\d{1,9})\s*(px|pt|em|rem|ex|%|vw|vh|cm|mm|in|pc)?")
_PX: Final = {
    "": 1.0,
    "px": 1.0,
    "pt": 1.333,
    "pc": 16.0,
    "cm": 37.8,
    "mm": 3.78,
    "in": 96.0,
    "em": 16.0,
    "rem": 16.0,
    "ex": 8.0,
    "%": 0.16,
    "vw": 12.0,
    "vh": 8.0,
}
_SHORTHAND_SIZE = re.compile(r"(?:^|\s)(\d{0,4}\.?\d{1,4}(?:px|pt|em|rem|%)?)(?=\s*/|\s+[^\d\s])")
_OF_NOTHING = re.compile(
    r"rect\(\s*(?:[01](?:px)?[\s,]+){3}[01](?:px)?\s*\)|inset\(\s*(?:[5-9]\d|100)%|circle\(\s*0|polygon\(\s*0[\s,0]*\)"
)
_NO_SCALE = re.compile(r"scale(?:[xy]|3d)?\(\s*0?\.?0*\s*[,)]|translate[xy]?\(\s*-\d{3,}")
_PICTURE = re.compile(r"url\(|gradient\(|image\(|var\(")


@dataclass(frozen=True, slots=True, eq=False)
class _Around:
    """What the text of an element inherits from it. Equal elements in one place share one object."""

    ink: Colour | None = BLACK  # None: not known
    paper: Colour | None = WHITE  # None: a picture, or not known
    is_sizeless: bool = False
    is_invisible: bool = False

    @property
    def is_unseen(self) -> bool:
        if self.is_sizeless or self.is_invisible:
            return True
        return self.ink is not None and are_alike(self.ink, self.paper)


class _Attributes(NamedTuple):
    """The attributes of an element that colour or size its text, besides its style."""

    bgcolor: str | None = None
    has_background: bool = False  # a picture
    colour: str = ""
    is_link: bool = False
    has_size: bool = False

    @classmethod
    def of(cls, node: Any, tag: str) -> _Attributes:
        colours = {"font": "color", "body": "text"}
        return cls(
            node.getattr("bgcolor"),
            node.hasattr("background"),
            node.getattr(colours[tag]) or "" if tag in colours else "",
            tag == "a" and node.hasattr("href"),
            tag == "font" and node.hasattr("size"),
        )


_NO_ATTRIBUTES: Final = _Attributes()


def drop_hidden(elements: Sequence[Element], sheet: Sheet) -> bool:
    """Remove unseen elements and texts from the tree of `elements`. True when any of them had text."""
    hidden: list[Any] = []
    hides: dict[Style, bool] = {}
    insides: dict[tuple[Style, _Attributes, _Around], tuple[_Around, bool]] = {}  # elements of a mail are much alike
    seen: dict[Element | None, _Around] = {None: _Around()}
    for element in elements[:MAX_ELEMENTS]:
        around = seen.get(element.around)
        if around is None:
            continue
        node, tag, style = element.node, element.tag, sheet.style(element)
        if style not in hides:
            hides[style] = _hides(style)
        if hides[style] or tag in _NEVER_SEEN or node.hasattr("hidden"):
            hidden.append(node)
            continue
        attributes = _Attributes.of(node, tag) if style.values or tag in _COLOURED else _NO_ATTRIBUTES
        key = style, attributes, around
        if key not in insides:
            within = _within(attributes, style, around, is_paper_certain=not sheet.has_unread_colours)
            insides[key] = within, within.is_unseen
        within, is_unseen = insides[key]
        if tag == "img" and within.is_invisible:
            hidden.append(node)
            continue
        seen[element] = within
        if is_unseen:
            hidden += _texts(node)
    had_text = any(node.tag not in _NEVER_SEEN and not node.text.isspace() for node in hidden[:100] if node.text)
    for node in hidden:
        node.decompose()
    return had_text


def _texts(node: Any) -> Iterator[Any]:
    """The texts that stand in an element, but not those in elements within it."""
    child = node.first_child
    while child is not None:
        if child.type == NodeType.TEXT:
            yield child
        child = child.next


def _within(attributes: _Attributes, style: Style, around: _Around, *, is_paper_certain: bool) -> _Around:
    paper = _paper(attributes, style, around.paper) if is_paper_certain else None
    changes: dict[str, Any] = {}
    if paper != around.paper:
        changes["paper"] = paper
    written = style["-webkit-text-fill-color"] or style["color"] or attributes.colour
    if written and written != "inherit":
        changes["ink"] = colour(written)
    elif attributes.is_link and not written:
        changes["ink"] = BLUE
    if style["visibility"]:
        changes["is_invisible"] = style["visibility"] in ("hidden", "collapse")
    size = style["font-size"] or _size_in(style["font"])
    if size:
        pixels = _pixels(size)
        is_relative = size.endswith(("em", "%")) and not size.endswith("rem")
        changes["is_sizeless"] = (pixels is not None and pixels < _SMALLEST_PX) or (is_relative and around.is_sizeless)
    elif attributes.has_size:
        changes["is_sizeless"] = False
    return replace(around, **changes) if changes else around


def _paper(attributes: _Attributes, style: Style, around: Colour | None) -> Colour | None:
    if style["background-image"] not in ("", "none") or _PICTURE.search(style["background"]):
        return None
    written = style["background-color"] or style["background"]
    if written:
        found = colour_in(written)
        if found is None:
            return around if written in ("none", "transparent", "inherit", "initial", "unset") else None
        return around if found.alpha < 0.2 else found
    if attributes.has_background:
        return None
    return (colour(attributes.bgcolor) if attributes.bgcolor is not None else None) or around


def _hides(style: Style) -> bool:
    if not style.values:
        return False
    if style["display"] == "none" or style["mso-hide"] == "all":
        return True
    is_animated = bool(style["animation"] or style["animation-name"])
    opacity = _NUMBER.fullmatch(style["opacity"])
    if opacity and not is_animated and float(opacity[1]) * (0.01 if opacity[2] == "%" else 1) <= 0.05:
        return True
    return _is_closed_box(style) or _is_off_the_page(style) or bool(_NO_SCALE.search(style["transform"]))


def _is_closed_box(style: Style) -> bool:
    """Is it at most 1 px high or wide, with overflow hidden? Padding or a minimum size above 1 px opens it again."""
    flow = f"{style['overflow']} {style['overflow-x']} {style['overflow-y']}"
    if "hidden" not in flow and "clip" not in flow:
        return False
    for side, paddings in (("height", ("padding-top", "padding-bottom")), ("width", ("padding-left", "padding-right"))):
        if any((_pixels(style[name]) or 0) > 1 for name in (*paddings, f"min-{side}")) or _is_padded(style, side):
            continue
        given = [style[name] for name in (f"max-{side}", side) if style[name]]
        if any((pixels := _pixels(value)) is not None and pixels <= 1 for value in given):
            return True
    return False


def _is_padded(style: Style, side: str) -> bool:
    sides = style["padding"].split()
    if not sides:
        return False
    chosen = sides[::2] if side == "height" else sides[1::2] or sides
    return any((_pixels(value) or 0) > 1 for value in chosen)


def _is_off_the_page(style: Style) -> bool:
    if any((_pixels(style[name]) or 0) < _OFF_PX for name in ("text-indent", "margin-left", "margin-top")):
        return True
    if style["position"] not in ("absolute", "fixed", "relative"):
        return False
    places = ("left", "right", "top", "bottom")
    is_off = any((_pixels(style[name]) or 0) < _OFF_PX for name in places)
    return is_off or bool(_OF_NOTHING.search(style["clip"])) or bool(_OF_NOTHING.search(style["clip-path"]))


def _pixels(value: str) -> float | None:
    found = _NUMBER.fullmatch(value)
    return float(found[1]) * _PX[found[2] or ""] if found else None


def _size_in(shorthand: str) -> str:
    found = _SHORTHAND_SIZE.search(shorthand)
    return found[1] if found else ""
