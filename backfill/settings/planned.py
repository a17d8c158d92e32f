"""The settings with which a job was planned, where they decide what is asked."""

from __future__ import annotations

from backfill.fingerprint import ClassifierSettings
from backfill.rubric import Rubric
from backfill.settings.model import Settings
from backfill.settings.questions import RubricKeys


def asking(settings: Settings, rubric: Rubric) -> Settings:
    """Today's settings with a job's questions; thresholds and keywords are today's where a name is the same."""
    told = rubric.having(settings.asked)
    return settings if told == settings.asked else settings.model_copy(update={"rubric": RubricKeys.of(told)})


def planned_with(settings: Settings, asked: ClassifierSettings, rubric: Rubric) -> Settings:
    """Today's settings, with those of a job in the place of the ones that its fingerprint depends on.

    `rubric`: what the job asks.
    """
    llm = {
        "model": asked.model,
        "temperature": asked.temperature,
        "response_format": asked.response_format,
        "max_output_tokens": asked.max_output_tokens,
    }
    return asking(settings, rubric).model_copy(
        update={
            "classifier": asked.classifier or settings.classifier,
            "llm": settings.llm if asked.model is None else settings.llm.model_copy(update=llm),
            "processing": settings.processing.model_copy(update={"max_body_chars": asked.max_body_chars}),
        }
    )
