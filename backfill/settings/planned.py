"""The settings with which a job was planned, where they decide what is asked."""

from __future__ import annotations

from backfill.fingerprint import ClassifierSettings
from backfill.settings.model import Settings


def planned_with(settings: Settings, asked: ClassifierSettings) -> Settings:
    """Today's settings, with those of a job in the place of the ones that its fingerprint depends on."""
    llm = {
        "model": asked.model,
        "temperature": asked.temperature,
        "response_format": asked.response_format,
        "max_output_tokens": asked.max_output_tokens,
    }
    return settings.model_copy(
        update={
            "classifier": asked.classifier or settings.classifier,
            "llm": settings.llm if asked.model is None else settings.llm.model_copy(update=llm),
            "processing": settings.processing.model_copy(update={"max_body_chars": asked.max_body_chars}),
        }
    )
