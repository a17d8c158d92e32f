"""HTML to the text that a person sees, and the links with what they show and where they lead.

Hidden text is dropped: it is filler, or instructions that are meant for a machine. Where nothing else is there
the hidden text comes back, then the pictures' texts: a mail in HTML never becomes an empty one. Styles are read
where they stand on the element, and in style sheets as far as they go by one class or id, which is how mails hide
things; what shows only after the whole cascade is not found out. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree, NodeType

from backfill.mail.text import clean, is_meaningful, one_line

_HIDDEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|mso-hide\s*:\s*all"
    r"|(?<![-\w])opacity\s*:\s*0(?:\.0*)?\s*(?:[;!]|$)",
    re.IGNORECASE,
)
_NO_HEIGHT = re.compile(r"(?<![-\w])(?:max-)?height\s*:\s*0(?:px)?\s*(?:[;!]|$)", re.IGNORECASE)
_CLIPPED = re.compile(r"overflow\s*:\s*hidden", re.IGNORECASE)
_INK = re.compile(r"(?<![-\w])color\s*:\s*([^;!]+)", re.IGNORECASE)
_PAPER = re.compile(r"(?<![-\w])background(?:-color)?\s*:\s*([^;!]+)", re.IGNORECASE)
_COLOURS = {"white": "#ffffff", "black": "#000000"}
_SIZELESS = re.compile(
    r"font-size\s*:\s*(?:0(?:\.\d*)?(?:px|pt|em|rem|%)?|1(?:\.0*)?(?:px|pt|%))\s*(?:[;!]|$)", re.IGNORECASE
)
_SIZED = re.compile(r"font(?:-size)?\s*:", re.IGNORECASE)
_META_CHARSET = re.compile(rb"<meta[^>]{1,200}?charset\s*=\s*[\"']?([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)

_TAG = re.compile(r"<[^<>]{0,2000}>")
_URL = re.compile(r"https?://[^\s<>\"')\]}]+", re.IGNORECASE)
#: Browsers take any number and kind of slashes, and an address without a scheme for one of the page's.
_SCHEME = re.compile(r"[\s\x00-\x20]*(?:https?\s*:[/\\\s]*|[/\\]{2,})", re.IGNORECASE)
_SHOWN_HOST = re.compile(
    r"(https?://)?(?:[^\s/@]+@)?((?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24})(?:[:/?#]\S*)?", re.IGNORECASE
)
#: What looks like a host name in a link's text, but names a file.
_FILE_ENDING = re.compile(
    r"pdf|docx?|xlsx?|pptx?|od[ts]|txt|csv|rtf|zip|rar|exe|png|jpe?g|gif|svg|html?|xml|json|js|md"
)

_CSS_COMMENT = re.compile(r"/\*.{0,5000}?\*/|<!--|-->", re.DOTALL)
_BRACE = re.compile(r"([{}])")
_SELECTOR = re.compile(r"[a-z]{0,12}([.#][\w-]{1,60})", re.IGNORECASE)
MAX_STYLE_SHEETS = 100_000  # characters of them that are read

MAX_LINKS = 200  # of one text; the rest is not looked at

_LEADS_BY = {"a": "href", "area": "href", "form": "action", "base": "href"}

Link = tuple[str, str]  # the host shown, or ""; the host that it leads to


def text_and_links(html: str) -> tuple[str, list[Link]]:
    """The visible text, cleaned, and the links in order of appearance."""
    html = html.encode("utf-8", "replace").decode("utf-8")  # the parser takes no lone surrogates
    try:
        tree = HTMLTree.parse(html)
        elements = _elements(tree)
        links = list(_links(elements))
        _drop_hidden(tree, elements)
        return _text(tree) or _text(html) or _stand_in(html), links
    except ValueError:  # HTMLParserException is one
        return clean(_TAG.sub(" ", html)), []


def links_in_text(text: str) -> list[Link]:
    """The links of plain text: what is shown is where it leads."""
    if "://" not in text:
        return []
    return [("", host) for url in _URL.findall(text)[:MAX_LINKS] if (host := host_of(url))]


def declared_charset(html: bytes) -> str:
    """The charset that the HTML names for itself, for parts that come without one."""
    found = _META_CHARSET.search(html[:2048])
    return found[1].decode("ascii") if found else ""


def host_of(url: str) -> str:
    """The host of a web address as browsers read it, in lower case; "" for what is none."""
    url = re.sub(r"[\t\r\n]", "", url)
    found = _SCHEME.match(url)
    if not found:
        return ""
    try:
        host = urlsplit("http://" + url[found.end() :].replace("\\", "/")).hostname or ""
    except ValueError:  # e.g. a broken IPv6 address
        return ""
    return one_line(unquote(host).lower().rstrip("."), 253)


def _text(html: Any, *, alt_texts: bool = False) -> str:
    text = extract_plain_text(html, preserve_formatting=True, main_content=False, links=False, alt_texts=alt_texts)
    text = clean(text)
    return text if is_meaningful(text) else ""


def _stand_in(html: str) -> str:
    """For HTML without text: the pictures' texts, the title, or their number."""
    tree = HTMLTree.parse(html)
    pictures = sum(node.tag == "img" for node in _elements(tree))
    return _text(tree, alt_texts=True) or clean(tree.title or "") or (f"[{pictures} pictures]" if pictures else "")


