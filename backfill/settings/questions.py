"""What is asked about each mail, by the settings."""

from __future__ import annotations

from backfill.rubric import Rubric
from backfill.settings.model import Settings


def rubric_of(settings: Settings) -> Rubric:
    """What is asked about each mail, and the labels that follow."""
    processing, imap = settings.processing, settings.imap
    return Rubric.default(processing.importance_threshold, processing.spam_threshold, imap.important_tag, imap.spam_tag)
