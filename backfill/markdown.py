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
#: What may begin or end something, anywhere in a line. A colon does before another one (`key:: value`) and in `://`.
_SPECIAL: Final = re.compile(r"[\\`*_{}\[\]<>#!|~$=%^&@]|:(?=[:/])|(?<=:):")
#: A dot within a host name: viewers link `www.example.com` and `example.com` without a scheme.
_HOST_DOT: Final = re.compile(r"(?<=\w)\.(?=[^\W\d_])")
#: What makes a list, a rule, an underlined heading or a definition of a line that begins with it.
_LINE_START: Final = re.compile(r"^(?:([-+:])|(\d{1,9})([.)]))")
_ADDRESS: Final = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s<>\"'`\\]*[^\s<>\"'`\\.,;:!?)\]}]")
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
    lines = [_line(" ".join(_printable(line).split())) for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


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


def _line(line: str) -> str:
    parts, at = [], 0
    for match in _ADDRESS.finditer(line):
        if not _RUNNING.search(match[0]):
            parts += [_inline(line[at : match.start()]), f"`{match[0]}`"]
            at = match.end()
    parts.append(_inline(line[at:]))
    return _LINE_START.sub(lambda match: f"\\{match[1]}" if match[1] else f"{match[2]}\\{match[3]}", "".join(parts))


def _inline(text: str) -> str:
    return _HOST_DOT.sub(r"\\.", _SPECIAL.sub(r"\\\g<0>", text))


def _printable(text: str) -> str:
    """`text` with a blank for each control character but the tab, and for each character that reorders text."""
    return _CONTROLS.sub(" ", text)
