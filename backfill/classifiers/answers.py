"""Find the verdict in a model's answer: a JSON object with all keys that were asked for, among other text.

Models put fences, words, channel markup and end-of-turn tokens around the object. Some write it in JavaScript's or
Python's syntax, or put it into a tool call or into their thoughts. Strict JSON is tried first, then JSON5
(https://spec.json5.org: trailing commas, single quotes, bare keys, comments). Only a complete object counts. A library
that repairs JSON would close an object that was cut off, and read `{"importance_score": 1` as 1 where the model meant
10. If two objects disagree, neither counts; two that give only other reasons agree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import json5

from backfill.classifiers.untrusted import mapping

#: Objects looked at in one text. A normal answer has one; the bound limits the time.
MOST_OBJECTS: Final = 500
#: Objects that json5 reads in one text. It takes 50 µs a character.
MOST_LENIENT: Final = 10
MOST_LENIENT_CHARS: Final = 2000

_THINKING: Final = r"(?:think|thinking|thought|thoughts|reasoning|reflection|analysis|scratchpad)"
#: Marks at the beginning and end of thoughts: of DeepSeek, Qwen and most others; Magistral; Kimi; Cohere; gpt-oss (also
#: without its special tokens); Gemma.
_MARKS: Final = re.compile(
    rf"(?P<start><(?:\w+:)?{_THINKING}>|\[THINK\]|◁think▷|<\|START_THINKING\|>|<\|channel\|>\s*analysis\b|<\|channel>)"
    rf"|(?P<end></(?:\w+:)?{_THINKING}>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<channel\|>|assistantfinal"
    r"|<\|channel\|>\s*(?:final|commentary)\b)",
    re.IGNORECASE,
)
#: Text that says nothing: tokens such as <|im_end|> and <end_of_turn>, fences with their label, blanks.
_NO_WORDS: Final = re.compile(r"<[^<>\s]{1,40}>|```\w*|[\s\ufeff]+")
#: The end of a model's turn. Text after it is a next turn that the model made up.
_TURN_ENDS: Final = re.compile(
    r"<\|(?:im_end|eot_id|eom_id|end_of_text|endoftext|end_of_turn|end|return|call)\|>|</s>|<end_of_turn>|<eos>"
)
#: Python's words and JSON's.
_PYTHON: Final = {"None": "null", "True": "true", "False": "false"}
_TYPOGRAPHIC: Final = str.maketrans("“”„‟″‘’‚‛′", '"""""' + "'''''")

#: The values of one object, in the order of the keys.
Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """The keys that an object must have to be a verdict. `told`: of those, the ones whose values may differ.

    `form`: values that only stand in the form of an answer. Some models repeat the form before they fill it in.
    """

    keys: tuple[str, ...]
    told: frozenset[str] = frozenset()
    form: frozenset[str] = frozenset()

    def decisive(self, values: Values) -> Values:
        """The values by which two objects agree or disagree. Letter case makes no difference."""
        decide = (value for key, value in zip(self.keys, values, strict=True) if key not in self.told)
        return tuple(value.strip().casefold() if isinstance(value, str) else value for value in decide)

    def is_form(self, values: Values) -> bool:
        return any(isinstance(value, str) and value in self.form for value in values)


def answers_in(choice: dict[str, Any], asked: Asked, *, is_whole: bool) -> tuple[list[Values], bool]:
    """The objects in an answer that disagree, unchecked, and whether the answer says anything.

    If the answer has only thoughts and was not cut off (`is_whole`), the objects are looked for in the thoughts: some
    servers take everything for thoughts when the closing tag is missing.
    """
    message = mapping(choice.get("message")) or mapping(choice.get("delta"))
    said, thoughts = _without_thoughts(_text(message.get("content")) or _text(choice.get("text")))
    said = next((turn for turn in _TURN_ENDS.split(said) if _found([turn], asked)), said)
    texts = [said, *_arguments(message)]
    found = _found(texts, asked)
    if is_whole and not found and not any(_NO_WORDS.sub("", text) for text in texts):
        texts = [thoughts, *_thoughts(message)]
        found = _found(texts, asked)
    return found, any(text.strip() for text in texts)


def _text(content: object) -> str:
    """A message's content as text. It may come as a string, in parts, or as an object that a server has parsed."""
    match content:
        case str():
            return content
        case list():  # some reasoning models answer in parts; parts with thoughts have no "text"
            return "".join(part["text"] for part in map(mapping, content) if isinstance(part.get("text"), str))
        case dict():
            return json.dumps(content, default=str)
        case _:
            return ""


def _arguments(message: dict[str, Any]) -> Iterator[str]:
    """The arguments of function calls. Some models answer by a call although none was asked for."""
    calls = message.get("tool_calls")
    for call in [*(calls if isinstance(calls, list) else []), {"function": message.get("function_call")}]:
        yield _text(mapping(mapping(call).get("function")).get("arguments"))
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        yield _text(mapping(part).get("input"))


def _thoughts(message: dict[str, Any]) -> Iterator[str]:
    for key in ("reasoning_content", "reasoning", "thinking", "reasoning_details"):
        if text := _text(message.get(key)):
            yield text
            return  # some servers give the same text under two names


def _without_thoughts(text: str) -> tuple[str, str]:
    """The text outside of thoughts, and the thoughts. The opening or the closing mark may be missing."""
    said: list[str] = []
    thoughts: list[str] = []
    began: int | None = None
    position = 0
    for mark in _MARKS.finditer(text):
        if mark["start"]:
            if began is None:
                said.append(text[position : mark.start()])
                began = mark.end()
            continue
        if began is None:
            thoughts += [*said, text[position : mark.start()]]
            said = []
        else:
            thoughts.append(text[began : mark.start()])
            began = None
        position = mark.end()
    (said if began is None else thoughts).append(text[position if began is None else began :])
    return "".join(said), "".join(thoughts)


def _found(texts: Iterable[str], asked: Asked) -> list[Values]:
    """The first of those objects that agree."""
    found: dict[Values, Values] = {}
    for text in texts:
        for values in _Search(text, asked).found:
            found.setdefault(asked.decisive(values), values)
    return list(found.values())


class _Search:
    """The objects in a text that have the keys. If an object gives a key two values, None stands for that key."""

    def __init__(self, text: str, asked: Asked, *, is_within: bool = False) -> None:
        self.found: list[Values] = []
        self._asked = asked
        self._is_within = is_within
        self._strict = json.JSONDecoder(object_pairs_hook=self._object, strict=False)
        self._lenient_left = MOST_LENIENT
        if text.lstrip().startswith('"'):  # JSON within a JSON string
            text = self._unpacked(text)
        position = 0
        try:
            for _ in range(MOST_OBJECTS):
                position = text.find("{", position)
                if position < 0:
                    return
                position = self._end(text, position)
        except RecursionError:  # nested too deeply to be a verdict
            self.found.clear()

    def _end(self, text: str, start: int) -> int:
        """Read the object that begins at `start`; returns the place where the search goes on."""
        try:
            return self._strict.raw_decode(text, start)[1]
        except ValueError:
            pass
        part = text[start : start + MOST_LENIENT_CHARS].translate(_TYPOGRAPHIC)
        part = re.sub(r"\b(?:None|True|False)\b", lambda word: _PYTHON[word[0]], part)
        if re.match(r'\{\s*\\"', part):  # escaped as within a string
            part = part.replace('\\"', '"')
        if self._lenient_left and all(key in part for key in self._asked.keys):
            self._lenient_left -= 1
            try:
                _, error, length = json5.parse(part, consume_trailing=False, object_pairs_hook=self._object)
            except ValueError:
                return start + 1
            if error is None:
                return start + length
        return start + 1

    def _object(self, items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """Called by both parsers for each complete object, inner objects first. Notes the object's values."""
        items = list(items)
        values: dict[str, list[Any]] = {
            key: [value for name, value in items if name == key] for key in self._asked.keys
        }
        if all(values.values()):
            given = tuple(next(iter(found)) if len(set(map(repr, found))) == 1 else None for found in values.values())
            is_schema = any(isinstance(value, dict | list) for value in given)  # it has objects in the values' place
            if not is_schema and not self._asked.is_form(given):
                self.found.append(given)
        elif not self._is_within:  # a function call has its arguments in a string
            for _, value in items:
                if isinstance(value, str) and all(key in value for key in self._asked.keys):
                    self.found += _Search(value, self._asked, is_within=True).found
        return dict(items)

    def _unpacked(self, text: str) -> str:
        try:
            inner = json.loads(text)
        except ValueError:
            return text
        return inner if isinstance(inner, str) else text