def _links(elements: list[Any]) -> Iterator[Link]:
    """Where a click leads: anchors, image maps, forms, and the base of addresses that name no host."""
    for node in [node for node in elements if node.tag in _LEADS_BY][:MAX_LINKS]:
        if host := host_of(node.getattr(_LEADS_BY[node.tag]) or ""):
            yield _shown_host(one_line(node.text[:1000], 300)) if node.tag == "a" else "", host


def _shown_host(text: str) -> str:
    found = _SHOWN_HOST.fullmatch(text)
    if not found:
        return ""
    host = found[2].lower()
    return "" if not found[1] and _FILE_ENDING.fullmatch(host.rpartition(".")[2]) else host


def _drop_hidden(tree: Any, elements: list[Any]) -> None:
    sheet = _sheet(elements)
    styled = _styled(elements, sheet)
    has_sizeless = any(_SIZELESS.search(style) for _, style in styled)
    for element, style in reversed(styled):  # from within, so that none is dropped twice
        if element.hasattr("hidden") or _hides(style):
            element.decompose()
    for element, style in _styled(_elements(tree), sheet) if has_sizeless else ():
        if _SIZELESS.search(style):
            _drop_sizeless(element)


def _drop_sizeless(element: Any) -> None:
    """Text of size nothing, but not what is given a size again within: newsletters set 0 on every table cell."""
    waiting = list(element.child_nodes)
    while waiting:
        node = waiting.pop()
        if node.type == NodeType.TEXT:
            node.decompose()
        elif node.type == NodeType.ELEMENT and not _SIZED.search(node.getattr("style") or ""):
            waiting.extend(node.child_nodes)


def _hides(style: str) -> bool:
    if _HIDDEN.search(style) or (_NO_HEIGHT.search(style) and _CLIPPED.search(style)):
        return True
    ink, paper = _INK.search(style), _PAPER.search(style)
    return bool(ink and paper) and _colour(ink[1]) == _colour(paper[1])  # type: ignore[index]  # by the line's first half


def _colour(value: str) -> str:
    value = re.sub(r"\s", "", value).lower()
    value = _COLOURS.get(value, value)
    return f"#{value[1] * 2}{value[2] * 2}{value[3] * 2}" if re.fullmatch("#[0-9a-f]{3}", value) else value


def _sheet(elements: list[Any]) -> dict[str, str]:
    """What the style sheets say of `.class` and `#id`, all their declarations together."""
    css = "\n".join(node.text for node in elements if node.tag == "style")[:MAX_STYLE_SHEETS]
    rules: dict[str, str] = {}
    for selectors, style in _rules(_CSS_COMMENT.sub(" ", css)):
        for selector in selectors.split(","):
            if found := _SELECTOR.fullmatch(selector.strip()):
                rules[found[1]] = f"{rules.get(found[1], '')};{style}"[:2000]
    return {name: style for name, style in rules.items() if _hides(style) or _SIZELESS.search(style)}


def _rules(css: str) -> Iterator[tuple[str, str]]:
    """Selectors and declarations, without what stands in @media and the like: that is hidden on telephones only."""
    around: list[str] = []
    before, *rest = _BRACE.split(css)
    for brace, after in zip(rest[::2], rest[1::2], strict=True):
        if brace == "{":
            around.append(before.rpartition(";")[2])
        elif around:
            selectors = around.pop()
            if not around and not selectors.lstrip().startswith("@"):
                yield selectors, before
        before = after


def _styled(elements: list[Any], sheet: dict[str, str]) -> list[tuple[Any, str]]:
    """The elements that have a style or are hidden, with the style that the sheet and they themselves give."""
    styled = []
    for node in elements:
        style = node.getattr("style") or ""
        if sheet and (names := _names(node)):
            style = ";".join([*(sheet[name] for name in names if name in sheet), style])
        if style or node.hasattr("hidden"):
            styled.append((node, style))
    return styled


def _names(node: Any) -> list[str]:
    names = [f".{name}" for name in (node.getattr("class") or "").split()]
    return [*names, f"#{node.id}"] if node.id else names


def _elements(tree: Any) -> list[Any]:
    """All elements in document order, one by one: the parser's own collections take quadratic time on floods."""
    return [node for node in tree.document if node.type == NodeType.ELEMENT]
