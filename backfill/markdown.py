"""Hostile text in Markdown and YAML: shown as it is, and neither acted on nor linked.

A note is opened by programs that do much with a text. Obsidian follows `[[links]]`, embeds `![[files]]`, takes `#tags`,
`%%comments%%` and `^block-ids`. Its plug-ins run `<% code %>` (Templater, anywhere in a new file), `dataviewjs` blocks
and inline code that begins with `=` or `$=` (Dataview), read `key:: value` as data (Dataview) and `- [ ]` as a task.
Other viewers render HTML, load pictures and link bare addresses; site generators expand `{{ }}` and `{% %}`.

None of them is told apart here. Every character that begins such a thing is escaped with a backslash, which Markdown
does not show (CommonMark §2.4), and so no two of them stand side by side. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

_CONTROLS: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_UNSAFE_QUOTED: Final = re.compile(
    "[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]|<(?=%)"
)
#: What may begin or end something, anywhere in a line. Colons and dots do only beside some characters.
_SPECIAL: Final = re.compile(r"[\\`*_{}\[\]<>#!|~$=%^&@:.]")
#: What stands before the character that makes a list, a rule, an underlined heading or a definition of a line.
_LINE_START: Final = re.compile(r"^(\d{1,9}(?=[.)])|(?=[-+:]))", re.MULTILINE)
_ADDRESS: Final = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s<>\"'`\\]*[^\s<>\"'`\\.,;:!?)\]}])")
#: An address with one of these is no inline code: a program may look for them there, too.
_RUNNING: Final = re.compile(r"<%|%%|\[\[|::|\{\{|\{%|\$")


def quoted(value: str | Sequence[str]) -> str:
    """JSON, which is valid YAML. Characters that YAML forbids, that reorder text or that end a line are escaped."""
    text = json.dumps(value if isinstance(value, str) else list(value), ensure_ascii=False)
    return _UNSAFE_QUOTED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def escaped(text: str) -> str:
    """`text` as Markdown on one line."""
    return _inline(" ".join(_printable(text).split()))


def prose(text: str) -> str:
    """`text` as paragraphs, line by line; what was indented is not. Addresses are inline code, which nobody follows."""
    lines = "\n".join(" ".join(_printable(line).split()) for line in text.splitlines())
    short = re.sub(r"\n{3,}", "\n\n", lines)
    parts = _ADDRESS.split(short) if "://" in short else [short]
    shown = "".join(_address(part) if number % 2 else _inline(part) for number, part in enumerate(parts))
    return _LINE_START.sub(r"\1\\", shown).strip("\n")


def fenced(text: str) -> str:
    """A code block that `text` cannot end: its fence is longer than any run of backticks within (CommonMark §4.5)."""
    lines = "\n".join(_printable(line) for line in text.splitlines())
    harmless = lines.replace("<%", "< %")  # Templater runs <% … %> in a code block, too
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", harmless)), default=0))
    return f"{fence}text\n{harmless}\n{fence}"


def shortened(text: str, most: int) -> str:
    """`text` on one line of at most `most` characters, cut between words where that keeps half of it."""
    line = " ".join(_printable(text).split())
    if len(line) <= most:
        return line
    kept = line[: most - 1]
    words = kept[: kept.rfind(" ")] if kept.rfind(" ") >= most // 2 else kept
    return f"{words.rstrip()}…"


def _address(address: str) -> str:
    return _inline(address) if _RUNNING.search(address) else f"`{address}`"


def _inline(text: str) -> str:
    return _SPECIAL.sub(_harmless, text)


def _harmless(match: re.Match[str]) -> str:
    """The character with a backslash, if it may begin or end something where it stands."""
    char, text, at = match[0], match.string, match.start()
    if char == ":":  # `key:: value` and `://`
        is_plain = text[at + 1 : at + 2] not in {":", "/"} and text[at - 1 : at] != ":"
    else:  # a dot within a host name: viewers link `www.example.com` without a scheme
        is_plain = char == "." and not (text[at - 1 : at].isalnum() and text[at + 1 : at + 2].isalpha())
    return char if is_plain else f"\\{char}"


def _printable(text: str) -> str:
    """`text` with a blank for each control character but the tab, and for each character that reorders text."""
    return _CONTROLS.sub(" ", text)
