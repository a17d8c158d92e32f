"""The style of an element of HTML mail, from its own attributes and from style sheets. Pure.

Of style sheets, selectors by tag, class, id and surrounding elements are read; mails use hardly any others. @media is
left out unless it holds on every screen: it is for telephones. As in browsers, the more specific rule wins, then the
later one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

MAX_SHEET: Final = 100_000  # characters read of a mail's style sheets
MAX_RULES: Final = 600
MAX_ANCESTORS: Final = 30  # elements around an element that a selector is compared with

#: The properties that decide whether a text is seen.
PROPERTIES: Final = re.compile(
    r"display|visibility|opacity|font|font-size|color|background|background-(?:color|image)|(?:min-|max-)?(?:height|width)"
    r"|overflow(?:-[xy])?|padding(?:-\w+)?|position|left|right|top|bottom|text-indent|margin-(?:left|top)|clip|clip-path"
    r"|transform|mso-hide|animation(?:-name)?|-webkit-text-fill-color"
)
_COMMENT = re.compile(r"/\*.{0,5000}?\*/|<!--|-->", re.DOTALL)
_BRACE = re.compile(r"([{}])")
_MEDIA_FOR_ALL = re.compile(r"\s*@media\s+(?:all|screen|only screen)\s*", re.IGNORECASE)
_COMPOUND = re.compile(r"(\*|[a-z][\w:-]{0,30})?((?:[.#][\w-]{1,60})*)(?::link|:root)?", re.IGNORECASE)
_STATE = re.compile(r":(?:hover|visited|active|focus|checked|before|after|target|nth|first|last|not)", re.IGNORECASE)


Declaration = tuple[str, str, bool]  # property, value, whether it is `!important`


@dataclass(frozen=True, slots=True, eq=False)
class Style:
    """Values by property, in lower case; "" for a property that is not set. Equal elements share one object."""

    values: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


@dataclass(slots=True, eq=False)  # not frozen: a mail has many, and each would take three times as long to make
class Element:
    """An element of the parsed HTML with the attributes that selectors compare, and the element around it."""

    node: Any
    tag: str
    id: str
    classes: frozenset[str]
    style: str
    around: Element | None

    @classmethod
    def of(cls, node: Any, around: Element | None) -> Self:
        names = node.getattr("class")
        classes = frozenset(names.split()) if names else frozenset()
        return cls(node, node.tag, node.getattr("id") or "", classes, node.getattr("style") or "", around)


def elements(tree: Any) -> list[Element]:
    """All elements in document order. The parser's own collections take quadratic time when there are very many."""
    found: list[Element] = []
    waiting: list[tuple[Any, Element | None]] = [(tree.document.first_element_child, None)]
    while waiting:
        node, around = waiting.pop()
        if node is not None:
            element = Element.of(node, around)
            found.append(element)
            waiting += ((node.next_element, around), (node.first_element_child, element))
    return found


def nodes(tree: Any) -> Iterator[Any]:
    """As `elements`, but only the parser's nodes, which takes a third of the time."""
    waiting = [tree.document.first_element_child]
    while waiting:
        node = waiting.pop()
        if node is not None:
            yield node
            waiting += (node.next_element, node.first_element_child)


@dataclass(frozen=True, slots=True)
class _Compound:
    tag: str
    ids: frozenset[str]
    classes: frozenset[str]

    def fits(self, element: Element) -> bool:
        return (
            self.tag in ("", element.tag)
            and (not self.ids or self.ids == {element.id})
            and self.classes <= element.classes
        )

    @property
    def key(self) -> str:
        return next((f".{name}" for name in self.classes), next((f"#{name}" for name in self.ids), self.tag))


@dataclass(frozen=True, slots=True)
class _Rule:
    selector: tuple[_Compound, ...]
    declarations: tuple[Declaration, ...]
    rank: tuple[int, int, int, int]

    def fits(self, element: Element) -> bool:
        *around, own = self.selector
        if not own.fits(element):
            return False
        place, left = element.around, MAX_ANCESTORS
        while around and place is not None and left:
            if around[-1].fits(place):
                around.pop()
            place, left = place.around, left - 1
        return not around


