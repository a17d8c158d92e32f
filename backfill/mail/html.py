"""HTML to the text that a person sees, and the links with what they show and where they lead.

Hidden text is dropped: it is filler, or instructions to a machine. HTML without visible text gives what its pictures
say: their alternative texts, else the title, else their number. Without pictures it gives its hidden text with a mark,
else the title. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from backfill.mail.hidden import drop_hidden
from backfill.mail.styles import Element, Sheet, elements, nodes
from backfill.mail.text import clean, is_meaningful, one_line

_META_CHARSET = re.compile(rb"<meta[^>]{1,200}?charset\s*=\s*[\"']?([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)

HIDDEN = "[hidden text]"  # stands before hidden text when a mail has no visible text

_TAGS = "html|head|body|div|p|br|table|tr|td|font|b|i|u|a|span|center|img|h[1-6]|meta|style|strong|em|ul|li|hr"
_KNOWN_TAG = re.compile(rf"</?(?:{_TAGS})(?=[\s/>])", re.IGNORECASE)
_ANY_KNOWN_TAG = re.compile(rf"</?(?:{_TAGS})(?=[\s/>])[^<>]{{0,2000}}>", re.IGNORECASE)
_BEGINS_AS_HTML = re.compile(
    rf"[\s\ufeff]*(?:<!--.{{0,2000}}?-->\s*)?<(?:!doctype\s+html|(?:{_TAGS})(?=[\s/>]))", re.IGNORECASE | re.DOTALL
)
_TAG = re.compile(r"<[^<>]{0,2000}>")
_URL = re.compile(r"https?://[^\s<>\"')\]}]+", re.IGNORECASE)
#: Browsers accept any number of slashes and backslashes here, also without a scheme.
_SCHEME = re.compile(r"[\s\x00-\x20]*(?:https?\s*:[/\\\s]*|[/\\]{2,})", re.IGNORECASE)
_BEHIND_HOST = re.compile(r"[/\\?#]")
_SHOWN_HOST = re.compile(
    r"(https?://)?(?:[^\s/@]+@)?((?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24})(?:[:/?#]\S*)?", re.IGNORECASE
)
#: Endings of file names, which look like host names in a link's text.
_FILE_ENDING = re.compile(
    r"pdf|docx?|xlsx?|pptx?|od[ts]|txt|csv|rtf|zip|rar|exe|png|jpe?g|gif|svg|html?|xml|json|js|md"
)

MAX_ELEMENTS = 20_000
MAX_LINKS = 200  # looked at in one text

_LEADS_BY = {"a": "href", "area": "href", "form": "action", "base": "href"}

Link = tuple[str, str]  # the host that the link shows, or ""; the host that it leads to


def text_and_links(html: str) -> tuple[str, list[Link]]:
    """The visible text, cleaned, and the links in order of appearance."""
    html = html.encode("utf-8", "replace").decode("utf-8")  # the parser raises on lone surrogates
    try:
        tree = HTMLTree.parse(html)
        found = elements(tree)
        links = list(_links(found))
        _write_out_buttons(tree, found)
        sheet = Sheet("\n".join(element.node.text for element in found if element.tag == "style"))
        title = clean(tree.title or "")
        is_any_hidden = drop_hidden(found, sheet)
        text = _text(tree) or _stand_in(tree, title)
        if not text and is_any_hidden and (hidden := _text(html)):
            text = f"{HIDDEN} {hidden}"
        return text or title, links
    except ValueError:  # HTMLParserException is a ValueError
        return clean(_TAG.sub(" ", html)), []


def looks_like_html(text: str) -> bool:
    """Is this text/plain in fact HTML? Then it begins with a tag, or five tags or more make up a fifth of it."""
    head = text[:20_000]
    tags = _KNOWN_TAG.findall(head)
    if len(tags) < 2:
        return False
    if _BEGINS_AS_HTML.match(head):
        return True
    in_tags = sum(map(len, _ANY_KNOWN_TAG.findall(head)))
    return len(tags) >= 5 and 5 * in_tags >= len(head)


def links_in_text(text: str) -> list[Link]:
    """The links of plain text. The host shown is "", since plain text shows the true host."""
    if "://" not in text:
        return []
    return [("", host) for url in _URL.findall(text)[:MAX_LINKS] if (host := host_of(url))]


def declared_charset(html: bytes) -> str:
    """The charset that the HTML's <meta> names, for parts whose header names none; "" when it names none."""
    found = _META_CHARSET.search(html[:2048])
    return found[1].decode("ascii") if found else ""


def host_of(url: str) -> str:
    """The host of a web address as browsers read it, in lower case; "" when it is no web address."""
    url = re.sub(r"[\t\r\n]", "", url)
    found = _SCHEME.match(url)
    return _host(_BEHIND_HOST.split(url[found.end() :], 1)[0]) if found else ""


@lru_cache(maxsize=128)  # a mail has many links to few hosts
def _host(authority: str) -> str:
    try:
        host = urlsplit(f"http://{authority}").hostname or ""
    except ValueError:  # e.g. a broken IPv6 address
        return ""
    return one_line(unquote(host).lower().rstrip("."), 253)


def _text(html: Any, *, alt_texts: bool = False) -> str:
    text = extract_plain_text(html, preserve_formatting=True, main_content=False, links=False, alt_texts=alt_texts)
    text = clean(text)
    return text if is_meaningful(text) else ""


def _stand_in(tree: Any, title: str) -> str:
    """The alternative texts of visible pictures, else the title, else the number of pictures; "" without pictures."""
    pictures = sum(map(_is_picture, nodes(tree)))
    if not pictures:
        return ""
    return _text(tree, alt_texts=True) or title or f"[{pictures} pictures]"


def _is_picture(node: Any) -> bool:
    if node.tag == "img":
        sizes = [node.getattr(side) or "" for side in ("width", "height")]
        return not any(size.strip().removesuffix("px") in ("0", "1") for size in sizes)  # a tracking pixel
    if node.tag in ("svg", "video", "object", "embed") or node.hasattr("background"):
        return True
    if node.tag == "input":
        return (node.getattr("type") or "").lower() == "image"
    return "url(" in (node.getattr("style") or "").lower()


def _write_out_buttons(tree: Any, found: list[Element]) -> None:
    """Put the labels of buttons into the text: the parser leaves them out, and a person reads them first."""
    for element in found[:MAX_ELEMENTS]:
        node = element.node
        if element.tag == "button":
            label = node.text
        elif element.tag == "input" and (node.getattr("type") or "").lower() in ("submit", "button"):
            label = node.getattr("value") or ""
        else:
            continue
        if label.strip() and node.parent is not None:
            node.parent.insert_before(tree.create_text_node(f" {label[:200]} "), node)


def _links(found: list[Element]) -> Iterator[Link]:
    """Where a click leads: anchors, image maps, forms, and <base>, the site of addresses without a host."""
    for element in [element for element in found if element.tag in _LEADS_BY][:MAX_LINKS]:
        if host := host_of(element.node.getattr(_LEADS_BY[element.tag]) or ""):
            yield _shown_host(one_line(element.node.text[:1000], 300)) if element.tag == "a" else "", host


def _shown_host(text: str) -> str:
    found = _SHOWN_HOST.fullmatch(text)
    if not found:
        return ""
    host = found[2].lower()
    return "" if not found[1] and _FILE_ENDING.fullmatch(host.rpartition(".")[2]) else host
