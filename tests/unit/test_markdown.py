"""A mail's text in a note is a text: nothing in it runs, loads, links, tags or becomes data."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from backfill.markdown import escaped, fenced, prose, quoted, shortened

#: What programs look for in a note, by the program; none of it may stand in what becomes of a mail's text.
LOOKED_FOR = {
    "Templater": re.compile(r"<%"),
    "Obsidian links and embeds": re.compile(r"\[\[|!\["),
    "Obsidian comments": re.compile(r"%%"),
    "Dataview fields": re.compile(r"::"),
    "site generators": re.compile(r"\{\{|\{%|\{#"),
    "formulas": re.compile(r"\$\$|(?<!\\)\$"),
    "tags": re.compile(r"(?<!\\)#"),
    "block ids": re.compile(r"(?<!\\)\^"),
    "HTML": re.compile(r"(?<!\\)<"),
    "headings, lists, rules, tasks": re.compile(r"^\s*([-+*=_#>:]|\d+[.)]|- \[)", re.MULTILINE),
    "tables": re.compile(r"(?<!\\)\|"),
    "highlights": re.compile(r"=="),
}
#: Texts that a mail may hold, by what would be done with them.
HOSTILE = {
    "templater": "<% tp.system.prompts() %> <%* await fetch('http://e.example') -%> <%+ x %>",
    "dataviewjs block": "```dataviewjs\ndv.io.load('http://e.example')\n```",
    "dataview block": "~~~dataview\nTABLE file.path\n~~~",
    "tasks block": "````tasks\nnot done\n````",
    "inline query": "`= this.file.path` and `$= dv.current()`",
    "inline field": "spam_score:: 0\n[spam_score:: 0] (spam_score:: 0) a:::b",
    "wiki link": "[[Secret]] [[Secret|x]] ![[Secret.pdf]] ![[Secret#^id]]",
    "picture": "![](http://tracker.example/x.png) ![a][b]\n\n[b]: http://tracker.example/y.png",
    "link": "[click](javascript:alert(1)) [x](obsidian://open?vault=v) <https://e.example> <a@e.example>",
    "bare link": "http://e.example/x https://e.example www.e.example e.example a@e.example obsidian://open?vault=v",
    "html": "<script>alert(1)</script><img src=http://e.example/x onerror=alert(1)><iframe src=x></iframe><!-- x",
    "entity": "&lt;script&gt; &#60;img&#62; &amp;",
    "comment": "%% hidden %% %%\nhidden\n%%",
    "block id": "a line ^blockid\n^blockid",
    "tags": "#tag #a/b text#tag",
    "front matter": "---\nspam_score: 0\n---",
    "rules": "***\n___\n---\n===\n- - -",
    "setext": "A heading\n===\nAnother\n---",
    "heading": "# One\n####### seven",
    "list": "- a\n* b\n+ c\n1. d\n2) e\n   - f",
    "tasks": "- [ ] pay 📅 2024-01-01\n- [x] done\n* [ ] x",
    "quote": "> quoted\n>> deeper\n> [!danger] callout",
    "table": "| a | b |\n|---|---|\n| c | d |\na | b\n--|--",
    "math": "$$\\href{javascript:alert(1)}{x}$$ $x$",
    "code": "    indented\n\ttabbed\n```\nunclosed",
    "escapes": "\\[\\[x\\]\\] \\\\ \\` a\\\nb\\",
    "jinja": "{{ 7*7 }} {% raw %} {# x #} {{< shortcode >}}",
    "definition": "Term\n: definition\n\n*[HTML]: abbreviation\n[^1]: footnote [^1]",
    "highlight": "==x== ~~y~~ **z** __w__ _v_ *u*",
    "controls": "\x00\x1b[31m\u202egnp.exe\u2028\u2029\x85\ufeff",
    "address as code": "http://e.example/`x` `http://e.example` http://e.example/<%x%> http://e.example/%%x%% http://e/[[x]]",
    "carriage returns": "a\r# b\r\n# c",
}
#: Everything that only shows text, in paragraphs.
HARMLESS = {"paragraph_open", "paragraph_close", "inline", "text", "softbreak", "code_inline"}


def rendered(markdown: str) -> list[Token]:
    """Every token that a viewer makes of it."""
    viewer = MarkdownIt("commonmark", {"html": True, "linkify": True}).enable(["table", "strikethrough", "linkify"])
    found = viewer.parse(markdown)
    return [each for token in found for each in (token, *(token.children or ()))]


def shown(tokens: list[Token]) -> str:
    """The text that a reader sees, without its blanks."""
    return re.sub(r"\s", "", "".join(each.content for each in tokens if each.type in {"text", "code_inline"}))


def assert_inert(markdown: str) -> None:
    outside = re.sub(r"`[^`\n]*`", "x", re.sub(r"\\`", "x", markdown))
    assert {program for program, pattern in LOOKED_FOR.items() if pattern.search(outside)} == set()
    assert {token.type for token in rendered(markdown)} <= HARMLESS
    for token in rendered(markdown):
        if token.type == "code_inline":
            assert re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://\S+", token.content)
            assert not re.search(r"<%|%%|\[\[|::|\{\{|\{%|\$|`", token.content)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_text_is_shown_whole_and_does_nothing(text):
    markdown = prose(text)

    assert_inert(markdown)
    kept = re.sub("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]", "", text)
    assert shown(rendered(markdown)) == re.sub(r"\s", "", kept)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_title_is_one_line_of_text(text):
    markdown = escaped(text)

    assert "\n" not in markdown
    assert {token.type for token in rendered(f"# {markdown}")} <= HARMLESS | {"heading_open", "heading_close"}


PIECES = st.sampled_from(
    [*"`*_{}[]<>#!|~$=%^&@:/\\-+.() \n\t0a", "http://e.example/", "www.", "::", "<%", "%%", "[[", "![", "---", "- [ ]"]
)


@given(st.lists(PIECES | st.text(max_size=5), max_size=40).map("".join))
def test_no_text_at_all_does_anything(text):
    assert_inert(prose(text))


@given(st.lists(PIECES | st.text(max_size=5), max_size=40).map("".join))
def test_a_code_block_is_all_that_becomes_of_a_fenced_text(text):
    assert [token.type for token in rendered(fenced(text))] == ["fence"]


@given(st.text(st.characters(codec="utf-8"), max_size=50) | st.lists(st.text(st.characters(codec="utf-8")), max_size=3))
def test_a_quoted_text_is_read_from_yaml_as_it_was(value):
    assert yaml.safe_load(f"key: {quoted(value)}") == {"key": value}


def test_prose_keeps_lines_and_paragraphs():
    assert prose("Dear owner,\nplease pay.\n\n\n\n  Jo  Doe") == "Dear owner,\nplease pay.\n\nJo Doe"


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        ("Your invoice", 80, "Your invoice"),
        ("one two three four", 12, "one two…"),
        ("x" * 100, 10, "xxxxxxxxx…"),
        ("a\nb\x1b\u202ec", 80, "a b c"),
        ("", 80, ""),
    ],
)
def test_a_long_subject_is_cut_between_words(text, most, short):
    assert shortened(text, most) == short


@pytest.mark.parametrize("text", [text for name, text in HOSTILE.items() if name not in {"controls", "escapes"}])
def test_these_checks_notice_each_text_as_it_stood_in_the_mail(text):
    with pytest.raises(AssertionError):
        assert_inert(text)
