"""Text that a person does not see in HTML: found by style, size, place and colour, and taken out. Pure.

Hidden text is filler, or instructions to a machine. In doubt the text stays: text on a picture, text of unknown size,
a closed box that padding or a minimum height opens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final

from resiliparse.parse.html import NodeType

from backfill.mail.colours import BLACK, BLUE, WHITE, Colour, are_alike, colour, colour_in
from backfill.mail.styles import Element, Sheet, Style

#: Mail programs do not show the text in these elements.
_NEVER_SEEN: Final = frozenset({"title", "xml", "dialog", "datalist", "script", "style", "template", "noframes"})
_COLOURED: Final = frozenset({"a", "font", "body", "table", "tbody", "thead", "tr", "td", "th", "div"})  # by attributes
MAX_NODES: Final = 15_000  # looked at in one mail
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


@dataclass(frozen=True, slots=True)
class _Around:
    """What the text of an element inherits from it."""

    ink: Colour | None = BLACK  # None: not known
    paper: Colour | None = WHITE  # None: a picture, or not known
    is_sizeless: bool = False
    is_invisible: bool = False


def drop_hidden(tree: Any, sheet: Sheet) -> bool:
    """Remove unseen nodes from `tree`. True when any of them had text."""
    waiting: list[tuple[Any, Element | None, _Around]] = [(tree.document.first_child, None, _Around())]
    hidden: list[Any] = []
    left = MAX_NODES
    hides: dict[Style, bool] = {}
    while waiting and (left := left - 1):
        node, around_it, around = waiting.pop()
        if node is None:
            continue
        waiting.append((node.next, around_it, around))
        if node.type == NodeType.TEXT:
            if _is_unseen(around):
                hidden.append(node)
        elif node.type == NodeType.ELEMENT:
            element = Element.of(node, around_it)
            style = sheet.style(element)
            if style not in hides:
                hides[style] = _hides(style)
            if hides[style] or node.tag in _NEVER_SEEN or node.hasattr("hidden"):
                hidden.append(node)
                continue
            within = _within(node, style, around, is_paper_certain=not sheet.has_unread_colours)
            if node.tag == "img" and within.is_invisible:
                hidden.append(node)
                continue
            waiting.append((node.first_child, element, within))
    had_text = any(node.tag not in _NEVER_SEEN and not node.text.isspace() for node in hidden[:100] if node.text)
    for node in hidden:
        node.decompose()
    return had_text


def _is_unseen(around: _Around) -> bool:
    if around.is_sizeless or around.is_invisible:
        return True
    return around.ink is not None and are_alike(around.ink, around.paper)


def _within(node: Any, style: Style, around: _Around, *, is_paper_certain: bool) -> _Around:
    if not style.values and node.tag not in _COLOURED:
        return around if is_paper_certain or around.paper is None else replace(around, paper=None)
    paper = _paper(node, style, around.paper)
    changes: dict[str, Any] = {}
    if not is_paper_certain:
        paper = None
    if paper != around.paper:
        changes["paper"] = paper
    written = style["-webkit-text-fill-color"] or style["color"]
    if not written and node.tag in ("font", "body"):
        written = node.getattr("color" if node.tag == "font" else "text") or ""
    if written and written != "inherit":
        changes["ink"] = colour(written)
    elif node.tag == "a" and node.hasattr("href") and not written:
        changes["ink"] = BLUE
    if style["visibility"]:
        changes["is_invisible"] = style["visibility"] in ("hidden", "collapse")
    size = style["font-size"] or _size_in(style["font"])
    if size:
        pixels = _pixels(size)
        is_relative = size.endswith(("em", "%")) and not size.endswith("rem")
        changes["is_sizeless"] = (pixels is not None and pixels < _SMALLEST_PX) or (is_relative and around.is_sizeless)
    elif node.tag == "font" and node.hasattr("size"):
        changes["is_sizeless"] = False
    return replace(around, **changes) if changes else around


def _paper(node: Any, style: Style, around: Colour | None) -> Colour | None:
    if style["background-image"] not in ("", "none") or _PICTURE.search(style["background"]):
        return None
    written = style["background-color"] or style["background"]
    if written:
        found = colour_in(written)
        if found is None:
            return around if written in ("none", "transparent", "inherit", "initial", "unset") else None
        return around if found.alpha < 0.2 else found
    if node.hasattr("background"):
        return None
    return (colour(node.getattr("bgcolor")) if node.hasattr("bgcolor") else None) or around


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
