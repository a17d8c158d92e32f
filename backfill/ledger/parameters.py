"""What the ledger keeps of a run besides its dates: its limits, the API that it calls, and which items it works on.

Stored as flat JSON in `run.parameters`; money and hours are text. New versions only add keys, so they can read the rows
of older versions.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from backfill.errors import ConfigError
from backfill.hours import Hours
from backfill.limits import RunLimits


@dataclass(frozen=True, slots=True)
class RunParameters:
    """The parameters of one run."""

    limits: RunLimits = field(default_factory=RunLimits)
    api: str | None = None  # the name of its throttle; None: its calls cost nothing
    only_retried: bool = False  # it works only on the items that it has taken up again

    def to_json(self) -> str:
        document = {"api": self.api, "only_retried": self.only_retried, **asdict(self.limits)}
        return json.dumps(document | {"between": self.limits.between}, sort_keys=True, default=str)

    @classmethod
    def from_json(cls, text: str) -> RunParameters:
        """The parameters in a row's JSON. A limit that is missing, or that this version refuses, gets its default."""
        document = json.loads(text)
        limits = RunLimits()
        for name in (each.name for each in fields(RunLimits)):
            with suppress(ConfigError, ValueError, InvalidOperation):
                if (value := document.get(name)) is not None:
                    given: dict[str, Any] = {name: _read(name, value)}
                    limits = replace(limits, **given)
        return cls(limits, document.get("api"), bool(document.get("only_retried")))


def _read(name: str, value: Any) -> Any:
    """The value from its JSON form. Raises `ValueError` or `InvalidOperation` for text that is no such value."""
    if name == "between":
        return Hours.parse(str(value))
    return Decimal(str(value)) if name.startswith("max_cost") else value
