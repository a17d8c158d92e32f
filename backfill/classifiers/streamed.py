"""Put together an answer that comes as a stream of events, although no stream was asked for.

Some gateways always stream (https://html.spec.whatwg.org/multipage/server-sent-events.html). Each event has a piece of
the message.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final

from backfill.classifiers.untrusted import mapping

#: Keys whose pieces are joined. Of other keys the last value counts.
_TEXTS: Final = ("content", "reasoning_content", "reasoning", "refusal")


def put_together(body: bytes) -> dict[str, Any] | None:
    """The document of a plain answer, made from the events; None when `body` is no stream of events."""
    text = body.decode("utf-8", "replace").lstrip("\ufeff \r\n\t")
    if not text.startswith(("data:", "event:", "id:", "retry:", ":")):
        return None
    document: dict[str, Any] = {}
    choice: dict[str, Any] = {}
    pieces: dict[str, list[str]] = {name: [] for name in _TEXTS}
    arguments: list[str] = []
    for line in text.splitlines():
        if not line.startswith("data:"):
            continue
        try:
            event = mapping(json.loads(line[5:], parse_float=Decimal))
        except (ValueError, ArithmeticError, RecursionError):  # [DONE], or an event that was cut off
            continue
        document |= {name: value for name, value in event.items() if name != "choices" and value is not None}
        choices = event.get("choices")
        first = mapping(choices[0]) if isinstance(choices, list) and choices else {}
        choice |= {name: value for name, value in first.items() if value is not None}
        delta = mapping(first.get("delta")) or mapping(first.get("message"))
        for name in _TEXTS:
            if isinstance(piece := delta.get(name), str):
                pieces[name].append(piece)
        calls = delta.get("tool_calls")
        functions = [mapping(mapping(call).get("function")) for call in (calls if isinstance(calls, list) else ())]
        arguments += [made["arguments"] for made in functions if isinstance(made.get("arguments"), str)]
    message: dict[str, Any] = {name: "".join(found) for name, found in pieces.items() if found}
    if arguments:
        message["tool_calls"] = [{"function": {"arguments": "".join(arguments)}}]
    if choice:
        document["choices"] = [choice | {"message": message}]
    return document
