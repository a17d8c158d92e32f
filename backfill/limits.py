"""What a run may do. None of it is part of the job, so every run of one may have other limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Concurrency = int | Literal["auto"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may do. None of it is part of the job."""

    max_emails: int | None = None
    concurrency: Concurrency = 8
    retry_attempts: int = 3
    retry_delay_s: float = 5.0
    only_retried: bool = False  # work on the items that this run took up again, and on nothing else