class Sheet:
    """The rules of a mail's style sheets."""

    def __init__(self, css: str = "") -> None:
        self._rules: dict[str, list[_Rule]] = defaultdict(list)
        self._known: dict[tuple[tuple[int, ...], str], Style] = {}
        self.has_unread_colours = False  # a rule whose selector is not understood sets a background
        rules = 0
        for selectors, body in _blocks(_COMMENT.sub(" ", css[:MAX_SHEET])):
            declarations = tuple(declared(body))
            for selector in selectors.split(",")[:50] if declarations else ():
                compounds = _compounds(selector)
                if compounds and rules < MAX_RULES:
                    rules += 1
                    self._add(compounds, declarations, rules)
                elif not _STATE.search(selector) and any(name.startswith("background") for name, _, _ in declarations):
                    self.has_unread_colours = True

    def style(self, element: Element) -> Style:
        """The style of an element, from the rules that fit and from its own style attribute."""
        found = self._candidates(element)
        if not found and not element.style:
            return _NONE
        fitting = [rule for rule in found if rule.fits(element)]
        key = tuple(rule.rank[-1] for rule in fitting), element.style
        if key not in self._known:
            self._known[key] = _merged(fitting, element.style) if fitting or element.style else _NONE
        return self._known[key]

    def _candidates(self, element: Element) -> list[_Rule]:
        if not self._rules:
            return []
        found = [*self._rules.get(element.tag, ()), *self._rules.get("*", ())]
        for name in element.classes:
            found += self._rules.get(f".{name}", ())
        if element.id:
            found += self._rules.get(f"#{element.id}", ())
        return found

    def _add(self, selector: tuple[_Compound, ...], declarations: tuple[Declaration, ...], order: int) -> None:
        counts = [sum(len(getattr(each, name)) for each in selector) for name in ("ids", "classes")]
        rank = (counts[0], counts[1], sum(bool(each.tag) for each in selector), order)
        key = selector[-1].key or "*"
        self._rules[key] = [*self._rules[key][-49:], _Rule(selector, declarations, rank)]


_NONE = Style()


def declared(css: str) -> Iterator[Declaration]:
    """The declarations in `css` whose property is one of `PROPERTIES`."""
    for declaration in css.split(";"):
        name, colon, value = declaration.partition(":")
        name = name.strip().lower()
        if colon and PROPERTIES.fullmatch(name):
            value, _, important = value[:300].lower().partition("!")
            if value.strip():
                yield name, " ".join(value.split()), important.strip().startswith("important")


def _merged(rules: list[_Rule], own: str) -> Style:
    fitting = sorted(rules, key=lambda rule: rule.rank)
    every = [*(each for rule in fitting for each in rule.declarations), *declared(_COMMENT.sub(" ", own))]
    values: dict[str, str] = {}
    for wanted in (False, True):
        for name, value, is_important in every:
            if is_important is wanted:
                if name in ("background", "font"):  # a shorthand resets its single properties
                    for part in ("background-color", "background-image") if name == "background" else ("font-size",):
                        values.pop(part, None)
                values[name] = value
    return Style(values)


def _compounds(selector: str) -> tuple[_Compound, ...]:
    """() for a selector that is not understood."""
    compounds = []
    for part in re.split(r"\s*>\s*|\s+", selector.strip())[:10]:
        found = _COMPOUND.fullmatch(part)
        if not found or not part:
            return ()
        names = re.findall(r"[.#][\w-]+", found[2])
        tag = (found[1] or "").lower()
        compounds.append(
            _Compound(
                "" if tag == "*" else tag,
                frozenset(name[1:] for name in names if name[0] == "#"),
                frozenset(name[1:] for name in names if name[0] == "."),
            )
        )
    return tuple(compounds)


def _blocks(css: str) -> Iterator[tuple[str, str]]:
    """Each rule's selectors and declarations. Of @media only rules for every screen."""
    around: list[str] = []
    before, *rest = _BRACE.split(css)
    for brace, after in zip(rest[::2], rest[1::2], strict=True):
        if brace == "{":
            around.append(before.rpartition(";")[2])
        elif around:
            selectors = around.pop()
            if not selectors.lstrip().startswith("@") and all(_MEDIA_FOR_ALL.fullmatch(each) for each in around):
                yield selectors, before
        before = after
