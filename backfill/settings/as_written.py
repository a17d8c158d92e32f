"""Reads YAML so that every plain word stays text; only null is None.

YAML 1.1 itself reads 0171234567 as an octal number, 12:30:45 as seconds, `on` as a boolean and 2024-01-01 as a date,
although each may be a user name. Here the type of the key decides what is a number or a switch.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

#: The tags that keep their meaning: null, and `<<`, which merges another mapping's keys.
_MERGE: Final = "tag:yaml.org,2002:merge"
_KEPT: Final = ("tag:yaml.org,2002:null", _MERGE)


class _AsWritten(yaml.SafeLoader):
    """A safe loader for which plain words are text."""


_AsWritten.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _KEPT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def doubled(text: str, section: str) -> tuple[int, str] | None:
    """The line and the name of a key that stands twice in one mapping of `section`; None: there is none.

    YAML itself keeps the last of them and says nothing.
    """
    root = yaml.compose(text, _AsWritten)
    if not isinstance(root, yaml.MappingNode):
        return None
    nodes = [value for key, value in root.value if key.value == section]
    while nodes:
        node = nodes.pop()
        if not isinstance(node, yaml.MappingNode):
            continue
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen and key.tag != _MERGE:
                return key.start_mark.line + 1, str(key.value)
            seen.add(str(key.value))
            nodes.append(value)
    return None


def read(text: str) -> Any:
    """The document. Raises `yaml.YAMLError`, also for a tag that does not fit its value."""
    try:
        return yaml.load(text, _AsWritten)  # noqa: S506 - a SafeLoader
    except (ValueError, AttributeError, TypeError, RecursionError) as error:  # a tag such as !!int on another word
        raise yaml.YAMLError from error
