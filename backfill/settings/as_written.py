"""YAML whose plain words stay what they are: only null is not text.

YAML 1.1 makes 0171234567 an octal number, 12:30:45 a number of seconds, `on` a boolean and 2024-01-01 a date. Each
may be a user name, and none of them says so. Numbers and switches are read by the type of their key instead.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

#: `<<`, which takes another mapping's keys over, is no value.
_KEPT: Final = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")


class _AsWritten(yaml.SafeLoader):
    """A safe loader for which plain words are text."""


_AsWritten.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _KEPT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(text: str) -> Any:
    """The document. Raises `yaml.YAMLError`, also for what no value can be made of."""
    try:
        return yaml.load(text, _AsWritten)  # noqa: S506 - a SafeLoader
    except (ValueError, AttributeError, TypeError, RecursionError) as error:  # a tag such as !!int on another word
        raise yaml.YAMLError from error
