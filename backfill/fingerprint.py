"""What a classifier's verdicts depend on: model, prompt, schema, truncation, sampling. Never URL or key.

The ledger keeps it with the job, and its digest is part of the key of each verdict. So do not change how it is
written: every known verdict would become unknown, and all mail would be paid for again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Self

#: What stands in the place of a classifier where keywords of older systems are removed: such a job judges nothing.
CLEANUP: Final = "cleanup"
#: The parts that another rubric changes.
OF_THE_RUBRIC: Final = frozenset({"rubric", "schema", "max_output_tokens"})
#: A longer value is shown as "…".
MOST_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class ClassifierSettings:
    """The parts of a fingerprint that are settings. None: the fingerprint has no such part, or the part is null."""

    classifier: str | None
    model: str | None
    response_format: str | None
    temperature: float | None
    max_output_tokens: int | None
    max_body_chars: int | None


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The parts as JSON with sorted keys, and the whole prompt; `digest` normalises its line endings."""

    canonical: str
    prompt: str = ""

    @classmethod
    def of(cls, prompt: str = "", **parts: Any) -> Self:
        """A fingerprint of parts that can be written as JSON. For a part that is a fingerprint, its parts are taken."""
        values = {name: part._parts() if isinstance(part, Fingerprint) else part for name, part in parts.items()}
        return cls(json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True), prompt)

    def having(self, **parts: Any) -> Self:
        """A fingerprint with these parts added; a part of the same name is replaced."""
        return self.of(self.prompt, **{**self._parts(), **parts})

    def digest(self) -> str:
        """SHA-256 (hex). Line endings, trailing blanks and the order of keys make no difference."""
        return sha256(f"{self.canonical}\n{self._fixed_prompt()}".encode()).hexdigest()

    def differences(self, other: Fingerprint, *, has_other_rubric: bool = False) -> list[str]:
        """What differs from this one in `other`, a line for each part, for people.

        `has_other_rubric`: the rubric is told elsewhere, so what follows from it is left out.
        """
        mine, theirs = self._parts(), other._parts()
        lines = [
            f"{name}: {_shown(mine.get(name))} -> {_shown(theirs.get(name))}"
            for name in sorted({*mine, *theirs})
            if mine.get(name) != theirs.get(name) and not (has_other_rubric and name in OF_THE_RUBRIC)
        ]
        if has_other_rubric:
            return lines
        return [*lines, "prompt: another text"] if self._fixed_prompt() != other._fixed_prompt() else lines

    @property
    def settings(self) -> ClassifierSettings:
        """What the settings must say for a classifier to have this fingerprint."""
        parts = self._parts()
        return ClassifierSettings(
            classifier=parts.get("classifier"),
            model=parts.get("model"),
            response_format=parts.get("response_format"),
            temperature=parts.get("temperature"),
            max_output_tokens=parts.get("max_output_tokens"),
            max_body_chars=parts.get("max_body_chars"),
        )

    @property
    def judge(self) -> str:
        """What judges, for people: the model, or the classifier where it needs none."""
        settings = self.settings
        return str(settings.model or settings.classifier or "unknown")

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = json.loads(self.canonical)
        return parts

    def _fixed_prompt(self) -> str:
        return "\n".join(line.rstrip() for line in self.prompt.splitlines()).strip()


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= MOST_SHOWN and not isinstance(value, dict) else "…"
